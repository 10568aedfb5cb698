"""fst-infer with videos: names, what does not go together, what is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clips import frames_of, make_video, times_of
from infer_inputs import save_model, save_photo

from fst.cli import infer

pytest.importorskip("av")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_model(tmp_path_factory.mktemp("model") / "model.safetensors"))


@pytest.fixture
def run(model, capsys, tmp_path, monkeypatch):
    """Runs in an empty folder; gives exit code, lines of stdout and lines of stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = infer.main(["--model", model, "--device", "cpu", *map(str, arguments)])
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err.splitlines()

    return call


def test_a_clip_is_painted_beside_its_style_and_never_overwritten(run):
    make_video("clip.mp4", 3)
    assert run("clip.mp4", "--style", "rain") == (0, ["clip_rain.mp4"], [])
    assert run("clip.mp4", "--style", "rain") == (0, ["clip_rain-1.mp4"], [])
    assert run("clip.mp4", "--style", "rain", "--overwrite") == (0, ["clip_rain.mp4"], [])
    assert len(times_of("clip_rain.mp4")) == 3


def test_several_clips_go_in_several_styles_to_a_folder(run):
    make_video("a.mp4", 2)
    make_video("b.avi", 2, sound=None, codec="mpeg4")
    code, out, err = run("a.mp4", "*.avi", "--style", "wave", "rain", "-o", "out")
    assert (code, err) == (0, [])
    assert out == ["out/a_wave.mp4", "out/a_rain.mp4", "out/b_wave.mp4", "out/b_rain.mp4"]


def test_sound_that_an_mp4_cannot_hold_gives_a_matroska_file(run):
    make_video("clip.avi", 2, codec="mpeg4", sound="pcm_s16le")
    code, out, _ = run("clip.avi", "--style", "rain", "-o", "out")
    assert (code, out) == (0, ["out/clip_rain.mkv"])


def test_sound_that_nothing_holds_is_refused_with_the_way_out(run):
    make_video("clip.avi", 2, codec="mpeg4", sound="adpcm_ms")
    code, out, err = run("clip.avi", "--style", "rain")
    assert (code, out) == (1, []) and "holds no adpcm_ms" in err[0] and "convert that" in err[0]


def test_controls_work_on_clips(run):
    make_video("clip.mp4", 3, sound=None)
    save_photo("mask.png", 48, 64)
    controls = [["--strength", 0.5], ["--keep-colors"], ["--texture-size", 2]]
    controls += [["--mask", "mask.png"], ["--mask", "rain=mask.png"]]
    whole = run("clip.mp4", "--style", "wave", "-o", "whole.mp4")
    assert whole[0] == 0
    for index, flags in enumerate(controls):
        assert run("clip.mp4", "--style", "wave", *flags, "-o", f"{index}.mp4")[0] == 0
        assert (frames_of(f"{index}.mp4")[2] != frames_of("whole.mp4")[2]).any()
    assert run("clip.mp4", "--style", "wave=0.5", "rain=0.5")[1] == ["clip_wave50_rain50.mp4"]


def test_pictures_are_frames_with_sequence(run):
    for number in range(3):
        save_photo(f"frames/f{number}.png", seed=number)
    assert run("frames", "--sequence", "--style", "rain") == (0, ["frames_rain"], [])
    assert sorted(os.listdir("frames_rain")) == ["f0.png", "f1.png", "f2.png"]
    code, _, err = run("frames", "--sequence", "--style", "rain")
    assert code == 2 and "frames_rain/f0.png exists" in err[0]
    assert run("frames/*.png", "--sequence", "10", "--style-id", 0, "-o", "a.mp4")[0] == 0
    assert [float(time) for time in times_of("a.mp4")] == [0, 0.1, 0.2]


def test_frames_do_not_go_into_their_own_folder(run):
    save_photo("frames/f0.png")
    before = Path("frames/f0.png").read_bytes()
    code, _, err = run("frames", "--sequence", "--style-id", 0, "-o", "frames", "--overwrite")
    assert code == 2 and "is an input" in err[0]
    assert Path("frames/f0.png").read_bytes() == before


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--blend-grid", "wave", "rain"], "--blend-grid: for pictures only"),
        (["--devices", "2"], "--devices: for pictures only"),
        (["--bits", "16", "--resume"], "--resume --bits: for pictures only"),
        (["--max-memory", "2G"], "--max-memory: for pictures only"),
        (["-o", "out.png"], "the suffix of a clip must be one of .mp4"),
        (["-o", "clip.mp4", "--overwrite"], "is an input"),
        (["-o", "out.xyz"], "-o out.xyz: .xyz is no clip"),
        (["-o", "there.mp4"], "there.mp4 exists"),
        (["-o", "one.mp4", "--all-styles"], "is one file, but 3 clips"),
        (["--style", "wafe"], "no style 'wafe'"),
    ],
)
def test_what_does_not_go_together_is_one_line_before_any_work(run, flags, told):
    make_video("clip.mp4", 2, sound=None)
    Path("there.mp4").write_text("mine")
    code, out, err = run("clip.mp4", *flags)
    assert (code, out) == (2, [])
    assert any(told in line for line in err) and all("Traceback" not in line for line in err)
    assert sorted(os.listdir()) == ["clip.mp4", "there.mp4"]


def test_pictures_and_clips_are_painted_in_runs_of_their_own(run):
    make_video("clip.mp4", 2, sound=None)
    save_photo("p.png")
    code, _, err = run("clip.mp4", "p.png")
    assert code == 2 and "runs of their own: leave out p.png" in err[-1]
    code, _, err = run("p.png", "--steady", "0.5")
    assert code == 2 and "--steady is for videos" in err[-1]
    code, _, err = run("nowhere.mp4")
    assert code == 2 and "no such file: nowhere.mp4" in err[-1]


@pytest.mark.parametrize(
    "flags",
    [["--steady", "1.5"], ["--sequence", "0"], ["--sequence", "x"], ["--sequence", "0.0001"]],
)
def test_numbers_out_of_range_are_usage_errors(run, flags, capsys):
    with pytest.raises(SystemExit) as caught:
        run("p.png", *flags)
    assert caught.value.code == 2


def test_a_broken_clip_is_told_and_the_rest_is_done(run):
    Path("bad.mp4").write_text("no video")
    make_video("good.mp4", 2, sound=None)
    code, out, err = run("bad.mp4", "good.mp4", "--style", "rain")
    assert (code, out) == (1, ["good_rain.mp4"])
    assert len(err) == 1 and "cannot read bad.mp4" in err[0]


def test_painting_pictures_never_imports_av(model, tmp_path):
    photo = save_photo(tmp_path / "p.png")
    code = (
        "import sys; from fst.cli.infer import main; main(sys.argv[1:]); "
        "print([m for m in sys.modules if m == 'av' or m.startswith('fst.stylize.video.paint')])"
    )
    command = [sys.executable, "-c", code, str(photo), "--model", model, "-o", str(tmp_path)]
    done = subprocess.run([*command, "--style-id", "0"], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_without_the_extra_its_name_is_told(run, monkeypatch):
    make_video("clip.mp4", 2, sound=None)
    monkeypatch.setitem(sys.modules, "av", None)
    code, _, err = run("clip.mp4", "--style", "rain")
    assert code != 0 and "pip install 'fst[video]'" in err[-1]


def test_of_two_clips_of_one_name_none_replaces_the_other(run):
    os.mkdir("a"), os.mkdir("b")
    make_video("a/clip.mp4", 2, sound=None)
    make_video("b/clip.mp4", 3, sound=None)
    for flags in ([], ["--overwrite"]):
        code, out, err = run("a/clip.mp4", "b/clip.mp4", "--style", "rain", "-o", "out", *flags)
        assert (code, err) == (0, []) and len(set(out)) == 2
        assert [len(times_of(path)) for path in out] == [2, 3]


def test_the_output_of_one_clip_does_not_replace_another_that_is_to_be_read(run):
    make_video("clip.mp4", 2, sound=None)
    before = make_video("clip_rain.mp4", 3, sound=None).read_bytes()
    code, out, err = run("clip.mp4", "clip_rain.mp4", "--style", "rain", "--overwrite")
    assert (code, out) == (2, []) and "clip_rain.mp4 is an input" in err[0]
    assert run("clip.mp4", "clip_rain.mp4", "--style", "rain")[0] == 0
    assert Path("clip_rain.mp4").read_bytes() == before


@pytest.mark.parametrize("flags, folder", [([], "shot.2_rain"), (["-o", "new.d"], "new.d")])
def test_folders_of_frames_may_have_a_dot_in_their_names(run, flags, folder):
    save_photo("shot.2/f0.png")
    assert run("shot.2", "--sequence", "--style", "rain", *flags) == (0, [folder], [])
    assert os.listdir(folder) == ["f0.png"]


def test_of_a_folder_pictures_are_painted_and_clips_are_not(run):
    save_photo("mixed/p.png")
    Path("mixed/clip.gif").write_bytes(b"GIF89a")
    Path("mixed/clip.mp4").write_bytes(b"")
    assert run("mixed", "--style", "rain", "-o", "out") == (0, ["out/p_rain.png"], [])
