"""fst-train --resume: what a checkpoint needs beside it, and what it is not gone on from with."""

import shutil

import pytest
import torch
from conftest import smooth_field, stripes
from safetensors.torch import load_file

from fst.cli.train import main
from fst.losses.objective import GREY_EVERY, TRAINING_WEIGHTS
from fst.training.module import StyleTransferModule


def refused(argv, capsys):
    assert main([str(argument) for argument in argv]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.fixture
def own_run(train_argv, tmp_path):
    """A run of pictures of its own, which may be changed: the files and the checkpoint."""
    folder = tmp_path / "styles"
    (folder / "several").mkdir(parents=True)
    stripes(1).save(folder / "one.png")
    for n in range(2):
        smooth_field(n, 80, 80).save(folder / "several" / f"{n}.png")
    argv = ["--steps", 2, "--styles", folder / "one.png", folder / "several"]
    assert main(train_argv(tmp_path / "run", *argv)) == 0
    return folder, tmp_path / "run" / "last.ckpt"


@pytest.mark.parametrize("name", ["one.png", "several/1.png"])
def test_other_pictures_under_a_styles_name_do_not_resume(own_run, capsys, name):
    folder, last = own_run
    before = last.read_bytes()
    stripes(5).save(folder / name)
    line = refused(["--resume", last, "--steps", 4], capsys)
    assert f"style {name.partition('/')[0].partition('.')[0]} was other pictures" in line
    assert "--warm-start" in line and last.read_bytes() == before


def test_another_picture_more_in_a_styles_folder_does_not_resume(own_run, capsys):
    folder, last = own_run
    stripes(5).save(folder / "several" / "2.png")
    assert "style several was other pictures" in refused(["--resume", last, "--steps", 4], capsys)


def test_the_same_pictures_elsewhere_resume(own_run):
    folder, last = own_run
    moved = shutil.move(folder, folder.with_name("moved"))
    styles = [f"{moved}/one.png", f"{moved}/several"]
    assert main(["--resume", str(last), "--steps", "4", "--styles", *styles]) == 0


def test_a_run_from_before_a_term_or_the_margin_goes_on_without_it(own_run):
    _, last = own_run
    content = torch.load(last, weights_only=True)
    stored = content["hyper_parameters"]["objective"]
    defaults = {"grey_every": GREY_EVERY, **TRAINING_WEIGHTS}
    del defaults["grid_weight"]  # there from the beginning
    assert {name: stored.pop(name) for name in defaults} == defaults
    for architecture in (
        content["hyper_parameters"]["architecture"],
        content["style_model"]["architecture"],
    ):
        assert architecture.pop("margin") == 4
    torch.save(content, last)
    assert StyleTransferModule.load_from_checkpoint(last).network.margin == 0
    assert main(["--resume", str(last), "--steps", "4"]) == 0
    resumed = torch.load(last, weights_only=True)
    objective = resumed["hyper_parameters"]["objective"]
    assert resumed["global_step"] == 4
    assert [objective[name] for name in defaults] == [0] * len(defaults)
    assert "margin" not in resumed["style_model"]["architecture"]


def test_a_checkpoint_alone_resumes_exactly(run, train_argv, tmp_path, interrupted_at):
    interrupted_at(7, SystemExit(9))
    with pytest.raises(SystemExit):
        main(train_argv(tmp_path / "run", "--lr", "1e-5"))
    alone = tmp_path / "alone" / "renamed.ckpt"
    alone.parent.mkdir()
    (tmp_path / "run" / "last.ckpt").rename(alone)
    assert main(["--resume", str(alone)]) == 0
    assert main(train_argv(tmp_path / "whole", "--lr", "1e-5")) == 0
    ends = [load_file(tmp_path / name / "model.safetensors") for name in ("alone", "whole")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


def stored_with(run, path, settings):
    """A copy of a checkpoint that holds other settings."""
    content = torch.load(run / "last.ckpt", weights_only=True)
    content.pop("settings")
    torch.save(content | ({} if settings is None else {"settings": settings}), path)
    return path


def test_a_checkpoint_without_settings_says_what_is_missing(run, tmp_path, capsys):
    old = stored_with(run, tmp_path / "old.ckpt", None)
    line = refused(["--resume", old, "--width", "0.125", "--steps", 20], capsys)
    assert str(old) in line and "config.yaml" in line and "--styles" in line


@pytest.mark.parametrize(
    "settings",
    ["trainer: {callbacks: [{class_path: os.system}]}", "[", ["styles"], "{config: a}", "stepz: 1"],
)
def test_settings_in_a_checkpoint_are_trusted_no_more_than_a_file(run, tmp_path, capsys, settings):
    bad = stored_with(run, tmp_path / "bad.ckpt", settings)
    for resume in (["--resume", bad], [f"--resume={bad}"]):
        told = refused([*resume, "--steps", 20], capsys)
        assert str(bad) in told and len(told) < 400


@pytest.mark.skipif(torch.cuda.device_count() > 3, reason="that GPU is here")
def test_a_run_goes_on_without_the_gpu_that_wrote_its_checkpoint(run, tmp_path, monkeypatch):
    content = torch.load(run / "last.ckpt", weights_only=True)
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:3")
        torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(RuntimeError, match="cuda"):
        torch.load(tmp_path / "last.ckpt", map_location=None, weights_only=True)
    assert main(["--resume", str(tmp_path / "last.ckpt"), "--steps", "14"]) == 0
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 14
