"""What the heads of TIFF and PNG files say of samples and colours, which libvips leaves alone.

TIFF has more kinds than any reader: what libvips would take for something else, or refuse as if
it were damaged, is refused here by its name.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from fst.io.decode import EXIF_ORIENTATION, Unsupported, known_orientation

# TIFF 6.0, section 8 and after: numbers of the tags.
BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR = 258, 259, 262, 277, 284
TILE_WIDTH, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = 322, 332, 338, 339
MINISWHITE, PALETTE, INKS, YCBCR = 0, 3, 5, 6
COLOURS = {0: 1, 1: 1, 2: 3, PALETTE: 1, INKS: 4, YCBCR: 3}  # samples a pixel by photometric
UINT, INT, FLOAT, VOID = 1, 2, 3, 4

_JPEG = 7
_READ = (1, 2, 3, 4, 5, _JPEG, 8, 32773, 32946, 50001)  # compressions
_BY_PILLOW = (34925, 50000)  # lzma and zstd: libvips as its wheels have it lacks both
_COMPRESSIONS = {6: "old-style JPEG", 34676: "SGI log", 34677: "SGI log", 34712: "JPEG 2000"}
_COMPRESSIONS |= {34887: "LERC", 34925: "lzma", 50000: "zstd", 50002: "JPEG XL"}
_PHOTOMETRICS = {4: "mask", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32803: "camera raw"}
_PHOTOMETRICS |= {32844: "LogL", 32845: "LogLuv", 34892: "camera raw"}
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of values: BYTE, SHORT, LONG, LONG8
_MOST_TAGS, _MOST_VALUES = 4096, 64


@dataclass
class TiffHead:
    """The samples of the first picture of a TIFF."""

    colours: int  # samples that are colours: 1, 3, or 4 inks
    alpha: int | None  # index of the sample that is transparency
    by_pillow: bool
    orientation: int | None = None  # that its tag says, see `known_orientation`; None without a tag
    fail_on: str = "error"  # what libvips is to refuse: an orientation of 0 or 9 is an error to it


def read_tiff_head(file: BinaryIO) -> TiffHead:
    """What the samples are.

    An extra sample is transparency where its tag says so (1 or 2); 0, unspecified, is none. A file
    that has an extra sample but not the tag means transparency, as other readers take it.
    """
    tags = _first_directory(file)
    photometric, samples = tags.get(PHOTOMETRIC, (1,))[0], tags.get(SAMPLES, (1,))[0]
    if photometric not in COLOURS:
        raise Unsupported(f"{_PHOTOMETRICS.get(photometric, photometric)} colours", "RGB")
    colours = COLOURS[photometric]
    bits = _samples_are(tags, photometric, samples)
    extra = tags.get(EXTRA_SAMPLES) or (2,) * (samples - colours)
    alpha = next((colours + i for i, kind in enumerate(extra) if kind in (1, 2)), None)
    if photometric == PALETTE:
        colours = 3  # as libvips gives it
    told = tags[EXIF_ORIENTATION][0] if EXIF_ORIENTATION in tags else None
    turn = None if told is None else known_orientation(told)
    fail_on = "error" if turn == told else "truncated"
    return TiffHead(colours, alpha, _by_pillow(tags, samples, bits), turn, fail_on)


def _samples_are(tags: dict[int, tuple[int, ...]], photometric: int, samples: int) -> int:
    """Bits a sample, where such samples are read right."""
    all_bits, formats = tags.get(BITS, (1,)), tags.get(SAMPLE_FORMAT, (UINT,))
    bits, form = all_bits[0], UINT if formats[0] == VOID else formats[0]
    name = f"{bits}-bit {({INT: 'signed ', FLOAT: 'float '}).get(form, '')}samples"
    kinds = {UINT: (1, 2, 4, 8, 16, 32), INT: (16, 32), FLOAT: (16, 32)}
    planes = tags.get(PLANAR, (1,))[0] == 2 and samples > 1
    if len({*all_bits}) > 1 or len({*formats}) > 1:
        raise Unsupported("samples of unequal depth", "all of 8 or 16 bits")
    if bits not in kinds.get(form, ()) or (bits < 8 and samples > 1):
        raise Unsupported(name, "8 or 16 bits")
    if photometric == PALETTE and (bits > 8 or samples > 1):
        raise Unsupported(f"a palette for {samples} x {name}", "RGB")
    if photometric in (MINISWHITE, INKS, YCBCR) and (bits > 16 or form != UINT):
        raise Unsupported(f"{name} that are not black to white", "RGB of 8 or 16 bits")
    if planes and (COLOURS[photometric] == 1 or name.startswith("16-bit float")):
        what = "grey" if COLOURS[photometric] == 1 else "16-bit float samples"
        raise Unsupported(f"{what} in planes", "interleaved channels")  # libvips 8.18 errs in both
    if photometric == YCBCR and (tags.get(COMPRESSION) != (_JPEG,) or planes):
        raise Unsupported("YCbCr without JPEG compression", "RGB")
    if photometric == INKS and tags.get(INK_SET, (1,))[0] != 1:
        raise Unsupported("inks other than CMYK", "RGB")
    return bits


def _by_pillow(tags: dict[int, tuple[int, ...]], samples: int, bits: int) -> bool:
    """Whether Pillow is to read it: it has what libvips lacks, but cuts deep colours to 8 bits."""
    compression = tags.get(COMPRESSION, (1,))[0]
    if compression not in (*_READ, *_BY_PILLOW):
        name = _COMPRESSIONS.get(compression, f"number {compression}")
        raise Unsupported(f"{name} compression", "deflate compression")
    if compression in _BY_PILLOW:
        if bits != 8:
            name = _COMPRESSIONS[compression]
            raise Unsupported(f"{name} compression of {bits}-bit samples", "deflate compression")
        return True
    if TILE_WIDTH in tags and tags.get(PLANAR, (1,))[0] == 2 and samples > 1:
        raise Unsupported("tiles in planes", "interleaved channels")
    return False


def _first_directory(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    """Tags of few whole numbers (TIFF 6.0, section 2; BigTIFF has 8 bytes where TIFF has 4)."""
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    word, count_type, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    (place,) = struct.unpack_from(f"{order}{word}", head, 8 if big else 4)
    file.seek(place)
    (count,) = struct.unpack(f"{order}{count_type}", file.read(struct.calcsize(count_type)))
    table = file.read(size * min(count, _MOST_TAGS))
    tags: dict[int, tuple[int, ...]] = {}
    for low in range(0, len(table) - size + 1, size):
        tag, kind, number = struct.unpack_from(f"{order}HH{word}", table, low)
        if kind not in _TYPES or not 0 < number <= _MOST_VALUES or tag in tags:
            continue
        values = f"{order}{number}{_TYPES[kind]}"
        length = struct.calcsize(values)
        data = table[low + size - struct.calcsize(word) : low + size]
        if length > len(data):
            file.seek(struct.unpack(f"{order}{word}", data)[0])
            data = file.read(length)
        tags[tag] = struct.unpack(values, data[:length])
    return tags


# ---- PNG ---------------------------------------------------------------------------------------

# Chromaticities x, y of red, green, blue and white (ITU-T H.273, table 2).
_PRIMARIES = {
    1: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290),  # BT.709, sRGB
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),  # BT.2020
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290),  # Display P3
}
# Exponents of linear light (H.273, table 3); None: the curve of sRGB, or one taken for it.
_TRANSFERS = {1: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
_SRGB_GAMMA, _NEAR = 1 / 2.2, 0.05  # as libpng: a gamma so near is that of sRGB
_MOST_CHUNKS, _MOST_EXIF = 100_000, 2**16
_ASKED = (b"IHDR", b"cICP", b"sRGB", b"iCCP", b"gAMA", b"cHRM", b"acTL")


def read_png_chunks(file: BinaryIO) -> dict[bytes, bytes]:
    """The chunks about colour and animation that stand before the pixels."""
    chunks: dict[bytes, bytes] = {}
    for name, length in _png_chunks(file):
        if name == b"IDAT":
            break
        if name in _ASKED:
            chunks[name] = file.read(min(length, 32))
    return chunks


def exif_behind_pixels(file: BinaryIO) -> bytes:
    """The EXIF that a PNG may have after its pixels, where decoders no longer look; else empty."""
    for name, length in _png_chunks(file):
        if name == b"eXIf":
            return file.read(min(length, _MOST_EXIF))
    return b""


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and length of each chunk in turn, the file at its data."""
    place, name = 8, b""
    for _ in range(_MOST_CHUNKS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or name == b"IEND":
            return
        name, length = head[4:], struct.unpack(">I", head[:4])[0]
        yield name, length
        place += length + 12


def png_colours(chunks: dict[bytes, bytes]) -> tuple[float | None, np.ndarray | None] | None:
    """The exponent of linear light (None: the curve of sRGB) and the matrix (3, 3) that takes
    linear light to that of sRGB (None: it is that); None where nothing is to do or a profile says
    it.

    In the order of the PNG specification (third edition, 4.3): cICP, iCCP, sRGB, gAMA and cHRM.
    """
    exponent, corners = None, _PRIMARIES[1]
    if len(chunks.get(b"cICP", b"")) == 4:
        primaries, transfer, matrix, full = chunks[b"cICP"]
        if primaries not in _PRIMARIES or transfer not in _TRANSFERS or matrix or not full:
            name = {16: "PQ, high dynamic range", 18: "HLG, high dynamic range"}.get(transfer)
            given = name or f"{primaries}, {transfer}, {matrix}, {full}"
            raise Unsupported(f"colours by cICP ({given})", "sRGB")
        exponent, corners = _TRANSFERS[transfer], _PRIMARIES[primaries]
    elif b"iCCP" not in chunks and b"sRGB" not in chunks and len(chunks.get(b"gAMA", b"")) == 4:
        gamma = struct.unpack(">I", chunks[b"gAMA"])[0] / 1e5
        if gamma and abs(gamma / _SRGB_GAMMA - 1) > _NEAR:
            exponent = 1 / gamma
        if len(chunks.get(b"cHRM", b"")) == 32:
            x_y = [value / 1e5 for value in struct.unpack(">8I", chunks[b"cHRM"])]
            corners = (*x_y[2:], *x_y[:2])
    to_srgb = None if np.allclose(corners, _PRIMARIES[1], atol=0.002) else _matrix(corners)
    return None if exponent is None and to_srgb is None else (exponent, to_srgb)


def png_to_srgb(image: Any, exponent: float | None, matrix: np.ndarray | None) -> Any:
    """An RGB image of libvips, of 8 or 16 bits, in sRGB."""
    depth = image.interpretation
    if exponent is None:
        linear = image.colourspace("scrgb")
    else:
        linear = (image / (65535 if depth == "rgb16" else 255)) ** exponent
    if matrix is not None:
        # recomb would do it in libvips' threads, see `fst.io.vips`.
        red, green, blue = ([linear[i] * row[i] for i in range(3)] for row in matrix.tolist())
        linear = sum(red[1:], red[0]).bandjoin([sum(x[1:], x[0]) for x in (green, blue)])
    return linear.copy(interpretation="scrgb").colourspace(depth)


def _matrix(corners: tuple[float, ...]) -> np.ndarray | None:
    """Linear light of these primaries to that of sRGB, white staying white."""
    try:
        to_xyz = [_to_xyz(np.reshape(given, (4, 2))) for given in (corners, _PRIMARIES[1])]
        return np.linalg.solve(to_xyz[1], to_xyz[0])
    except (np.linalg.LinAlgError, ZeroDivisionError):  # such corners mean nothing
        return None


def _to_xyz(points: np.ndarray) -> np.ndarray:
    """(3, 3), its columns red, green and blue, so that their sum is white (SMPTE RP 177)."""
    columns = np.stack([(x / y, 1, (1 - x - y) / y) for x, y in points], axis=1)
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
