"""SIGTERM, Ctrl-C, and processes that raise or die: nothing hangs, everything resumes."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fst.training import stopping
from fst.training.stopping import Stopping, Terminated

SCRIPT = Path(__file__).parents[1] / "distributed_run.py"
FAULT = "FST_TEST_FAULT"
WITHIN_S = 30


def start(folder, argv, fault="-1 0 none"):
    """Start fst-train in a process group of its own."""
    command = [sys.executable, str(SCRIPT), str(folder), *map(str, argv)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", FAULT: fault}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=settings,
        start_new_session=True,
    )


def group_is_gone(group, seconds):
    """Whether no process of a group is left after so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        left = subprocess.run(["pgrep", "-g", str(group)], capture_output=True, check=False)
        if left.returncode:
            return True
        time.sleep(0.2)
    return False


def step_of(folder):
    """The step of a run's checkpoint."""
    return torch.load(folder / "last.ckpt", weights_only=True)["global_step"]


def resumed(folder, run, steps):
    """Weights of a run resumed to a step."""
    process = start(folder, ["--resume", run / "last.ckpt", "--steps", steps])
    said = process.communicate(timeout=200)[0]
    assert process.returncode == 0, said[-3000:]
    return torch.load(run / "last.ckpt", weights_only=True)["state_dict"]


# ---- the callback alone ------------------------------------------------------------------------


class Run:
    """As much of a trainer as `Stopping` looks at."""

    is_global_zero, received_sigterm, global_step = True, False, 7
    strategy = type("Strategy", (), {"root_device": torch.device("cpu")})()


@pytest.fixture
def callback():
    """A callback that has taken over the signals."""
    before = [signal.getsignal(number) for number in stopping.CAUGHT]
    callback = Stopping()
    callback.on_train_start(Run(), None)
    yield callback
    callback.teardown(None, None, "fit")
    assert [signal.getsignal(number) for number in stopping.CAUGHT] == before


@pytest.mark.parametrize("number", stopping.CAUGHT)
def test_a_batch_is_finished_first(callback, number):
    """Out of a handler nothing is raised: locks that saving waits for could stay locked."""
    os.kill(os.getpid(), number)
    expected = KeyboardInterrupt if number == signal.SIGINT else Terminated
    with pytest.raises(expected) as stop:
        callback.on_train_batch_end(Run(), None, None, None, 0)
    assert number == signal.SIGINT or stop.value.code == 143


def test_a_validation_is_cut_off(callback):
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Terminated):
        callback.on_validation_batch_end(Run(), None)


def test_a_second_interrupt_does_not_wait(callback):
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_several_processes_agree_before_they_stop(callback, monkeypatch):
    monkeypatch.setattr(stopping, "several", lambda: True)
    os.kill(os.getpid(), signal.SIGTERM)  # raises nothing here
    with pytest.raises(Terminated):
        callback.on_train_batch_end(Run(), None, None, None, 0)


def test_a_process_that_had_no_signal_stops_with_the_others(callback, monkeypatch):
    monkeypatch.setattr(stopping, "any_process", lambda flag, device: True)
    with pytest.raises(Terminated):
        callback.on_validation_batch_end(Run(), None)


# ---- whole runs --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_sigterm_at_random_steps_stores_the_run(train_argv, tmp_path):
    """20 times: exit code 143 within 10 s, and the run goes on as if nothing had been."""
    draw, seconds, steps = random.Random(0), [], []
    length = 2000  # the signals are to come before its end
    run = tmp_path / "run"
    argv = train_argv(run, "--steps", length, "--save-every", length, "--val-every", 200)
    for _ in range(20):
        process = start(tmp_path, argv)
        wait_until_trains(process)
        time.sleep(draw.uniform(0, 1.2))
        process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        said = process.communicate(timeout=60)[0]
        seconds.append(time.monotonic() - sent)
        assert process.returncode == 143, said[-3000:]
        steps.append(step_of(run))
        assert f"SIGTERM after step {steps[-1]}" in said
        argv = ["--resume", run / "last.ckpt"]
    print(f"\n20 SIGTERMs: steps {steps}, at most {max(seconds):.1f} s until the end")
    assert steps == sorted(steps) and max(seconds) < 10
    ends = resumed(tmp_path, run, length)
    argv = train_argv(tmp_path / "whole", "--steps", length, "--save-every", length)
    whole = start(tmp_path, [*argv, "--val-every", 200])
    said = whole.communicate(timeout=200)[0]
    assert whole.returncode == 0, said[-3000:]
    expected = torch.load(tmp_path / "whole" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(ends[name], expected[name]) for name in expected)


def wait_until_trains(process):
    """Read what a process says up to its first batch: before it, a signal ends it as it is."""
    for line in process.stdout:
        if "training begins" in line:
            return
    raise AssertionError(process.wait())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("0 5 raise", "made by the test"),
        ("1 5 raise", "made by the test"),
        ("0 5 nan", "the loss is nan at step 5"),
        ("1 5 nan", "the loss is nan at step 5"),
        ("0 5 kill", ""),
        ("1 5 kill", ""),
        ("0 5 sigterm", "SIGTERM after step 6"),
        ("1 5 sigterm", "SIGTERM after step 6"),
    ],
)
def test_no_process_outlives_one_that_failed(train_argv, tmp_path, fault, told):
    run = tmp_path / "run"
    argv = train_argv(run, "--save-every", 2, "--trainer.devices", 2, "--trainer.strategy", "ddp")
    begun = time.monotonic()
    process = start(tmp_path, argv, fault)
    said = process.communicate(timeout=200)[0]
    ended = time.monotonic()
    assert group_is_gone(process.pid, WITHIN_S)
    gone = time.monotonic() - ended
    print(f"\n{fault}: code {process.returncode} after {ended - begun:.0f} s, gone {gone:.1f} s on")
    assert process.returncode != 0 and told in said, said[-3000:]
    if "raise" in fault:
        assert re.search("Traceback.*ArithmeticError: made by the test", said, re.DOTALL)
    if "sigterm" in fault:
        assert process.returncode == 143
    assert step_of(run) == (6 if "sigterm" in fault else 4)
    ends = resumed(tmp_path, run, 12)
    assert all(weight.isfinite().all() for weight in ends.values())
