"""kill -9 at random moments: the last checkpoint is always whole and never old."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from warm_process import WarmProcess, read_trace

from fst.io.atomic import remove_orphans, write_atomically
from fst.style_model.format import load_style_model
from fst.training.checkpoint import FILE_NAMES, read_checkpoint

EVERY = 2  # steps between saves
FOREIGN = ("notes.txt", ".last.ckpt.mine", ".last.ckpt.ABCDEFGH.tmp", ".other.abcdefgh.tmp", ".x")

needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL and fork")


def orphans(folder):
    return {p.name for p in folder.glob(".*.tmp")} - set(FOREIGN)


def put_foreign(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in FOREIGN:
        (folder / name).write_text(name)


def assert_foreign_untouched(folder):
    assert [(folder / name).read_text() for name in FOREIGN] == list(FOREIGN)


def test_only_half_written_files_of_the_run_are_deleted(tmp_path):
    put_foreign(tmp_path)
    left = {
        ".last.ckpt.ab_0cdef.tmp",
        ".model.safetensors.12345678.tmp",
        ".config.yaml.________.tmp",
    }
    for name in left:
        (tmp_path / name).write_text("half")
    (tmp_path / "last.ckpt").write_text("whole")
    (tmp_path / ".last.ckpt.abcdefgh.tmp").mkdir()  # a folder is nobody's temporary file
    assert {path.name for path in remove_orphans(tmp_path, FILE_NAMES)} == left
    assert_foreign_untouched(tmp_path)
    assert (tmp_path / "last.ckpt").read_text() == "whole"
    assert (tmp_path / ".last.ckpt.abcdefgh.tmp").is_dir()
    assert not left & {path.name for path in tmp_path.iterdir()}


@needs_kill
def test_a_file_that_a_kill_leaves_half_written_is_known_as_such(tmp_path):
    """The name that a write really uses, seen in the middle of it."""
    pid = os.fork()
    if pid == 0:
        try:
            os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            write_atomically(tmp_path / "last.ckpt", b"content")
        finally:
            os._exit(1)  # not reached, or pytest would go on twice
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert remove_orphans(tmp_path, FILE_NAMES) == [left]
    assert not list(tmp_path.iterdir())


def test_the_folder_is_synced_after_the_new_name_is_in_it(tmp_path, monkeypatch):
    """Else a power cut can take the name back."""
    calls, replace, fsync = [], os.replace, os.fsync

    def seen_fsync(handle):
        calls.append(("fsync", os.path.isdir(f"/proc/self/fd/{handle}")))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append(("replace", None)), replace(*a)))
    write_atomically(tmp_path / "last.ckpt", b"content")
    assert calls == [("fsync", False), ("replace", None), ("fsync", True)]


@pytest.fixture(scope="module")
def warm():
    process = WarmProcess()
    yield process
    process.close()


def other_file_system(folder):
    """A folder to write to that lies on another file system, or None."""
    shared = Path("/dev/shm")
    if shared.is_dir() and os.stat(shared).st_dev != os.stat(folder).st_dev:
        return shared
    return None


class Killed:
    """A run that is started again and again, and killed again and again."""

    def __init__(self, warm, folder, temporary, argv):
        self.warm, self.folder, self.argv = warm, folder / "run", argv
        self.trace, self.output = folder / "trace", folder / "output"
        self.variables = {"TMPDIR": str(temporary)}
        self.done = self.saved = 0  # steps known to be done, and to be stored
        self.orphans = set()
        self.counts = Counter()

    def start(self, **faults):
        last = self.folder / "last.ckpt"
        argv = ["--resume", last] if last.exists() else [*self.argv, "-o", self.folder]
        self.trace.write_text("")
        return self.warm.start(argv, self.output, self.trace, self.variables, **faults)

    def wait_for(self, word):
        began = time.monotonic()
        while word not in self.trace.read_text():
            assert time.monotonic() - began < 60, self.output.read_text()[-2000:]
            time.sleep(0.005)
        return time.monotonic() - began

    def measure(self):
        """Seconds to the first step and of the longest of three saves, in a run of its own."""
        pid = self.start()
        start_seconds = self.wait_for("begin")
        self.wait_for(f"saved {3 * EVERY} ")
        os.kill(pid, signal.SIGKILL)
        self.warm.wait(pid)
        times = [float(w[2]) for w in read_trace(self.trace) if w[0].startswith("sav")]
        shutil.rmtree(self.folder)
        put_foreign(self.folder)
        return start_seconds, max(b - a for a, b in zip(times[:6:2], times[1:6:2], strict=True))

    def kill(self, when, delay, save=1):
        """Kill it so long after its start, its first step, or the beginning of a save."""
        if when == "save":
            pid = self.start(die_in_save=(save, delay))
        else:
            pid = self.start()
            if when == "step":
                self.wait_for("begin")
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
        assert self.warm.wait(pid) == -signal.SIGKILL, self.output.read_text()[-2000:]
        self.check()

    def check(self):
        lines = read_trace(self.trace)
        phase = lines[-1][0] if lines else "begin"
        self.counts["killed in a save" if phase == "saving" else
                    "killed in a step" if lines else "killed at the start"] += 1  # fmt: skip
        # The step under way at the kill may have been done but for its last line.
        self.done = max((int(w[1]) + (w[0] == "begin") for w in lines), default=0)
        self.saved = max([self.saved, *(int(w[1]) for w in lines if w[0] == "saved")])
        self._check_files()
        if lines:  # it began: what the kill before left is gone
            assert not self.orphans & orphans(self.folder)
        self.orphans = orphans(self.folder)
        self.counts["kills that left an orphan"] += bool(self.orphans)

    def _check_files(self):
        last, model = self.folder / "last.ckpt", self.folder / "model.safetensors"
        step = 0
        if last.exists():
            step = read_checkpoint(last)["global_step"]  # raises where it is not whole
            load_style_model(last)
            self.counts["checkpoints read"] += 1
        if model.exists():
            model_step = load_style_model(model)[1]["training"]["step"]
            assert step - EVERY <= model_step <= step
            self.counts["models read"] += 1
        assert step >= self.saved  # a save that ended is there
        lost = max(0, self.done - step)
        assert lost <= EVERY
        self.counts[f"lost {lost} steps at most"] += 1
        self.saved = step


def kill_many(warm, folder, temporary, argv, kills, seed):
    run = Killed(warm, folder, temporary, argv)
    put_foreign(run.folder)
    start_seconds, save_seconds = run.measure()
    random_numbers = random.Random(seed)
    longest = {"start": start_seconds, "step": 0.6, "save": 1.2 * save_seconds}
    for number in range(kills):
        when = ("start", "step", "save", "step")[number % 4]
        delay = random_numbers.uniform(0, longest[when])
        run.kill(when, delay, save=random_numbers.randint(1, 4))
    code = warm.run(["--resume", run.folder / "last.ckpt", "--steps", run.saved + 1], run.output,
                    run.trace, variables=run.variables)  # fmt: skip
    assert code == 0, run.output.read_text()[-2000:]
    assert not orphans(run.folder)
    assert_foreign_untouched(run.folder)
    run.counts["steps kept"] = run.saved
    assert not any(name not in ("run", "trace", "output") for name in os.listdir(folder))
    return run.counts


@pytest.mark.slow
@pytest.mark.timeout(3000)
@needs_kill
@pytest.mark.parametrize("where", ["same", "another"])
def test_a_hundred_kills_never_spoil_the_checkpoint(warm, train_argv, tmp_path, where, capsys):
    """TMPDIR on the target's file system and on another: Lightning's own writer differs there."""
    temporary = tmp_path / "temporary"
    if where == "another":
        shared = other_file_system(tmp_path)
        if shared is None:
            pytest.skip("one file system only")
        temporary = shared / f"fst-{os.getpid()}"
    temporary.mkdir()
    argv = train_argv("unused", "--steps", 1_000_000, "--save-every", EVERY, "--size", 32)
    argv = argv[: argv.index("-o")] + argv[argv.index("-o") + 2 :]
    argv += ["--val-every", "7", "--style-size", "48"]
    (tmp_path / "work").mkdir()
    try:
        counts = kill_many(warm, tmp_path / "work", temporary, argv, 100, seed=len(where))
        left = os.listdir(temporary)
    finally:
        shutil.rmtree(temporary)
    with capsys.disabled():
        print(
            f"\n100 kills, TMPDIR on {where} file system, unreadable: 0, saves every {EVERY} steps"
        )
        for name, count in sorted(counts.items()):
            print(f"  {count:5} {name}")
        print(f"  {len(left):5} files left in TMPDIR")
    assert not [name for name in left if "ckpt" in name]
