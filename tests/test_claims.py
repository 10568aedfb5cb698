"""Two commands that want one file or folder: the second takes the next number, or is told."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from conftest import smooth_field
from PIL import Image

from fst.assets import GALLERY
from fst.cli import gatys, gram, styles, train
from fst.io import images
from fst.io.atomic import Claimed, claimed_file, claimed_folder
from fst.training import checkpoint  # noqa: F401 for the forks, of which each would import it
from fst.training.run_folder import RunFolder

AT_ONCE = 8

HOLDER = """
import sys, time
from pathlib import Path
from fst.io.atomic import claimed_folder
with claimed_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def run_at_once(target, *args):
    """What so many processes answer that begin `target` together; they are forks of this one."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(AT_ONCE), context.Queue()

    def begin():
        barrier.wait()
        answers.put(target(*args))

    processes = [context.Process(target=begin) for _ in range(AT_ONCE)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    return found


def run_of(output):
    """Holds the folder of a run as fst-train does, and stores something in it."""
    settings = SimpleNamespace(output=output, resume=None)
    saver = SimpleNamespace(has_stepped=False)
    try:
        with RunFolder(settings) as folder:
            saver.folder = folder.path
            folder.hold(saver)
            (folder.path / "last.ckpt").touch()
            time.sleep(0.2)
    except Claimed:
        return None
    except Exception as error:
        return type(error).__name__
    return str(folder.path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
@pytest.mark.parametrize("round", range(3))
def test_runs_that_begin_together_each_get_a_folder_of_their_own(tmp_path, monkeypatch, round):
    monkeypatch.chdir(tmp_path)
    found = run_at_once(run_of, None)
    assert sorted(found) == [f"checkpoints/run-{n}" for n in range(1, AT_ONCE + 1)]
    assert {path.name for path in tmp_path.glob("checkpoints/*/*")} == {"last.ckpt"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
def test_of_runs_that_begin_together_in_one_folder_one_goes_on(tmp_path):
    found = run_at_once(run_of, str(tmp_path / "run"))
    assert sum(answer == str(tmp_path / "run") for answer in found) == 1
    assert set(found) <= {str(tmp_path / "run"), None, "FstError"}  # held, or done already


def write_numbered(path):
    """Writes a picture of its own under a name that all want."""
    picture = images.to_tensor(Image.new("RGB", (8, 8), (os.getpid() % 256, 0, 0)))
    return str(images.save(picture, path, numbered=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
def test_pictures_that_are_written_together_are_all_kept(tmp_path):
    found = run_at_once(write_numbered, tmp_path / "a.png")
    assert len(set(found)) == AT_ONCE == len(list(tmp_path.iterdir()))


def test_a_numbered_name_that_is_held_is_passed_over(tmp_path):
    with claimed_file(tmp_path / "a.png", True) as first:
        with claimed_file(tmp_path / "a.png", True) as second:
            assert (first.name, second.name) == ("a.png", "a-1.png")
        told = pytest.raises(Claimed, match=r"a\.png is being written by another command")
        with told, claimed_file(tmp_path / "a.png", False):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def held(tmp_path):
    """A folder that another process holds, and that process."""
    folder = tmp_path / "held"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield folder, process
    process.kill()
    process.wait()


def test_who_holds_a_folder_is_told(held):
    folder, process = held
    with pytest.raises(Claimed, match=f"process {process.pid} on "), claimed_folder(folder):
        pass


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_what_a_killed_command_has_held_is_free(held):
    folder, process = held
    process.kill()
    process.wait()
    with claimed_folder(folder):
        pass
    assert not list(folder.iterdir())


# The commands


def refused(main, argv, capsys):
    """The one line of a command that is refused."""
    assert main([str(argument) for argument in argv]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is being written by another command" in line
    return line


def test_a_run_in_a_folder_that_is_held_is_refused(held, train_argv, capsys):
    folder, _ = held
    assert str(folder) in refused(train.main, train_argv(folder), capsys)
    assert [path.name for path in folder.iterdir()] == ["running.lock"]


def test_a_run_that_goes_on_is_not_resumed_beside_itself(run, capsys):
    with claimed_folder(run):
        refused(train.main, ["--resume", run / "last.ckpt", "--steps", 20], capsys)


def test_a_report_in_a_folder_that_is_held_is_refused(held, style_files, loss_weights, capsys):
    argv = [style_files[0], "-o", held[0], "--loss-weights", loss_weights, "--size", 64]
    refused(gram.main, [*argv, "--patches", "1x1"], capsys)


@pytest.fixture
def gatys_argv(tmp_path, monkeypatch, style_files, loss_weights):
    monkeypatch.chdir(tmp_path)
    smooth_field(4, 48, 64).save(tmp_path / "photo.png")
    argv = ["--content", "photo.png", "--style", style_files[0], "--loss-weights", loss_weights]
    return [str(a) for a in [*argv, "--size", 48, "--steps", 2, "--device", "cpu"]]


def test_a_picture_that_another_optimises_is_refused_or_numbered(gatys_argv, tmp_path, capsys):
    with claimed_file(tmp_path / "a.png", False):
        refused(gatys.main, [*gatys_argv, "-o", tmp_path / "a.png"], capsys)
    with claimed_file(tmp_path / "photo_stripes.png", False):
        assert gatys.main(gatys_argv) == 0
    assert capsys.readouterr().out == "photo_stripes-1.png\n"


def test_an_optimised_picture_is_kept_where_its_name_was_taken(gatys_argv, monkeypatch, capsys):
    from fst.gatys import optimize

    def optimized(*args, **kwargs):
        Image.new("RGB", (8, 8)).save("a.png")  # by any other program
        return optimize(*args, **kwargs)

    monkeypatch.setattr("fst.gatys.optimize", optimized)
    assert gatys.main([*gatys_argv, "-o", "a.png"]) == 0
    assert capsys.readouterr().out == "a-1.png\n"
    assert Image.open("a.png").size == (8, 8) and Image.open("a-1.png").size == (64, 48)


def test_a_model_that_another_changes_is_refused(tmp_path, capsys):
    model = tmp_path / "model.safetensors"
    model.write_bytes(GALLERY.read_bytes())
    with claimed_file(model, False):
        line = refused(styles.main, ["rename", model, "wave", "sea", "--in-place"], capsys)
    assert "--in-place" in line and model.read_bytes() == GALLERY.read_bytes()
