"""fst-infer: what is written where, what is refused, what is said and the exit code."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from infer_inputs import NAMES
from infer_inputs import save_model as _save_model
from infer_inputs import save_photo as _save_photo
from PIL import Image
from safetensors.torch import save_file

from fst.cli import commands, infer
from fst.io import images
from fst.networks import transformer
from fst.style_model import names
from fst.style_model.format import FORMAT, describe, save_style_model
from fst.stylize.folder import naming
from fst.stylize.folder.naming import MAX_STYLE_CHARS
from fst.stylize.stylizer import Stylizer


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder, and nothing shipped that a run could fall back to."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(commands, "GALLERY", tmp_path / "none.safetensors")
    monkeypatch.setattr(naming, "SAMPLE_PHOTO", tmp_path / "none.jpg")
    return folder


@pytest.fixture
def model(tmp_path):
    return str(_save_model(tmp_path / "model.safetensors"))


@pytest.fixture
def run(model, capsys):
    """Runs with the model above; gives exit code, lines of stdout and lines of stderr."""

    def call(*arguments, model=model):
        chosen = ["--model", model] if model else []
        code = infer.main([*chosen, "--device", "cpu", *map(str, arguments)])
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err.splitlines()

    return call


def _files() -> list[str]:
    """All files below the current folder."""
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


# What is painted


@pytest.mark.parametrize("size", [(16, 16), (37, 50), (21, 18)])
def test_the_file_holds_the_networks_output(run, model, size):
    photo = _save_photo("photo.png", *size)
    assert run(photo, "--style-id", 2)[0] == 0
    network = Stylizer(model).network
    with torch.no_grad():
        expected = network(images.load(photo)[None], torch.tensor([[0.0, 0.0, 1.0]]))[0]
    written = images.load("photo_starry night.png")
    assert written.shape == expected.shape == (3, *size)
    assert (written - expected).abs().max() <= 1 / 255
    assert written.std() > 0.05


def test_orientation_and_colour_profile_are_applied_before_painting(run, model):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = images.to_picture(torch.rand(3, 20, 32))
    picture.save("photo.jpg", exif=exif)
    run("photo.jpg", "-o", "out.png", "--style-id", 0)
    written = images.load("out.png")
    assert written.shape == (3, 32, 20)
    expected = Stylizer(model).stylize(images.load("photo.jpg"))
    assert (written - expected).abs().max() <= 1 / 255


def test_size_shrinks_the_shorter_side_and_never_enlarges(run):
    _save_photo("large.png", 64, 96)
    _save_photo("small.png", 20, 30)
    assert run("large.png", "small.png", "--size", 32, "--style-id", 0)[0] == 0
    assert images.load("large_wave.png").shape == (3, 32, 48)
    assert images.load("small_wave.png").shape == (3, 20, 30)


def test_the_sample_photo_is_painted_when_no_picture_is_given(run, tmp_path, monkeypatch):
    monkeypatch.setattr(naming, "SAMPLE_PHOTO", _save_photo(tmp_path / "sample.jpg"))
    assert run("--style", "rain")[:2] == (0, ["sample_rain.jpg"])
    assert _files() == ["sample_rain.jpg"]


def test_without_a_sample_photo_a_picture_is_asked_for(run):
    code, out, err = run()
    assert (code, out) == (2, [])
    assert "no picture given; name files, folders or patterns" in err[-1]


# Styles


def test_style_0_is_painted_with_a_note_when_none_is_chosen(run):
    _save_photo("p.png")
    code, out, err = run("p.png")
    assert (code, out) == (0, ["p_wave.png"])
    assert err == ["fst-infer: style 0 (wave); --list-styles shows all 3"]


def test_the_only_style_of_a_model_needs_no_note(run, tmp_path):
    _save_photo("p.png")
    one = _save_model(tmp_path / "one.safetensors", ["ink"])
    assert run("p.png", model=str(one)) == (0, ["p_ink.png"], [])


def test_several_ids_and_names_are_painted_once_each(run):
    _save_photo("p.png")
    arguments = ("--style-id", 1, 0, "--style", "rain", "starry night", "--style-id", 0)
    code, out, err = run("p.png", *arguments)
    assert (code, err) == (0, [])
    assert out == ["p_rain.png", "p_wave.png", "p_starry night.png"]
    assert _files() == sorted(["p.png", *out])


def test_all_styles_of_a_folder_keep_its_structure(run):
    for name in ("in/x.jpg", "in/a/x.png", "in/b/x.png", "in/b/c/y.jpeg"):
        _save_photo(name)
    Path("in/notes.txt").write_text("no picture")
    code, out, err = run("in", "--all-styles", "-o", "out")
    expected = [
        f"out/{stem}_{style}.{suffix}"
        for stem, suffix in [("x", "jpg"), ("a/x", "png"), ("b/x", "png"), ("b/c/y", "jpg")]
        for style in NAMES
    ]
    assert (code, sorted(out), err) == (0, sorted(expected), [])
    assert all(Path(path).is_file() for path in expected)


@pytest.mark.parametrize("more", [["--steady", 1], ["--watch", "in", "a.png"]])
def test_list_styles_refuses_what_does_not_go_together(run, more):
    code, out, err = run("--list-styles", *more)
    assert (code, out, len(err)) == (2, [], 1) and more[0] in err[0]


def test_list_styles_needs_no_picture_and_paints_none(run):
    code, out, err = run("--list-styles")
    assert (code, err, _files()) == (0, [], [])
    assert [line.split() for line in out] == [
        ["0", "wave", "1", "picture"],
        ["1", "rain", "2", "pictures"],
        ["2", "starry", "night", "3", "pictures"],
    ]


def test_an_unknown_style_is_answered_with_near_names(run):
    _save_photo("p.png")
    code, out, err = run("p.png", "--style", "wav", "stary night")
    assert (code, out, _files()) == (2, [], ["p.png"])
    assert "no style 'wav': did you mean wave" in err[0]
    assert "no style 'stary night': did you mean starry night" in err[1]


@pytest.mark.parametrize("style_id", [3, -1, 10**30])
def test_a_style_id_out_of_range_is_refused_with_the_range(run, style_id):
    _save_photo("p.png")
    code, out, err = run("p.png", "--style-id", style_id)
    assert (code, out, len(err)) == (2, [], 1)
    assert f"style id {style_id} is out of range: the model has 3 styles, 0 (wave) to 2" in err[0]


def test_a_picture_taken_for_a_style_name_is_explained(run, capsys):
    _save_photo("p.png")
    code, _, err = run("--style", "wave", "p.png")
    assert code == 2
    assert "no style 'p.png'" in err[0] and "pictures go before --style" in err[0]
    with pytest.raises(SystemExit):
        infer.main(["--style-id", "0", "p.png"])
    assert "pictures go before --style-id" in capsys.readouterr().err


HOSTILE_NAMES = [
    *("../evil", "/abs", "..", "a\0b", "new\nline", ".hidden", "x" * 300, "\U0001f30a" * 300),
    *("C:\\x", "", "\ud800", "\x1b[31mred", "a/b", "a_b"),
]


def test_style_names_from_the_file_stay_inside_the_output_folder(run, tmp_path):
    hostile = str(_save_model(tmp_path / "hostile.safetensors", HOSTILE_NAMES))
    photo = _save_photo("p" * 200 + ".png")
    before = set(tmp_path.rglob("*"))
    code, out, err = run(photo, "--all-styles", "-o", "out", model=hostile)
    assert (code, err) == (0, [])
    assert len(set(out)) == len(HOSTILE_NAMES)
    written = set(tmp_path.rglob("*")) - before
    assert written == {Path(name).absolute() for name in [*out, "out"]}
    for path in map(Path, out):
        assert path.parent == Path("out")
        assert path.name.isprintable() and len(os.fsencode(path.name)) <= 255
        assert len(path.stem.partition("_")[2]) <= MAX_STYLE_CHARS


def test_hostile_style_names_do_not_reach_the_terminal(run, tmp_path):
    hostile = str(_save_model(tmp_path / "hostile.safetensors", HOSTILE_NAMES))
    code, out, _ = run("--list-styles", model=hostile)
    assert (code, len(out)) == (0, len(HOSTILE_NAMES))
    assert all(line.isprintable() for line in out)
    _, _, err = run("--style", "nothing like it", model=hostile)
    assert all(line.isprintable() for line in err)


# Where it is written


def test_the_suffix_is_jpg_for_jpegs_and_png_for_all_else(run):
    for name in ("a.jpg", "b.JPEG", "c.webp", "d.tif", "e.bmp", "f.png"):
        _save_photo(name)
    code, out, _ = run(*sorted(os.listdir()), "--style-id", 1)
    suffixes = {"a": "jpg", "b": "jpg", "c": "png", "d": "png", "e": "png", "f": "png"}
    assert (code, out) == (0, [f"{stem}_rain.{suffix}" for stem, suffix in suffixes.items()])
    for name in out:
        with Image.open(name) as picture:
            assert picture.format == {"jpg": "JPEG", "png": "PNG"}[name[-3:]]


def test_without_an_output_all_goes_flat_to_the_current_folder(run, tmp_path):
    _save_photo(tmp_path / "in/a/x.png")
    _save_photo(tmp_path / "in/b/x.png")
    code, out, _ = run(tmp_path / "in", "--style-id", 0)
    assert (code, out, _files()) == (0, ["x_wave.png", "x_wave-1.png"], sorted(out))


def test_an_output_with_a_picture_suffix_is_the_file(run):
    _save_photo("p.jpg")
    assert run("p.jpg", "-o", "new/out.webp", "--style-id", 0)[:2] == (0, ["new/out.webp"])
    with Image.open("new/out.webp") as picture:
        assert picture.format == "WEBP"


@pytest.mark.parametrize("output", ["out", "out.v2", "out.png/", "here.png"])
def test_any_other_output_is_a_folder(run, output):
    _save_photo("p.png")
    Path("here.png").mkdir()
    code, out, _ = run("p.png", "-o", output, "--style-id", 0)
    assert (code, out) == (0, [str(Path(output) / "p_wave.png")])
    assert Path(out[0]).is_file()


def test_a_pattern_keeps_the_folders_below_its_fixed_part(run):
    for name in ("in/a/x.png", "in/b/x.png", "in/b/y.png"):
        _save_photo(name)
    code, out, _ = run("in/*/x.png", "-o", "out", "--style-id", 0)
    assert (code, out) == (0, ["out/a/x_wave.png", "out/b/x_wave.png"])


def test_a_picture_given_twice_is_painted_once(run, here):
    _save_photo("in/x.png")
    code, out, _ = run("in/x.png", "in", "in/*.png", here / "in/x.png", "--style-id", 0)
    assert (code, out) == (0, ["x_wave.png"])


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_pictures_of_one_name_do_not_replace_each_other(run, overwrite):
    _save_photo("a/x.png", 20, 20)
    _save_photo("b/x.png", 20, 30)
    for _ in range(2 if overwrite else 1):
        code, out, _ = run("a/x.png", "b/x.png", "-o", "out", "--style-id", 0, *overwrite)
        assert (code, out) == (0, ["out/x_wave.png", "out/x_wave-1.png"])
    assert [images.load(path).shape[2] for path in out] == [20, 30]


def test_nothing_is_overwritten_unasked(run):
    _save_photo("p.png")
    Path("p_wave.png").write_text("mine")
    os.symlink("nowhere", "p_wave-1.png")
    assert run("p.png", "--style-id", 0)[:2] == (0, ["p_wave-2.png"])
    assert run("p.png", "--style-id", 0)[:2] == (0, ["p_wave-3.png"])
    assert Path("p_wave.png").read_text() == "mine"


def test_overwrite_replaces_outputs(run):
    _save_photo("p.png")
    Path("p_wave.png").write_text("mine")
    assert run("p.png", "--style-id", 0, "--overwrite")[:2] == (0, ["p_wave.png"])
    assert images.load("p_wave.png").shape == (3, 20, 24)
    assert _files() == ["p.png", "p_wave.png"]


def test_an_output_file_that_exists_is_refused_before_any_work(run, monkeypatch):
    monkeypatch.setattr(Stylizer, "stylize", lambda *_: pytest.fail("painted"))
    _save_photo("p.png")
    Path("out.png").write_text("mine")
    code, out, err = run("p.png", "-o", "out.png", "--style-id", 0)
    assert (code, out, len(err)) == (2, [], 1)
    assert "out.png exists; name another file with -o or add --overwrite" in err[0]
    assert Path("out.png").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("output", ["p.png", "./p.png", "in/../p.png", "link.png", "hard.png"])
def test_an_output_equal_to_an_input_is_always_refused(run, output, overwrite):
    before = _save_photo("p.png").read_bytes()
    Path("in").mkdir()
    os.symlink("p.png", "link.png")
    os.link("p.png", "hard.png")
    code, out, err = run("p.png", "-o", output, "--style-id", 0, *overwrite)
    assert (code, out, len(err)) == (2, [], 1)
    assert "is an input picture and stays" in err[0]
    assert Path("p.png").read_bytes() == before


def test_no_input_is_replaced_by_the_painting_of_another(run):
    _save_photo("p.png")
    before = _save_photo("p_wave.png", seed=1).read_bytes()
    code, out, err = run("p.png", "p_wave.png", "--style-id", 0, "--overwrite")
    assert (code, out, len(err)) == (2, [], 1)
    assert "p_wave.png is an input picture" in err[0]
    code, out, _ = run("p.png", "p_wave.png", "--style-id", 0)
    assert (code, out) == (0, ["p_wave-1.png", "p_wave_wave.png"])
    assert Path("p_wave.png").read_bytes() == before


def test_one_output_file_for_several_pictures_is_refused(run):
    _save_photo("p.png")
    code, out, err = run("p.png", "--all-styles", "-o", "out.png")
    assert (code, out, _files()) == (2, [], ["p.png"])
    assert "-o out.png is one file, but 3 pictures are to be written; name a folder" in err[0]


def test_a_file_in_the_place_of_the_output_folder_is_refused(run):
    _save_photo("p.png")
    Path("notes.txt").touch()
    code, out, err = run("p.png", "--style-id", 0, "-o", "notes.txt", "--overwrite")
    assert (code, out) == (2, [])
    assert "-o notes.txt is a file; name a folder" in err[0]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_name_that_is_no_text_reaches_the_pipe_as_its_bytes(model, monkeypatch):
    _save_photo("p.png").rename(os.fsdecode(b"caf\xe9.png"))
    pipe = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stdout", pipe)
    name = os.fsdecode(b"caf\xe9.png")
    assert infer.main([name, "--model", model, "--style-id", "0"]) == 0
    assert pipe.buffer.getvalue() == b"caf\xe9_wave.png\n"
    assert os.path.exists(b"caf\xe9_wave.png")


# What goes wrong


def test_the_next_is_read_and_the_last_written_while_one_is_painted(run, monkeypatch):
    load, save, stylize = images.load_full, images.save, Stylizer.stylize
    second_read, second_painted = threading.Event(), threading.Event()
    order = []

    def read(photo, *how):
        if Path(photo).name == "b.png":
            second_read.set()
        return load(photo, *how)

    def write(painting, path, **options):
        if Path(path).name.startswith("a_"):
            assert second_painted.wait(60)
        order.append(Path(path).name)
        return save(painting, path, **options)

    def paint(self, content, style, options):
        assert second_read.wait(60)
        if content.shape[2] == 30:
            second_painted.set()
        return stylize(self, content, style, options)

    monkeypatch.setattr(images, "load_full", read)
    monkeypatch.setattr(images, "save", write)
    monkeypatch.setattr(Stylizer, "stylize", paint)
    _save_photo("a.png", width=20)
    _save_photo("b.png", width=30)
    order.clear()
    assert run("a.png", "b.png")[0] == 0
    assert order == ["a_wave.png", "b_wave.png"]


def test_a_broken_file_in_the_middle_is_told_and_the_rest_is_done(run):
    for name in ("a.png", "b.png", "c.png", "d.png"):
        _save_photo(name)
    Path("b.png").write_bytes(Path("b.png").read_bytes()[:200])
    Path("c.png").write_text("<html>not found</html>")
    code, out, err = run("a.png", "b.png", "c.png", "d.png", "--style-id", 0)
    assert (code, out) == (1, ["a_wave.png", "d_wave.png"])
    assert len(err) == 2
    assert "cannot read b.png" in err[0] and "cannot read c.png" in err[1]


def test_only_broken_files_give_exit_code_1(run):
    Path("a.png").touch()
    assert run("a.png", "--style-id", 0)[:2] == (1, [])


@pytest.mark.parametrize("size", [(15, 40), (40, 15), (1, 1)])
def test_a_picture_below_16_px_is_unreadable_with_the_reason(run, size):
    _save_photo("tiny.png", *size)
    _save_photo("fine.png", 16, 16)
    code, out, err = run("tiny.png", "fine.png", "--style-id", 0)
    assert (code, out, len(err)) == (1, ["fine_wave.png"], 1)
    assert f"cannot read tiny.png: {size[1]}x{size[0]} px is below 16 px a side" in err[0]


def test_the_smallest_size_is_the_networks():
    assert infer.MIN_SIZE_PX == transformer.MIN_SIZE_PX


def test_all_wrong_arguments_are_told_at_once_and_nothing_is_done(run):
    _save_photo("p.png")
    Path("out.txt").touch()
    Path("empty").mkdir()
    arguments = ("p.png", "none.png", "*.gif", "empty", "--style-id", 7, "--style", "wav")
    code, out, err = run(*arguments, "-o", "out.txt", "--device", "cuda:99")
    assert (code, out, _files()) == (2, [], ["out.txt", "p.png"])
    assert all(line.startswith("fst-infer: error: ") for line in err)
    told = ["device cuda:99", "style id 7", "'wav'", "none.png", "*.gif", "empty", "out.txt"]
    assert [word in line for word, line in zip(told, err, strict=True)] == [True] * 7


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--size", size] for size in ("0", "15", "x", "-3", "1e3")),
        *(["--device", device] for device in ("gpu", "meta", "cuda:")),
        *(["--style-id", "x"], ["--style-id"], ["--style"], ["--nonsense"], ["--over"]),
    ],
)
def test_malformed_flags_give_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        infer.main(arguments)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_pictures_may_stand_between_flags(run):
    for name in ("a.png", "b.png", "c.png"):
        _save_photo(name)
    code, out, _ = run("a.png", "--size", 32, "b.png", "-o", "out", "c.png", "--style-id", 0)
    assert (code, len(out)) == (0, 3)


def test_a_full_disk_ends_the_run_in_one_line(run, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        _save_photo(name)
    true_link, calls = os.link, []

    def link(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        true_link(*arguments)

    def replace(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "replace", replace)
    code, out, err = run("a.png", "b.png", "c.png", "--style-id", 0)
    assert (code, out, len(err)) == (1, ["a_wave.png"], 1)
    assert "cannot write b_wave.png: No space left on device" in err[0]
    assert _files() == ["a.png", "a_wave.png", "b.png", "c.png"]


def test_an_interrupt_keeps_what_is_written(run, monkeypatch):
    _save_photo("p.png")
    true_stylize = Stylizer.stylize

    def stylize(self, image, style, options):
        if style == 1:
            raise KeyboardInterrupt
        return true_stylize(self, image, style)

    monkeypatch.setattr(Stylizer, "stylize", stylize)
    code, out, err = run("p.png", "--all-styles")
    assert (code, out) == (130, ["p_wave.png"])
    assert err == ["fst-infer: interrupted; what is written stays"]
    assert images.load("p_wave.png").shape == (3, 20, 24)


def _allocate_too_much() -> Exception:
    """The error that torch itself raises on a CPU."""
    try:
        torch.empty(2**60, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("an exabyte fits")


@pytest.mark.parametrize(
    "error",
    [_allocate_too_much(), MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried...")],
    ids=["cpu", "python", "cuda"],
)
def test_out_of_memory_names_the_size_and_the_way_out(run, monkeypatch, error):
    _save_photo("large.png", 60, 80)
    _save_photo("small.png", 20, 20)
    true_stylize = Stylizer.stylize

    def stylize(self, image, style, options):
        if image.shape[1] > 50:
            raise error
        return true_stylize(self, image, style)

    monkeypatch.setattr(Stylizer, "stylize", stylize)
    code, out, err = run("large.png", "small.png", "--style-id", 0)
    assert (code, out) == (1, ["small_wave.png"])
    assert err == [
        "fst-infer: large.png: 80x60 px do not fit in memory; try --max-memory 2G or --size 30"
    ]


def test_an_error_of_our_own_making_is_not_hidden(run, monkeypatch):
    def stylize(*_):
        raise RuntimeError("expected scalar type Float")

    _save_photo("p.png")
    monkeypatch.setattr(Stylizer, "stylize", stylize)
    with pytest.raises(RuntimeError, match="scalar type"):
        run("p.png", "--style-id", 0)


# The model


def _aged(path: Path, seconds: int) -> Path:
    os.utime(path, (1e9 - seconds, 1e9 - seconds))
    return path


def test_the_newest_style_model_below_checkpoints_is_taken(run):
    _save_photo("p.png")
    _aged(_save_model(Path("checkpoints/new/model.safetensors"), ["newer"]), 5)
    _aged(_save_model(Path("checkpoints/z/model.safetensors"), ["older"]), 50)
    save_file({"x": torch.zeros(1)}, "checkpoints/other.safetensors")
    Path("checkpoints/new/cut.safetensors").write_bytes(b"cut")
    os.symlink("nowhere", "checkpoints/link.safetensors")
    code, out, err = run("p.png", model=None)
    assert (code, out) == (0, ["p_newer.png"])
    assert [line.split(":")[1].split()[0] for line in err] == ["skipped", "skipped", "model"]
    assert err[-1] == "fst-infer: model checkpoints/new/model.safetensors"


def test_without_checkpoints_the_gallery_is_taken(run, tmp_path, monkeypatch):
    _save_photo("p.png")
    gallery = _save_model(tmp_path / "gallery.safetensors", ["g"])
    monkeypatch.setattr(commands, "GALLERY", gallery)
    code, out, err = run("p.png", model=None)
    assert (code, out) == (0, ["p_g.png"])
    assert err == ["fst-infer: model gallery"]


def test_a_style_the_newest_model_lacks_is_looked_for_in_older_ones_and_the_gallery(
    run, tmp_path, monkeypatch
):
    _save_photo("p.png")
    gallery = _save_model(tmp_path / "gallery.safetensors", ["g0", "g1", "g2"])
    monkeypatch.setattr(commands, "GALLERY", gallery)
    _aged(_save_model(Path("checkpoints/new/model.safetensors"), ["newer"]), 5)
    _aged(_save_model(Path("checkpoints/old/model.safetensors"), ["older", "other"]), 50)
    for choice, model, name in (
        (("--style-id", 0), "checkpoints/new/model.safetensors", "newer"),
        (("--style", "other"), "checkpoints/old/model.safetensors", "other"),
        (("--style", "g2"), "gallery", "g2"),
    ):
        code, out, err = run("p.png", *choice, model=None)
        assert (code, out, err[-1]) == (0, [f"p_{name}.png"], f"fst-infer: model {model}")
        said = ["fst-infer: checkpoints/new/model.safetensors has no style " + str(choice[1])]
        assert err[:-1] == (said if name != "newer" else [])


def test_of_several_styles_those_that_the_newest_model_lacks_are_named(run, tmp_path, monkeypatch):
    _save_photo("p.png")
    gallery = _save_model(tmp_path / "gallery.safetensors", ["g0", "both", "g2"])
    monkeypatch.setattr(commands, "GALLERY", gallery)
    _save_model(Path("checkpoints/new/model.safetensors"), ["both"])
    code, _, err = run("p.png", "--style", "g0", "both", "g2", "-o", "out", model=None)
    told = "fst-infer: checkpoints/new/model.safetensors has no style g0 or g2"
    assert (code, err) == (0, [told, "fst-infer: model gallery"])


def test_an_id_means_a_style_of_the_newest_model_alone(run, tmp_path, monkeypatch):
    _save_photo("p.png")
    gallery = _save_model(tmp_path / "gallery.safetensors", ["g0", "g1", "g2"])
    monkeypatch.setattr(commands, "GALLERY", gallery)
    _save_model(Path("checkpoints/new/model.safetensors"), ["newer"])
    code, out, err = run("p.png", "--style-id", 2, model=None)
    assert (code, out) == (2, [])
    assert err[0] == "fst-infer: model checkpoints/new/model.safetensors"
    assert "style id 2 is out of range: the model has 1 styles" in err[1]
    assert err[1].endswith("--model gallery has those that ship")


def test_the_gallery_is_listed_beside_the_newest_model(run, tmp_path, monkeypatch):
    gallery = _save_model(tmp_path / "gallery.safetensors", ["g0", "g1"])
    monkeypatch.setattr(commands, "GALLERY", gallery)
    _save_model(Path("checkpoints/new/model.safetensors"), ["newer"])
    code, out, err = run("--list-styles", model=None)
    assert (code, [line.split()[1] for line in out]) == (0, ["newer", "g0", "g1"])
    assert err == ["fst-infer: model checkpoints/new/model.safetensors",
                   "fst-infer: and with --model gallery, or by name:"]  # fmt: skip
    told = [json.loads(line) for line in run("--list-styles", "--json", model=None)[1]]
    models = ["checkpoints/new/model.safetensors", "gallery", "gallery"]
    assert [style["model"] for style in told] == models
    assert told[1] == {"id": 0, "name": "g0", "pictures": 1, "model": "gallery"}


def test_a_style_no_model_has_is_refused_with_those_of_the_newest(run, tmp_path, monkeypatch):
    _save_photo("p.png")
    monkeypatch.setattr(commands, "GALLERY", _save_model(tmp_path / "g.safetensors", ["g"]))
    _save_model(Path("checkpoints/new/model.safetensors"), ["newer"])
    code, out, err = run("p.png", "--style", "nothing", model=None)
    assert (code, out) == (2, [])
    assert "no style 'nothing'" in err[-1] and "newer" in err[-1]


def test_without_any_model_the_ways_to_one_are_named(run):
    _save_photo("p.png")
    code, out, err = run("p.png", model=None)
    assert (code, out, len(err)) == (2, [], 1)
    assert "fst-train" in err[0] and "--model" in err[0]


def test_a_training_checkpoint_is_a_model(run, model):
    _save_photo("p.png")
    stylizer = Stylizer(model)
    weights = {f"network.{key}": value for key, value in stylizer.network.state_dict().items()}
    torch.save({"state_dict": weights, "style_model": stylizer.metadata}, "last.ckpt")
    assert run("p.png", "--style-id", 0, "-o", "a.png", model="last.ckpt")[0] == 0
    assert run("p.png", "--style-id", 0, "-o", "b.png")[0] == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


class _Payload:
    def __reduce__(self):
        return (open, ("created", "w"))


def _nan_model(path: str) -> None:
    stylizer = Stylizer(_save_model(Path(path)))
    weights = stylizer.network.state_dict()
    weights = {key: torch.full(value.shape, torch.nan) for key, value in weights.items()}
    save_file(weights, path, {"fst": json.dumps(stylizer.metadata)})


def _silly_model(path: str) -> None:
    sizes = {"num_styles": 1, "width": 16.0, "num_blocks": 64}
    metadata = {"format": FORMAT, "architecture": sizes, "styles": [{"name": "a"}]}
    save_file({"x": torch.zeros(1)}, path, {"fst": json.dumps(metadata)})


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("cut.safetensors", lambda p: Path(p).write_bytes(_save_model(Path(p)).read_bytes()[:999])),
        ("html.safetensors", lambda p: Path(p).write_text("<html>not found</html>")),
        ("html.ckpt", lambda p: Path(p).write_text("<html>not found</html>")),
        ("saved.ckpt", lambda p: torch.save({"style_model": _Payload()}, p)),
        ("pickled.ckpt", lambda p: Path(p).write_bytes(pickle.dumps(_Payload()))),
        ("silly.safetensors", _silly_model),
        ("nan.safetensors", _nan_model),
        ("missing.safetensors", lambda p: None),
    ],
)
def test_a_model_that_is_none_is_refused_in_one_line(run, name, write):
    _save_photo("p.png")
    write(name)
    code, out, err = run("p.png", model=name)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"fst-infer: error: {name}: ")
    assert not Path("created").exists() and not Path("p_wave.png").exists()


# The command itself, in its own process

# Importing torch took a minute beside a training run; pytest itself ends a test after 300 s.
LIMIT_S = 240


def _command(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "fst.cli.infer", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, **options)


HEAVY = ("lightning", "pytorch_lightning", "torchvision", "torchmetrics", "tensorboard")
HEAVY += ("fst.losses", "fst.networks.loss_network", "fst.training")
HEAVY += ("fst.stylize.folder.shared", "fst.stylize.folder.record")


def test_painting_loads_neither_lightning_nor_the_loss_network(model):
    _save_photo("p.png")
    code = (
        "import sys; from fst.cli.infer import main; code = main(sys.argv[1:]);"
        f"print(code, [m for m in sys.modules if m.startswith({HEAVY})])"
    )
    command = [sys.executable, "-c", code, "p.png", "--model", model, "--style-id", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["p_wave.png", "0 []"]


@pytest.mark.parametrize("arguments", [["--help"], ["--size", "x"]])
def test_help_and_malformed_flags_are_answered_without_torch(arguments):
    code = (
        "import sys\nfrom fst.cli.infer import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_help_fits_a_screen_and_ends_with_examples(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as caught:
        infer.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert caught.value.code == 0
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    assert "examples:" in lines[-10:]


def test_the_module_runs_as_a_program_and_returns_its_exit_code(model):
    _save_photo("p.png")
    Path("q.png").touch()
    done = _command("p.png", "q.png", "--model", model, "--style-id", "0")
    assert (done.returncode, done.stdout) == (1, "p_wave.png\n")
    assert done.stderr.count("\n") == 1 and "cannot read q.png" in done.stderr


def test_a_closed_pipe_ends_the_run_quietly(model):
    _save_photo("p.png")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "fst.cli.infer", "p.png", "--model", model, "--all-styles"]
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_sees_a_progress_bar_and_whole_lines(model):
    import fcntl
    import pty
    import termios

    _save_photo("p.png")
    Path("q.png").touch()
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    command = [sys.executable, "-m", "fst.cli.infer", "q.png", "p.png", "--model", model]
    done = subprocess.run(
        [*command, "--all-styles"],
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
        timeout=LIMIT_S,
    )
    os.close(writer)
    told = os.read(reader, 65536).decode()
    os.close(reader)
    assert done.stdout.splitlines() == [f"p_{name}.png" for name in NAMES]
    assert "6/6" in told
    assert "\rfst-infer: cannot read q.png" in told.replace(" \r", "\r")


# Texture


def test_texture_paints_between_the_ids_of_one_painting(run, tmp_path):
    torch.manual_seed(0)
    network = transformer.TransformerNet(2, width=0.125, num_blocks=1)
    styles = [{"name": name, "fingerprint": "a"} for name in ("little", "much")]
    path = save_style_model(tmp_path / "line.safetensors", network, describe(network, styles, {}))
    photo = _save_photo("p.png")
    code, out, _ = run(photo, "--style", "little", "--texture", "0.5", model=str(path))
    assert code == 0
    expected = Stylizer(path).stylize(photo, 0, texture=0.5)
    assert (images.load(out[0]) - expected).abs().max() < 1 / 255


def test_texture_of_a_style_without_is_a_wrong_argument(run):
    code, out, told = run(_save_photo("p.png"), "--style", "rain", "--texture", "0.5")
    assert (code, out) == (2, []) and "no texture to choose" in told[-1]


@pytest.mark.parametrize("texture", ["2", "-1", "half", "nan"])
def test_a_wrong_texture_is_a_usage_error(run, texture, capsys):
    with pytest.raises(SystemExit) as stop:
        run(f"--texture={texture}")
    assert stop.value.code == 2 and "from 0 to 1" in capsys.readouterr().err


def test_the_shipped_gallery_goes_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "GALLERY", _save_model(tmp_path / "g.safetensors", ["g"]))
    _save_photo("p.png")
    assert infer.main(["p.png", "--model", "gallery", "--device", "cpu"]) == 0
    assert Path("p_g.png").is_file()


def test_the_name_of_another_kind_of_file_is_no_folder_for_one_picture(run):
    _save_photo("p.png")
    code, out, err = run("p.png", "--style-id", 0, "-o", "out.xyz")
    assert (code, out) == (2, []) and "-o out.xyz: .xyz is no picture" in err[0]
    assert _files() == ["p.png"]
    assert run("p.png", "--style-id", 0, "-o", "out.xyz/")[0] == 0
    assert run("p.png", "--all-styles", "-o", "many.xyz")[0] == 0
    assert {Path(name).parts[0] for name in _files()} == {"many.xyz", "out.xyz", "p.png"}
