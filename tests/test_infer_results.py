"""fst-infer for programs and for the eye: JSON, streams, a sheet, a watched folder."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from infer_inputs import NAMES, save_model, save_photo
from PIL import Image

from fst.cli import infer
from fst.io import images
from fst.stylize.folder import painter
from fst.stylize.stylizer import Stylizer


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def run(tmp_path, capsys):
    """Runs with a model of three styles; gives exit code, lines of stdout and of stderr."""
    model = save_model(tmp_path / "model.safetensors")

    def call(*arguments):
        code = infer.main(["--model", str(model), "--device", "cpu", *map(str, arguments)])
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err.splitlines()

    call.model = model
    return call


# JSON


def test_each_painting_is_told_as_an_object(run):
    save_photo("p.png")
    code, out, _ = run("p.png", "--style", "wave", "starry night", "--json")
    assert code == 0
    assert list(map(json.loads, out)) == [
        {"path": f"p_{style}.png", "picture": "p.png", "style": style}
        for style in ("wave", "starry night")
    ]


def test_a_blend_is_told_by_its_shares_and_a_broken_picture_on_stderr(run):
    save_photo("p.png")
    Path("q.png").write_bytes(b"no picture")
    code, out, err = run("p.png", "q.png", "--style", "wave=0.5", "rain=1", "--json")
    assert code == 1 and "q.png" in err[-1]
    assert json.loads(out[0])["style"] == {"wave": 0.5, "rain": 1.0} and len(out) == 1


# Streams


def piped(run, *arguments, photo):
    command = [sys.executable, "-m", "fst.cli.infer", "--model", run.model, "--device", "cpu"]
    return subprocess.run([*map(str, [*command, *arguments])], input=photo, capture_output=True)


@pytest.mark.parametrize(("name", "kind"), [("p.jpg", "JPEG"), ("p.png", "PNG"), ("p.webp", "PNG")])
def test_stdin_is_painted_to_stdout(run, name, kind):
    photo = save_photo(name).read_bytes()
    done = piped(run, "-", "--style", "rain", "-o", "-", photo=photo)
    assert done.returncode == 0, done.stderr
    painted = Image.open(io.BytesIO(done.stdout))
    assert painted.format == kind
    assert run(name, "--style", "rain", "-o", f"expected.{kind.lower()}")[0] == 0
    assert done.stdout == Path(f"expected.{kind.lower()}").read_bytes()


def test_stdin_is_painted_into_a_folder_and_a_file_to_stdout(run):
    photo = save_photo("p.png").read_bytes()
    done = piped(run, "-", "--style", "rain", "-o", "out", photo=photo)
    assert done.stdout.decode().split() == ["out/stdin_rain.png"]
    done = piped(run, "-", "--style", "rain", "-o", "out", "--overwrite", "--json", photo=photo)
    assert json.loads(done.stdout)["picture"] == "-"
    done = piped(run, "p.png", "--style", "rain", "-o", "-", photo=b"")
    assert done.stdout == Path("out/stdin_rain.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "photo", "told"),
    [
        (("-", "-o", "-"), b"", b"no picture came on stdin"),
        (("-", "-o", "-", "--style", "wave"), b"no picture", b"cannot read -: it is not"),
        (("-", "--watch", "w", "-o", "out"), b"x", b"leave out -\n"),
        (("-", "-o", "-", "--all-styles"), b"x", b"stdout takes one painting"),
        (("-", "-", "-o", "out"), b"x", b"stdin is one picture"),
        (("-", "-o", "out", "--devices", 2), b"x", b"- is for one process"),
    ],
)
def test_what_cannot_be_piped_is_told_in_a_line(run, arguments, photo, told):
    done = piped(run, *arguments, photo=photo)
    assert done.returncode in (1, 2) and done.stdout == b""
    assert told in done.stderr and b"Traceback" not in done.stderr


# Masks


def test_masks_of_other_proportions_are_told_once_each(run):
    save_photo("p.png", 40, 60)
    for name in ("m.png", "n.png"):
        Image.new("L", (50, 50), 255).save(name)
    masks = "--mask", "rain=m.png", "--mask", "wave=n.png"
    code, _, err = run("p.png", "--style", "rain", *masks, "-o", "o")
    said = [line for line in err if "proportions" in line]
    assert code == 0 and ["for rain" in said[0], "for wave" in said[1]] == [True] * len(said)


def test_a_mask_of_another_shape_is_told_once(run):
    save_photo("p.png", 40, 60)
    save_photo("q.png", 40, 60)
    for name, size in (("alike.png", (30, 20)), ("square.png", (50, 50))):
        Image.new("L", size, 255).save(name)
    said = []
    for mask in ("alike.png", "square.png"):
        code, _, err = run("p.png", "q.png", "--style", "rain", "--mask", mask, "-o", mask[:-4])
        assert code == 0
        said.append([line for line in err if "mask" in line])
    assert said[0] == []
    (line,) = said[1]
    assert line.startswith("fst-infer: p.png: the mask (50x50 px) has other proportions and is")
    assert "stretched to 60x40 px" in line


# A sheet


def test_a_sheet_shows_the_picture_and_every_style(run):
    save_photo("p.png", 40, 60)
    code, out, _ = run("p.png", "--sheet", "--texture-size", "native")
    assert (code, out) == (0, ["p_sheet.png"])
    sheet = images.load("p_sheet.png")
    assert sheet.shape == (3, 2 * (22 + 40) + 6, 2 * 66 + 6)
    photo = images.load("p.png")
    torch.testing.assert_close(sheet[:, 22 : 22 + 40, 6 : 6 + 60], photo, rtol=0, atol=1 / 255)
    for place, name in enumerate(NAMES, start=1):
        painted = Stylizer(run.model).stylize(photo, name)
        top, left = 22 + place // 2 * 62, 6 + place % 2 * 66
        cell = sheet[:, top : top + 40, left : left + 60]
        torch.testing.assert_close(cell, painted, rtol=0, atol=1.5 / 255)


def test_a_sheet_of_some_styles_and_one_that_is_not_there(run):
    save_photo("p.jpg", 40, 60)
    code, out, _ = run("p.jpg", "--sheet", "--style", "rain", "-o", "s.png")
    assert (code, out) == (0, ["s.png"])
    code, _, err = run("p.jpg", "--sheet", "--style", "rainy")
    assert code == 2 and "did you mean rain" in err[-1]
    assert run("p.jpg", "--sheet", "--texture", "0.5")[0] == 2


# A watched folder


def test_what_is_there_and_what_arrives_is_painted_once(run, monkeypatch):
    """Looks are counted in place of waiting; what changes between two looks is still written."""
    save_photo("in/a.png")
    save_photo("in/done.png")
    save_photo("out/done_wave.png")
    new, looks = save_photo("new.png", seed=1), []

    def look_again(seconds):
        looks.append(sorted(p.name for p in Path("out").iterdir()))
        if len(looks) == 2:
            Path("in/b.png").write_bytes(new.read_bytes()[:50])  # half of it
        if len(looks) == 3:
            shutil.copy(new, "in/b.png")
        if len(looks) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(painter.time, "sleep", look_again)
    code, out, err = run("--watch", "in", "--style", "wave", "-o", "out")
    assert (code, out) == (0, ["out/a_wave.png", "out/b_wave.png"])
    assert looks[0] == ["done_wave.png"] and looks[1] == ["a_wave.png", "done_wave.png"]
    assert looks[3] == looks[1] and len(looks[4]) == 3
    assert err == ["fst-infer: watching in; Ctrl-C ends it"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--watch", "nowhere", "-o", "out"), "no such folder"),
        (("--watch", ".", "-o", "out"), "paintings would arrive there too"),
        (("--watch", "in"), None),
        (("p.png", "--watch", "in", "-o", "out"), "leave out p.png"),
        (("--watch", "in", "-o", "out", "--resume"), "in one process"),
    ],
)
def test_a_folder_that_cannot_be_watched_is_refused(run, monkeypatch, arguments, told):
    save_photo("p.png")
    Path("in").mkdir()

    def stop(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(painter.time, "sleep", stop)
    code, _, err = run(*arguments)
    assert code == (2 if told else 0) and (told or "watching in") in err[-1]
