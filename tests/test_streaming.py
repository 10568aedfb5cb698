"""Painting by bands of rows against painting whole."""

import copy
import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import smooth_field
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from fst.cli import infer
from fst.errors import FstError
from fst.io import images
from fst.networks.layers import ConditionedConv, ResidualBlock
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, save_style_model
from fst.stylize.bands import large, memory_plan
from fst.stylize.bands.large import FileOptions, stylize_file
from fst.stylize.bands.memory_plan import Plan, RowStore, make_plan, memory_left
from fst.stylize.bands.streaming import forward_work, planned_work
from fst.stylize.options import PaintOptions
from fst.stylize.stylizer import Stylizer

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def stylizer(tmp_path_factory):
    torch.manual_seed(0)
    network = TransformerNet(3, width=0.25, num_blocks=2, margin=4)
    for name, parameter in network.named_parameters():
        if "norm" in name:  # as trained, not the identity
            parameter.data += 0.4 * torch.randn_like(parameter)
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    return Stylizer(
        save_style_model(path, network, describe(network, [{"name": n} for n in NAMES], {}))
    )


def write_photo(folder, height, width, seed=0):
    path = folder / f"photo{height}x{width}.png"
    smooth_field(seed, height, width).save(path)
    return path


def difference(stylizer, photo, style="b", **options):
    """Largest difference of the file painted in bands from the image painted whole."""
    bands = {k: options.pop(k) for k in ("band_px", "max_memory_bytes", "shorter_side_px",
                                         "fast_statistics") if k in options}  # fmt: skip
    path = photo.with_name("banded.tif")
    file = FileOptions(bits=16, overwrite=True, **bands)
    stylize_file(stylizer, photo, path, style, PaintOptions(**options), file)
    whole = images.load_full(photo, bands.get("shorter_side_px"))
    expected = stylizer.stylize(whole, style, **options).clamp(0, 1)
    painted = images.load_full(path)
    assert painted.shape == expected.shape
    return (painted - expected).abs().max().item()


@settings(max_examples=12, deadline=None)
@given(
    *[st.integers(16, 90)] * 2,
    st.sampled_from([4, 8, 20, 64]),
    st.booleans(),
    st.sampled_from([0, 4, 8]),
)
def test_any_size_in_any_bands_is_the_whole(stylizer, height, width, band_px, files, margin):
    with tempfile.TemporaryDirectory() as folder:
        from pathlib import Path

        photo = write_photo(Path(folder), height, width)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stylizer.network, "margin", margin)
            if files:
                patch.setattr(large, "make_plan", lambda *_: Plan(band_px, False))
            assert difference(stylizer, photo, band_px=band_px) < 1e-4


SKY = torch.zeros(30, 40)
SKY[:14] = 1


@pytest.mark.parametrize(
    "options",
    [
        {"strength": 0.4},
        {"strength": 1.3},
        {"masks": {"a": SKY}},
        {"masks": {"a": SKY, "c": 1 - SKY / 2}},
        {"masks": {"a": torch.full((5, 5), 0.3)}},
        {"where": SKY, "keep_colors": "luminance"},
        {"keep_colors": "histogram", "style": {"a": 1, "b": 2}},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_control_works_in_bands(stylizer, tmp_path, options):
    photo = write_photo(tmp_path, 61, 83)
    assert difference(stylizer, photo, band_px=12, **options) < 1e-4


def test_a_photo_is_shrunk_first_if_asked(stylizer, tmp_path):
    photo = write_photo(tmp_path, 61, 83)
    assert difference(stylizer, photo, shorter_side_px=40) < 0.1  # PIL and libvips differ a little


@pytest.mark.parametrize("texture_size", [3.0, 2.2, 1.3])
def test_texture_size_works_in_bands(stylizer, tmp_path, texture_size):
    photo = write_photo(tmp_path, 400, 431)
    options = {"texture_size": texture_size, "strength": 0.8, "where": SKY}
    assert difference(stylizer, photo, band_px=64, **options) < 2e-4
    options = {"texture_size": texture_size, "masks": {"a": SKY}, "keep_colors": "histogram"}
    assert difference(stylizer, photo, band_px=64, **options) < 2e-4


@pytest.mark.parametrize("size", [(900, 1031), (1500, 800), (770, 769), (768, 900)])
def test_large_pictures_have_the_strokes_of_768_px_in_bands_too(stylizer, tmp_path, size):
    photo = write_photo(tmp_path, *size)
    assert difference(stylizer, photo, band_px=200) < 2e-4


class Pinched(ResidualBlock):
    """A block of another kind: narrower within, of three convolutions, one of them 5x5."""

    def __init__(self, num_styles, channels):
        super().__init__(num_styles, channels)
        half = channels // 2
        self.conv1 = ConditionedConv(num_styles, channels, half, 1, relu=True)
        self.conv2 = ConditionedConv(num_styles, half, half, 5, relu=True)
        self.conv3 = ConditionedConv(num_styles, half, channels, 3)

    @property
    def layers(self):
        return [self.conv1, self.conv2, self.conv3]

    def forward(self, x, style_weights):
        y = x
        for layer in self.layers:
            y = layer(y, style_weights)
        return x + y


class OtherShape(TransformerNet):
    """A first layer at full size more, and blocks of another kind."""

    def __init__(self, num_styles):
        super().__init__(num_styles, width=0.25, num_blocks=0)
        self.first = ConditionedConv(num_styles, 3, 12, 3, relu=True)
        self.conv_in = ConditionedConv(num_styles, 12, 16, 3, stride=2, relu=True)
        self.blocks.extend(Pinched(num_styles, 24) for _ in range(2))

    @property
    def layers(self):
        return [self.first, *super().layers]


@pytest.mark.parametrize("fast", [False, True])
def test_bands_follow_a_network_of_another_shape(stylizer, tmp_path, monkeypatch, fast):
    torch.manual_seed(1)
    network = OtherShape(3).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if "norm" in name:
            parameter += 0.4 * torch.randn_like(parameter)
    monkeypatch.setattr(stylizer, "network", network)
    if fast:  # by moments of all of it
        monkeypatch.setattr(memory_plan, "FAST_FROM", 0)
        monkeypatch.setattr(large, "make_plan", fast_plan(128 * 256))
    photo = write_photo(tmp_path, 128, 256)
    assert difference(stylizer, photo, band_px=20, fast_statistics=fast) < 1e-3
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, 128, 256), torch.eye(3)[:1])
    assert forward_work(network, 128, 256) == pytest.approx(counter.get_total_flops() / 2, rel=0.1)


def fast_plan(pixels):
    return lambda *_: Plan(20, in_memory=True, sample_pixels=pixels)


def test_fast_statistics_are_near(stylizer, tmp_path, monkeypatch):
    photo = write_photo(tmp_path, 128, 256)
    assert difference(stylizer, photo, fast_statistics=True) < 1e-4  # a small picture: exact
    monkeypatch.setattr(memory_plan, "FAST_FROM", 0)
    monkeypatch.setattr(large, "make_plan", fast_plan(128 * 256))  # the squares are all of it
    for options in ({}, {"masks": {"a": SKY}}, {"keep_colors": "histogram"}):
        assert difference(stylizer, photo, fast_statistics=True, **options) < 1e-3
    monkeypatch.setattr(large, "make_plan", fast_plan(128 * 128))
    assert 1e-3 < difference(stylizer, photo, fast_statistics=True) < 1


def test_fast_statistics_pass_the_layers_once(stylizer, tmp_path, monkeypatch):
    photo, flops = write_photo(tmp_path, 640, 600), []
    monkeypatch.setattr(memory_plan, "FAST_FROM", 0)
    for fast in (False, True):
        monkeypatch.setattr(large, "make_plan", lambda *_: Plan(648, True, 64))  # a single band
        with FlopCounterMode(display=False) as counter:
            file = FileOptions(fast_statistics=fast, overwrite=True)
            options = PaintOptions(keep_colors="histogram")
            stylize_file(stylizer, photo, tmp_path / "x.png", 0, options, file)
        flops.append(counter.get_total_flops() / 2 / forward_work(stylizer.network, 640, 600))
    assert flops[1] < 1.2 and flops[1] < 0.8 * flops[0]


@pytest.mark.parametrize("size", [(40, 50), (1100, 600)])
def test_a_cutout_in_bands_is_the_whole(stylizer, tmp_path, size):
    image = torch.cat([images.load(write_photo(tmp_path, *size)), torch.ones(1, *size)])
    image[3, :, size[1] // 3 :] = 0
    image[:3, :, size[1] // 3 :] = torch.rand(3, 1, 1)  # hidden
    photo = images.save(image, tmp_path / "cutout.png")
    assert difference(stylizer, photo, band_px=40, where=SKY) < 1e-3


@pytest.mark.parametrize("mode", ["CMYK", "F", "I", "1", "P", "LA", "L"])
def test_any_mode_is_read_in_bands_as_it_is_whole(stylizer, tmp_path, mode):
    picture = smooth_field(3, 40, 44)
    if mode == "F":
        picture = Image.fromarray(np.asarray(picture.convert("L"), np.float32) / 255)
    elif mode == "I":
        picture = Image.fromarray(np.asarray(picture.convert("L"), np.int32) * 257)
    picture.convert(mode).save(tmp_path / "a.tif")
    assert difference(stylizer, tmp_path / "a.tif") < 1e-4


def test_the_work_is_as_planned(stylizer, tmp_path):
    photo, told = write_photo(tmp_path, 128, 100), []
    file = FileOptions(band_px=128)
    stylize_file(stylizer, photo, tmp_path / "x.png", file=file, progress=told.append)
    assert told == sorted(told) and told[-1] == pytest.approx(1)
    network = TransformerNet(1)
    ratio = planned_work(network, 1000, 1000) / forward_work(network, 1000, 1000)
    assert ratio == pytest.approx(1.099, abs=0.001)  # by hand, from the layers' shapes


# ---------------------------------------------------------------- stores and memory


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_store_holds_what_was_written(in_memory):
    store = RowStore((50, 7, 3), np.uint16, in_memory=in_memory)
    rows = np.random.default_rng(0).integers(0, 65536, (50, 7, 3), np.uint16)
    for low in (0, 20, 40):
        store.write(low, rows[low : low + 20])
    assert (store.read(13, 47) == rows[13:47]).all() and (store.mapped() == rows).all()
    store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_file_is_open_or_left_whatever_happens(stylizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(large, "make_plan", lambda *_: Plan(8, False))
    photo = write_photo(tmp_path, 40, 40)
    stylize_file(stylizer, photo, tmp_path / "out.png")  # what libraries open once is open
    before, during = len(os.listdir("/proc/self/fd")), []

    def stop(_):
        during.append(len(os.listdir("/proc/self/fd")))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stylize_file(stylizer, photo, tmp_path / "b.png", progress=stop)
    assert during[0] > before == len(os.listdir("/proc/self/fd"))
    assert not list((tmp_path / "t").iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.png", photo.name, "t"]


def test_a_disk_without_room_is_named_before_any_work(stylizer, tmp_path, monkeypatch):
    monkeypatch.setattr(memory_plan.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(FstError, match=r"no room for .* temporary files: set TMPDIR"):
        make_plan(stylizer.network, (9000, 12000, 3), 1, 2**30)


def test_a_folder_that_takes_no_temporary_files_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    for make in (
        lambda: memory_plan.check_room(1),
        lambda: RowStore((4, 4, 3), np.uint8, in_memory=False),
    ):
        with pytest.raises(FstError, match=r"temporary files cannot be made .* set TMPDIR"):
            make()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("size", ["native", "auto"])
def test_a_limit_that_binds_is_kept(stylizer, tmp_path, size):
    photo = write_photo(tmp_path, 1200, 1800)
    model = save_style_model(tmp_path / "m.safetensors", stylizer.network, stylizer.metadata)
    code = (
        "import sys; from pathlib import Path; from fst.cli.infer import main; "
        f"code = main(['{photo}', '--model', '{model}', '--device', 'cpu', *sys.argv[1:]]); "
        "lines = Path('/proc/self/status').read_text().splitlines(); "
        "print(code, next(line.split()[1] for line in lines if line.startswith('VmHWM')))"
    )
    peaks = []
    for limit in ("4G", "700M"):
        words = ["-c", code, "--max-memory", limit, "-o", str(tmp_path / f"{limit}.png")]
        words += ["--texture-size", size]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
        code_, peak = done.stdout.split()[-2:]
        assert code_ == "0" and ("in bands" in done.stderr) == (limit != "4G")
        peaks.append(int(peak) / 1024)
    assert peaks[1] < 720  # MiB; a few are the allocator's
    assert size == "auto" or peaks[0] > 720


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"strength": 7}, "strength 7"),
        ({"strength": float("nan")}, "strength nan"),
        ({"texture_size": 10}, "texture size 10"),
        ({"texture_size": 1}, "texture size 1 enlarges"),
        ({"where": "nope.png"}, "nope.png"),
        ({"keep_colors": "all"}, "keep colors 'all'"),
        ({"style": "bb"}, "no style 'bb'"),
    ],
)
def test_mistakes_are_told_before_any_work(stylizer, tmp_path, options, part):
    photo = write_photo(tmp_path, 40, 40)
    with pytest.raises(FstError, match=part):
        style = options.pop("style", 0)
        stylize_file(stylizer, photo, tmp_path / "x.png", style, PaintOptions(**options),
                     progress=lambda _: pytest.fail())  # fmt: skip


def test_outputs_that_cannot_be_are_told_before_any_work(stylizer, tmp_path):
    photo = write_photo(tmp_path, 16, 16_400)
    (tmp_path / "file").write_text("")
    for output, part in (
        ("x.webp", "16400 px a side, the format ends at 16383"),
        ("file/x.png", "cannot write"),
        (photo.name, "exists"),
    ):
        with pytest.raises(FstError, match=part):
            stylize_file(stylizer, photo, tmp_path / output, progress=lambda _: pytest.fail())
    with pytest.raises(ValueError, match="multiple of 4"):
        FileOptions(band_px=7)


def test_a_name_taken_meanwhile_is_numbered_if_asked(stylizer, tmp_path):
    photo, output = write_photo(tmp_path, 20, 20), tmp_path / "x.png"
    file = FileOptions(numbered=True)
    path = stylize_file(stylizer, photo, output, file=file, progress=lambda _: output.touch())
    assert path.name == "x-1.png" and output.read_bytes() == b""


def test_a_painting_of_nan_is_refused(stylizer, tmp_path):
    broken = Stylizer.__new__(Stylizer)
    broken.__dict__ |= stylizer.__dict__ | {"network": copy.deepcopy(stylizer.network)}
    broken.network.conv_out.norm.beta.data.fill_(float("nan"))
    with pytest.raises(FstError, match="NaN"):
        stylize_file(broken, write_photo(tmp_path, 20, 20), tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_bands_are_as_high_as_the_memory_allows(monkeypatch):
    # However little room this machine has for the 9 GiB that bands of the first two would take.
    monkeypatch.setattr("fst.stylize.bands.memory_plan.check_room", lambda size: None)
    network = TransformerNet(1)
    plans = [make_plan(network, (9000, 12000, 3), 1, m * 2**30) for m in (1, 2, 100)]
    assert [plan.in_memory for plan in plans] == [False, False, True]
    assert plans[0].band_px < plans[1].band_px <= plans[2].band_px
    assert all(plan.band_px % 4 == 0 for plan in plans)
    with pytest.raises(FstError, match=r"12000 px wide needs at least --max-memory [0-9]+M"):
        make_plan(network, (9000, 12000, 3), 1, 200 * 2**20)
    assert memory_left(1, torch.device("cpu")) == 0
    assert memory_left(None, torch.device("cpu")) > 2**20


# ---------------------------------------------------------------- the command


@pytest.fixture
def run(stylizer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_style_model("m.safetensors", stylizer.network, stylizer.metadata)

    def run(*words):
        code = infer.main(["--model", "m.safetensors", "--device", "cpu", *map(str, words)])
        return code, capsys.readouterr().err

    return run


def test_what_memory_does_not_hold_goes_in_bands(run, tmp_path, monkeypatch):
    photo = write_photo(tmp_path, 300, 200)
    assert run(photo, "-o", "whole.png")[0] == 0
    monkeypatch.setattr(memory_plan, "memory_left", lambda *_: 2**20)
    monkeypatch.setattr(large, "make_plan", lambda *_: Plan(32, False))
    code, told = run(photo, "-o", "bands.png")
    assert code == 0 and "in bands of rows (exact)" in told
    monkeypatch.setattr(memory_plan, "SAMPLE_PIXELS", 10_000)
    code, told = run(photo, "-o", "fast.png", "--fast-statistics")
    assert code == 0 and "means and variances of parts of it" in told
    assert (images.load("whole.png") - images.load("bands.png")).abs().max() <= 1.01 / 255
    assert images.load("fast.png").shape == (3, 300, 200)


def test_pictures_after_a_large_one_are_painted_too(run, tmp_path, monkeypatch):
    first, second = write_photo(tmp_path, 300, 200), write_photo(tmp_path, 30, 20)
    monkeypatch.setattr(memory_plan, "memory_left", lambda *_: 300 * 200 * 50)
    code, told = run(first, second, "--max-memory", "1M")  # the first does not fit in bands either
    assert code == 1 and first.name in told and "needs at least --max-memory" in told
    assert (tmp_path / f"{second.stem}_a.png").is_file()


def test_a_grid_of_blends_is_not_painted_in_bands(run, tmp_path):
    photo = write_photo(tmp_path, 30, 20)
    code, told = run(photo, "--blend-grid", "a", "b", "--max-memory", "2G")
    assert code == 2 and "leave out --max-memory" in told


def test_mistakes_in_bands_are_one_line(run, tmp_path, monkeypatch):
    write_photo(tmp_path, 30, 40)
    Image.new("RGB", (8, 40)).save("small.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "photo30x40.png").read_bytes()[:300])
    monkeypatch.setattr(memory_plan, "memory_left", lambda *_: 0)
    monkeypatch.setattr(large, "make_plan", lambda *_: Plan(8, False))
    code, told = run("small.png", "cut.png", "photo30x40.png")
    lines = [line for line in told.splitlines() if "in bands" not in line][1:]
    assert code == 1 and len(lines) == 2 and "small.png" in lines[0] and "cut.png" in lines[1]
    assert (tmp_path / "photo30x40_a.png").is_file()


def test_a_limit_that_holds_nothing_says_what_would_do(run, tmp_path):
    photo = write_photo(tmp_path, 300, 4000)
    code, told = run(photo, "--max-memory", "10M")
    assert code == 1 and "needs at least --max-memory" in told
    with pytest.raises(SystemExit):
        run(photo, "--max-memory", "much")


def test_bands_need_neither_lightning_nor_torchvision(stylizer, tmp_path):
    photo = write_photo(tmp_path, 40, 40)
    save_style_model(tmp_path / "m.safetensors", stylizer.network, stylizer.metadata)
    code = (
        "import sys; from fst.stylize.stylizer import Stylizer; "
        "from fst.stylize.bands.large import stylize_file; "
        f"stylize_file(Stylizer('{tmp_path}/m.safetensors'), '{photo}', '{tmp_path}/o.png'); "
        "print([m for m in ('pytorch_lightning', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
