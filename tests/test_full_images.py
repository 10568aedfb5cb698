"""Alpha and 16 bits: read, painted, kept, written. Files in are written byte by byte."""

import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from raw_files import SRGB_BLUE, SRGB_GREEN, SRGB_RED, matrix_profile, png, png_chunk

from fst.cli import infer
from fst.errors import FstError
from fst.io import images
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, save_style_model
from fst.stylize.controls import colors as color_module
from fst.stylize.controls.colors import split_alpha
from fst.stylize.controls.masks import Enlarged
from fst.stylize.stylizer import Stylizer


def levels(height, width, channels, seed=0):
    """(H, W, C) of 16 bits."""
    return np.random.default_rng(seed).integers(0, 65536, (height, width, channels), np.uint16)


def deep_png(pixels, extra=b""):
    height, width, channels = pixels.shape
    rows = [row.astype(">u2").tobytes() for row in pixels]
    return png(width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows, extra)


def profile_chunk(profile):
    return png_chunk(b"iCCP", b"test\0\0" + zlib.compress(profile))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_bit_of_a_16_bit_file_is_read(tmp_path, channels):
    pixels = levels(17, 23, channels)
    (tmp_path / "a.png").write_bytes(deep_png(pixels))
    image = images.load_full(tmp_path / "a.png")
    colors = pixels if channels > 2 else pixels[..., [0, 0, 0, *range(1, channels)]]
    assert image.dtype == torch.float32
    assert torch.equal((image * 65535).round(), torch.tensor(colors.astype("f4")).permute(2, 0, 1))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_what_is_written_in_16_bits_is_read_again(tmp_path, suffix, channels):
    image = torch.tensor(levels(20, 31, channels).astype(int)).permute(2, 0, 1) / 65535
    path = images.save(image, tmp_path / f"a{suffix}", bits=16)
    assert torch.equal(images.load_full(path), image)
    assert (images.load(path) - images.on_white(image)).abs().max() < 2 / 255  # to other readers


def test_16_bits_are_rounded_to_the_nearest_level_and_clamped(tmp_path):
    image = torch.tensor([-1.0, 0.4 / 65535, 0.6 / 65535, 1000.4 / 65535, 7.0]).expand(3, 1, 5)
    path = images.save(image, tmp_path / "a.png", bits=16)
    assert (images.load_full(path)[0, 0] * 65535).round().tolist() == [0, 0, 1, 1000, 65535]


def test_a_profile_of_a_16_bit_file_is_converted_and_its_alpha_is_not(tmp_path):
    linear = profile_chunk(matrix_profile((SRGB_RED, SRGB_GREEN, SRGB_BLUE), 1.0))
    pixels = np.full((4, 4, 4), 14000, np.uint16)
    (tmp_path / "a.png").write_bytes(deep_png(pixels, linear))
    image = images.load_full(tmp_path / "a.png")
    encoded = 1.055 * (14000 / 65535) ** (1 / 2.4) - 0.055  # IEC 61966-2.1
    assert (image[:3] - encoded).abs().max() < 0.002
    assert (image[3] * 65535).round().unique().tolist() == [14000]


def test_a_16_bit_picture_is_turned_upright_and_shrunk(tmp_path):
    pixels = levels(64, 40, 3)
    pixels[:32] = 60000
    exif = Image.Exif()
    exif[0x0112] = 6  # stored with its top to the left
    chunk = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "a.png").write_bytes(deep_png(np.rot90(pixels), chunk))
    image = images.load_full(tmp_path / "a.png", 20)
    assert image.shape == (3, 32, 20)
    assert (image[:, :13] - 60000 / 65535).abs().max() < 0.001


def test_shrinking_does_not_mix_hidden_colours_in(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint16)
    pixels[:, :, 0] = 65535  # hidden red
    pixels[:, 30:] = (0, 0, 65535, 65535)  # opaque blue
    (tmp_path / "deep.png").write_bytes(deep_png(pixels))
    Image.fromarray((pixels >> 8).astype(np.uint8)).save(tmp_path / "flat.png")
    for name in ("deep.png", "flat.png"):
        image = images.load_full(tmp_path / name, 16)
        seen = image[:, image[3] > 0.1]
        assert seen[0].max() < 0.02 and seen[2].min() > 0.98


@pytest.mark.parametrize("cut", [8, 60, 300])
def test_a_damaged_16_bit_file_is_one_line_that_names_it(tmp_path, cut):
    (tmp_path / "a.png").write_bytes(deep_png(levels(20, 20, 3))[:cut])
    with pytest.raises(images.ImageError, match=r"a\.png") as caught:
        images.load_full(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.bmp"])
def test_16_bits_are_refused_where_the_format_has_none(tmp_path, name):
    with pytest.raises(FstError, match=f"{name}: 16 bits go into .png"):
        images.save(torch.zeros(3, 4, 4), tmp_path / name, bits=16)
    with pytest.raises(FstError, match="12 bits; a picture has 8 or 16"):
        images.save(torch.zeros(3, 4, 4), tmp_path / "a.png", bits=12)


def test_a_file_replaced_under_its_name_is_read_anew(tmp_path):
    for value in (0.25, 0.75):
        path = images.save(
            torch.full((3, 4, 4), value), tmp_path / "a.png", bits=16, overwrite=True
        )
        assert images.load_full(path).mean() == pytest.approx(value, abs=1e-4)
        strips = images.load_strips(path)
        assert np.concatenate(list(strips.strips)).mean() / 65535 == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
def test_strips_make_up_the_picture(tmp_path, suffix):
    image = images.to_tensor(Image.fromarray(levels(150, 40, 3).astype(np.uint8)))
    path = images.save(image, tmp_path / f"a{suffix}")
    strips = images.load_strips(path)
    picture = np.concatenate(list(strips.strips))
    assert strips.shape == picture.shape == (150, 40, 3) == (*images.shape_of(path), 3)
    assert (picture == np.asarray(images.decode(path))).all()
    again = images.save_levels(picture, tmp_path / f"b{suffix}")
    assert images.save_levels(np.dstack([picture, picture[..., 0]]), tmp_path / f"c{suffix}")
    tolerance = 0 if suffix in (".png", ".tif", ".bmp") else 30  # noise is hard on JPEG
    assert abs(np.asarray(images.decode(again)).astype(int) - picture).mean() <= tolerance


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_written_where_the_format_has_it(tmp_path, suffix):
    image = torch.rand(4, 20, 20)
    path = images.save(image, tmp_path / f"a{suffix}", quality=100)
    again = images.load_full(path)
    assert again.shape == (4, 20, 20)
    assert (again[3] - image[3]).abs().max() <= 0.51 / 255


def test_elsewhere_it_is_laid_on_white(tmp_path):
    image = torch.tensor([1.0, 0.0, 0.0, 0.25])[:, None, None].expand(4, 16, 16)
    again = images.load_full(images.save(image, tmp_path / "a.bmp"))
    assert torch.allclose(again[:, 0, 0], torch.tensor([1.0, 0.75, 0.75]), atol=1 / 255)


# ---------------------------------------------------------------- under transparency


def test_visible_colours_stay_and_hidden_ones_are_those_around():
    image = torch.zeros(4, 40, 50)
    image[1:3] = 0.3  # hidden: must not come through
    image[:, 10:30, 10:20] = torch.tensor([0.9, 0.1, 0.0, 1.0])[:, None, None]
    image[:, 10:30, 30:40] = torch.tensor([0.1, 0.1, 0.8, 0.5])[:, None, None]
    colors, alpha = split_alpha(image)
    seen = image[3] > 0
    assert torch.equal(colors[:, seen], image[:3, seen]) and torch.equal(alpha, image[3:])
    left, right = colors[:, 20, 2], colors[:, 20, 47]
    assert left[0] > left[2] and right[2] > right[0]
    assert (colors[1] - 0.1).abs().max() < 1e-5  # both colours have this green


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99), st.sampled_from([7, 512]))
def test_filled_colours_lie_between_those_seen(height, width, seed, most_px):
    generator = torch.Generator().manual_seed(seed)
    colors = torch.rand(3, height, width, generator=generator)
    alpha = (torch.rand(1, height, width, generator=generator) < 0.1).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(color_module, "MOST_PX", most_px)
        filled, _ = split_alpha(torch.cat([colors, alpha]))
    if not alpha.any():
        assert (filled == 1).all()
        return
    seen = colors[:, alpha[0] > 0]
    lowest, highest = seen.amin(1)[:, None, None], seen.amax(1)[:, None, None]
    assert ((filled >= lowest - 1e-5) & (filled <= highest + 1e-5)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 5))
def test_rows_of_an_enlarged_map_are_those_of_the_whole(height, width, factor):
    small = torch.rand(2, -(-height // factor), -(-width // factor))
    rows = Enlarged(small, factor, (height, width)).rows
    whole = F.interpolate(small[None], scale_factor=factor, mode="bilinear")[0, :, :height, :width]
    assert torch.allclose(rows(0, height), whole, atol=1e-6)
    assert torch.equal(rows(height // 2, height), rows(0, height)[:, height // 2 :])


def test_an_opaque_picture_has_no_alpha(model):
    assert Stylizer(model).stylize(torch.rand(3, 16, 16)).shape == (3, 16, 16)


# ---------------------------------------------------------------- painted


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = TransformerNet(2, 0.25, 1)
    metadata = describe(network, [{"name": "a"}, {"name": "b"}], {})
    return save_style_model(tmp_path_factory.mktemp("m") / "m.safetensors", network, metadata)


def test_a_painting_keeps_the_alpha_of_its_photo(model):
    stylizer, image = Stylizer(model), torch.rand(4, 30, 40)
    painting = stylizer.stylize(image, 1, strength=0.8, keep_colors="luminance")
    assert painting.shape == (4, 30, 40) and torch.equal(painting[3], image[3])
    opaque = stylizer.stylize(image[:3], 1, strength=0.8, keep_colors="luminance")
    assert torch.equal(painting[:3], opaque.clamp(0, 1))  # everywhere a little is seen


def test_the_command_keeps_alpha_and_16_bits(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = levels(30, 40, 4)
    (tmp_path / "photo.png").write_bytes(deep_png(pixels))
    Image.new("RGB", (20, 20)).save("plain.jpg")
    paint = ["--model", str(model), "--device", "cpu", "--bits", "16"]
    assert infer.main(["photo.png", "plain.jpg", *paint]) == 0
    assert (tmp_path / "plain_a.png").is_file()  # JPEG has not so many bits
    painted = images.load_full("photo_a.png")
    expected = Stylizer(model).stylize("photo.png")
    assert (painted - expected.clamp(0, 1)).abs().max() <= 0.51 / 65535
    assert torch.equal((painted[3] * 65535).round(), torch.tensor(pixels[..., 3].astype("f4")))
    assert infer.main(["photo.png", *paint, "-o", "x.jpg"]) == 2
    assert not (tmp_path / "x.jpg").exists()


def test_a_grid_of_blends_lays_a_picture_on_white(model):
    from fst.stylize.blend_grid import blend_grid

    sheet = blend_grid(Stylizer(model), torch.rand(4, 40, 40), ["a", "b"], steps=2, cell_px=32)
    assert len(sheet) == 3
