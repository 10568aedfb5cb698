"""The TIFFs of the table of kinds, written by tifffile, by Pillow and byte by byte."""

import io
import struct
from itertools import product

import numpy as np
import tifffile
from kinds import (
    CHANNELS,
    PROFILES,
    Kind,
    by_pillow,
    levels,
    photo,
    profiled,
    rgb,
    seen_by_pillow,
    shares,
    upright,
    with_alpha,
    xmp_of,
)
from PIL import Image

ALPHA = {2: ("unassalpha",), 4: ("unassalpha",)}


def tiff(values, planar=False, **options):
    """A TIFF of (H, W, C) or (H, W); with an even count of channels the last is alpha."""
    file = io.BytesIO()
    channels = values.shape[2] if values.ndim == 3 else 1
    options.setdefault("photometric", "rgb" if channels > 2 else "minisblack")
    if channels > 1:
        options.setdefault("extrasamples", ALPHA.get(channels))
        options["planarconfig"] = "separate" if planar else "contig"
    else:
        values = values.reshape(values.shape[:2])
    stored = np.ascontiguousarray(values.transpose(2, 0, 1)) if planar else values
    tifffile.imwrite(file, stored, metadata=None, **options)
    return file.getvalue()


def packed_tiff(values, bits):
    """A grey TIFF of (H, W) whole numbers, the bits of a row one after the other."""
    height, width = values.shape
    places = np.arange(bits - 1, -1, -1, dtype=values.dtype)
    rows = np.packbits((values[..., None] >> places & 1).astype("u1").reshape(height, -1), axis=1)
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: height}
    entries[279] = rows.nbytes
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    table = b"".join(struct.pack("<HHII", tag, 4, 1, number) for tag, number in entries.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + table + bytes(4) + rows.tobytes()


def named(dtype, channels, planar=False, *more):
    return " ".join(["tiff", str(np.dtype(dtype)), CHANNELS[channels], "planar" * planar, *more])


def read_or_refused(name, content, pixels, **options):
    """libvips mixes up the rows of grey with other samples in planes: it is refused."""
    if " grey" in name and " planar" in name:
        return Kind(name, content, refused="grey in planes")
    return Kind(name, content, pixels, **options)


def of_whole_numbers():
    for dtype, channels, planar, packed, order in product(
        ("u1", "u2"), (1, 2, 3, 4), (False, True), (None, "zlib"), "<>"
    ):
        if channels == 1 and planar:
            continue
        values = levels(channels, dtype)
        content = tiff(values, planar, compression=packed, byteorder=order)
        name = named(dtype, channels, planar, packed or "", order)
        yield read_or_refused(name, content, with_alpha(shares(values)))


def by_layout():
    layouts = {"tiles": {"tile": (16, 16)}, "strips of 3": {"rowsperstrip": 3}}
    layouts |= {"big": {"bigtiff": True}, "predictor": {"predictor": 2, "compression": "zlib"}}
    for dtype, channels, planar, (how, options) in product(
        ("u1", "u2"), (1, 2, 3, 4), (False, True), layouts.items()
    ):
        if channels == 1 and planar:
            continue
        values = levels(channels, dtype)
        content, name = tiff(values, planar, **options), named(dtype, channels, planar, how)
        if planar and how == "tiles":
            yield Kind(name, content, refused="in planes")
        else:
            yield read_or_refused(name, content, with_alpha(shares(values)))


def with_extra_samples():
    """0 is unspecified and none, 1 transparency multiplied in, 2 transparency (TIFF 6.0)."""
    for dtype, count, extra, planar in product(
        ("u1", "u2"), (1, 3), ((0,), (1,), (2,), (0, 0), (0, 2), (2, 0), (0, 1)), (False, True)
    ):
        values, white = levels(count + len(extra), dtype), np.iinfo(dtype).max
        place = next((count + i for i, kind in enumerate(extra) if kind), None)
        alpha = None if place is None else values[..., place] / white
        colors = values[..., :count] / white
        if 1 in extra:
            alpha = alpha.clip(0.4)  # else rounding is all that is left of the colours
            values[..., place] = np.rint(alpha * white)
            values[..., :count] = np.rint(colors * alpha[..., None] * white)
        photometric = "rgb" if count == 3 else "minisblack"
        content = tiff(values, planar, photometric=photometric, extrasamples=extra)
        name = named(dtype, count, planar, f"extra {extra}")
        yield read_or_refused(name, content, rgb(colors, alpha), off_by=4 if 1 in extra else 0.01)


def by_sample_format():
    """Signed 16-bit, 32-bit and floats are read, by the largest value; others are refused."""
    read = {"i2", "i4", "u4", "f2", "f4"}
    for dtype, channels, planar in product(
        ("i1", "i2", "i4", "u4", "u8", "f2", "f4", "f8", "c8"), (1, 2, 3, 4), (False, True)
    ):
        if channels == 1 and planar:
            continue
        values = levels(channels, dtype)
        name, content = named(dtype, channels, planar), tiff(values, planar)
        if dtype in read and not (dtype == "f2" and planar):
            yield read_or_refused(name, content, with_alpha(shares(values)))
        else:
            yield Kind(name, content, refused="not supported")


def by_photometric():
    for dtype in ("u1", "u2"):
        grey, inks, white = levels(1, dtype), levels(4, dtype), np.iinfo(dtype).max
        content = tiff(grey, photometric="miniswhite")
        yield Kind(f"tiff {dtype} miniswhite", content, rgb(1 - shares(grey)))
        light = (1 - inks[..., :3] / white) * (1 - inks[..., 3:] / white)
        for planar in (False, True):
            content = tiff(inks, planar, photometric="separated", extrasamples=None)
            yield Kind(f"tiff {dtype} CMYK {'planar' * planar}", content, light, off_by=1.01)
        with_fifth = np.dstack([inks, inks[..., 0]])
        content = tiff(with_fifth, photometric="separated", extrasamples=("unassalpha",))
        expected = rgb(light, inks[..., 0] / white)
        yield Kind(f"tiff {dtype} CMYK+alpha", content, expected, off_by=1.01)
        for name in ("ycbcr", "cielab", "icclab"):
            content = tiff(levels(3, dtype), photometric=name)
            yield Kind(f"tiff {dtype} {name}", content, refused="not supported")
        palette = np.random.default_rng(9).integers(0, 256, (3, white + 1)).astype("u2") * 257
        content = tiff(grey, photometric="palette", colormap=palette)
        if dtype == "u1":
            yield Kind("tiff palette", content, palette.T[grey[..., 0]] / 65535)
        else:
            yield Kind("tiff palette of 16 bits", content, refused="a palette for")
    for dtype in ("f4", "u4", "i2"):
        content = tiff(levels(1, dtype), photometric="miniswhite")
        yield Kind(f"tiff {dtype} miniswhite", content, refused="not black to white")
    for bits in (2, 4, 10, 12, 14):
        values = levels(1, "u2") >> (16 - bits)
        values = values.astype("u1") if bits < 8 else values
        content = packed_tiff(values[..., 0], bits)
        if bits < 8:
            yield Kind(f"tiff {bits} bits", content, rgb(values / (2.0**bits - 1)))
        else:
            yield Kind(f"tiff {bits} bits", content, refused=f"{bits}-bit samples not supported")
    for name in ("minisblack", "miniswhite"):
        values = levels(1, "u1") > 100
        content = tiff(values, photometric=name)
        yield Kind(f"tiff 1 bit {name}", content, rgb(1.0 * (values ^ (name == "miniswhite"))))


def turned():
    for orientation, dtype, channels in product(range(1, 9), ("u1", "u2"), (3, 4)):
        values, xmp = levels(channels, dtype), xmp_of(orientation)
        expected = upright(with_alpha(shares(values)), orientation)
        for how, tag in {
            "tag": (274, 3, 1, orientation, True),
            "XMP": (700, 1, len(xmp), xmp, True),
        }.items():
            name = named(dtype, channels, False, how, str(orientation))
            yield Kind(name, tiff(values, extratags=[tag]), expected)


def with_profiles():
    for (name, (profile, change)), dtype, channels, planar in product(
        PROFILES.items(), ("u1", "u2"), (1, 3, 4), (False, True)
    ):
        if channels == 1 and planar:
            continue
        values = levels(channels, dtype)
        content = tiff(values, planar, iccprofile=profile)
        expected = profiled(shares(values), change)
        yield Kind(named(dtype, channels, planar, "profile", name), content, expected, off_by=1.2)


def by_compression():
    """As libtiff writes them for Pillow, and what is no compression of ours."""
    for mode, packed in product(
        ("1", "L", "RGB", "RGBA"),
        ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "jpeg", "group3",
         "group4", "tiff_ccitt", "zstd", "lzma"),
    ):  # fmt: skip
        if (mode == "1") != packed.startswith(("group", "tiff_ccitt")):
            continue
        if (mode, packed) == ("RGBA", "jpeg"):
            continue
        content = by_pillow(photo(mode), "TIFF", compression=packed)
        yield Kind(f"tiff {mode} {packed}", content, seen_by_pillow(content))
    for packed, orientation in product(("zstd", "lzma"), (3, 6, 7)):
        plain = seen_by_pillow(by_pillow(photo(), "TIFF"))
        for how, tag in {"tag": (274, orientation), "XMP": (700, xmp_of(orientation))}.items():
            content = by_pillow(photo(), "TIFF", compression=packed, tiffinfo=dict([tag]))
            yield Kind(f"tiff {packed} {how} {orientation}", content, upright(plain, orientation))
    deep = Image.fromarray(levels(1, "u2")[..., 0])
    for packed in ("zstd", "lzma"):
        content = by_pillow(deep, "TIFF", compression=packed)
        yield Kind(f"tiff u2 {packed}", content, refused=f"{packed} compression of 16-bit samples")
    stored = tiff(levels(3, "u1"))
    others = {34712: "JPEG 2000", 34887: "LERC", 50002: "JPEG XL", 6: "old-style"}
    for number, name in others.items():
        yield Kind(f"tiff {name}", recompressed(stored, number), refused=f"{name}.* compression")


def recompressed(content, number):
    """A TIFF that says another compression than it has: what its head says is enough to refuse."""
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        place = file.pages[0].tags[259].valueoffset
    return content[:place] + number.to_bytes(2, "little") + content[place + 2 :]


def tiffs():
    for make in (of_whole_numbers, by_layout, with_extra_samples, by_sample_format, by_photometric,
                 turned, with_profiles, by_compression):  # fmt: skip
        yield from make()
