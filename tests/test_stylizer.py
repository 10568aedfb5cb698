"""Stylizer: the network's own output, for a picture or a file, by id or by name."""

import numpy as np
import pytest
import torch
from PIL import Image

from fst import FstError, Stylizer
from fst.io import images
from fst.networks.sizes import MIN_SIZE_PX
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, save_style_model

NAMES = ["wave", "rain", "starry night"]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = TransformerNet(num_styles=3, width=0.125, num_blocks=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture(scope="module")
def stylizer(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    styles = [{"name": name, "images": [f"{name}.jpg"]} for name in NAMES]
    return Stylizer(save_style_model(path, network, describe(network, styles, {})))


def _expected(network, image, style_id):
    weights = torch.zeros(1, 3)
    weights[0, style_id] = 1
    with torch.no_grad():
        return network(image[None], weights)[0]


@pytest.mark.parametrize("style_id", [0, 1, 2])
@pytest.mark.parametrize("size", [(16, 16), (17, 19), (33, 50), (64, 21), (40, 43)])
def test_a_painting_is_the_networks_output_at_the_size_of_the_image(
    network, stylizer, size, style_id
):
    image = torch.rand(3, *size)
    painting = stylizer.stylize(image, style_id)
    assert painting.shape == (3, *size)
    assert painting.dtype == torch.float32
    assert painting.device.type == "cpu"
    # The stylizer computes in channels_last, so the last bits may differ.
    torch.testing.assert_close(painting, _expected(network, image, style_id), atol=2e-5, rtol=0)


def test_styles_differ_and_a_name_is_the_same_as_its_id(stylizer):
    image = torch.rand(3, 24, 24)
    paintings = [stylizer.stylize(image, style_id) for style_id in range(3)]
    assert not torch.allclose(paintings[0], paintings[1], atol=1e-2)
    assert not torch.allclose(paintings[1], paintings[2], atol=1e-2)
    for painting, name in zip(paintings, NAMES, strict=True):
        assert torch.equal(stylizer.stylize(image, name), painting)


def test_a_file_is_painted_as_the_image_it_holds(stylizer, tmp_path):
    path = images.save(torch.rand(3, 20, 30), tmp_path / "photo.png")
    for given in (path, str(path)):
        assert torch.equal(stylizer.stylize(given, 1), stylizer.stylize(images.load(path), 1))


def test_the_image_given_is_left_as_it_is(stylizer):
    image = torch.rand(3, 20, 20)
    before = image.clone()
    stylizer.stylize(image)
    assert torch.equal(image, before)


def test_half_and_double_precision_images_are_accepted(stylizer):
    image = torch.rand(3, 20, 20).half()
    for other in (image, image.double()):
        assert torch.equal(stylizer.stylize(other), stylizer.stylize(image.float()))


@pytest.mark.parametrize(
    "shape",
    [
        *((20, 20), (1, 20, 20), (5, 20, 20), (20, 20, 3), (1, 3, 20, 20)),
        *((3, MIN_SIZE_PX - 1, 20), (3, 20, MIN_SIZE_PX - 1), (3, 0, 0)),
    ],
)
def test_an_image_of_wrong_shape_is_refused_by_its_shape(stylizer, shape):
    with pytest.raises(FstError, match=r"an image of shape \(.*at least 16 px a side") as caught:
        stylizer.stylize(torch.zeros(shape))
    assert str(shape) in str(caught.value)


def test_an_unknown_control_is_refused_with_the_known_ones(stylizer):
    with pytest.raises(TypeError, match="no control style_id: use strength, texture,"):
        stylizer.stylize(torch.zeros(3, 20, 20), style_id=1)


def test_an_unreadable_file_is_refused_by_its_name(stylizer, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    with pytest.raises(FstError, match=r"broken\.jpg"):
        stylizer.stylize(tmp_path / "broken.jpg")


@pytest.mark.parametrize("style_id", [-1, 3, 10**6])
def test_a_style_id_out_of_range_is_refused_with_the_range(stylizer, style_id):
    message = rf"style id {style_id} .* 3 styles, 0 \(wave\) to 2 \(starry night\)"
    with pytest.raises(FstError, match=message):
        stylizer.stylize(torch.zeros(3, 20, 20), style_id)


def test_an_unknown_style_name_is_answered_with_near_ones_or_the_list(stylizer):
    with pytest.raises(FstError, match="no style 'stary nigth': did you mean starry night"):
        stylizer.style_id("stary nigth")
    with pytest.raises(FstError, match="no style 'xyz': it has wave, rain, starry night"):
        stylizer.style_id("xyz")


def test_styles_are_told_in_order_of_id(stylizer):
    assert stylizer.style_names == NAMES
    assert [style["images"] for style in stylizer.styles] == [[f"{name}.jpg"] for name in NAMES]


def test_a_device_that_is_not_there_is_refused(network, tmp_path):
    metadata = describe(network, [{"name": name} for name in NAMES], {})
    path = save_style_model(tmp_path / "m.safetensors", network, metadata)
    with pytest.raises(FstError, match="device cuda:99: "):
        Stylizer(path, "cuda:99")


def test_saving_never_replaces_a_file_unasked(stylizer, tmp_path):
    path = stylizer.save(torch.zeros(3, 20, 20), tmp_path / "a.png")
    with pytest.raises(FstError, match="exists"):
        stylizer.save(torch.ones(3, 20, 20), path)
    assert images.load(path).max() == 0
    stylizer.save(torch.ones(3, 20, 20), path, overwrite=True)
    assert images.load(path).min() == 1


@pytest.fixture(scope="module")
def lined(network, tmp_path_factory):
    """Styles 1 and 2 show one painting."""
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    styles = [{"name": n, "fingerprint": f} for n, f in zip(NAMES, ("a", "b", "b"), strict=True)]
    return Stylizer(save_style_model(path, network, describe(network, styles, {})))


def test_texture_runs_from_the_first_id_of_a_painting_to_its_last(lined):
    image = torch.rand(3, 24, 24)
    assert lined.texture_line("rain") == lined.texture_line(2) == [1, 2]
    for style_id, texture in ((1, 0.0), (2, 1.0)):
        end = lined.stylize(image, 1, texture=texture)
        assert torch.equal(end, lined.stylize(image, style_id))
    assert lined.style_weights(2, 0.25)[0].tolist() == [0, 0.75, 0.25]


def test_a_line_of_three_has_its_second_id_in_the_middle(network, tmp_path):
    styles = [{"name": name, "fingerprint": "a"} for name in NAMES]
    path = save_style_model(tmp_path / "m.safetensors", network, describe(network, styles, {}))
    stylizer = Stylizer(path)
    for texture, weights in ((0.5, [0, 1, 0]), (0.25, [0.5, 0.5, 0]), (0.75, [0, 0.5, 0.5])):
        assert stylizer.style_weights(0, texture)[0].tolist() == weights


def test_texture_is_refused_where_there_is_none(lined):
    with pytest.raises(FstError, match=r"'wave' has no texture to choose: train its picture"):
        lined.stylize(torch.rand(3, 20, 20), "wave", texture=0.5)
    for texture in (-0.1, 1.1, float("nan")):
        with pytest.raises(FstError, match="from 0 to 1"):
            lined.style_weights(1, texture)


def test_other_pictures_between_end_a_line(network, tmp_path):
    styles = [{"name": n, "fingerprint": f} for n, f in zip(NAMES, "aba", strict=True)]
    path = save_style_model(tmp_path / "m.safetensors", network, describe(network, styles, {}))
    assert Stylizer(path).texture_line(0) == [0]


@pytest.mark.parametrize("with_alpha", [False, True])
def test_arrays_and_pillows_images_are_painted_as_tensors(stylizer, with_alpha):
    channels = 4 if with_alpha else 3
    levels = np.random.default_rng(0).integers(0, 256, (20, 30, channels), dtype=np.uint8)
    tensor = torch.from_numpy(levels).permute(2, 0, 1)
    expected = stylizer.stylize(tensor / 255, 1)
    floats = levels.astype(np.float64) / 255
    deep = levels.astype(np.uint16) * 257
    for image in (tensor, levels, floats, deep, levels[:, ::-1][:, ::-1], Image.fromarray(levels)):
        torch.testing.assert_close(stylizer.stylize(image, 1), expected, atol=1e-5, rtol=0)


def test_a_pillow_image_is_turned_as_its_exif_tag_says_and_grey_is_rgb(stylizer):
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8))
    turned = grey.copy()
    turned.getexif()[0x0112] = 6  # a quarter turn
    painting = stylizer.stylize(turned, 0)
    assert painting.shape == (3, 30, 20)
    upright = grey.rotate(-90, expand=True).convert("RGB")
    assert torch.equal(painting, stylizer.stylize(upright, 0))


@pytest.mark.parametrize(
    ("image", "part"),
    [
        (torch.rand(1, 3, 20, 20), "shape (1, 3, 20, 20)"),
        (np.zeros((20, 20, 2)), "shape (20, 20, 2)"),
        (torch.rand(3, 20, 20) * 255, "divide it by 255"),
        (torch.rand(3, 20, 20) * 4 - 2, "expected [0, 1]"),
        (torch.full((3, 20, 20), torch.nan), "nan"),
        (Image.new("F", (20, 20), 0.5), "mode F"),
        (torch.zeros(3, 20, 20, dtype=torch.int64), "int64"),
        (None, "NoneType"),
        (np.zeros((8, 20, 3)), "at least 16 px"),
    ],
)
def test_other_things_are_refused_in_one_line(stylizer, image, part):
    with pytest.raises(FstError) as refused:
        stylizer.stylize(image)
    assert part in str(refused.value) and "\n" not in str(refused.value)


def test_grey_and_sixteen_bits_of_pillow_and_other_byte_orders_keep_their_levels(stylizer):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    rgb = np.repeat(deep[:, :, None], 3, axis=2)
    expected = stylizer.stylize(torch.from_numpy(rgb / 65535).permute(2, 0, 1), 1)
    ways = (
        rgb.astype(">u2"),
        deep,
        deep[:, :, None],
        Image.fromarray(deep),
        Image.fromarray(deep).convert("I"),
    )
    for image in ways:
        torch.testing.assert_close(stylizer.stylize(image, 1), expected, atol=1e-5, rtol=0)


def test_whole_numbers_of_numpy_and_torch_are_style_ids(stylizer):
    image = torch.rand(3, 20, 20)
    for style_id in (np.int64(2), torch.tensor(2)):
        assert torch.equal(stylizer.stylize(image, style_id), stylizer.stylize(image, 2))


def test_without_a_model_the_gallery_paints():
    assert Stylizer().style_names == Stylizer("gallery").style_names
    assert "wave" in Stylizer().style_names
