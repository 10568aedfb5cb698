"""What a run of fst-train leaves in its folder when it comes to nothing."""

import os
import signal
import subprocess
import sys

import pytest
from PIL import Image

from fst.cli.train import main
from fst.errors import FstError
from fst.training.module import StyleTransferModule


@pytest.fixture
def argv(train_argv, tmp_path, monkeypatch):
    """A tiny run without -o, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    words = train_argv("none")
    place = words.index("-o")
    return words[:place] + words[place + 2 :]


def raising(monkeypatch, method, error):
    def fail(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(StyleTransferModule, method, fail)


def test_a_run_whose_loss_network_cannot_be_had_leaves_nothing(argv, tmp_path, monkeypatch, capsys):
    raising(monkeypatch, "setup", FstError("vgg19 cannot be downloaded"))
    assert main(argv) == 1
    assert "cannot be downloaded" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["setup", "training_step"])
def test_a_run_that_fails_in_its_first_step_leaves_nothing(argv, tmp_path, monkeypatch, method):
    raising(monkeypatch, method, RuntimeError())
    with pytest.raises(RuntimeError):
        main(argv)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["__init__", "setup", "training_step"])
def test_ctrl_c_before_the_first_step_leaves_nothing_and_says_so(
    argv, tmp_path, monkeypatch, keep_interrupts, capsys, method
):
    raising(monkeypatch, method, KeyboardInterrupt())
    assert main(argv) == 130
    assert capsys.readouterr().err.endswith("fst-train: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("rank", "told"), [("0", "fst-train: interrupted\n"), ("1", "")])
def test_of_several_processes_the_first_says_that_they_were_interrupted(
    argv, monkeypatch, capsys, rank, told
):
    monkeypatch.setenv("LOCAL_RANK", rank)  # as Lightning and torchrun do
    raising(monkeypatch, "__init__", KeyboardInterrupt())
    assert main(argv) == 130
    assert capsys.readouterr().err == told


def test_a_thumbnail_among_the_style_pictures_is_refused_before_a_folder_is_made(
    train_argv, style_files, tmp_path, capsys
):
    folder = tmp_path / "styles"
    folder.mkdir()
    for name, size_px in (("a.png", 40), ("thumbnail.png", 16)):
        Image.new("RGB", (size_px, size_px)).save(folder / name)
    assert main(train_argv(tmp_path / "run", "--styles", style_files[0], folder)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{folder / 'thumbnail.png'} has 16x16 px" in line
    assert not (tmp_path / "run").exists()


def test_the_name_of_a_model_is_no_folder(train_argv, tmp_path, capsys):
    assert main(train_argv(tmp_path / "model.safetensors")) == 2
    assert "model.safetensors: name a folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_lightning_refuses_leaves_nothing(argv, tmp_path):
    assert main([*argv, "--trainer.accelerator", "abacus"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_what_was_in_the_folder_before_stays(train_argv, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("steps: 3\n")
    raising(monkeypatch, "setup", FstError("no"))
    assert main(train_argv(folder)) == 1
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_a_run_that_fails_after_a_save_keeps_all(train_argv, tmp_path, interrupted_at):
    interrupted_at(4, FstError("no"))
    assert main(train_argv(tmp_path / "run")) == 1
    names = {path.name.split(".tfevents")[0] for path in (tmp_path / "run").iterdir()}
    curves = {"events.out", "hparams.yaml"}
    assert names == {"last.ckpt", "model.safetensors", "config.yaml"} | curves


def test_the_curves_of_steps_that_were_not_saved_are_kept(train_argv, tmp_path, interrupted_at):
    interrupted_at(2, FstError("no"))
    assert main(train_argv(tmp_path / "run")) == 1
    assert list((tmp_path / "run").glob("events*"))


STOPPED = """
import os, signal, sys
from fst.cli.train import main
from fst.training.module import StyleTransferModule
StyleTransferModule.setup = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to send")
def test_a_run_that_is_told_to_end_before_it_begins_leaves_nothing(argv, tmp_path):
    done = subprocess.run([sys.executable, "-c", STOPPED, *argv], cwd=tmp_path, timeout=200,
                          capture_output=True, text=True, env=os.environ)  # fmt: skip
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
