"""Painting by bands of rows against painting whole."""

import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from conftest import smooth_field
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fst import images
from fst.cli import infer
from fst.errors import FstError
from fst.networks.transformer import TransformerNet
from fst.stylize import large, row_store
from fst.stylize.large import make_plan, memory_left, stylize_file
from fst.stylize.row_store import RowStore
from fst.stylize.streaming import forward_work, planned_work
from fst.stylize.style_model import describe, save_style_model
from fst.stylize.stylizer import Stylizer

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def stylizer(tmp_path_factory):
    torch.manual_seed(0)
    network = TransformerNet(3, width=0.25, num_blocks=2)
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
    stylize_file(stylizer, photo, path, style, bits=16, overwrite=True, **bands, **options)
    whole = images.load_full(photo, bands.get("shorter_side_px"))
    expected = stylizer.stylize(whole, style, **options).clamp(0, 1)
    painted = images.load_full(path)
    assert painted.shape == expected.shape
    return (painted - expected).abs().max().item()


@settings(max_examples=12, deadline=None)
@given(st.integers(16, 90), st.integers(16, 90), st.sampled_from([4, 8, 20, 64]), st.booleans())
def test_any_size_in_any_bands_is_the_whole(stylizer, height, width, band_px, files):
    with tempfile.TemporaryDirectory() as folder:
        from pathlib import Path

        photo = write_photo(Path(folder), height, width)
        with pytest.MonkeyPatch.context() as patch:
            if files:
                patch.setattr(large, "make_plan", lambda *_: large.Plan(band_px, False))
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


@pytest.mark.parametrize("texture_size", [3.0, 2.2])
def test_texture_size_works_in_bands(stylizer, tmp_path, texture_size):
    photo = write_photo(tmp_path, 400, 431)
    options = {"texture_size": texture_size, "strength": 0.8, "where": SKY}
    assert difference(stylizer, photo, band_px=64, **options) < 2e-4


def test_fast_statistics_are_near_and_exact_for_small_pictures(stylizer, tmp_path, monkeypatch):
    photo = write_photo(tmp_path, 131, 150)
    assert difference(stylizer, photo, band_px=20, fast_statistics=True) < 1e-4
    assert difference(stylizer, photo, band_px=20, fast_statistics=True, masks={"a": SKY}) < 1e-4
    monkeypatch.setattr(large, "THUMBNAIL_PX", 100)
    assert 1e-4 < difference(stylizer, photo, band_px=20, fast_statistics=True) < 1


def test_alpha_is_kept_in_bands(stylizer, tmp_path):
    image = torch.rand(4, 40, 50)
    image[3, :, 20:] = 0
    images.save(image, tmp_path / "cutout.png")
    stylize_file(stylizer, tmp_path / "cutout.png", tmp_path / "out.png", band_px=8)
    before, after = (images.load_full(tmp_path / f"{n}.png") for n in ("cutout", "out"))
    assert torch.equal(before[3], after[3]) and not torch.equal(before[:3], after[:3])


def test_the_work_is_as_planned(stylizer, tmp_path):
    photo, told = write_photo(tmp_path, 128, 100), []
    stylize_file(stylizer, photo, tmp_path / "x.png", band_px=128, progress=told.append)
    assert told == sorted(told) and told[-1] == pytest.approx(1)
    network = TransformerNet(1)
    ratio = planned_work(network, 1000, 1000) / forward_work(network, 1000, 1000)
    assert ratio == pytest.approx(1.336, abs=0.001)  # by hand, from the layers' shapes


# ---------------------------------------------------------------- stores and memory


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_store_holds_what_was_written(in_memory):
    store = RowStore((50, 7, 3), np.uint16, in_memory=in_memory)
    rows = np.random.default_rng(0).integers(0, 65536, (50, 7, 3), np.uint16)
    for low in (0, 20, 40):
        store.write(low, rows[low : low + 20])
    assert (store.read(13, 47) == rows[13:47]).all() and (store.mapped() == rows).all()
    store.close()


def test_no_file_is_left_whatever_happens(stylizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(large, "make_plan", lambda *_: large.Plan(8, False))
    photo = write_photo(tmp_path, 40, 40)
    stylize_file(stylizer, photo, tmp_path / "out.png")
    with pytest.raises(KeyboardInterrupt):
        stylize_file(
            stylizer, photo, tmp_path / "b.png", progress=lambda _: os.kill(os.getpid(), 2)
        )
    assert not list((tmp_path / "t").iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.png", photo.name, "t"]


def test_a_disk_without_room_is_named_before_any_work(stylizer, tmp_path, monkeypatch):
    monkeypatch.setattr(row_store.shutil, "disk_usage", lambda _: os.statvfs_result)
    monkeypatch.setattr(os.statvfs_result, "free", 10, raising=False)
    monkeypatch.setattr(large, "make_plan", lambda *_: large.Plan(8, False))
    with pytest.raises(FstError, match=r"no room for .* temporary files: set TMPDIR"):
        stylize_file(stylizer, write_photo(tmp_path, 40, 40), tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_bands_are_as_high_as_the_memory_allows(stylizer):
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
    monkeypatch.setattr(large, "memory_left", lambda *_: 2**20)
    monkeypatch.setattr(large, "make_plan", lambda *_: large.Plan(32, False))
    code, told = run(photo, "-o", "bands.png")
    assert code == 0 and "in bands of rows (exact)" in told
    code, told = run(photo, "-o", "fast.png", "--fast-statistics")
    assert code == 0 and "means and variances of a small copy" in told
    whole, bands, fast = (images.load(f"{n}.png") for n in ("whole", "bands", "fast"))
    assert (whole - bands).abs().max() <= 1.01 / 255 and (whole - fast).abs().max() <= 1.01 / 255


def test_mistakes_in_bands_are_one_line(run, tmp_path):
    write_photo(tmp_path, 30, 40)
    Image.new("RGB", (8, 40)).save("small.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "photo30x40.png").read_bytes()[:300])
    code, told = run("small.png", "cut.png", "photo30x40.png", "--fast-statistics")
    lines = [line for line in told.splitlines() if "in bands" not in line][1:]
    assert code == 1 and len(lines) == 2 and "small.png" in lines[0] and "cut.png" in lines[1]
    assert (tmp_path / "photo30x40_a.png").is_file()


def test_a_limit_that_holds_nothing_says_what_would_do(run, tmp_path):
    photo = write_photo(tmp_path, 30, 4000)
    code, told = run(photo, "--max-memory", "10M")
    assert code == 1 and "needs at least --max-memory" in told
    with pytest.raises(SystemExit):
        run(photo, "--max-memory", "much")


def test_bands_need_neither_lightning_nor_torchvision(stylizer, tmp_path):
    photo = write_photo(tmp_path, 40, 40)
    save_style_model(tmp_path / "m.safetensors", stylizer.network, stylizer.metadata)
    code = (
        "import sys; from fst.stylize.stylizer import Stylizer; "
        "from fst.stylize.large import stylize_file; "
        f"stylize_file(Stylizer('{tmp_path}/m.safetensors'), '{photo}', '{tmp_path}/o.png'); "
        "print([m for m in ('pytorch_lightning', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
