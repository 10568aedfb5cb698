"""Flags of Lightning's Trainer do what Lightning and docs/trainer_flags.md say, or are answered."""

import inspect
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer

from fst.cli.commands import newest_models
from fst.cli.train import main
from fst.cli.train_problems import SETTLED
from fst.training import report

TABLE = Path(__file__).parents[1] / "docs" / "trainer_flags.md"


def without(argv, *flags):
    """The arguments without some flags and their values."""
    for flag in flags:
        place = argv.index(flag)
        argv = argv[:place] + argv[place + 2 :]
    return argv


def refused(argv, capsys):
    assert main([str(argument) for argument in argv]) == 2
    return capsys.readouterr().err.strip()


def test_the_table_has_every_flag_once():
    names = {*inspect.signature(pl.Trainer.__init__).parameters} - {"self"}
    both = TABLE.read_text().split("Set by `fst-train`:")
    rows = [re.findall(r"^\| (`--trainer.*?) \|", part, re.MULTILINE) for part in both]
    passed, settled = (re.findall(r"`--trainer\.(\w+)`", " ".join(row)) for row in rows)
    assert len(passed + settled) == len(names) and {*passed, *settled} == names
    assert set(settled) == set(SETTLED)


@pytest.mark.parametrize("name", sorted(SETTLED))
@pytest.mark.parametrize("form", ["--trainer.{} 3", "--trainer.{}=3"])
def test_a_flag_that_is_settled_is_answered_with_the_one_to_use(train_argv, capsys, name, form):
    told = refused([*train_argv("none"), *form.format(name).split()], capsys)
    assert told == f"fst-train: error: --trainer.{name}: {SETTLED[name]}"


@pytest.mark.parametrize("text", ["trainer: {max_steps: 3}", "trainer.max_steps: 3"])
def test_in_a_settings_file_too(tmp_path, capsys, text):
    (tmp_path / "run.yaml").write_text(text)
    told = refused(["--config", tmp_path / "run.yaml"], capsys)
    assert told.endswith("trainer.max_steps: use --steps")


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "16-true"])
def test_a_precision_that_the_loss_has_not_is_refused(train_argv, tmp_path, capsys, precision):
    told = refused(train_argv(tmp_path / "run", "--trainer.precision", precision), capsys)
    assert precision in told and "32-true" in told and len(told.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "callback, way_out",
    [
        ("LearningRateFinder", "--lr"),
        ("BatchSizeFinder", "--batch-size"),
        ("GradientAccumulationScheduler", "--trainer.accumulate_grad_batches"),
    ],
)
def test_callbacks_that_need_epochs_are_refused(train_argv, capsys, callback, way_out):
    argv = train_argv("none", "--trainer.callbacks", callback)
    if callback == "GradientAccumulationScheduler":
        argv += ["--trainer.callbacks.scheduling", "{0: 2}"]
    assert refused(argv, capsys).endswith(f"use {way_out}")


def test_what_lightning_finds_wrong_late_is_one_line(train_argv, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", "--trainer.callbacks", "StochasticWeightAveraging")
    told = refused([*argv, "--trainer.callbacks.swa_lrs", "0.1"], capsys)
    assert told.startswith("fst-train: error: --trainer: SWA") and len(told.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_plugin_is_refused_by_name(train_argv, capsys):
    told = refused(train_argv("none", "--trainer.plugins", "AsyncCheckpointIO"), capsys)
    assert "CheckpointIO" in told and "--trainer.plugins" in told


# What is told at the end


def end_of(argv, capsys):
    assert main([str(argument) for argument in argv]) == 0
    return capsys.readouterr().out


def test_no_log_is_named_where_there_is_none(train_argv, tmp_path, capsys):
    out = end_of(train_argv(tmp_path / "run", "--trainer.logger", "false"), capsys)
    assert "tensorboard" not in out


def test_the_log_there_is_is_named(train_argv, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", "--trainer.logger", "CSVLogger")
    out = end_of([*argv, "--trainer.logger.save_dir", tmp_path / "logs"], capsys)
    assert "tensorboard" not in out
    (place,) = re.findall(r"^log: +(\S+)$", out, re.MULTILINE)
    assert (Path(place) / "metrics.csv").is_file()


def test_a_tensorboard_elsewhere_is_named(train_argv, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", "--trainer.logger", "TensorBoardLogger")
    out = end_of([*argv, "--trainer.logger.save_dir", tmp_path / "tb"], capsys)
    (place,) = re.findall(r"tensorboard --logdir (\S+)", out)
    assert place.startswith(str(tmp_path / "tb")) and list(Path(place).glob("events*"))


def test_early_stopping_says_that_and_why_it_stopped(train_argv, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", "--val-every", 2, "--trainer.callbacks", "EarlyStopping")
    argv += ["--trainer.callbacks.monitor", "val/style", "--trainer.callbacks.patience", "1"]
    out = end_of([*argv, "--trainer.callbacks.min_delta", 100], capsys)
    assert "ended early, after 4 of 12 steps: Monitored metric val/style did not" in out


def test_classes_are_not_stored_and_that_is_said(train_argv, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", "--trainer.callbacks", "Timer", "--steps", 1)
    assert main(argv) == 0
    told = "--trainer.callbacks is not stored: to be given again with --resume"
    assert told in capsys.readouterr().out.splitlines()
    assert main(["--resume", str(tmp_path / "run")]) == 2  # the folder alone
    (line,) = capsys.readouterr().err.splitlines()
    file = tmp_path / "run" / "last.ckpt"
    assert line.endswith(f"--resume: {tmp_path / 'run'} is a folder: did you mean {file}?")
    assert main(["--resume", str(tmp_path / "none")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{tmp_path / 'none'}: no such checkpoint; runs write last.ckpt")


def test_a_mistyped_monitor_is_told_in_one_line(train_argv, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", "--val-every", 2, "--trainer.callbacks", "EarlyStopping")
    assert main([*argv, "--trainer.callbacks.monitor", "val/stile"]) == 2
    (line,) = [part for part in capsys.readouterr().err.splitlines() if "error:" in part]
    assert "--trainer.callbacks: Early stopping" in line
    assert "val/stile" in line and "`val/style`" in line  # what there is


def test_a_timer_says_that_its_time_is_over():
    ended = type("Trainer", (), {"callbacks": [Timer(duration=timedelta(0))]})
    assert report._reason(ended) == "the time of its Timer is over"
    going_on = type("Trainer", (), {"callbacks": [Timer(duration=timedelta(hours=1)), Timer()]})
    assert report._reason(going_on) == "a callback has stopped it"


@pytest.mark.parametrize(
    "flags",
    [
        ("--trainer.fast_dev_run", "true"),
        ("--trainer.fast_dev_run", 2),
        ("--trainer.limit_train_batches", 0),
        ("--trainer.callbacks", "Timer", "--trainer.callbacks.duration", "00:00:00:00"),
    ],
    ids=lambda flags: " ".join(map(str, flags)),
)
@pytest.mark.parametrize("named", [True, False])
def test_what_is_no_run_writes_nothing(train_argv, tmp_path, monkeypatch, capsys, flags, named):
    monkeypatch.chdir(tmp_path)
    argv = train_argv("run", *flags)
    out = end_of(argv if named else without(argv, "-o"), capsys)
    assert "nothing is written" in out and "written: " not in out
    assert list(tmp_path.iterdir()) == [] and newest_models(tmp_path) == []


def test_barebones_trains(train_argv, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", "--trainer.barebones", "true")
    argv = without(argv, "--trainer.log_every_n_steps", "--trainer.enable_progress_bar")
    assert "tensorboard" not in end_of(argv, capsys)
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_model_checkpoint_stores_beside_ours(train_argv, tmp_path):
    argv = train_argv(tmp_path / "run", "--trainer.callbacks", "ModelCheckpoint")
    argv += ["--trainer.callbacks.monitor", "val/style", "--trainer.callbacks.save_top_k", "2"]
    assert main([*argv, "--trainer.callbacks.dirpath", str(tmp_path / "best")]) == 0
    assert len(list((tmp_path / "best").glob("*.ckpt"))) == 2
    assert (tmp_path / "run" / "last.ckpt").is_file()


# The bar


def bars_of(argv, capsys):
    """Steps done and in all, as the bar has shown them since the first."""
    assert main([*argv, "--trainer.enable_progress_bar", "true"]) == 0
    shown = re.findall(r"\| *(\d+)/(\d+|\?) ", "".join(capsys.readouterr()))
    return [(int(done), total) for done, total in shown if done != "0"]


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_the_bar_counts_steps_to_its_end(train_argv, tmp_path, capsys, batches):
    argv = train_argv(tmp_path / "run", "--trainer.accumulate_grad_batches", batches)
    shown = bars_of(without(argv, "--trainer.enable_progress_bar"), capsys)
    assert {total for _, total in shown} == {"12"}
    assert max(done for done, _ in shown) == 12


def test_the_bar_of_a_resumed_run_goes_on(train_argv, tmp_path, capsys):
    assert main(train_argv(tmp_path / "run", "--steps", 6)) == 0
    capsys.readouterr()
    argv = ["--resume", str(tmp_path / "run" / "last.ckpt"), "--steps", "12"]
    shown = bars_of(argv, capsys)
    assert min(shown)[0] in (6, 7) and max(shown) == (12, "12")


def test_another_bar_takes_the_place_of_ours(train_argv, tmp_path):
    argv = train_argv(tmp_path / "run", "--trainer.callbacks", "TQDMProgressBar", "--steps", 2)
    assert main(without(argv, "--trainer.enable_progress_bar")) == 0


# What Lightning says when it is asked


@pytest.mark.parametrize(
    "flags, told",
    [
        (("--trainer.profiler", "simple"), "run_training_batch"),
        (("--trainer.callbacks", "ModelSummary"), "TransformerNet"),
    ],
    ids=["profiler", "summary"],
)
def test_lightning_is_heard_where_it_is_asked(train_argv, tmp_path, flags, told):
    program = "import sys; from fst.cli.train import main; sys.exit(main(sys.argv[1:]))"
    argv = train_argv(tmp_path / "run", "--steps", 2, *flags)
    done = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True,
                          timeout=200)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert told in done.stdout + done.stderr
