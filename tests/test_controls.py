"""What can be asked of a painting beside its style: blends, strength, masks, colours."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fst import FstError, Stylizer
from fst.cli.infer import main
from fst.io import images
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, save_style_model
from fst.stylize.blend_grid import blend_grid, shares_of
from fst.stylize.controls.colors import keep_colors
from fst.stylize.controls.masks import mixed, painting_share, place
from fst.stylize.controls.texture_size import painted_at_size, resized
from fst.stylize.options import AUTO_PX, PREVIEW_PX, PaintOptions, work_size

NAMES = ["wave", "udnie", "rain"]
PHOTO = torch.rand(3, 41, 54, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = TransformerNet(3, 0.125, num_blocks=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    path = tmp_path_factory.mktemp("controls") / "m.safetensors"
    styles = [{"name": name, "images": []} for name in NAMES]
    return save_style_model(path, network.eval(), describe(network, styles, {}))


@pytest.fixture(scope="module")
def stylizer(model):
    return Stylizer(model)


# ---- blends ------------------------------------------------------------------------------------


def test_a_corner_of_a_blend_is_the_style(stylizer):
    corner = stylizer.stylize(PHOTO, {"wave": 0, "udnie": 3.0})
    assert torch.equal(corner, stylizer.stylize(PHOTO, "udnie"))


def test_a_blend_blends_the_rows(stylizer):
    halfway = stylizer.network.conv_in.norm.gamma[[0, 2]].mean(0)
    weights = stylizer.style_weights({"wave": 2, "rain": 2})
    assert weights.tolist() == [[0.5, 0, 0.5]]
    torch.testing.assert_close((weights @ stylizer.network.conv_in.norm.gamma)[0], halfway)
    with torch.no_grad():
        expected = stylizer.network(PHOTO[None], torch.tensor([[0.5, 0, 0.5]]))[0]
    assert torch.equal(stylizer.stylize(PHOTO, {0: 7, "rain": 7}), expected)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=3).filter(any))
def test_shares_are_normalised(stylizer, shares):
    weights = stylizer.style_weights(dict(zip(NAMES, shares, strict=False)))
    assert weights.sum().item() == pytest.approx(1, abs=1e-5) and (weights >= 0).all()


@pytest.mark.parametrize(
    "shares", [{}, {"wave": 0}, {"wave": -1, "udnie": 2}, {"wave": float("nan")}]
)
def test_shares_that_make_no_blend_are_refused(stylizer, shares):
    with pytest.raises(FstError, match="shares must be 0 or more, one above 0"):
        stylizer.stylize(PHOTO, shares)


def test_a_blend_has_no_texture_and_names_near_misses(stylizer):
    with pytest.raises(FstError, match="a blend has no texture"):
        stylizer.stylize(PHOTO, {"wave": 1}, texture=0.5)
    with pytest.raises(FstError, match="did you mean udnie"):
        stylizer.stylize(PHOTO, {"wave": 1, "udni": 1})


def test_the_corners_of_a_grid_are_the_styles(stylizer):
    sheet = blend_grid(stylizer, PHOTO, ["wave", "udnie", "rain", 0][:2], steps=3, cell_px=40)
    assert tuple(sheet.shape) == (3, 48, 3 * 44 + 4)
    small = images.to_tensor(images.resize_shorter_side(images.to_picture(PHOTO), 40))
    for name, left in (("wave", 4), ("udnie", 92)):
        shown = (255 * stylizer.stylize(small, name)).round() / 255
        start = round((shown.shape[2] - 40) / 2)
        assert torch.equal(sheet[:, 4:44, left : left + 40], shown[:, :, start : start + 40])


def test_a_square_of_blends_has_a_style_in_each_corner():
    rows = shares_of(["a", "b", "c", "d"], 3)
    assert [rows[y][x] for y in (0, 2) for x in (0, 2)] == [
        {name: float(name == corner) for name in "abcd"} for corner in "abcd"
    ]
    assert rows[1][1] == dict.fromkeys("abcd", 0.25)
    for wrong in (["a"], ["a", "b", "c"], ["a", "a"]):
        with pytest.raises(FstError, match="2 or 4 different styles"):
            shares_of(wrong)


# ---- texture size ------------------------------------------------------------------------------


@pytest.mark.parametrize("texture_size", [0.5, 1, 1.7, 3])
@pytest.mark.parametrize("size", [(41, 54), (300, 211), (900, 640), (16, 700)])
def test_texture_size_keeps_the_size_of_the_image(stylizer, size, texture_size):
    photo = torch.rand(3, *size)
    assert stylizer.stylize(photo, texture_size=texture_size).shape == photo.shape


def striped(image):
    """A painter that draws stripes of 4 px, whatever the size."""
    x = torch.arange(image.shape[2])
    return (0.5 * image + 0.25 + 0.2 * torch.sin(2 * torch.pi * x / 4)).clamp(0, 1)


def test_seen_from_afar_the_strokes_are_those_of_the_small_picture():
    content, seen = resized(torch.rand(3, 8, 8), (1024, 1024)).clamp(0, 1), []

    def paint(image):
        seen.append(tuple(image.shape[1:]))
        return striped(image)

    painted = painted_at_size(paint, content, (256, 256))
    assert seen == [(256, 256)]  # nothing is painted at full size
    small = striped(resized(content, (256, 256)).clamp(0, 1))
    assert (resized(painted, (256, 256)) - small).abs().mean() < 0.05
    spectrum = torch.fft.rfft(painted[0, 512] - painted[0, 512].mean()).abs()
    assert spectrum[1024 // 16] > 50 and spectrum[1024 // 4] < 1  # 4 times as wide, and those alone


def test_a_picture_of_the_size_to_be_painted_is_what_the_network_paints(stylizer):
    photo, weights = torch.rand(3, 40, 52), stylizer.style_weights(0)
    with torch.inference_mode():
        expected = stylizer.network(
            photo[None].contiguous(memory_format=torch.channels_last), weights
        )
    assert torch.equal(stylizer.stylize(photo), expected[0])


def test_edges_are_enlarged_crisply_and_without_bright_rims():
    edge = torch.full((3, 40, 40), 0.2)
    edge[:, :, 20:] = 0.7
    large = painted_at_size(lambda x: edge, torch.rand(3, 200, 200), (40, 40))
    assert large.min() > 0.2 - 0.04 and large.max() < 0.7 + 0.04
    enlarged = resized(edge, (200, 200))
    steepest = [x.diff(dim=2).max() for x in (large, enlarged)]
    assert steepest[0] > 1.5 * steepest[1]
    flat = torch.full((3, 40, 40), 0.3) + 0.002 * torch.rand(3, 40, 40)
    assert (painted_at_size(lambda x: flat, large, (40, 40)) - 0.301).abs().max() < 0.003


@pytest.mark.parametrize(
    ("size", "asked", "expected"),
    [
        ((2000, 3000), "auto", (768, 1152)),
        ((1000, 769), "auto", (999, 768)),
        ((768, 1000), "auto", (768, 1000)),
        ((40, 30), "auto", (40, 30)),
        ((2000, 3000), "native", (2000, 3000)),
        ((2000, 3000), 2, (256, 384)),
        ((40, 30), 1, (160, 120)),
    ],
)
def test_the_size_painted_at(size, asked, expected):
    assert work_size(size, asked) == expected


def test_by_default_strokes_keep_their_share_of_a_large_picture(stylizer):
    photo = resized(torch.rand(3, 30, 40), (900, 1200)).clamp(0, 1)
    auto, native = stylizer.stylize(photo), stylizer.stylize(photo, texture_size="native")
    assert torch.equal(auto, stylizer.stylize(photo, texture_size=PREVIEW_PX / AUTO_PX))
    assert (auto - native).abs().mean() > 0.01
    small = photo[:, :700, :768]
    assert torch.equal(stylizer.stylize(small), stylizer.stylize(small, texture_size="native"))


@pytest.mark.parametrize("texture_size", [0.4, 3.1, float("nan"), "large", "1"])
def test_a_texture_size_out_of_range_is_refused(stylizer, texture_size):
    with pytest.raises(FstError, match=r"from 0\.5 to 3"):
        stylizer.stylize(PHOTO, texture_size=texture_size)


# ---- strength ----------------------------------------------------------------------------------


def test_no_strength_is_the_photo_and_full_strength_the_painting(stylizer):
    assert torch.equal(stylizer.stylize(PHOTO, 1, strength=0), PHOTO)
    assert torch.equal(stylizer.stylize(PHOTO, 1, strength=1), stylizer.stylize(PHOTO, 1))
    assert not torch.allclose(stylizer.stylize(PHOTO, 1, strength=1.5), stylizer.stylize(PHOTO, 1))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_the_share_of_the_painting_grows_with_strength(strengths):
    shares = [painting_share(s) for s in sorted(strengths)]
    assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1


def test_the_distance_from_the_photo_grows_with_strength(stylizer):
    painted = [stylizer.stylize(PHOTO, 1, strength=s) for s in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    distances = [(p - PHOTO).abs().mean().item() for p in painted]
    assert distances == sorted(set(distances))


@pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan")])
def test_a_strength_out_of_range_is_refused(stylizer, strength):
    with pytest.raises(FstError, match=r"from 0 to 1\.5"):
        stylizer.stylize(PHOTO, strength=strength)


# ---- masks -------------------------------------------------------------------------------------


def test_a_mask_of_ones_is_no_mask_and_of_zeros_no_style(stylizer):
    ones, zeros = torch.ones(9, 12), torch.zeros(41, 54)
    wave, udnie = (stylizer.stylize(PHOTO, name) for name in ("wave", "udnie"))
    assert torch.equal(stylizer.stylize(PHOTO, "wave", masks={"udnie": ones}), udnie)
    assert torch.equal(stylizer.stylize(PHOTO, "wave", masks={"udnie": zeros}), wave)
    assert torch.equal(stylizer.stylize(PHOTO, "wave", where=ones), wave)
    assert torch.equal(stylizer.stylize(PHOTO, "wave", where=zeros), PHOTO)


def test_each_place_has_its_style_by_the_statistics_of_the_whole(stylizer):
    """Far from the border a masked layer is the whole image's: one layer is enough to see it."""
    network = stylizer.network
    mask = torch.zeros(64, 64)
    mask[:, 32:] = 1
    x = torch.randn(1, network.conv_in.norm.gamma.shape[1], 64, 64)
    norm = network.conv_in.norm
    weights = torch.zeros(1, 3, 64, 64)
    weights[0, 1], weights[0, 0] = mask, 1 - mask
    found = norm(x, weights)
    for style, part in ((0, slice(0, 30)), (1, slice(34, 64))):
        whole = norm(x, network.one_hot(torch.tensor([style])))
        torch.testing.assert_close(found[..., part], whole[..., part], rtol=1e-4, atol=1e-5)


def test_borders_are_soft_and_areas_kept():
    mask = torch.zeros(300, 400)
    mask[:, 200:] = 1
    soft = place(mask, (300, 400))
    assert soft[:, :180].max() == 0 and soft[:, 220:].min() > 1 - 1e-5
    assert 0.4 < soft[150, 199:201].mean() < 0.6
    steps = soft[150, 180:220].diff()
    assert (steps >= -1e-6).all() and steps.max() < 0.2


def test_a_mask_may_be_a_picture_of_another_size(stylizer, tmp_path):
    grey = np.zeros((20, 30), np.uint8)
    grey[:, 15:] = 255
    Image.fromarray(grey).save(tmp_path / "mask.png")
    painted = stylizer.stylize(PHOTO, "wave", where=tmp_path / "mask.png")
    assert torch.equal(painted[..., :20], PHOTO[..., :20])
    wave = stylizer.stylize(PHOTO, "wave")
    torch.testing.assert_close(painted[..., 34:], wave[..., 34:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("mask", [torch.ones(3, 4, 4), torch.full((4, 4), 2.0), torch.zeros(0, 4)])
def test_what_is_no_mask_is_refused(stylizer, mask):
    with pytest.raises(FstError, match=r"expected \(H, W\) in \[0, 1\]"):
        stylizer.stylize(PHOTO, where=mask)


def test_what_is_of_another_kind_is_named(stylizer):
    with pytest.raises(FstError, match="a mask of type Image: expected a tensor"):
        stylizer.stylize(PHOTO, where=Image.new("L", (9, 9)))
    with pytest.raises(FstError, match="a style of type list: expected an id, a name, or a map"):
        stylizer.stylize(PHOTO, ["wave", "udnie"])


# ---- colours -----------------------------------------------------------------------------------


def test_luminance_keeps_the_chroma_of_every_pixel():
    painting = torch.rand(3, 41, 54)
    kept = keep_colors(painting, PHOTO, "luminance")
    luma = torch.tensor([0.299, 0.587, 0.114])
    chroma = [x - torch.einsum("c,chw->hw", luma, x) for x in (kept, PHOTO)]
    torch.testing.assert_close(chroma[0], chroma[1], atol=1e-6, rtol=0)
    assert kept.min() >= 0 and kept.max() <= 1


def test_luminance_is_the_paintings_where_colours_leave_room():
    grey = torch.full((3, 8, 8), 0.5)
    painting = torch.rand(3, 8, 8)
    luma = torch.einsum("c,chw->hw", torch.tensor([0.299, 0.587, 0.114]), painting)
    torch.testing.assert_close(keep_colors(painting, grey), luma.expand(3, 8, 8))


def test_histogram_moves_mean_and_covariance_to_the_photos():
    generator = np.random.default_rng(0)
    colors = [0.5 + 0.03 * generator.normal(size=(3, 3)) @ generator.normal(size=(3, 900))
              for _ in range(2)]  # fmt: skip
    photo, painting = (torch.from_numpy(c).clamp(0.01, 0.99).reshape(3, 30, 30) for c in colors)
    kept = keep_colors(painting, photo, "histogram")
    for x in (kept, photo):
        assert x.min() > 0 and x.max() < 1  # else clipping would change them
    assert kept.mean((1, 2)).tolist() == pytest.approx(photo.mean((1, 2)).tolist(), abs=1e-6)
    found, wanted = (np.cov(x.flatten(1).numpy(), bias=True) for x in (kept, photo))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_photo_of_one_colour_keeps_it_finite():
    kept = keep_colors(torch.rand(3, 8, 8), torch.full((3, 8, 8), 0.3), "histogram")
    assert kept.isfinite().all() and (kept - 0.3).abs().max() < 0.05


def test_a_grey_photo_turns_grey_only_when_asked(stylizer):
    grey = PHOTO[:1].expand(3, -1, -1)
    assert stylizer.stylize(grey, "wave").std(0).max() > 0.01
    assert stylizer.stylize(grey, "wave", keep_colors="luminance").std(0).max() < 1e-6


def test_an_unknown_way_to_keep_colours_is_refused(stylizer):
    with pytest.raises(FstError, match="use luminance or histogram"):
        stylizer.stylize(PHOTO, keep_colors="hue")


# ---- the command -------------------------------------------------------------------------------


@pytest.fixture
def infer(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images.save(PHOTO, tmp_path / "p.png")
    mask = Image.new("L", (54, 41))
    mask.paste(255, (27, 0, 54, 41))
    mask.save(tmp_path / "right.png")

    def run(*words):
        code = main(["p.png", "--model", str(model), "--device", "cpu", *words])
        captured = capsys.readouterr()
        return code, captured.out.split(), captured.err

    return run


def test_the_command_asks_for_all_of_it(infer, stylizer):
    words = ["--style", "wave=3", "udnie=1", "--mask", "rain=right.png", "--mask", "right.png"]
    words += ["--texture-size", "1.5"]
    code, written, _ = infer(*words, "--strength", "0.6", "--keep-colors", "histogram")
    assert (code, written) == (0, ["p_wave75_udnie25.png"])
    expected = stylizer.stylize(
        "p.png", {"wave": 3, "udnie": 1}, masks={"rain": "right.png"}, where="right.png",
        strength=0.6, keep_colors="histogram", texture_size=1.5,
    )  # fmt: skip
    assert torch.equal(images.load(written[0]), (255 * expected).round() / 255)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--style", "wave=1", "udnie"], "give every style of a blend its share"),
        (["--style", "wave=much"], "'much' is no share"),
        (["--style", "wafe=1"], "did you mean wave"),
        (["--style", "wave=0"], "one above 0"),
        (["--style", "wave=1", "--texture", "0.5"], "a blend has no texture"),
        (["--style", "wave=1", "--style-id", "1"], "a blend is one painting"),
        (["--style", "wave=1", "udnie=1", "p.png"], "pictures go before --style"),
        (["--blend-grid", "wave", "udnie", "p.png"], "pictures go before it"),
        (["--blend-grid", "wave", "wave"], "different styles, not wave, wave"),
        (["--blend-grid", "wave"], "2 or 4 different styles"),
        (["--blend-grid", "wave", "udnie", "--style", "rain"], "leave out --style"),
        (["--mask", "wafe=right.png"], "did you mean wave"),
        (["--mask", "missing.png"], "missing.png"),
        (["--mask", "wave=right.png", "--mask", "wave=p.png"], "there is one for wave already"),
        (["--mask", "right.png", "--mask", "right.png"], "there is one without a style already"),
    ],
)
def test_mistakes_are_one_line_and_code_2(infer, words, part):
    rain = ["--style", "rain"]
    code, written, told = (
        infer(*words) if {"--style", "--blend-grid"} & {*words} else infer(*rain, *words)
    )
    assert (code, written) == (2, []) and part in told and told.count("\n") == 1


def test_a_grid_of_blends_is_one_picture(infer, stylizer):
    words = ["--blend-grid", "wave", "udnie", "--size", "40", "--strength", "0.9"]
    assert infer(*words)[:2] == (0, ["p_wave_udnie_grid.png"])
    content = images.load("p.png", 40)
    expected = blend_grid(
        stylizer, content, ["wave", "udnie"], PaintOptions(strength=0.9), cell_px=40
    )
    assert torch.equal(images.load("p_wave_udnie_grid.png"), (255 * expected).round() / 255)


@pytest.mark.parametrize(
    "words", [["--strength", "2"], ["--texture-size", "4"], ["--keep-colors", "hue"]]
)
def test_values_out_of_range_are_usage_errors(infer, words):
    with pytest.raises(SystemExit) as stopped:
        infer(*words)
    assert stopped.value.code == 2


def test_mixing_is_linear_between_photo_and_painting():
    painting = torch.rand_like(PHOTO)
    share = painting_share(0.5)
    torch.testing.assert_close(mixed(PHOTO, painting, 0.5), PHOTO + share * (painting - PHOTO))
