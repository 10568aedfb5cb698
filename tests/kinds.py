"""Small picture files of every kind, each with the pixels that it holds, written by other means.

A TIFF comes from tifffile or Pillow, a PNG from bytes, JPEG and WebP from Pillow, interlaced files
from libvips; what is expected is computed from the levels that were written, or decoded by Pillow
where a format loses some. `table()` makes all of them.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image, ImageCms
from raw_files import SRGB_BLUE, SRGB_GREEN, SRGB_RED, matrix_profile, png, png_chunk

HEIGHT, WIDTH = 20, 24
CHANNELS = {1: "grey", 2: "grey+alpha", 3: "rgb", 4: "rgb+alpha"}
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {}/></rdf:RDF>'
    "</x:xmpmeta>"
)


@dataclass
class Kind:
    """A file, and what is in it."""

    name: str
    content: bytes
    pixels: np.ndarray | None = None  # (H, W, 3 or 4) in [0, 1], upright sRGB
    refused: str = ""  # what the refusal says, where it is refused
    off_by: float = 0.01  # levels of 255, at most


# ---- what is written, and what it means --------------------------------------------------------


def levels(channels, dtype, seed=0):
    """(H, W, C) noise over the whole range; of floats [0, 1]."""
    random = np.random.default_rng(seed + channels)
    if np.dtype(dtype).kind in "fc":
        noise = random.random((HEIGHT, WIDTH, channels)).astype(dtype)
    else:
        info = np.iinfo(dtype)
        noise = random.integers(max(info.min, -999), info.max, (HEIGHT, WIDTH, channels), dtype)
    flat = noise.reshape(-1, channels)
    flat[0] = 0  # both ends: what the range is told by
    flat[1] = 1 if noise.dtype.kind in "fc" else np.iinfo(dtype).max
    return noise


def shares(values):
    """Levels as [0, 1]: of floats as they are, of integers above 16 bits by the largest."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        return values.astype(float)
    white = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 0
    if white not in (255, 65535):
        white = max(65535, values.max())
    return values.clip(0) / float(white)


def rgb(values, alpha=None):
    """(H, W, 1 or 3) in [0, 1], and alpha (H, W) if any, as (H, W, 3 or 4)."""
    color = np.repeat(values, 3, 2) if values.shape[2] == 1 else values
    return color if alpha is None else np.dstack([color, alpha])


def with_alpha(values):
    """(H, W, 1 to 4) in [0, 1] whose even count of channels ends with alpha."""
    last = values.shape[2] % 2 == 0
    return rgb(values[..., :-1], values[..., -1]) if last else rgb(values)


def upright(stored, orientation):
    """EXIF 2.3: which sides the stored row 0 and column 0 are."""
    across = np.swapaxes(stored, 0, 1)
    return {1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: across,
            6: across[:, ::-1], 7: across[::-1, ::-1], 8: across[::-1]}[orientation]  # fmt: skip


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def xmp_of(orientation, as_element=False):
    told = f'tiff:Orientation="{orientation}"'
    text = XMP.format(told)
    if as_element:
        element = f"<tiff:Orientation>{orientation}</tiff:Orientation></rdf:Description>"
        text = text.replace(told + "/>", ">" + element)
    return text.encode()


def encoded(linear):
    """The curve of sRGB (IEC 61966-2.1)."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def decoded(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


LINEAR = matrix_profile((SRGB_RED, SRGB_GREEN, SRGB_BLUE), 1.0)
SWAPPED = matrix_profile((SRGB_GREEN, SRGB_RED, SRGB_BLUE), 1.0)
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
PROFILES = {
    "linear": (LINEAR, encoded),
    "swapped": (SWAPPED, lambda values: encoded(values[..., [1, 0, 2]])),
    "broken": (LINEAR[:200], lambda values: values),
    "of Lab": (LAB, lambda values: values),
}


def profiled(values, change):
    """Colours as a profile says, alpha as it is; grey is no picture for a profile of RGB."""
    if values.shape[2] < 3:
        return with_alpha(values)
    return np.dstack([change(values[..., :3]), values[..., 3:]])


def by_pillow(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def seen_by_pillow(content):
    """(H, W, 3 or 4) as Pillow decodes it, not turned."""
    with Image.open(io.BytesIO(content)) as picture:
        mode = "RGBA" if picture.has_transparency_data else "RGB"
        return np.asarray(picture.convert(mode)) / 255.0


# ---- PNG ---------------------------------------------------------------------------------------


def png_rows(samples, depth):
    """(H, W, C) whole numbers as packed rows."""
    if depth >= 8:
        return [row.astype(f">u{depth // 8}").tobytes() for row in samples]
    bits = (samples[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]


def pngs_by_bytes():
    """Colour type x depth x transparency."""
    for color, depth in [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2),
                         (3, 4), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]:  # fmt: skip
        count, white = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color], 2**depth - 1
        samples = np.random.default_rng(depth).integers(0, white + 1, (HEIGHT, WIDTH, count))
        palette = np.random.default_rng(color).integers(0, 256, (white + 1, 3)) if color == 3 else 0
        chunk = png_chunk(b"PLTE", palette.astype(np.uint8).tobytes()) if color == 3 else b""
        values = palette[samples[..., 0]] / 255 if color == 3 else samples / white
        rows = png_rows(samples, depth)
        name = f"png type {color} of {depth} bits"
        yield Kind(name, png(WIDTH, HEIGHT, depth, color, rows, chunk), with_alpha(values))
        if color == 3:
            shown = np.arange(white + 1, dtype=np.uint8) * (255 // white)
            alpha, key = shown[samples[..., 0]] / 255, shown.tobytes()
        elif color in (0, 2):
            alpha = 1.0 - (samples == samples[3, 3]).all(2)
            key = samples[3, 3].astype(">u2").tobytes()
        else:
            continue
        chunk += png_chunk(b"tRNS", key)
        content = png(WIDTH, HEIGHT, depth, color, rows, chunk)
        yield Kind(f"{name} with tRNS", content, rgb(values, alpha))


def one_png(extra=b"", dtype=np.uint8, channels=3):
    """A PNG of noise, and its pixels in [0, 1] as they are stored."""
    samples, depth = levels(channels, dtype), 8 * np.dtype(dtype).itemsize
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return png(WIDTH, HEIGHT, depth, color, png_rows(samples, depth), extra), shares(samples)


def pngs_turned():
    for orientation in range(1, 9):
        exif = exif_of(orientation).tobytes()
        told = f"\nexif\n{len(exif):8}\n{exif.hex()}".encode()
        text = b"XML:com.adobe.xmp\0\0\0\0\0"
        for how, chunk in {
            "eXIf": png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")),
            "raw profile": png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(told)),
            "XMP": png_chunk(b"iTXt", text + xmp_of(orientation)),
        }.items():
            content, values = one_png(chunk, dtype=[np.uint8, np.uint16][orientation % 2])
            yield Kind(f"png {how} {orientation}", content, upright(values, orientation))


def pngs_with_colours():
    """Profiles, and the chunks that stand in for one."""
    for (name, (profile, change)), dtype, channels in product(
        PROFILES.items(), (np.uint8, np.uint16), (1, 2, 3, 4)
    ):
        chunk = png_chunk(b"iCCP", b"a\0\0" + zlib.compress(profile))
        content, values = one_png(chunk, dtype, channels)
        title = f"png {CHANNELS[channels]} {np.dtype(dtype)} profile {name}"
        yield Kind(title, content, profiled(values, change), off_by=1.2)
    gamma = {g: png_chunk(b"gAMA", struct.pack(">I", g)) for g in (45455, 100000, 55556)}
    srgb = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    corners = png_chunk(b"cHRM", struct.pack(">8I", *srgb))
    swapped = png_chunk(b"cHRM", struct.pack(">8I", *srgb[:2], *srgb[4:6], *srgb[2:4], *srgb[6:]))
    flip, as_srgb = [1, 0, 2], png_chunk(b"sRGB", b"\0")
    p3 = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])
    for name, chunk, change in [
        ("gAMA of sRGB", gamma[45455] + corners, lambda v: v),
        ("gAMA linear", gamma[100000], encoded),
        ("gAMA 1.8", gamma[55556], lambda v: encoded(v**1.8)),
        ("gAMA linear, sRGB", gamma[100000] + as_srgb, lambda v: v),
        ("gAMA linear, cHRM of sRGB", gamma[100000] + corners, encoded),
        ("gAMA linear, cHRM swapped", gamma[100000] + swapped, lambda v: encoded(v[..., flip])),
        ("cHRM swapped", gamma[45455] + swapped, lambda v: v[..., flip]),
        ("cICP sRGB", gamma[100000] + png_chunk(b"cICP", b"\1\15\0\1"), lambda v: v),
        ("cICP linear", png_chunk(b"cICP", b"\1\10\0\1"), encoded),
        ("cICP gamma 2.2", png_chunk(b"cICP", b"\1\4\0\1"), lambda v: encoded(v**2.2)),
        (
            "cICP Display P3",
            png_chunk(b"cICP", b"\14\15\0\1"),
            lambda v: encoded(decoded(v) @ p3.T),
        ),
    ]:
        for dtype, channels in product((np.uint8, np.uint16), (3, 4)):
            content, values = one_png(chunk, dtype, channels)
            title = f"png {CHANNELS[channels]} {np.dtype(dtype)} {name}"
            yield Kind(title, content, profiled(values, change), off_by=1.2)
    for name, cicp in {"PQ": b"\11\20\0\1", "HLG": b"\11\22\0\1", "narrow": b"\1\15\0\0"}.items():
        yield Kind(f"png cICP {name}", one_png(png_chunk(b"cICP", cicp))[0], refused="cICP")


# ---- JPEG, WebP, BMP, interlaced ---------------------------------------------------------------


def photo(mode="RGB"):
    """A picture without structure that JPEG would lose, alpha a gradient."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    planes = [255 * x, 255 * y, 255 * (1 - x), 40 + 200 * x * y]
    picture = Image.fromarray(np.stack(planes, -1).astype(np.uint8))
    return picture if mode == "RGBA" else picture.convert("RGB").convert(mode)


def jpegs():
    for mode, progressive, subsampling in product(
        ("L", "RGB", "CMYK"), (False, True), ("4:4:4", "4:2:2", "4:2:0")
    ):
        options = {"progressive": progressive, "subsampling": subsampling}
        content = by_pillow(photo(mode), "JPEG", quality=92, **options)
        name = f"jpeg {mode} {'progressive ' * progressive}{subsampling}"
        yield Kind(name, content, seen_by_pillow(content), off_by=1.01 if mode == "CMYK" else 0.01)
    for name, (profile, change) in PROFILES.items():
        for mode in ("RGB", "L"):
            content = by_pillow(photo(mode), "JPEG", quality=92, icc_profile=profile)
            values = seen_by_pillow(by_pillow(photo(mode), "JPEG", quality=92))
            expected = change(values) if mode == "RGB" else values
            yield Kind(f"jpeg {mode} profile {name}", content, expected, off_by=1.2)


def lossy_turned():
    """Orientation told by EXIF, by XMP as attribute and as element, and by both."""
    for kind, (mode, orientation) in product(
        ("JPEG", "WEBP"), product(("RGB", "RGBA"), range(1, 9))
    ):
        if (kind, mode) == ("JPEG", "RGBA"):
            mode = "L"
        plain = seen_by_pillow(by_pillow(photo(mode), kind, quality=92))
        for how, options in {
            "EXIF": {"exif": exif_of(orientation)},
            "XMP": {"xmp": xmp_of(orientation, orientation % 2 == 1)},
            "EXIF, not XMP": {"exif": exif_of(orientation), "xmp": xmp_of(3)},
        }.items():
            content = by_pillow(photo(mode), kind, quality=92, **options)
            yield Kind(f"{kind} {mode} {how} {orientation}", content, upright(plain, orientation))


def webps():
    for mode, options in product(
        ("RGB", "RGBA"), ({"quality": 80}, {"lossless": True, "exact": True}, {"quality": 40})
    ):
        content = by_pillow(photo(mode), "WEBP", **options)
        yield Kind(f"webp {mode} {options}", content, seen_by_pillow(content))
        more = [photo(mode).rotate(180)]
        content = by_pillow(photo(mode), "WEBP", save_all=True, append_images=more, **options)
        yield Kind(f"webp animated {mode} {options}", content, seen_by_pillow(content), off_by=1.01)
    for name, (profile, change) in PROFILES.items():
        content = by_pillow(photo("RGBA"), "WEBP", lossless=True, exact=True, icc_profile=profile)
        values = np.asarray(photo("RGBA")) / 255
        yield Kind(f"webp profile {name}", content, profiled(values, change), off_by=1.2)


def others():
    """BMP, APNG, and interlaced PNG."""
    import pyvips

    for mode in ("1", "L", "P", "RGB", "RGBA"):
        content = by_pillow(photo(mode), "BMP")
        yield Kind(f"bmp {mode}", content, seen_by_pillow(content))
    for mode in ("L", "RGB", "RGBA"):
        more = [photo(mode).rotate(180)]
        content = by_pillow(photo(mode), "PNG", save_all=True, append_images=more)
        yield Kind(f"apng {mode}", content, seen_by_pillow(content))
    for dtype, channels in product((np.uint8, np.uint16), (1, 2, 3, 4)):
        values = levels(channels, dtype)
        kind = "b-w" if channels < 3 else "srgb"
        if dtype == np.uint16:
            kind = "grey16" if channels < 3 else "rgb16"
        picture = pyvips.Image.new_from_array(values).copy(interpretation=kind)
        content = picture.pngsave_buffer(interlace=True)
        name = f"png interlaced {CHANNELS[channels]} {np.dtype(dtype)}"
        yield Kind(name, bytes(content), with_alpha(shares(values)))


def table() -> Iterator[Kind]:
    """All files of all kinds."""
    from tiff_kinds import tiffs

    for make in (pngs_by_bytes, pngs_turned, pngs_with_colours, jpegs, lossy_turned, webps, others):
        yield from make()
    yield from tiffs()
