"""A disk that fills up, and a target that cannot be written: the last good files stay."""

import errno
import os
import shutil
import subprocess
import tempfile

import pytest
import torch
from safetensors.torch import load_file

from fst.cli.train import main
from fst.training.module import StyleTransferModule

DISK_KB = 4096  # the tiny run's files take 300 KB


def mounted(folder, *options):
    """Whether a small file system in memory could be mounted there."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join((f"size={DISK_KB}k", *options)), "tmpfs"]
    try:
        return subprocess.run([*command, str(folder)], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 4 MB."""
    folder = tmp_path / "disk"
    if not mounted(folder):
        pytest.skip("may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def before_step(monkeypatch):
    """Makes something happen once, when a run has done so many steps."""

    def arrange(step, action):
        genuine, steps = StyleTransferModule.training_step, []

        def training_step(self, batch, batch_idx):
            steps.append(self.global_step)
            if self.global_step == step and steps.count(step) == 1:
                action()
            return genuine(self, batch, batch_idx)

        monkeypatch.setattr(StyleTransferModule, "training_step", training_step)
        return steps

    return arrange


def fill(folder, leave_bytes):
    """Take all room of a file system but so much."""
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        file.truncate(file.tell() - leave_bytes)


def failed_line(capfd, code, expected):
    error = capfd.readouterr().err
    assert code == expected, error
    assert "Traceback" not in error
    (line,) = error.strip().splitlines()
    return line


def assert_whole_at(folder, step):
    stored = torch.load(folder / "last.ckpt", weights_only=True)
    assert stored["global_step"] == step
    assert load_file(folder / "model.safetensors")
    assert not list(folder.glob(".*"))


# A page is 4 KB: no room at all, room for the curves but not the checkpoint, and for half of it.
@pytest.mark.parametrize(
    "leave_pages",
    [pytest.param(0, marks=pytest.mark.slow), 4, pytest.param(20, marks=pytest.mark.slow)],
)
def test_a_full_disk_keeps_the_checkpoint_and_is_named(
    small_disk, train_argv, before_step, capfd, leave_pages
):
    folder = small_disk / "run"
    before_step(5, lambda: fill(small_disk, 4096 * leave_pages))
    code = main(train_argv(folder, "--trainer.log_every_n_steps", 1))
    line = failed_line(capfd, code, 1)
    assert str(folder) in line and "No space left on device" in line and "make room" in line
    assert_whole_at(folder, 3)
    (small_disk / "filler").unlink()
    assert main(["--resume", str(folder / "last.ckpt")]) == 0
    assert_whole_at(folder, 12)


def test_a_disk_that_is_full_from_the_start_is_named(small_disk, train_argv, before_step, capfd):
    fill(small_disk, 0)
    steps = before_step(0, lambda: None)
    folder = small_disk / "run"
    line = failed_line(capfd, main(train_argv(folder)), 1)
    assert str(folder) in line and "No space left on device" in line
    assert not steps


@pytest.mark.parametrize(
    "call", ["fsync", *(pytest.param(c, marks=pytest.mark.slow) for c in ("replace", "mkstemp"))]
)
def test_a_save_without_room_keeps_the_last_one(
    train_argv, tmp_path, before_step, monkeypatch, capfd, call
):
    """The same wherever no file system can be mounted: the calls fail from the sixth step on."""

    def no_room(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    module = tempfile if call == "mkstemp" else os
    before_step(5, lambda: monkeypatch.setattr(module, call, no_room))
    line = failed_line(capfd, main(train_argv(tmp_path / "run")), 1)
    assert f"{tmp_path / 'run' / 'last.ckpt'}: cannot write it (No space left" in line
    assert_whole_at(tmp_path / "run", 3)


@pytest.fixture
def read_only(tmp_path):
    """Makes a folder that cannot be written, whoever runs the tests; gives it back afterwards."""
    locked = []

    def lock(folder):
        if os.geteuid():
            folder.chmod(0o555)
            locked.append(lambda: folder.chmod(0o755))
            return
        bind = ["mount", "--bind", str(folder), str(folder)]
        if subprocess.run(bind, capture_output=True).returncode:
            pytest.skip("root may write everywhere, and may not mount")
        locked.append(lambda: subprocess.run(["umount", "-l", str(folder)], check=True))
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)

    yield lock
    for unlock in reversed(locked):
        unlock()


def test_a_read_only_target_is_refused_before_the_first_step(
    read_only, train_argv, tmp_path, before_step, capfd
):
    target = tmp_path / "target"
    target.mkdir()
    read_only(target)
    steps = before_step(0, lambda: None)
    for folder in (target, target / "new"):
        line = failed_line(capfd, main(train_argv(folder)), 2)
        assert f"-o {folder}: cannot write it" in line and "another folder" in line
    assert not steps and not list(target.iterdir())


def test_a_read_only_run_is_not_resumed(read_only, run, train_argv, tmp_path, before_step, capfd):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    read_only(folder)
    steps = before_step(12, lambda: None)
    code = main(["--resume", str(folder / "last.ckpt"), "--steps", "14"])
    line = failed_line(capfd, code, 2)
    assert str(folder) in line
    assert not steps
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before
