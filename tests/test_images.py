"""Pictures of every kind come out as the right RGB values, and every bad file as one line."""

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps
from raw_files import SRGB_BLUE, SRGB_GREEN, SRGB_RED, matrix_profile, png, png_chunk

from fst.errors import FstError
from fst.io import decode, images, paths, vips

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def pixels(path, **options):
    """(H,W,3) integers of a decoded file."""
    return np.asarray(images.decode(path, **options)).astype(int)


def noise(height, width, seed=0):
    """(H,W,3) uint8 without structure."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width):
    """(H,W,3) uint8 gradients, which JPEG keeps nearly exactly."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [255 * x / max(1, width - 1), 255 * y / max(1, height - 1), np.full(x.shape, 128)]
    return np.stack(planes, axis=-1).astype(np.uint8)


# ---------------------------------------------------------------- what is decoded


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff"])
def test_lossless_formats_keep_every_pixel(tmp_path, suffix):
    original = noise(5, 7)
    Image.fromarray(original).save(tmp_path / f"a.{suffix}")
    assert (pixels(tmp_path / f"a.{suffix}") == original).all()


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_formats_keep_smooth_pixels_nearly(tmp_path, suffix):
    original = smooth(40, 60)
    Image.fromarray(original).save(tmp_path / f"a.{suffix}", quality=95)
    assert abs(pixels(tmp_path / f"a.{suffix}") - original).mean() < 3


def test_the_content_and_not_the_suffix_tells_the_format(tmp_path):
    Image.fromarray(noise(3, 4)).save(tmp_path / "a.jpg", format="PNG")
    assert (pixels(tmp_path / "a.jpg") == noise(3, 4)).all()


def test_mpo_is_read_as_its_first_picture(tmp_path):
    first, second = Image.new("RGB", (16, 16), RED), Image.new("RGB", (16, 16), BLUE)
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert abs(pixels(tmp_path / "a.jpg") - RED).max() <= 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("number", [0, 9, 255])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, number, suffix):
    exif = Image.Exif()
    exif[0x0112] = number
    Image.new("RGB", (60, 40), (255, 0, 0)).save(tmp_path / f"a{suffix}", exif=exif)
    assert images.shape_of(tmp_path / f"a{suffix}") == (40, 60)
    strips = images.load_strips(tmp_path / f"a{suffix}")
    assert strips.shape == (40, 60, 3)
    assert np.concatenate(list(strips.strips)).shape == strips.shape


def test_the_exif_behind_the_pixels_of_a_png_turns_it(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 40), (255, 0, 0)).save(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    content = path.read_bytes()
    path.write_bytes(content[:-12] + chunk + content[-12:])  # before IEND
    assert ImageOps.exif_transpose(Image.open(path)).size == (40, 60)  # as Pillow has it
    assert images.shape_of(path) == (60, 40)
    assert images.load(path).shape == (3, 60, 40)


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:D {}/></x:xmpmeta>'


@pytest.mark.parametrize(
    ("told", "tag", "size"),
    [("tiff:Orientation='6'", None, (60, 40)), ("tiff:Orientation = '6'", None, (60, 40)),
     ("tiff:Orientation='6'", 1, (40, 60)), ("tiff:Orientation='6'", 8, (60, 40)),
     ("", 0, (40, 60)), ("", 9, (40, 60)), ("", 255, (40, 60))],
)  # fmt: skip
def test_a_tiff_is_turned_by_its_tag_and_by_xmp_where_it_has_none(tmp_path, told, tag, size):
    path = tmp_path / "a.tif"
    extra = [(700, 1, len(XMP.format(told)), XMP.format(told).encode(), True)]
    extra += [(274, 3, 1, tag, True)] * (tag is not None)
    tifffile.imwrite(path, np.zeros((40, 60, 3), np.uint8), extratags=extra, photometric="rgb")
    assert images.load(path).shape[1:] == size


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_single_pixel_row_or_column_is_turned_too(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (255, 0, 0)).save(tmp_path / "line.png", exif=exif)
    image = images.load(tmp_path / "line.png")
    assert image.shape[1:] == (size if orientation > 4 else size[::-1])
    assert torch.equal(images.load_full(tmp_path / "line.png"), image)
    assert (image.amax((1, 2)) - torch.tensor([1.0, 0.0, 0.0])).abs().max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_rotated_file_comes_out_upright(tmp_path, orientation, suffix):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24], upright[:16, 24:], upright[16:, :24] = RED, GREEN, BLUE
    stored = {  # EXIF 2.3: which sides the stored row 0 and column 0 are
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.ascontiguousarray(stored))
    picture.save(tmp_path / f"a.{suffix}", exif=exif, quality=95)
    decoded = pixels(tmp_path / f"a.{suffix}")
    assert decoded.shape == upright.shape
    assert abs(decoded - upright).mean() < 6
    small = pixels(tmp_path / f"a.{suffix}", shorter_side_px=8)
    assert small.shape == (8, 12, 3)
    assert abs(small[2, 2] - RED).max() < 30 and abs(small[6, 2] - BLUE).max() < 30


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_lose_the_picture(tmp_path):
    Image.fromarray(smooth(9, 9)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert pixels(tmp_path / "a.jpg").shape == (9, 9, 3)


def test_rgba_is_laid_on_white(tmp_path):
    row = [(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 51)]
    Image.fromarray(np.array([row], np.uint8)).save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").tolist() == [[list(RED), list(WHITE), [204, 204, 204]]]


def test_grey_with_alpha_is_laid_on_white(tmp_path):
    grey = np.array([[(100, 255), (100, 0), (0, 51)]], np.uint8)
    Image.fromarray(grey, "LA").save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png")[0, :, 0].tolist() == [100, 255, 204]


def test_palette_with_transparency_is_laid_on_white_without_a_warning(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([*RED, *GREEN, *BLUE])
    picture.save(tmp_path / "a.png", transparency=bytes([255, 0, 51]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = pixels(tmp_path / "a.png")
    assert decoded.tolist() == [[list(RED), list(WHITE), [204, 204, 255]]]


def test_opaque_palette_gives_its_colours(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([*RED, *GREEN, *BLUE])
    picture.save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").tolist() == [[list(RED), list(GREEN), list(BLUE)]]


@pytest.mark.parametrize(
    ("colour_type", "depth", "row", "key", "shown"),
    [
        (0, 1, b"\x40", b"\0\0", [WHITE, WHITE]),  # bits 0 (transparent) and 1 (white)
        (0, 8, b"\x07\x09", b"\0\x07", [WHITE, (9, 9, 9)]),
        (2, 8, b"\1\2\3\4\5\6", b"\0\1\0\2\0\3", [WHITE, (4, 5, 6)]),
    ],
)
def test_png_colour_key_is_transparent(tmp_path, colour_type, depth, row, key, shown):
    data = png(2, 1, depth, colour_type, [row], png_chunk(b"tRNS", key))
    (tmp_path / "a.png").write_bytes(data)
    assert pixels(tmp_path / "a.png")[0].tolist() == [list(colour) for colour in shown]


def test_one_bit_is_black_and_white(tmp_path):
    Image.fromarray(np.array([[True, False, True]])).save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png")[0, :, 1].tolist() == [255, 0, 255]


def test_16_bit_grey_png_is_divided_by_257(tmp_path):
    values = [0, 257, 40000, 65535]
    (tmp_path / "a.png").write_bytes(png(4, 1, 16, 0, [struct.pack(">4H", *values)]))
    assert pixels(tmp_path / "a.png")[0, :, 2].tolist() == [0, 1, round(40000 / 257), 255]


def test_16_bit_rgb_png_keeps_its_high_byte(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1, 1, 16, 2, [struct.pack(">3H", 0, 32896, 65535)]))
    assert abs(pixels(tmp_path / "a.png")[0, 0] - [0, 128, 255]).max() <= 1


def test_16_bit_tiff_is_divided_by_257(tmp_path):
    Image.fromarray(np.array([[0, 257, 40000, 65535]], np.uint16)).save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 1, 156, 255]


def test_32_bit_integer_tiff_counts_as_16_bit_unless_larger(tmp_path):
    Image.fromarray(np.array([[-5, 257, 65535]], np.int32)).save(tmp_path / "a.tif")
    Image.fromarray(np.array([[0, 10**6, 2 * 10**6]], np.int32)).save(tmp_path / "b.tif")
    assert pixels(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 1, 255]
    assert pixels(tmp_path / "b.tif")[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0, 0.2, 1], [0, 51, 255]),
        ([0, 51, 255], [0, 51, 255]),
        ([0, 257, 65535], [0, 1, 255]),
        ([-1, 40000, 200000], [0, 51, 255]),
        ([np.nan, 0.2, 0.4], [0, 51, 102]),
    ],
)
def test_float_tiff_is_scaled_by_the_smallest_range_that_holds_it(tmp_path, values, levels):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif")[0, :, 0].tolist() == levels


def test_cmyk_jpeg_has_its_ink_colours(tmp_path):
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, :16] = (0, 255, 255, 0)  # magenta and yellow: red; the other half is bare paper
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.jpg", quality=95)
    decoded = pixels(tmp_path / "a.jpg")
    assert abs(decoded[8, 4] - RED).max() <= 4 and abs(decoded[8, 28] - WHITE).max() <= 4


def test_srgb_profile_changes_no_pixel_by_more_than_one(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(noise(20, 20)).save(tmp_path / "a.png", icc_profile=profile)
    assert abs(pixels(tmp_path / "a.png") - noise(20, 20)).max() <= 1


def test_profile_with_red_and_green_primaries_swapped_swaps_the_colours(tmp_path):
    profile = matrix_profile((SRGB_GREEN, SRGB_RED, SRGB_BLUE), 2.2)
    Image.new("RGB", (4, 4), RED).save(tmp_path / "a.png", icc_profile=profile)
    assert abs(pixels(tmp_path / "a.png")[0, 0] - GREEN).max() <= 3


def test_linear_profile_is_encoded_with_the_srgb_curve(tmp_path):
    profile = matrix_profile((SRGB_RED, SRGB_GREEN, SRGB_BLUE), 1.0)
    rgba = np.full((2, 2, 4), 55, np.uint8)
    rgba[..., 3] = 255
    rgba[1, 1] = (9, 9, 9, 0)
    Image.fromarray(rgba).save(tmp_path / "a.png", icc_profile=profile)
    expected = 255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055)  # IEC 61966-2.1
    decoded = pixels(tmp_path / "a.png")
    assert abs(decoded[0, 0] - expected).max() <= 1.5
    assert decoded[1, 1].tolist() == list(WHITE)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("broken", [True, False])
def test_broken_or_unfitting_profile_is_ignored(tmp_path, mode, broken):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    plain = Image.fromarray(smooth(16, 16)).convert(mode)
    plain.save(tmp_path / "a.jpg", quality=95)
    plain.save(tmp_path / "b.jpg", quality=95, icc_profile=lab[:100] if broken else lab)
    assert (pixels(tmp_path / "a.jpg") == pixels(tmp_path / "b.jpg")).all()


def test_profile_and_orientation_are_not_passed_on(tmp_path):
    profile = matrix_profile((SRGB_GREEN, SRGB_RED, SRGB_BLUE), 2.2)
    Image.new("RGB", (4, 4), RED).save(tmp_path / "a.png", icc_profile=profile)
    images.decode(tmp_path / "a.png").save(tmp_path / "b.png")
    assert (pixels(tmp_path / "a.png") == pixels(tmp_path / "b.png")).all()


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("size", [(400, 301), (301, 400), (300, 300)])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_shorter_side_is_exact_and_the_shape_kept(tmp_path, size, suffix):
    Image.fromarray(smooth(size[1], size[0])).save(tmp_path / f"a.{suffix}")
    decoded = images.decode(tmp_path / f"a.{suffix}", 50)
    assert min(decoded.size) == 50
    assert decoded.size == tuple(round(side * 50 / min(size)) for side in size)


def test_jpeg_shrunk_while_decoding_looks_like_one_shrunk_after(tmp_path):
    y, x = np.mgrid[0:800, 0:1200]
    waves = 128 + 100 * np.sin(x / 25) * np.cos(y / 40)
    Image.fromarray(np.stack([waves] * 3, -1).astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    plain = Image.open(tmp_path / "a.jpg").resize((75, 50), Image.Resampling.BOX)
    assert abs(pixels(tmp_path / "a.jpg", shorter_side_px=50) - np.asarray(plain)).mean() < 2


def test_shrinking_a_checkerboard_gives_grey_and_not_a_pattern(tmp_path):
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "a.png")
    inside = pixels(tmp_path / "a.png", shorter_side_px=40)[2:-2, 2:-2]
    assert abs(inside - 127.5).max() < 8


def test_decode_never_enlarges(tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.fromarray(noise(5, 7)).save(tmp_path / name)
        assert images.decode(tmp_path / name, 50).size == (7, 5)


def test_resize_enlarges_only_when_asked():
    picture = Image.fromarray(noise(5, 10))
    assert images.resize_shorter_side(picture, 20) is picture
    assert images.resize_shorter_side(picture, 20, enlarge=True).size == (40, 20)
    assert images.resize_shorter_side(picture, 2).size == (4, 2)


@pytest.mark.parametrize("size", [0, -3])
def test_shorter_side_below_one_is_refused(tmp_path, size):
    Image.fromarray(noise(5, 7)).save(tmp_path / "a.png")
    with pytest.raises(FstError, match=f"was {size}; expected"):
        images.load(tmp_path / "a.png", size)
    with pytest.raises(FstError, match=f"was {size}; expected"):
        images.resize_shorter_side(Image.new("RGB", (9, 9)), size)


def test_large_picture_reads_without_the_bomb_warning_in_threads(tmp_path, monkeypatch):
    names = ("a.png", "a.jpg", "a.bmp", "a.tif", "packed.tif")
    for name in names:
        options = {"compression": "tiff_lzw"} if name == "packed.tif" else {}
        Image.fromarray(noise(40, 40)).save(tmp_path / name, **options)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # stands in for 89 megapixels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(4) as pool:
            sizes = list(pool.map(lambda p: images.decode(p, 20).size, sorted(tmp_path.iterdir())))
    assert sizes == [(20, 20)] * 5


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"icc_profile": b"profile"}])
def test_webp_reads_without_the_bomb_warning(tmp_path, monkeypatch, options):
    Image.fromarray(noise(40, 30)).save(tmp_path / "a.webp", **options)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.decode(tmp_path / "a.webp").size == (30, 40)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"icc_profile": b"profile"}])
def test_webp_of_too_many_pixels_is_refused_before_room_is_made(tmp_path, monkeypatch, options):
    Image.fromarray(noise(40, 30)).save(tmp_path / "a.webp", **options)
    monkeypatch.setattr(vips, "_by_pillow", None)  # whoever calls it fails otherwise
    monkeypatch.setattr(decode, "MAX_WEBP_PIXELS", 1199)
    assert "30x40 pixels are more than the limit" in refusal(tmp_path / "a.webp")


def test_a_webp_canvas_of_empty_gigabytes_is_refused(tmp_path):
    Image.fromarray(noise(40, 30)).save(tmp_path / "a.webp", icc_profile=b"profile")
    content = bytearray((tmp_path / "a.webp").read_bytes())
    content[24:30] = (12_999).to_bytes(3, "little") * 2
    (tmp_path / "a.webp").write_bytes(content)
    assert "13000x13000 pixels in" in refusal(tmp_path / "a.webp")


# ---------------------------------------------------------------- files that are no pictures


def refusal(path, **options):
    with pytest.raises(images.ImageError) as caught:
        images.decode(path, **options)
    message = str(caught.value)
    assert "\n" not in message and images.printable(path) in message
    assert caught.value.reason in message
    return message


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_file_is_refused(tmp_path, suffix, share):
    Image.fromarray(noise(64, 64)).save(tmp_path / f"a.{suffix}")
    data = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(data[: int(len(data) * share)])
    refusal(tmp_path / f"a.{suffix}")


def test_truncated_jpeg_and_png_are_called_so(tmp_path):
    for name in ("a.jpg", "a.png"):
        Image.fromarray(noise(64, 64)).save(tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-900])
        assert ": truncated;" in refusal(tmp_path / name)


def test_what_is_no_picture_is_named_with_its_reason(tmp_path):
    (tmp_path / "page.jpg").write_bytes(b"\n<!DOCTYPE html><html>")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"hello there, this is no picture")
    for brand in ("heic", "avif", "mif1"):
        (tmp_path / brand).write_bytes(b"\0\0\0\x18ftyp" + brand.encode() + bytes(64))
    (tmp_path / "words.jpg").write_bytes(b"hello a heic text")
    (tmp_path / "folder.jpg").mkdir()
    assert "web page" in refusal(tmp_path / "page.jpg")
    assert "empty" in refusal(tmp_path / "empty.jpg")
    assert "known format" in refusal(tmp_path / "text.jpg")
    for brand, name in (("heic", "HEIC"), ("avif", "AVIF"), ("mif1", "HEIF")):
        assert f"{name} is not a format" in refusal(tmp_path / brand)
    assert "known format" in refusal(tmp_path / "words.jpg")
    assert "is a folder" in refusal(tmp_path / "folder.jpg")
    assert "no such file" in refusal(tmp_path / "missing.jpg")
    assert "not a directory" in refusal(tmp_path / "text.jpg" / "a.jpg")
    refusal("nul\0byte.jpg")
    refusal(tmp_path / ("x" * 300))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "regular file" in refusal(tmp_path / "pipe.jpg")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_unreadable_file_is_refused(tmp_path):
    Image.fromarray(noise(4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    assert "permission" in refusal(tmp_path / "a.png")


def test_header_claiming_too_many_pixels_is_refused_before_decoding(tmp_path):
    (tmp_path / "a.png").write_bytes(png(100_000, 100_000, 8, 2, [b""]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(tmp_path / "a.png", shorter_side_px=10)
    assert "100000x100000" in message and "300 megapixels" in message


def test_formats_not_on_the_list_are_refused(tmp_path):
    for kind in ("GIF", "PPM", "ICO", "EPS"):
        Image.fromarray(noise(32, 32)).save(tmp_path / "a.png", format=kind)
        refusal(tmp_path / "a.png")


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("deep"), OverflowError(), struct.error("two\nlines")]
)
def test_any_failure_inside_a_decoder_is_one_line(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    Image.fromarray(noise(4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(vips, "_to_srgb", fail)
    refusal(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["größe 写真.png", "two\nlines.png", "[1].png", "-x.png"])
def test_any_file_name_can_be_read_written_and_reported(tmp_path, name):
    image = torch.full((3, 2, 2), 0.2)
    images.save(image, tmp_path / name)
    assert torch.equal(images.load(tmp_path / name), image)
    assert images.find([tmp_path / name]) == [tmp_path / name]
    (tmp_path / name).write_bytes(b"")
    refusal(tmp_path / name)


HEADS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*"]
HEADS += [b"II+\0", b"RIFF\x20\0\0\0WEBPVP8 ", b"RIFF\x20\0\0\0WEBPVP8L"]


def decodes_or_is_refused(path, data):
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert images.decode(path, 8).mode == "RGB"
        except images.ImageError as error:
            assert "\n" not in str(error)


@MANY
@given(head=st.sampled_from(HEADS), tail=st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_image_error(tmp_path, head, tail):
    decodes_or_is_refused(tmp_path / "a.jpg", head + tail)


@MANY
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF"]),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=20),
)
def test_damaged_files_raise_nothing_but_image_error(tmp_path, kind, changes):
    buffer = io.BytesIO()
    Image.fromarray(noise(16, 16)).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    for position, value in changes:
        data[position % min(len(data), 200)] = value
    decodes_or_is_refused(tmp_path / "a.jpg", data)


# ---------------------------------------------------------------- tensors and writing


def test_tensors_hold_the_pixels_channel_first():
    original = noise(5, 7)
    bytes_, floats = (
        f(Image.fromarray(original)) for f in (images.to_uint8_tensor, images.to_tensor)
    )
    assert bytes_.dtype == torch.uint8 and floats.dtype == torch.float32
    assert bytes_.shape == floats.shape == (3, 5, 7)
    assert (bytes_.numpy() == original.transpose(2, 0, 1)).all()
    assert (floats.numpy() == original.transpose(2, 0, 1).astype(np.float32) / 255).all()


def test_one_pixel_tensor_can_be_written_to():
    images.to_uint8_tensor(Image.new("RGB", (1, 1))).add_(1)


def test_to_picture_clamps_and_rounds():
    levels = torch.tensor([-1.0, 0.0, 0.0019, 0.002, 0.5019, 1.0, 7.0])
    picture = images.to_picture(levels.repeat(3, 1, 1).requires_grad_())
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 0, 0, 1, 128, 255, 255]


@pytest.mark.parametrize("image", [torch.zeros(1, 3, 4, 4), torch.zeros(5, 4, 3), torch.zeros(4)])
def test_tensor_of_another_shape_is_refused(image):
    with pytest.raises(ValueError, match="expected one float image"):
        images.to_picture(image)
    with pytest.raises(ValueError, match="expected one float image"):
        images.to_picture(torch.zeros(3, 4, 4, dtype=torch.uint8))


@MANY
@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 999))
def test_png_round_trip_is_exact(tmp_path, height, width, seed):
    original = torch.from_numpy(noise(height, width, seed).transpose(2, 0, 1) / np.float32(255))
    path = images.save(original, tmp_path / "a.png", overwrite=True)
    assert torch.equal(images.load(path), original)


@pytest.mark.parametrize("suffix", [*images.IMAGE_SUFFIXES, ".JPG"])
def test_every_suffix_writes_its_own_format(tmp_path, suffix):
    image = torch.from_numpy(smooth(32, 48).transpose(2, 0, 1) / np.float32(255))
    path = images.save(image, tmp_path / "new" / "folders" / f"a{suffix}")
    with Image.open(path) as written:
        assert written.format.lower() in {suffix.lower()[1:], "jpeg", "tiff"}
        assert written.size == (48, 32)
    assert (images.load(path) - image).abs().mean() < 0.012
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_jpeg_keeps_colour_at_full_resolution(tmp_path):
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = RED, BLUE
    image = torch.from_numpy(stripes.transpose(2, 0, 1) / np.float32(255))
    images.save(image, tmp_path / "a.jpg")
    assert abs(pixels(tmp_path / "a.jpg") - stripes).max() < 40  # subsampled it would be purple


def test_higher_quality_makes_larger_files(tmp_path):
    image = torch.from_numpy(noise(64, 64).transpose(2, 0, 1) / np.float32(255))
    sizes = [images.save(image, tmp_path / f"{q}.jpg", quality=q).stat().st_size for q in (10, 95)]
    assert sizes[0] < sizes[1]
    with pytest.raises(FstError, match="quality was 0"):
        images.save(image, tmp_path / "a.jpg", quality=0)


@pytest.mark.skipif(os.name != "posix", reason="POSIX file rights")
def test_written_file_has_the_rights_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    path = images.save(torch.zeros(3, 2, 2), tmp_path / "a.png")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def write_refusal(image, path, **options):
    with pytest.raises(FstError) as caught:
        images.save(image, path, **options)
    assert "\n" not in str(caught.value) and images.printable(path) in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_written_is_refused_in_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    image = torch.zeros(3, 2, 2)
    assert ".webp" in write_refusal(image, tmp_path / "a.gif")
    assert "suffix" in write_refusal(image, tmp_path / "a")
    write_refusal(image, tmp_path / "file" / "a.png")
    write_refusal(image, tmp_path / "folder.png", overwrite=True)
    write_refusal(image, tmp_path / ("x" * 300 + ".png"))
    write_refusal(image, tmp_path / "nul\0byte.png")
    write_refusal(torch.zeros(3, 1, 70_000), tmp_path / "too-wide.jpg")
    write_refusal(torch.zeros(3, 0, 4), tmp_path / "nothing.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_values_are_refused(tmp_path, value):
    image = torch.zeros(3, 2, 2)
    image[1, 1, 1] = value
    assert "NaN or infinite" in write_refusal(image, tmp_path / "a.png")


def test_existing_file_is_kept_unless_overwrite_is_asked(tmp_path):
    (tmp_path / "a.png").write_bytes(b"mine")
    assert "exists" in write_refusal(torch.zeros(3, 2, 2), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"mine"
    images.save(torch.zeros(3, 2, 2), tmp_path / "a.png", overwrite=True)
    assert pixels(tmp_path / "a.png").max() == 0


@pytest.mark.parametrize("has_links", [True, False])
def test_of_many_writers_at_once_exactly_one_wins(tmp_path, monkeypatch, has_links):
    def no_links(*_):
        raise OSError(95, "Operation not supported")

    if not has_links:
        monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os.path, "lexists", lambda _: False)  # blind the early check
    barrier = threading.Barrier(8)

    def write(level):
        barrier.wait()
        try:
            images.save(torch.full((3, 4, 4), level / 255), tmp_path / "a.png")
        except FstError as error:
            assert "exists" in str(error)
            return []
        return [level]

    with ThreadPoolExecutor(8) as pool:
        winners = [level for won in pool.map(write, range(8)) for level in won]
    assert len(winners) == 1
    assert (pixels(tmp_path / "a.png") == winners[0]).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("step", ["link", "replace"])
def test_failed_publishing_leaves_neither_file_nor_claim(tmp_path, monkeypatch, step):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(os, "replace", fail)
    options = {"overwrite": step == "replace"}
    assert "No space left" in write_refusal(torch.zeros(3, 2, 2), tmp_path / "a.png", **options)
    assert list(tmp_path.iterdir()) == []


def test_finding_is_reached_from_here_too():
    assert images.find is paths.find and images.unused_path is paths.unused_path


def test_importing_loads_neither_torchvision_nor_lightning():
    code = (
        "import sys, fst.io.images; heavy = {'torchvision', 'lightning', 'pytorch_lightning', "
        "'PIL.ImageCms'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    root = Path(images.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
