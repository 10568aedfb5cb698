"""fst-styles import: networks of pytorch/examples' fast_neural_style paint here what they paint."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F

from fst import FstError, PaintOptions, Stylizer
from fst.assets import SAMPLE_PHOTO
from fst.cli.styles import main
from fst.export.check import differences, onnx_painter
from fst.export.files import exported_program, onnx_bytes
from fst.io import images
from fst.style_model.imported import import_model
from fst.stylize.bands.large import FileOptions, stylize_file
from fst.stylize.bands.streaming import forward_work, planned_work
from fst.stylize.video.steady import SteadyStylizer
from fst.training.warm_start import trunk_size

CONVS = {"conv1": (3, 32, 9), "conv2": (32, 64, 3), "conv3": (64, 128, 3)}
CONVS |= {"deconv1": (128, 64, 3), "deconv2": (64, 32, 3), "deconv3": (32, 3, 9)}
NORMS = {"in1": 32, "in2": 64, "in3": 128, "in4": 64, "in5": 32}
for block in range(1, 6):
    CONVS |= {f"res{block}.conv{i}": (128, 128, 3) for i in (1, 2)}
    NORMS |= {f"res{block}.in{i}": 128 for i in (1, 2)}


def state_dict(seed=0):
    """Random weights under the names, and of the shapes, that the example saves."""
    generator = torch.Generator().manual_seed(seed)
    tensors = OrderedDict()
    for name, (c_in, c_out, size) in CONVS.items():
        weight = torch.randn(c_out, c_in, size, size, generator=generator)
        tensors[f"{name}.conv2d.weight"] = weight / (c_in * size**2) ** 0.5
        tensors[f"{name}.conv2d.bias"] = torch.randn(c_out, generator=generator)
    for name, channels in NORMS.items():
        tensors[f"{name}.weight"] = 1 + 0.3 * torch.randn(channels, generator=generator)
        tensors[f"{name}.bias"] = 0.3 * torch.randn(channels, generator=generator)
    tensors["deconv3.conv2d.weight"] *= 60  # of levels to 255
    tensors["deconv3.conv2d.bias"] += 128
    return tensors


def painted_as_there(tensors, photo):
    """Their forward pass in torch's own functions: (3, H, W) from 0 to 1, as they save it."""

    def conv(x, name, stride=1):
        weight, bias = tensors[f"{name}.conv2d.weight"], tensors[f"{name}.conv2d.bias"]
        reach = weight.shape[2] // 2
        return F.conv2d(F.pad(x, (reach,) * 4, mode="reflect"), weight, bias, stride)

    def normed(x, name):
        return F.instance_norm(x, weight=tensors[f"{name}.weight"], bias=tensors[f"{name}.bias"])

    x = 255 * photo[None]
    for i, stride in ((1, 1), (2, 2), (3, 2)):
        x = normed(conv(x, f"conv{i}", stride), f"in{i}").relu()
    for i in range(1, 6):
        y = normed(conv(x, f"res{i}.conv1"), f"res{i}.in1").relu()
        x = x + normed(conv(y, f"res{i}.conv2"), f"res{i}.in2")
    for i in (1, 2):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = normed(conv(x, f"deconv{i}"), f"in{i + 3}").relu()
    return conv(x, "deconv3")[0].clamp(0, 255) / 255


@pytest.fixture(scope="module")
def photo():
    return images.load(SAMPLE_PHOTO, 200)[:, :136, :200]


@pytest.fixture(scope="module")
def expected(photo):
    return painted_as_there(state_dict(), photo)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    # What old versions of torch added, and DataParallel's names: the example leaves both out.
    tensors = {f"module.{name}": tensor for name, tensor in state_dict().items()}
    tensors["module.in1.running_mean"] = torch.zeros(32)
    torch.save(tensors, folder / "mosaic.pth")
    path = folder / "model.safetensors"
    assert main(["import", str(folder / "mosaic.pth"), "-o", str(path)]) == 0
    return path


def test_it_paints_what_their_network_paints(model, photo, expected):
    stylizer = Stylizer(model)
    assert stylizer.style_names == ["mosaic"]
    painting = stylizer.stylize(photo, "mosaic")
    assert expected.std() > 0.1  # neither grey nor clipped
    assert (painting - expected).abs().max() < 1e-4


def test_bands_paint_the_same_and_steer_as_far(model, photo, tmp_path):
    stylizer, told = Stylizer(model), []
    levels = (photo * 255).round() / 255
    images.save(levels, tmp_path / "photo.png")
    mask = torch.linspace(0, 1, photo.shape[2]).expand(photo.shape[1:])
    for name, options in {"whole": {}, "mask": {"masks": {"mosaic": mask}}}.items():
        options, file = PaintOptions(texture_size="native", **options), FileOptions(band_px=16)
        path = stylize_file(
            stylizer,
            tmp_path / "photo.png",
            tmp_path / f"{name}.png",
            0,
            options,
            file,
            told.append,
        )
        whole = stylizer.stylize(levels, 0, options)
        assert (images.load(path) - whole).abs().max() < 0.51 / 255
    work = planned_work(stylizer.network, *photo.shape[1:])
    assert forward_work(stylizer.network, *photo.shape[1:]) < work
    assert max(told) == 1.0 and sorted(told)[len(told) // 2] < 0.9  # not at the end early


@torch.no_grad()
def test_exports_paint_the_same(model, photo, expected):
    network = Stylizer(model).network.to(memory_format=torch.contiguous_format)
    painting = exported_program(network).module()(photo[None], torch.ones(1, 1))[0]
    assert (painting - expected).abs().max() < 1e-4
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    painter = onnx_painter(onnx_bytes(network, {}))
    assert max(d.largest for d in differences(network, painter)) < 1e-4


def test_films_and_style_files_know_it(model, photo, tmp_path):
    stylizer = Stylizer(model)
    steady = SteadyStylizer(stylizer, 0.5)
    first = steady.stylize(photo, 0)
    assert torch.equal(first, stylizer.stylize(photo, 0))
    renamed = tmp_path / "renamed.safetensors"
    assert main(["rename", str(model), "mosaic", "tiles", "-o", str(renamed)]) == 0
    assert torch.equal(Stylizer(renamed).stylize(photo, "tiles"), first)


def test_training_refuses_it(model):
    with pytest.raises(FstError, match="imported"):
        trunk_size(model)


def without(name):
    return {k: v for k, v in state_dict().items() if k != name}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (without("res3.in1.bias"), "lacks 'res3.in1.bias'"),
        (state_dict() | {"conv2.conv2d.weight": torch.ones(64, 32, 5, 5)}, "halved.conv"),
        (state_dict() | {"attention.weight": torch.zeros(1)}, "has 'attention.weight' besides"),
        (state_dict() | {"in2.bias": torch.full((64,), torch.nan)}, "'in2.bias' holds NaN"),
        ({"epoch": 3, **state_dict()}, "'epoch' is no tensor"),
        ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, "another network"),
        ([1, 2], "holds a list"),
        (torch.nn.Linear(1, 1), "plain values"),  # a whole module is code
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_it_says_what_it_cannot_read(tmp_path, content, told):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(FstError, match=f"other.pth: .*{told}.*fast_neural_style"):
        import_model(tmp_path / "other.pth", "other")


def test_the_command_refuses_before_it_reads(model, tmp_path, capsys):
    missing, target = str(tmp_path / "none.pth"), str(tmp_path / "x.safetensors")
    assert main(["import", missing, "-o", target]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["import", missing, "-o", str(model)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["import", missing, "-o", str(tmp_path / "x.pth")]) == 2
    assert "end in .safetensors" in capsys.readouterr().err
