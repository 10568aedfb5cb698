"""Seeded damage to files, and a child process that reads damaged files under watch.

A mutation is a pure function of (seed bytes, kind, random generator), so that a failure can be made
again from the number of the file alone.
"""

import io
import json
import os
import select
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from fst.runtime.memory import release_freed_memory

ROOT = Path(__file__).resolve().parents[2]
MEMORY_LIMIT_BYTES = 2**30  # resident, of the whole process
HANG_S = 60  # far above any reading: under load a file took 2 s
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SIDES_PX = (0, 1, 255, 4095, 16383, 17000, 65535, 200_000, 2**31 - 1, 2**32 - 1)
FOREIGN = (b"", b"\0", b"<!DOCTYPE html><html></html>", b"\x7fELF\2\1\1\0" + bytes(64),
           b"#!/bin/sh\n", b"%PDF-1.7\n", b"PK\3\4" + bytes(64), b"<svg xmlns='http://www.w3.org/2000/svg'/>",
           b"\xff" * 512, b"GIF89a", b"\0\0\0\x18ftypheic" + bytes(64))  # fmt: skip


# ---- damage that needs no knowledge of the format ----------------------------------------------


def flip_bits(data, random):
    changed = bytearray(data)
    for place in random.integers(0, 8 * len(data), random.integers(1, 17)):
        changed[place // 8] ^= 1 << (place % 8)
    return bytes(changed)


def flip_head(data, random):
    """As `flip_bits`, in the first bytes, where sizes and types are."""
    head = min(len(data), 96)
    return flip_bits(data[:head], random) + data[head:]


def overwrite(data, random):
    low = int(random.integers(0, len(data)))
    count = int(random.integers(1, 65))
    return data[:low] + random.bytes(count) + data[low + count :]


def extremes(data, random):
    """A number of the file made 0 or as large as its bytes can say."""
    value, order = int(random.choice(EXTREMES)), "<>"[random.integers(2)]
    word = struct.pack(order + ("H" if value <= 0xFFFF and random.random() < 0.5 else "I"), value)
    low = int(random.integers(0, max(1, len(data) - len(word))))
    return data[:low] + word + data[low + len(word) :]


def truncate(data, random):
    return data[: random.integers(0, len(data))]


def cut_out(data, random):
    low, high = sorted(int(n) for n in random.integers(0, len(data), 2))
    return data[:low] + data[high:]


def double(data, random):
    low, high = sorted(int(n) for n in random.integers(0, len(data), 2))
    return data[:high] + data[low:high] + data[high:]


def append(data, random):
    return data + random.bytes(int(random.integers(1, 4096)))


def foreign(data, random):
    """Content of another type under the same name."""
    return bytes(FOREIGN[random.integers(len(FOREIGN))])


BLIND = {f.__name__: f for f in (flip_bits, flip_head, overwrite, extremes, truncate, cut_out,
                                 double, append, foreign)}  # fmt: skip


# ---- pictures ----------------------------------------------------------------------------------


def picture_seeds():
    """Small pictures as files: name to bytes."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    rgb = Image.fromarray(coarse).resize((40, 33), Image.Resampling.BICUBIC)
    rgba = rgb.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))
    deep = np.asarray(rgb).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"

    def stored(picture, kind, **options):
        file = io.BytesIO()
        picture.save(file, kind, **options)
        return file.getvalue()

    return {
        "png": stored(rgb, "PNG", exif=exif),
        "png-alpha": stored(rgba, "PNG"),
        "png-palette": stored(rgb.quantize(16), "PNG", transparency=3),
        "png16": deep_png(deep),
        "jpeg": stored(rgb, "JPEG", exif=exif, icc_profile=srgb_profile()),
        "jpeg-progressive": stored(rgb, "JPEG", progressive=True, quality=90),
        "jpeg-cmyk": stored(rgb.convert("CMYK"), "JPEG"),
        "webp": stored(rgb, "WEBP", exif=exif),
        "webp-lossless": stored(rgba, "WEBP", lossless=True),
        "webp-animated": stored(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        "gif": stored(rgb.quantize(16), "GIF"),
        "tiff": stored(rgb, "TIFF"),
        "tiff-lzw": stored(rgba, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": stored(rgb, "TIFF", compression="tiff_adobe_deflate", exif=exif),
        "tiff-jpeg": stored(rgb, "TIFF", compression="jpeg"),
        "tiff16": deep_tiff(deep),
        "bmp": stored(rgb, "BMP"),
        "bmp-palette": stored(rgb.quantize(16), "BMP"),
    }


def srgb_profile():
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(levels):
    """(H, W, 3) of 16 bits as a PNG file, as the specification says."""
    height, width, _ = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def deep_tiff(levels):
    """(H, W, 3) of 16 bits as a TIFF file of one strip, as the specification says."""
    height, width, _ = levels.shape
    pixels = levels.astype("<u2").tobytes()
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 1),
            (262, 3, 1, 2), (273, 4, 1, 14), (277, 3, 1, 3), (278, 3, 1, height),
            (279, 4, 1, len(pixels))]  # fmt: skip
    table = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = struct.pack("<2sHI3H", b"II", 42, 14 + len(pixels), 16, 16, 16)
    return head + pixels + struct.pack("<H", len(tags)) + table + bytes(4)


def oversized(data, random):
    """The sizes that the file's head tells, made large, all else as it was."""
    sides = [int(random.choice(SIDES_PX)) for _ in "wh"]
    if data[:4] == b"\x89PNG":
        head = struct.pack(">II", *sides) + data[24:29]
        return data[:8] + png_chunk(b"IHDR", head) + data[33:]
    sides16 = [side & 0xFFFF for side in sides]
    if data[:2] == b"\xff\xd8":
        place = next(p for m in (b"\xff\xc0", b"\xff\xc2") if (p := data.find(m)) > 0)
        return data[: place + 5] + struct.pack(">HH", *sides16) + data[place + 9 :]
    if data[:4] == b"RIFF":
        return _oversized_webp(data, sides)
    if data[:3] == b"GIF":
        return data[:6] + struct.pack("<HH", *sides16) + data[10:]
    if data[:2] == b"BM":
        return data[:18] + struct.pack("<II", *sides) + data[26:]
    return _oversized_tiff(data, sides, random)


def _oversized_webp(data, sides):
    kind, width, height = data[12:16], *(min(side, 2**24) for side in sides)
    if kind == b"VP8X":  # canvas, less one
        three = [struct.pack("<I", max(0, side - 1))[:3] for side in (width, height)]
        return data[:24] + b"".join(three) + data[30:]
    if kind == b"VP8L":
        bits = (width - 1 & 0x3FFF) | (height - 1 & 0x3FFF) << 14 | 1 << 28
        return data[:21] + struct.pack("<I", bits) + data[25:]
    return data[:26] + struct.pack("<HH", width & 0x3FFF, height & 0x3FFF) + data[30:]


def _oversized_tiff(data, sides, random):
    """Width and height, or with them what a strip has, or a second pair of tags."""
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    entries = [data[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
    large = {256: sides[0], 257: sides[1]}
    if random.random() < 0.3:
        large |= {278: sides[1]}
    if random.random() < 0.3:
        large |= {279: 2**31 - 1}
    changed = []
    for entry in entries:
        tag = struct.unpack("<H", entry[:2])[0]
        new = struct.pack("<HHII", tag, 4, 1, large[tag]) if tag in large else entry
        changed += [entry, new] if random.random() < 0.2 else [new]
    # The directory goes to the end: it may have grown.
    directory = struct.pack("<H", len(changed)) + b"".join(changed) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory


def rechecked(data, random):
    """PNG: damage within a chunk whose checksum is made right again; else bits of the body."""
    if data[:4] != b"\x89PNG":
        low = len(data) // 3
        return data[:low] + flip_bits(data[low:], random)
    chunks, place = [], 8
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        chunks.append([data[place + 4 : place + 8], data[place + 8 : place + 8 + size]])
        place += 12 + size
    chosen = chunks[random.integers(len(chunks) - 1)]
    if chosen[0] == b"IDAT" and random.random() < 0.7:
        chosen[1] = zlib.compress(flip_bits(zlib.decompress(chosen[1]), random))
    else:
        chosen[1] = flip_bits(chosen[1], random)
    if random.random() < 0.2:
        chunks.insert(1, chunks[random.integers(len(chunks))])
    return data[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


PICTURE_KINDS = BLIND | {"oversized": oversized, "rechecked": rechecked}


def picture_of(number, seeds):
    """Mutated picture `number`: (format, kind, bytes); formats and kinds take turns."""
    random = np.random.default_rng((1, number))
    name = list(seeds)[number % len(seeds)]
    kind = list(PICTURE_KINDS)[number // len(seeds) % len(PICTURE_KINDS)]
    return name, kind, PICTURE_KINDS[kind](seeds[name], random)


# ---- reading under watch -----------------------------------------------------------------------


def watched(child, jobs, batch=500):
    """Have a child process read files, one after the other, and yield what came of each.

    Args:
        child: Script and arguments; it answers each line on stdin by one line of JSON on stdout.
        jobs: Lines, each naming a file.
        batch: After so many the child is a new one.

    Yields:
        {"outcome": ..., "peak_bytes": ..., ...} in the order of the jobs; where the child died or
        hung, the outcome is "crash" or "hang".
    """
    process, answered = None, 0
    for job in jobs:
        if process is None or answered >= batch:
            _end(process)
            process, answered = _started(child), 0
        process.stdin.write(job + "\n")
        process.stdin.flush()
        answer = _line(process, time.monotonic() + HANG_S)
        answered += 1
        if answer is None:
            process.kill()
            process.wait()
            process = None
            yield {"outcome": "hang", "peak_bytes": 0, "detail": job}
        elif not answer:
            code = process.wait()
            process = None
            yield {"outcome": "crash", "peak_bytes": 0, "detail": f"{job}: exit {code}"}
        else:
            yield json.loads(answer)
    _end(process)


def _started(child):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
                   "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}  # fmt: skip
    command = [sys.executable, *map(str, child)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            env=environment, cwd=ROOT)  # fmt: skip


def _line(process, deadline):
    """What the child answers; "" where it has ended, None where it does not in time."""
    ready, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
    return process.stdout.readline() if ready else None


def _end(process):
    if process is not None:
        process.stdin.close()
        process.wait(HANG_S)


def serve(judge):
    """The child's side: answer each job by what `judge(line)` returns, with the memory it took."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer
    for line in sys.stdin:
        release_freed_memory()  # of the files before: what one file takes is looked for
        forget_peak()
        outcome, detail = judge(line.rstrip("\n"))
        answer = {"outcome": outcome, "detail": detail, "peak_bytes": peak_bytes()}
        print(json.dumps(answer), file=answers, flush=True)


def forget_peak():
    """Begin anew with the peak of resident memory; Linux (man 5 proc, clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes():
    """The largest resident memory of this process since then."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def told_rightly(error, path):
    """What is wrong with an FstError's message about a file; "" where nothing is."""
    text = str(error)
    if Path(path).name not in text:
        return f"does not name the file: {text}"
    return "" if text.isprintable() else f"is not one line: {text!r}"


def table(counts: Counter) -> str:
    """Outcomes by format and kind: counts of (row, outcome)."""
    outcomes = sorted({outcome for _, outcome in counts})
    rows = sorted({row for row, _ in counts})
    wide = max(map(len, rows))
    lines = [f"{'':{wide}} " + " ".join(f"{name:>9}" for name in outcomes)]
    for row in [*rows, "all"]:
        of_row = [sum(n for (r, o), n in counts.items() if o == outcome and row in (r, "all"))
                  for outcome in outcomes]  # fmt: skip
        lines.append(f"{row:{wide}} " + " ".join(f"{n:9}" for n in of_row))
    return "\n".join(lines)
