"""fst-export: what is written paints as the network does, says what it is, and harms nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SCRIPTS, smooth_field
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fst import Stylizer
from fst.cli.export import main
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, save_style_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

NAMES = ["wave", "the scream | 2", "星月夜"]


def trained_like(num_styles=3, width=0.25, num_blocks=1, seed=0):
    """Random weights, and tables other than the identity."""
    torch.manual_seed(seed)
    network = TransformerNet(num_styles, width, num_blocks, margin=4).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if name.endswith(("gamma", "beta")):
            parameter.add_(0.5 * torch.randn_like(parameter))
    return network


def saved(folder, network, name="model.safetensors"):
    styles = [{"name": n, "images": [f"{i}.jpg"]} for i, n in enumerate(NAMES)]
    return save_style_model(folder / name, network, describe(network, styles, {}))


def argv_of(*words):
    return [str(word) for word in words]


@pytest.fixture(scope="module")
def network():
    return trained_like()


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model"), network)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Makes each kind of file once."""
    folder, made = tmp_path_factory.mktemp("exported"), {}

    def export(name, *flags):
        if name not in made:
            made[name] = folder / name
            assert main(argv_of(model, "-o", made[name], *flags)) == 0
        return made[name]

    return export


@pytest.fixture(scope="module")
def onnx_file(exported):
    return exported("model.onnx")


def run_onnx(path, image, weights):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image.numpy(), "style_weights": weights.numpy()})[0]


# ---- ONNX ---------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(16, 70),
    st.integers(16, 70),
    st.integers(0, 2**31),
)
def test_the_onnx_file_paints_any_size_and_blend(onnx_file, network, batch, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(batch, 3, height, width, generator=generator)
    weights = torch.rand(batch, 3, generator=generator)
    painted = run_onnx(onnx_file, image, weights)
    assert painted.shape == (batch, 3, height, width)
    np.testing.assert_allclose(painted, network(image, weights).numpy(), rtol=0, atol=1e-4)


def test_the_onnx_file_says_what_it_takes_and_is(exported):
    model = onnx.load(exported("model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "image": ["batch", 3, "height", "width"],
        "style_weights": ["batch", 3],
        "painting": ["batch", 3, "height", "width"],
    }
    properties = {p.key: p.value for p in model.metadata_props}
    assert json.loads(properties["styles"]) == NAMES
    assert properties["license"] == "unknown" and properties["model"] == "model.safetensors"
    assert properties["fst_version"] and model.producer_name == "fst"
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2"])
def test_an_export_is_the_same_to_the_bit_and_names_no_folder(exported, model, tmp_path, name):
    first = exported(name).read_bytes()
    assert main(argv_of(model, "-o", tmp_path / name)) == 0
    assert (tmp_path / name).read_bytes() == first
    for folder in (model.parent, Path(__file__).parents[1], Path(torch.__file__).parent):
        assert str(folder).encode() not in first


def test_half_precision_is_of_the_convolutions_alone(exported, network):
    half = onnx.load(exported("half.onnx", "--fp16"))
    kinds = {t.name: t.data_type for t in half.graph.initializer}
    floats = {k: v for k, v in kinds.items() if "." in k and v != onnx.TensorProto.INT64}
    for name, kind in floats.items():
        is_kernel = name.endswith("conv.weight")
        assert kind == (onnx.TensorProto.FLOAT16 if is_kernel else onnx.TensorProto.FLOAT), name
    image, weights = torch.rand(1, 3, 61, 50), torch.eye(3)[:1]
    apart = np.abs(
        run_onnx(exported("half.onnx"), image, weights) - network(image, weights).numpy()
    )
    assert 0 < apart.max() < 0.02
    assert os.path.getsize(exported("half.onnx")) < 0.75 * os.path.getsize(exported("model.onnx"))


def test_statistics_do_not_overflow_in_half_precision(tmp_path):
    """Features of some hundreds: their squares, and sums over a picture, are beyond fp16."""
    network = trained_like()
    network.conv_in.conv.weight.mul_(2000)
    image, weights = torch.rand(1, 3, 64, 64), torch.eye(3)[1:2]
    padded = torch.nn.functional.pad(image, (4,) * 4, mode="reflect")
    assert network.conv_in.conv(padded).square().max() > 65504
    path = tmp_path / "half.onnx"
    assert main(argv_of(saved(tmp_path, network), "-o", path, "--fp16")) == 0
    painted = run_onnx(path, image, weights)
    np.testing.assert_allclose(painted, network(image, weights).numpy(), rtol=0, atol=0.02)


def test_a_kernel_beyond_half_precision_is_refused(tmp_path, capsys):
    network = trained_like()
    network.conv_in.conv.weight[0, 0, 0, 0] = 1e5
    assert main(argv_of(saved(tmp_path, network), "-o", tmp_path / "h.onnx", "--fp16")) == 2
    assert "beyond the numbers of fp16" in capsys.readouterr().err
    assert not (tmp_path / "h.onnx").exists()


def test_the_example_paints_without_torch_and_fst(exported, model, tmp_path):
    photo, painting = tmp_path / "photo.png", tmp_path / "painting.png"
    smooth_field(3, 61, 50).save(photo)
    argv = [SCRIPTS / "paint_with_onnx.py", exported("model.onnx"), photo, painting]
    code = (
        "import sys, runpy\n"
        "sys.modules['torch'] = sys.modules['fst'] = None  # importing them fails\n"
        "del sys.argv[0]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "assert sys.modules['torch'] is None and sys.modules['fst'] is None"
    )
    command = [sys.executable, "-c", code, *argv_of(*argv, "wave=3", "星月夜=1")]
    subprocess.run(command, check=True)
    expected = Stylizer(model).stylize(photo, {"wave": 0.75, "星月夜": 0.25})
    levels = np.asarray(Image.open(painting), float).transpose(2, 0, 1)
    assert np.abs(levels - 255 * expected.numpy()).max() < 0.51
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2 and "exists" in again.stderr


def test_the_example_shrinks_large_photos_and_tells_what_is_wrong(exported, tmp_path):
    smooth_field(3, 120, 90).save(tmp_path / "photo.png")
    (tmp_path / "empty.png").touch()
    model = exported("model.onnx")

    def paint(*given):
        command = [sys.executable, SCRIPTS / "paint_with_onnx.py", *given]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert paint(model, "photo.png", "small.png", "--size", "40", "wave").returncode == 0
    assert sorted(Image.open(tmp_path / "small.png").size) == [40, 53]
    for argv, told in [
        (["photo.png", "photo.png", "x.png"], "no ONNX file of fst-export"),
        ([model, "empty.png", "x.png"], "cannot read empty.png"),
        ([model, "photo.png", "x.png", "waves"], "no style waves; there are wave, "),
        ([model, "photo.png", "x.png", "wave=x"], "wave=x: x is not a number"),
        ([model, "photo.png", "x.png", "wave=-1"], "shares must be 0 or more"),
        ([model, "photo.png", "x.png", "--size", "0"], "--size 0: must be at least 16"),
        ([model, "photo.png", "x.psd"], "x.psd: not a format to write; name it x.png"),
        ([model, "photo.png", "no/x.png"], "no: no such folder"),
        (["none.onnx", "photo.png", "x.png"], "none.onnx: no such file"),
    ]:
        found = paint(*argv)
        assert found.returncode == 2 and told in found.stderr.splitlines()[-1]
        assert not (tmp_path / "x.png").exists()


# ---- torch.export -------------------------------------------------------------------------------


def test_the_program_loads_without_fst_and_paints_any_size(exported, network, tmp_path):
    generator = torch.Generator().manual_seed(0)
    cases = []
    for batch, height, width in [(1, 16, 16), (1, 17, 90), (3, 64, 33), (2, 100, 101)]:
        image = torch.rand(batch, 3, height, width, generator=generator)
        cases.append((image, torch.rand(batch, 3, generator=generator)))
    torch.save(cases, tmp_path / "cases.pt")
    code = (
        "import sys, torch\n"
        "sys.modules['fst'] = None\n"
        "about = {'styles': ''}\n"
        "paint = torch.export.load(sys.argv[1], extra_files=about).module()\n"
        "cases = torch.load(sys.argv[2])\n"
        "torch.save([paint(*case) for case in cases], sys.argv[3])\n"
        "print(about['styles'])"
    )
    files = argv_of(exported("model.pt2"), tmp_path / "cases.pt", tmp_path / "painted.pt")
    done = subprocess.run(
        [sys.executable, "-c", code, *files], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == NAMES
    for case, painted in zip(cases, torch.load(tmp_path / "painted.pt"), strict=True):
        torch.testing.assert_close(painted, network(*case), rtol=0, atol=1e-4)


# ---- the command --------------------------------------------------------------------------------


@pytest.fixture
def untouched(tmp_path, monkeypatch):
    """A working folder; afterwards it holds what it held."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.onnx").write_text("mine")
    (tmp_path / "taken.jpg").write_text("mine")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "text.safetensors").write_text("no model")
    before = sorted(tmp_path.iterdir())
    yield tmp_path
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "taken.onnx").read_text() == (tmp_path / "taken.jpg").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-o", "taken.onnx"], "taken.onnx exists"),
        (["-o", "taken.md"], "taken.jpg exists"),
        (["-o", "folder.onnx"], "is a folder"),
        (["-o", "model.tflite"], "suffix must be one of .onnx .pt2 .md"),
        (["-o", "model.onnx", "--format", "torch"], "ends in .pt2"),
        (["-o", "model.pt2", "--fp16"], "--fp16 is for ONNX"),
        (["-o", "model.onnx", "--photos", "a.jpg"], "--photos is for a card"),
        (["-o", "model.md", "--photos", "nowhere.jpg"], "nowhere.jpg"),
        (["-o", "taken.onnx/model.onnx"], "taken.onnx"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_nothing_is_written(untouched, model, capsys, words, told):
    assert main(argv_of(model, *words)) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and error.startswith("fst-export: error: ")


@pytest.mark.parametrize("name", ["nowhere.safetensors", "text.safetensors"])
def test_what_is_no_model_is_refused(untouched, capsys, name):
    assert main(["-o", "new.onnx", name]) == 2
    assert name in capsys.readouterr().err


def test_weights_that_are_not_finite_are_refused(tmp_path, network, capsys):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = saved(tmp_path, network)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["up.conv.weight"][0] = float("nan")
    save_file(tensors, path, metadata)
    assert main(argv_of(path, "-o", tmp_path / "new.onnx")) == 2
    assert "NaN" in capsys.readouterr().err and not (tmp_path / "new.onnx").exists()


@pytest.mark.parametrize("text", ["MIT\n", "a b", "", "x" * 80, "<b>"])
def test_a_licence_is_a_name(model, text):
    with pytest.raises(SystemExit) as stopped:
        main(argv_of(model, "--license", text))
    assert stopped.value.code == 2


def test_a_graph_that_paints_otherwise_is_not_written(model, tmp_path, monkeypatch, capsys):
    tiled = "fst.networks.transformer.F.interpolate"  # which only the export calls
    monkeypatch.setattr(tiled, lambda x, **options: x.repeat(1, 1, 2, 2))
    assert main(argv_of(model, "-o", tmp_path / "new.onnx")) == 2
    assert re.search(r"paints otherwise by [\d.e-]+ of 1", capsys.readouterr().err)
    assert not (tmp_path / "new.onnx").exists()


def test_the_difference_at_five_sizes_is_told(model, tmp_path, capsys):
    assert main(argv_of(model, "-o", tmp_path / "new.onnx")) == 0
    out, error = capsys.readouterr()
    assert out == f"{tmp_path / 'new.onnx'}\n"
    assert float(re.search(r"by up to (\S+) ", error)[1]) < 1e-4
    assert len(re.findall(r"\d+ of \d+x\d+", error)) == 5


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(model, tmp_path, monkeypatch, capsys, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    code = main(argv_of(model, "-o", tmp_path / "new.onnx"))
    assert "pip install 'fst[export]'" in capsys.readouterr().err
    assert code == (0 if missing == "onnxruntime" else 2)
    assert (tmp_path / "new.onnx").exists() == (missing == "onnxruntime")


def test_without_a_name_the_newest_run_is_exported_here(network, tmp_path, monkeypatch, capsys):
    saved(tmp_path / "checkpoints" / "run-1", network, "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert capsys.readouterr().out == "mine.onnx\n"
    assert main([]) == 2  # it is there now
    assert main(["--overwrite", "--license", "CC-BY-4.0"]) == 0
    properties = {p.key: p.value for p in onnx.load("mine.onnx").metadata_props}
    assert properties["license"] == "cc-by-4.0"


def test_the_cards_picture_does_not_replace_a_photo(model, tmp_path, capsys):
    photo = tmp_path / "portrait.jpg"
    smooth_field(3, 61, 50).save(photo)
    before = photo.read_bytes()
    argv = argv_of(model, "-o", tmp_path / "portrait.md", "--photos", photo, "--overwrite")
    assert main(argv) == 2
    assert "portrait.jpg is one of the photos and stays" in capsys.readouterr().err
    assert photo.read_bytes() == before and not (tmp_path / "portrait.md").exists()


def test_help_is_answered_without_torch():
    code = "import sys; from fst.cli.export import main\ntry: main(['--help'])\nexcept SystemExit: "
    code += "print({'torch', 'onnx', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("set()")


def test_the_shipped_gallery_is_exported_under_its_licence(tmp_path, capsys):
    assert main(argv_of("gallery", "-o", tmp_path / "gallery.onnx")) == 0
    model = onnx.load(tmp_path / "gallery.onnx")
    properties = {p.key: p.value for p in model.metadata_props}
    assert properties["license"] == "mit" and len(json.loads(properties["styles"])) == 21
