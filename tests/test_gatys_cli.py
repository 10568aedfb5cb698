"""fst-gatys: what it writes, what it says, and what it refuses."""

import json
import signal
import subprocess
import sys
import time

import pytest
from conftest import smooth_field
from PIL import Image

from fst.cli.gatys import main
from fst.io import images


@pytest.fixture
def argv(tmp_path, monkeypatch, style_files, loss_weights):
    """Makes the arguments of a short run in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    smooth_field(4, 48, 64).save(tmp_path / "photo.png")

    def make(*extra, content=("--content", "photo.png")):
        common = [*content, "--style", style_files[0], "--loss-weights", loss_weights]
        common += ["--size", 48, "--steps", 6, "--device", "cpu"]
        return [str(argument) for argument in [*common, *extra]]

    return make


def test_a_picture_is_painted_and_its_path_printed(argv, tmp_path, capsys):
    assert main(argv()) == 0
    out, err = capsys.readouterr()
    assert out == "photo_stripes.png\n" and "64x48 px after 6 steps" in err
    assert images.load(tmp_path / "photo_stripes.png").shape == (3, 48, 64)


def test_the_result_is_told_as_an_object(argv, capsys):
    assert main(argv("--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == "photo_stripes.png" and (told["width"], told["height"]) == (64, 48)
    assert told["steps"] == 6 and told["stopped"] == "done"
    assert {"total", "content", "style"} <= set(told["losses"])


@pytest.mark.parametrize(("flags", "steps"), [([], 225), (["--no-grey"], 450)])
def test_in_colour_alone_twice_as_many_steps_are_usual(argv, monkeypatch, flags, steps):
    class Begun(Exception):
        """The first step is done."""

    def stop(self, step):
        assert step.total == steps
        raise Begun

    monkeypatch.setattr("fst.gatys.review.Review.__call__", stop)
    words = argv("--size", 32, 48, *flags)
    del words[words.index("--steps") : words.index("--steps") + 2]
    with pytest.raises(Begun):
        main(words)


def test_the_former_name_of_the_size_goes_on_with_a_warning(argv, tmp_path, capsys):
    former = ["--sizes" if argument == "--size" else argument for argument in argv("-o", "a.png")]
    assert main(former) == 0
    assert "warning: --sizes is called --size from now on" in capsys.readouterr().err
    assert images.load(tmp_path / "a.png").shape == (3, 48, 64)


def test_a_second_run_overwrites_nothing(argv, tmp_path):
    assert main(argv()) == main(argv()) == 0
    assert (tmp_path / "photo_stripes-1.png").is_file()


def test_a_texture_needs_no_content(argv, tmp_path):
    assert main(argv("--texture", "--aspect", 2, "-o", "t.jpg", content=())) == 0
    assert images.load(tmp_path / "t.jpg").shape == (3, 48, 96)


def test_pictures_on_the_way_and_a_log_are_written(argv, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(argv("--save-every", 3, "--log", "log", "-o", "a.png")) == 0
    assert sorted(p.name for p in tmp_path.glob("a-step*")) == [
        "a-step00003.png",
        "a-step00006.png",
    ]
    log = EventAccumulator(str(tmp_path / "log"))
    log.Reload()
    assert len(log.Scalars("gatys/total")) == 6
    assert log.Tags()["images"] == ["gatys/image"]


def test_an_interrupted_run_leaves_a_valid_picture(argv, tmp_path, monkeypatch, capsys):
    from fst.gatys import review

    def stop(self, step):
        if step.number == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(review.Review, "__call__", stop)
    assert main(argv("-o", "a.png")) == 130
    assert images.load(tmp_path / "a.png").shape == (3, 48, 64)
    assert "interrupted; the best image so far is kept" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
def test_ctrl_c_in_a_process_of_its_own_leaves_a_valid_picture(argv, tmp_path):
    command = [sys.executable, "-m", "fst.cli.gatys"]
    command += argv("--steps", 100_000, "--save-every", 1, "-o", "a.png")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # As from a terminal: a shell's background jobs, these tests among them, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        while not list(tmp_path.glob("a-step*")):  # the first step is done
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "a.png\n") and "Traceback" not in err
    assert images.load(tmp_path / "a.png").shape == (3, 48, 64)


def test_all_that_is_wrong_is_told_at_once(argv, tmp_path, capsys):
    wrong = ["--start", "none.png", "-o", "photo.png", "--style-loss", "grams"]
    assert main(argv(*wrong, content=("--content", "gone.png"))) == 2
    err = capsys.readouterr().err
    for part in ("gone.png", "--start none.png", "photo.png exists", "'grams' is unknown"):
        assert part in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--steps", "0"], "'0' is not a whole number from 1 up"),
        (["--steps", "3", "4"], "2 numbers for 1 sizes"),
        (["--max-memory", "much"], "'much' is no amount of memory"),
        (["--lr", "nan"], "'nan' is not a number"),
    ],
)
def test_malformed_flags_are_refused(argv, capsys, extra, message):
    with pytest.raises(SystemExit, match="2"):
        main(argv(*extra))
    assert message in capsys.readouterr().err


def test_help_is_answered_without_torch():
    code = "import sys; from fst.cli.gatys import main\ntry: main(['--help'])\n"
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_statistics_with_options_paint(argv, tmp_path):
    words = ["--style-loss", "projected", "rank=1", "patches=1x1"]
    assert main(argv(*words, "-o", "a.png")) == 0
    assert main(argv("-o", "b.png")) == 0
    assert not images.load(tmp_path / "a.png").equal(images.load(tmp_path / "b.png"))


def test_a_wrong_statistic_is_one_line(argv, capsys):
    assert main(argv("--style-loss", "eigen", "top=99")) == 2
    err = capsys.readouterr().err
    assert "99 eigenpairs, but the layer has 4 channels" in err and "Traceback" not in err


@pytest.mark.parametrize("flag", ["--content", "--start", "--style"])
@pytest.mark.parametrize("size", [(1, 1), (1, 3)])
def test_pictures_of_a_pixel_are_painted(argv, tmp_path, flag, size):
    Image.new("RGB", size, "teal").save(tmp_path / "dot.png")
    assert main([*argv("--steps", 2, "-o", "a.png"), flag, "dot.png"]) == 0
    assert images.load(tmp_path / "a.png").isfinite().all()


COARSE = ("--optimizer", "adam", "--lr", 0.5, "--grain-weight", 0)  # whose grain would diverge


@pytest.mark.parametrize("extra", [(), COARSE, ("--size", 32, 48)])
def test_the_losses_told_are_those_logged_for_that_step(argv, tmp_path, capsys, extra):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(argv("--log", "log", "--precision", "bf16", *extra)) == 0
    told = capsys.readouterr().err.strip().splitlines()[-1]
    log = EventAccumulator(str(tmp_path / "log")).Reload()
    for name in ("total", "content", "style"):
        points = log.Scalars(f"gatys/{name}")
        assert [point.step for point in points] == list(range(1, len(points) + 1))
        assert f"after {len(points)} steps" in told and f"{name} {points[-1].value:.4f}" in told


def test_a_name_of_another_kind_is_no_folder(argv, tmp_path, capsys):
    assert main(argv("-o", "out.xyz")) == 2
    assert "-o out.xyz: .xyz is no picture" in capsys.readouterr().err
    assert not (tmp_path / "out.xyz").exists()
    assert main(argv("-o", "out.xyz/")) == main(argv("-o", "v1.2")) == 0
    assert (tmp_path / "out.xyz").is_dir() and (tmp_path / "v1.2").is_dir()
