"""fst-infer --devices, --num-nodes, --resume: each picture once, as one process does, and on."""

import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from infer_inputs import save_model, save_photo

import fst.stylize.bands.large  # noqa: F401 - before what it asks is replaced
from fst.cli import infer
from fst.io import images
from fst.runtime import processes
from fst.stylize.bands import memory_plan
from fst.stylize.folder import record as records
from fst.stylize.stylizer import Stylizer

LIMIT_S = 240


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder with a model; torch computes with one thread in all processes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    save_model(Path("model.safetensors"))


@pytest.fixture
def run(capsys):
    """Runs in this process; gives exit code, lines of stdout and lines of stderr."""

    def call(*words):
        code = infer.main(_argv(*words))
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err.splitlines()

    return call


def _argv(*words):
    return ["--model", "model.safetensors", "--device", "cpu", *map(str, words)]


def _save_photos(count, folder="in"):
    for number in range(count):
        save_photo(f"{folder}/p{number:02}.png", 20 + number % 3, 24, seed=number)


def _painted(folder) -> dict[str, bytes]:
    """What a user sees in a folder: names and contents."""
    files = (f for f in Path(folder).rglob("*") if f.is_file())
    below = {str(f.relative_to(folder)): f for f in files}
    hidden = (name for name in below if any(part.startswith(".") for part in Path(name).parts))
    return {name: below[name].read_bytes() for name in below.keys() - set(hidden)}


def _lines(folder) -> list[list]:
    files = Path(folder, records.FOLDER).glob("*")
    return [line for file in files for line in records.read_lines(file)]


# Several processes: forked, as a launcher of its own would start them


def _member(environment, argv):
    os.environ.update(environment)
    sys.stderr = open(f"err{environment['NAME']}.txt", "w")  # noqa: SIM115
    sys.exit(infer.main(argv))


def _by_lightning(rank, count, port):
    return {"LOCAL_RANK": rank, "MASTER_PORT": port}


def _by_torchrun(rank, count, port):
    given = {"TORCHELASTIC_RUN_ID": "x", "RANK": rank, "WORLD_SIZE": count, "GROUP_RANK": 0}
    return given | {"LOCAL_RANK": rank, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}


def _by_slurm(rank, count, port):
    given = {"PROCID": rank, "LOCALID": rank, "NODEID": 0, "NTASKS": count, "JOB_NAME": "paint"}
    given |= {"NTASKS_PER_NODE": count, "NODELIST": "127.0.0.1", "JOB_ID": 1, "NNODES": 1}
    given = {f"SLURM_{name}": value for name, value in given.items()}
    return given | {"MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}


def _by_node(rank, count, port):
    return {"NODE_RANK": rank, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}


def _start(count, *words, launcher=_by_lightning):
    """Processes that paint together."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fork, members = multiprocessing.get_context("fork"), []
    for rank in range(count):
        environment = launcher(rank, count, port) | {"NAME": rank}
        environment = {name: str(value) for name, value in environment.items()}
        members.append(fork.Process(target=_member, args=(environment, _argv(*words))))
        members[-1].start()
    return members


def _together(count, *words, launcher=_by_lightning):
    """Exit codes of processes that paint together, and what each one told."""
    members = _start(count, *words, launcher=launcher)
    for member in members:
        member.join(60)
    told = [Path(f"err{rank}.txt").read_text() for rank in range(count)]
    codes = [member.exitcode for member in members]
    for member in members:
        member.kill()
    return codes, told


@pytest.mark.parametrize(("processes", "photos"), [(2, 1), (2, 5), (3, 2), (3, 7)])
def test_processes_paint_each_picture_once_as_one_process_does(run, processes, photos):
    _save_photos(photos)
    assert run("in", "--style", "wave", "rain", "-o", "one")[0] == 0
    devices = ("--devices", processes)
    codes, told = _together(processes, "in", "--style", "wave", "rain", "-o", "out", *devices)
    assert (codes, told) == ([0] * processes, [""] * processes)
    assert _painted("out") == _painted("one") and len(_painted("one")) == 2 * photos
    done = [name for _, name, key, _ in _lines("out") if key is not None]
    assert sorted(done) == sorted(_painted("one"))  # none was painted twice


@pytest.mark.parametrize("launcher", [_by_torchrun, _by_slurm, _by_node])
def test_processes_of_other_launchers_find_their_shares(run, launcher):
    _save_photos(3)
    Path("in/p01.png").write_bytes(b"broken")
    assert run("in", "--style", "rain", "-o", "one")[0] == 1
    flags = ("--num-nodes", 2) if launcher is _by_node else ("--devices", 2)
    words = ("in", "--style", "rain", "-o", "out", *flags)
    codes, told = _together(2, *words, launcher=launcher)
    assert codes == [1, 1]  # together: torchrun ends all when one fails
    assert _painted("out") == _painted("one") and len(_painted("one")) == 2
    assert "".join(told).count("\n") == 1 and "cannot read in/p01.png" in told[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_dies_neither_stops_nor_hangs_the_other(run, monkeypatch, number):
    _save_photos(6)
    true_stylize, calls = Stylizer.stylize, []

    def stylize(self, *arguments, **options):
        calls.append(arguments)
        if os.environ.get("LOCAL_RANK") == "1" and len(calls) == 2:
            os.kill(os.getpid(), number)
        return true_stylize(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Stylizer, "stylize", stylize)
        codes, told = _together(2, "in", "--style", "wave", "-o", "out", "--devices", 2)
    assert codes == [1, -number]
    assert told[0] == (
        "fst-infer: a process ended before its work; run again with --resume for the rest\n"
    )
    assert {f"p0{n}_wave.png" for n in (0, 2, 4)} <= _painted("out").keys()
    assert "p05_wave.png" not in _painted("out")
    codes, told = _together(3, "in", "--style", "wave", "-o", "out", "--devices", 3, "--resume")
    assert codes == [0] * 3 and " of 6 paintings were finished before" in told[0]
    run("in", "--style", "wave", "-o", "one")
    assert _painted("out") == _painted("one")


def test_a_process_does_not_wait_for_a_first_one_that_is_gone():
    _save_photos(1)

    def orphan(rank, count, port):
        return {"LOCAL_RANK": 1, "MASTER_PORT": port, processes.FIRST: 2**22 + 1}  # no such id

    assert _together(1, "in", "--devices", 2, launcher=orphan)[0] == [1]


def test_the_command_starts_the_other_processes_itself(run):
    _save_photos(3)
    Path("in/p01.png").write_bytes(b"broken")
    run("in", "--style", "wave", "-o", "one")
    command = [sys.executable, "-m", "fst.cli.infer", *_argv("in", "--style", "wave", "-o", "out")]
    done = subprocess.run(
        [*command, "--devices", "2"], capture_output=True, text=True, timeout=LIMIT_S
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "fst-infer: cannot read in/p01.png" in done.stderr
    assert sorted(done.stdout.splitlines()) == ["out/p00_wave.png", "out/p02_wave.png"]
    assert _painted("out") == _painted("one")


# The same as without these flags


@pytest.mark.parametrize(
    "words",
    [
        ["--all-styles"],
        ["--style", "wave=0.7", "rain=0.3"],
        ["--style", "rain", "--strength", "1.3", "--keep-colors"],
        ["--style", "rain", "--mask", "wave=mask.png", "--mask", "where.png", "--bits", "16"],
        ["--style", "rain", "--texture-size", "2", "--keep-colors", "histogram", "--size", "30"],
        ["--blend-grid", "wave", "rain", "--size", "24"],
        ["--style", "wave", "--precision", "bf16"],
    ],
    ids=" ".join,
)
def test_files_are_equal_to_the_byte(run, words):
    save_photo("mask.png", 20, 20)
    save_photo("where.png", 20, 20, seed=1)
    save_photo("in/a.jpg", 40, 50)
    save_photo("in/deep/a.png", 33, 50, seed=2)
    images.save(images.load_full("in/a.jpg").new_ones(4, 40, 40) * 0.4, "in/deep/alpha.png")
    assert run("in", *words, "-o", "one")[0] == 0
    assert run("in", *words, "-o", "out", "--devices", 1)[0] == 0
    assert _painted("out") == _painted("one") and len(_painted("out")) >= 3


def test_large_pictures_go_in_bands_here_too(run, monkeypatch):
    save_photo("in/large.png", 300, 200)
    save_photo("in/small.png", 20, 20)
    monkeypatch.setattr(memory_plan, "memory_left", lambda *_: 3_000_000)
    monkeypatch.setattr(
        memory_plan, "whole_bytes", lambda net, size, *_, **__: 100 * size[0] * size[1]
    )
    assert run("in", "--style", "wave", "-o", "one")[0] == 0
    code, out, told = run("in", "--style", "wave", "-o", "out", "--devices", 1)
    assert code == 0 and len(told) == 1 and "large.png: in bands of rows (exact)" in told[0]
    assert _painted("out") == _painted("one") and len(out) == 2
    code, out, told = run("in", "--style", "wave", "-o", "out", "--devices", 1, "--resume")
    assert (code, out, told) == (0, [], ["fst-infer: 2 of 2 paintings were finished before"])


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_names_that_are_taken_are_numbered_as_one_process_does(run, overwrite):
    for folder in ("a", "b", "c"):
        save_photo(f"in/{folder}/x.png", 20, 20 + ord(folder) % 10)
    names = []
    for output, devices in (("one", []), ("out", ["--devices", 1])):
        Path(output).mkdir()
        Path(output, "x_wave.png").write_text("mine")
        inputs = [f"in/{folder}/x.png" for folder in "abc"]
        names.append(run(*inputs, "--style", "wave", "-o", output, *devices, *overwrite)[1])
    assert [Path(n).name for n in names[0]] == [Path(n).name for n in names[1]]
    assert _painted("out") == _painted("one")
    assert (_painted("out")["x_wave.png"] == b"mine") == (not overwrite)


def test_a_broken_file_is_told_and_the_rest_is_painted(run):
    _save_photos(3)
    Path("in/p01.png").write_bytes(b"broken")
    code, out, told = run("in", "--style", "wave", "-o", "out", "--devices", 1)
    assert (code, out) == (1, ["out/p00_wave.png", "out/p02_wave.png"])
    assert len(told) == 1 and "cannot read in/p01.png" in told[0]


def test_a_full_disk_ends_the_run_in_one_line(run, monkeypatch):
    _save_photos(3)

    def link(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "replace", link)
    code, out, told = run("in", "--style", "wave", "-o", "out", "--devices", 1)
    assert (code, out, len(told)) == (1, [], 1) and "No space left on device" in told[0]


# Going on


@pytest.fixture
def painted(run):
    """A folder of four paintings in rain, some strength and size; gives its words and files."""
    _save_photos(4)
    words = ("in", "--style", "rain", "--strength", 0.7, "--size", 20, "-o", "out", "--devices", 1)
    assert run(*words)[0] == 0
    return [*words, "--resume"], _painted("out")


def test_what_is_finished_is_left_alone(run, painted, monkeypatch):
    monkeypatch.setattr(Stylizer, "stylize", lambda *_, **__: pytest.fail("painted"))
    times = [path.stat().st_mtime_ns for path in Path("out").iterdir()]
    Path("in").rename("moved")  # the content counts, not the place
    words = ["moved", *painted[0][1:]]
    assert run(*words) == (0, [], ["fst-infer: 4 of 4 paintings were finished before"])
    assert _painted("out") == painted[1]
    assert times == [path.stat().st_mtime_ns for path in Path("out").iterdir()]


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda: save_photo("new.png", 21, 24, seed=9).replace("in/p01.png"), 1),
        (lambda: Path("out/p02_rain.png").unlink(), 1),
        (lambda: Path("out/p02_rain.png").write_bytes(b"cut"), 1),
        (lambda: save_photo("in/p04.png", 20, 20), 1),
        (lambda: save_model(Path("m.safetensors"), seed=1).replace("model.safetensors"), 4),
        (lambda: None, 0),
    ],
    ids=["photo", "missing", "cut", "new", "model", "nothing"],
)
def test_what_a_change_concerns_is_painted_again(run, painted, change, count):
    change()
    code, out, told = run(*painted[0])
    planned = len(os.listdir("in"))
    assert (code, len(out)) == (0, count)
    assert told == [f"fst-infer: {planned - count} of {planned} paintings were finished before"]
    one = ["one" if word == "out" else word for word in painted[0][: painted[0].index("--devices")]]
    run(*one)
    assert _painted("out") == _painted("one")


@pytest.mark.parametrize(
    "more",
    [
        ["--strength", "0.8"],
        ["--size", "19"],
        ["--keep-colors"],
        ["--mask", "mask.png"],
        ["--mask", "wave=mask.png"],
        ["--texture-size", "2"],
        ["--bits", "16"],
        ["--precision", "bf16"],
    ],
    ids=" ".join,
)
def test_another_control_paints_all_again_in_place(run, painted, more):
    save_photo("mask.png", 20, 20)
    code, out, _ = run(*painted[0], *more)
    assert (code, len(out)) == (0, 4) and _painted("out").keys() == painted[1].keys()
    assert all(_painted("out")[name] != before for name, before in painted[1].items())
    assert run(*painted[0], *more)[1] == []  # and that is finished then


def test_another_content_of_a_mask_is_another_control(run, painted):
    save_photo("mask.png", 20, 20)
    run(*painted[0], "--mask", "mask.png")
    save_photo("new.png", 20, 20, seed=5).replace("mask.png")
    assert len(run(*painted[0], "--mask", "mask.png")[1]) == 4


def test_another_style_is_another_file_and_the_first_stays_finished(run, painted):
    code, out, told = run(*painted[0], "--style", "wave")
    assert (code, len(out)) == (0, 4) and "4 of 8" in told[0]
    assert len(_painted("out")) == 8


def test_files_of_others_are_not_replaced(run, painted):
    shutil.rmtree("out/.fst-infer")
    code, out, told = run(*painted[0])
    assert (code, "0 of 4" in told[0]) == (0, True)
    assert [Path(path).name for path in out] == [f"p0{n}_rain-1.png" for n in range(4)]
    assert {name: _painted("out")[name] for name in painted[1]} == painted[1]
    assert run(*painted[0])[1] == []


def test_paintings_of_an_earlier_run_are_not_taken_for_photos_and_replaced(run, painted):
    before = _painted("out")
    code, out, told = run("in", "out", *painted[0][1:])
    assert (code, out, _painted("out")) == (2, [], before)
    assert "output out/p00_rain.png is an input picture and stays" in told[0]


def test_without_resume_all_is_painted_and_numbered(run, painted):
    code, out, told = run(*painted[0][:-1])
    assert (code, told) == (0, [])
    assert [Path(path).name for path in out] == [f"p0{n}_rain-1.png" for n in range(4)]


@settings(max_examples=30)
@given(st.floats(0, 1))
def test_any_part_of_a_record_is_read(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("record")
    record = records.Record(folder, 0)
    for name in ("a.png", "b.png", os.fsdecode(b"caf\xe9.png")):
        (folder / name).write_bytes(b"x" * 7)
        record.begin(folder / name)
        record.done(folder / name, f"key of {name}")
    record.close()
    whole = records.read_records(folder)
    file = next((folder / records.FOLDER).iterdir())
    text = file.read_bytes()
    file.write_bytes(text[: round(share * len(text))])
    for name, done in records.read_records(folder).items():
        assert done in (whole[name], records.Done(None, 0))
    record = records.Record(folder, 0)  # and what is appended later is not lost in it
    record.done(folder / "a.png", "new")
    record.close()
    assert records.read_records(folder)["a.png"] == records.Done("new", 7)


def test_what_a_killed_process_left_behind_is_removed_when_it_is_old(run, painted):
    for name, age_s in (("0" * 32, 9999), ("1" * 32, 10), ("mine", 9999)):
        Path(f"out/.{name}.tmp").touch()
        os.utime(f"out/.{name}.tmp", (time.time() - age_s,) * 2)
    run(*painted[0])
    assert sorted(p.name for p in Path("out").glob(".*.tmp")) == [f".{'1' * 32}.tmp", ".mine.tmp"]


def _killed_at(number, true, after):
    """The function, which kills its process with the call of a number, before or after it."""
    calls = []

    def killing(*arguments, **options):
        calls.append(arguments)
        if len(calls) == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = true(*arguments, **options)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return killing


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("where", "name"), [(Stylizer, "stylize"), (os, "link"), (records.Record, "_append")]
)
def test_killed_at_any_point_the_folder_holds_whole_files_and_is_completed(
    run, monkeypatch, where, name, after
):
    _save_photos(4)
    words = ("in", "--style", "wave", "-o", "out", "--devices", 1)
    run(*words[:3], "-o", "one")
    with monkeypatch.context() as patched:
        patched.setattr(where, name, _killed_at(3, getattr(where, name), after))
        assert _together(1, *words)[0] == [-signal.SIGKILL]
    assert _painted("out").items() < _painted("one").items()
    code, out, told = run(*words, "--resume")
    assert code == 0 and len(out) < 4 and "of 4 paintings were finished" in told[0]
    assert _painted("out") == _painted("one")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_killed_again_and_again_at_random_it_still_comes_to_the_end(run, processes, monkeypatch):
    _save_photos(40)
    run("in", "--all-styles", "-o", "one")
    true_stylize, whole, kills, chance = Stylizer.stylize, _painted("one"), 0, random.Random(0)

    def stylize(*arguments, **options):
        time.sleep(0.02)
        return true_stylize(*arguments, **options)

    monkeypatch.setattr(Stylizer, "stylize", stylize)
    words = ("in", "--all-styles", "-o", "out", "--devices", processes, "--resume")
    while len(_painted("out")) < len(whole):
        members, known = _start(processes, *words), len(_lines("out"))
        # Earlier, while they look for each other, it is their launcher that ends them all.
        while len(_lines("out")) == known and any(member.is_alive() for member in members):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        victims = chance.choice([members, members[:1], members[-1:]])
        for victim in victims:
            kills += victim.is_alive()
            victim.kill()
        for member in members:
            member.join(60)
            assert member.exitcode is not None, "hangs"
        assert _painted("out").items() <= whole.items()
    print(f"{processes} processes: {kills} killed with -9, {len(whole)} paintings equal")
    assert _together(processes, *words)[0] == [0] * processes
    assert _painted("out") == whole and kills > 0


# Wrong arguments


@pytest.mark.parametrize("words", [["--devices", "0"], ["--devices", "x"], ["--num-nodes", "-1"]])
def test_counts_that_are_none_are_usage_errors(words, capsys):
    with pytest.raises(SystemExit) as stop:
        infer.main(words)
    assert stop.value.code == 2 and "is not a whole number from 1 up" in capsys.readouterr().err


def test_more_devices_are_refused_from_within_python(run):
    _save_photos(1)
    code, out, told = run("in", "--style", "wave", "--devices", 2)
    assert (code, out, len(told)) == (2, [], 1) and "call fst-infer as a program" in told[0]


def test_one_gpu_is_not_shared_among_processes(run, monkeypatch):
    _save_photos(1)
    monkeypatch.setattr(infer, "usable_device", lambda name: name)
    code, out, told = run("in", "--device", "cuda:1", "--style", "wave", "--devices", 2)
    assert (code, out) == (2, [])
    assert "--device cuda:1 is one GPU: with --devices 2 name cuda alone" in told[0]


def test_wrong_arguments_are_told_at_once_and_nothing_is_painted(run):
    code, out, told = run("none", "--style", "wav", "--devices", 1)
    assert (code, out, len(told)) == (2, [], 2)
    assert "no style 'wav'" in told[0] and "none" in told[1]
    assert run("--list-styles", "--devices", 2)[0] == 0


def test_an_output_folder_that_cannot_be_written_is_one_line(run):
    _save_photos(1)
    Path("out").mkdir()
    Path("out/.fst-infer").write_text("a file")
    code, out, told = run("in", "--style", "wave", "-o", "out", "--devices", 1)
    assert (code, out, len(told)) == (1, [], 1) and "cannot write out/.fst-infer" in told[0]


def test_a_single_file_goes_on_too(run):
    _save_photos(1)
    words = ("in/p00.png", "--style", "wave", "-o", "new.png", "--devices", 1)
    assert run(*words)[:2] == (0, ["new.png"])
    assert run(*words)[0] == 2  # exists
    assert run(*words, "--resume")[:2] == (0, [])
