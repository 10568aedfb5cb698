"""Names that try to leave the output folder, or to be taken for something else, do neither.

A style's name comes from a model file, and a picture's from a folder, that anyone may have made.
"""

import json
import shutil
from pathlib import Path

import matplotlib
import pytest
import torch
import yaml
from conftest import smooth_field
from safetensors.torch import load_file, save_file

from fst.cli import gatys, gram, infer, styles, train
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, load_style_model, save_style_model
from fst.style_model.sets import read_styles_of

NAMES = [
    "../outside", "../../outside", "..", ".", "/", "a/b", "a\\b", "C:\\outside", "a\0b",
    "two\nlines", "a\rb\tc", "\x1b[31mred", "x" * 300, "é" * 300, "-o", "--overwrite", "~",
    "~/outside",
    "$(touch marker)", "`touch marker`", "; touch marker", "%s%n", "{0}", "*?[", ".hidden", "a.png",
    "\ud800", "\u202egnp", "wave=0.5", "CON", "0", "'\"",
]  # fmt: skip
# What a file system takes: no slash, no NUL, at most 255 bytes.
FILE_NAMES = [
    "two\nlines.png", "-o.png", "--overwrite.png", "x" * 251 + ".png", "é" * 125 + ".png",
    "$(touch marker).png", "a\\..\\b.png", "...png", "%s.png", "a=b.png", "~.png", " .png",
    "\x1b[31m.png", "\udcff.png", "*.png", "[a].png",
]  # fmt: skip
# What no file is called; as an argument each has to be refused in one line.
NO_FILES = ["a\0b", "two\nlines"]
MORE_NO_FILES = ["x" * 300, "../" * 50 + "nowhere", "/" + "a/" * 3000, "\udcff", ""]


def tree(folder):
    """Every path below a folder with its content."""
    return {
        path: path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A current folder deep enough that ../../outside would be seen in `tmp_path`."""
    folder = tmp_path / "a" / "b" / "here"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLCONFIGDIR", matplotlib.get_configdir())  # its fonts are listed there
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def model(room):
    """A style model whose styles have the names above."""
    return model_of(room / "model.safetensors", NAMES)


def model_of(path, names):
    torch.manual_seed(0)
    network = TransformerNet(len(names), width=0.0625, num_blocks=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    described = [{"name": name, "images": ["../../etc/passwd\n"]} for name in names]
    return save_style_model(path, network, describe(network, described, {}))


@pytest.fixture
def photo(room):
    path = room / "photo.png"
    smooth_field(0, 24, 32).save(path)
    return path


def written(room, before, folder):
    """What is new below `room`: all of it in `folder`, and nothing that was there has changed."""
    after = tree(room)
    assert all(after[path] == content for path, content in before.items())
    new = sorted(set(after) - set(before) - {folder})
    outside = [path for path in new if folder not in path.parents]
    assert not outside, outside
    return new


# ---- names of styles ---------------------------------------------------------------------------


@pytest.mark.parametrize("given", [["-o", "out"], []])
def test_paintings_of_all_styles_lie_in_the_output_folder(room, model, photo, given, capsys):
    before = tree(room)
    argv = [str(photo), "--model", str(model), "--all-styles", "--device", "cpu", *given]
    assert infer.main(argv) == 0
    new = written(room, before, Path("out").resolve() if given else Path().resolve())
    assert len(new) == len(NAMES)
    assert {path.parent for path in new} == {Path("out" if given else "").resolve()}
    assert all(path.name.isprintable() and path.name.startswith("photo_") for path in new)
    assert len(capsys.readouterr().out.splitlines()) == len(NAMES)


def test_a_blend_and_a_sheet_of_such_styles_lie_in_the_output_folder(room, model, photo):
    before = tree(room)
    two = ["../outside", "x" * 300]
    given = [str(photo), "--model", str(model), "--device", "cpu", "-o", "out"]
    assert infer.main([*given, "--style", *(f"{name}=0.5" for name in two)]) == 0
    assert infer.main([*given, "--size", "24", "--blend-grid", *two]) == 0
    assert len(written(room, before, Path("out").resolve())) == 2


def test_listed_styles_take_a_line_each(model, capsys):
    assert infer.main(["--model", str(model), "--list-styles", "--device", "cpu"]) == 0
    assert styles.main(["list", str(model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(NAMES)
    assert all(line.isprintable() for line in lines)


def test_style_files_lie_in_the_output_folder(room, model):
    before = tree(room)
    for place, name in enumerate(NAMES):  # one by one: some names become the same
        named = str(place) if name.startswith("-") else name
        assert styles.main(["extract", str(model), named, "-o", f"out/{place}"]) == 0
    new = written(room, before, Path("out").resolve())
    files = [path for path in new if path.is_file()]
    assert all(len(path.relative_to(Path("out").resolve()).parts) == 2 for path in files)
    assert len(files) == len(NAMES)
    assert {read_styles_of(file)[0].name for file in files} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_rename_keeps_names_printable_and_writes_one_file(room, model, name, capfd):
    before = tree(room)
    given, output = [str(model), NAMES[0], name], ["-o", "out/new.safetensors"]
    is_flag = name.startswith("-")
    code = styles.main(["rename", *([*output, "--", *given] if is_flag else [*given, *output])])
    new = written(room, before, Path("out").resolve())
    told = capfd.readouterr().err
    if code == 2:
        assert not new and told.count("\n") == 1 and "name" in told
    else:
        assert code == 0 and [path.name for path in new] == ["new.safetensors"]
        renamed = load_style_model(new[0])[1]["styles"][0]["name"]
        assert renamed == name and renamed.isprintable() and not renamed.startswith("-")


def test_a_style_file_of_such_a_name_is_merged_into_one_file(room, model):
    one = model_of(room / "one.safetensors", ["wave"])
    before = tree(room)
    rows = {k: v[0].clone() for k, v in load_file(one).items() if k.endswith(("gamma", "beta"))}
    file = room / "one.style.safetensors"
    for place, name in enumerate(NAMES[:8]):
        about = {"format": 1, "trunk": read_styles_of(one)[0].trunk, "style": {"name": name}}
        save_file(rows, file, {"fst_style": json.dumps(about)})
        argv = ["merge", str(one), str(file), "-o", f"out/{place}.safetensors"]
        assert styles.main(argv) == 0
    assert len(written(room, before | {file: file.read_bytes()}, Path("out").resolve())) == 8


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_a_style_without_a_name_paints_and_needs_one_for_a_file(room, photo, name):
    model = str(model_of(room / "model.safetensors", ["wave", name]))
    before = tree(room)
    assert styles.main(["extract", model, "1", "-o", "out"]) == 2
    assert tree(room) == before
    assert infer.main([str(photo), "--model", model, "--style-id", "1", "-o", "out"]) == 0
    assert len(written(room, before, Path("out").resolve())) == 1
    assert styles.main(["rename", model, "1", "new", "--in-place"]) == 0
    assert styles.main(["extract", model, "new", "-o", "out"]) == 0


def test_a_run_of_styles_so_named_in_a_settings_file_writes_its_folder_alone(
    room, style_files, photo_folder, loss_weights, capfd
):
    names = ["../outside", "/outside", "a\0b", "two\nlines", "x" * 300, "..", "$(touch m)", "--in"]
    given = [{"images": str(style_files[0]), "name": name} for name in names]
    settings = {"styles": given, "content": str(photo_folder), "loss_weights": str(loss_weights)}
    settings |= {"from_scratch": True, "width": 0.125, "num_blocks": 1, "steps": 1, "size": 32}
    settings |= {"batch_size": 1, "num_workers": 0, "style_size": 32, "output": "out"}
    Path("run.yaml").write_text(yaml.safe_dump(settings))
    before = tree(room)
    argv = ["--config", "run.yaml", "--trainer.accelerator", "cpu"]
    assert train.main([*argv, "--trainer.enable_progress_bar", "false"]) == 0
    written(room, before, Path("out").resolve())
    found = [style["name"] for style in load_style_model("out/model.safetensors")[1]["styles"]]
    assert len(set(found)) == len(names)
    assert all(not set(name) & set("/\0\n") and not name.startswith(("-", ".")) for name in found)


# ---- names of files ----------------------------------------------------------------------------


@pytest.fixture
def pictures(room):
    """A folder of pictures of such names."""
    folder = room / "pictures"
    folder.mkdir()
    for seed, name in enumerate(FILE_NAMES):
        smooth_field(seed, 66, 72).save(folder / "new.bmp")
        (folder / "new.bmp").rename(folder / name)
    return folder


def test_paintings_of_such_photos_lie_in_the_output_folder(room, pictures, capfd):
    model = model_of(room / "model.safetensors", ["wave"])
    before = tree(room)
    argv = ["--model", str(model), "--device", "cpu", "-o", "out"]
    assert infer.main([str(pictures), *argv]) == 0
    found = written(room, before, Path("out").resolve())
    # A name that is all dots is a hidden one.
    assert len(found) == sum(not name.startswith(".") for name in FILE_NAMES)
    assert all(path.name.endswith("_wave.png") for path in found)
    assert infer.main([*argv, "--", *map(str, pictures.iterdir())]) == 0
    written(room, before, Path("out").resolve())
    assert "Traceback" not in capfd.readouterr().err


def test_a_run_on_such_pictures_writes_its_folder_alone(room, pictures, loss_weights):
    before = tree(room)
    argv = ["--styles", *map(str, sorted(pictures.iterdir())), "--content", str(pictures)]
    argv += ["--loss-weights", str(loss_weights), "--from-scratch", "--width", "0.125"]
    argv += [
        "--steps",
        "1",
        "--num-blocks",
        "1",
        "--size",
        "32",
        "--batch-size",
        "1",
        "--style-size",
        "32",
    ]
    argv += ["--num-workers", "0", "--trainer.accelerator", "cpu", "-o", "out"]
    assert train.main([*argv, "--trainer.enable_progress_bar", "false"]) == 0
    written(room, before, Path("out").resolve())
    assert len(load_style_model("out/model.safetensors")[1]["styles"]) == len(FILE_NAMES)


@pytest.mark.parametrize("name", FILE_NAMES)
def test_the_picture_of_such_two_lies_in_the_output_folder(room, pictures, loss_weights, name):
    before = tree(room)
    argv = [f"--content={pictures / name}", "--style", str(pictures / name), "--size", "32"]
    argv += ["--steps", "1", "--loss-weights", str(loss_weights), "--content-layer", "relu3_1"]
    assert gatys.main([*argv, "-o", "out", "--device", "cpu", "--save-every", "1"]) == 0
    assert len(written(room, before, Path("out").resolve())) == 2


def test_the_report_on_such_pictures_lies_in_the_output_folder(room, pictures, loss_weights):
    for file in sorted(pictures.iterdir())[::6]:  # with one that is no text
        file.rename(room / file.name)
    shutil.rmtree(pictures)
    pictures.mkdir()
    for file in room.glob("*.png"):
        file.rename(pictures / file.name)
    before = tree(room)
    argv = [str(pictures), "--loss-weights", str(loss_weights), "-o", "out", "--device", "cpu"]
    assert gram.main([*argv, "--patches", "2x2", "--layers", "relu1_1"]) == 0
    written(room, before, Path("out").resolve())
    assert "<script" not in Path("out/report.html").read_text()


# ---- names that no file has, as arguments ------------------------------------------------------


def commands(no_file, photo, style, weights, model):
    """(main, argv): each place of each command where a file is named."""
    train_argv = [f"--styles={style}", f"--loss-weights={weights}", "--steps=1", "-o", "out"]
    gatys_argv = [f"--style={style}", f"--loss-weights={weights}", "--steps=1", "--size=32"]
    yield infer.main, ["--model", model, "--device", "cpu", "--", no_file]
    for flag in ("--model", "--mask", "--style"):
        yield infer.main, [photo, f"--model={model}", f"{flag}={no_file}"]  # the last one counts
    for flag in ("--config", "--styles", "--content", "--held-out", "--warm-start", "--add-to",
                 "--resume", "--loss-weights"):  # fmt: skip
        yield train.main, [*train_argv, f"{flag}={no_file}"]
    for flag in ("--content", "--style", "--start", "--loss-weights"):
        content = [] if flag == "--content" else [f"--content={photo}"]
        yield gatys.main, [*gatys_argv, *content, f"{flag}={no_file}", "-o", "out"]
    yield gram.main, [f"--loss-weights={weights}", "-o", "out", "--", no_file]
    yield gram.main, [photo, f"--loss-weights={no_file}", "-o", "out"]
    yield styles.main, ["list", "--", no_file]
    yield styles.main, ["extract", "-o", "out", "--", no_file]
    yield styles.main, ["rename", "-o", "out.safetensors", "--", no_file, "0", "new"]
    yield styles.main, ["merge", "-o", "out.safetensors", "--", model, no_file]
    yield styles.main, ["remove", "-o", "out.safetensors", "--", model, no_file]


@pytest.mark.parametrize(
    "no_file", [*NO_FILES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_NO_FILES)]
)
def test_such_a_name_of_a_file_to_read_is_refused_in_lines_of_its_command(
    room, photo, style_files, loss_weights, no_file, capfd
):
    model = model_of(room / "model.safetensors", ["wave"])
    before = tree(room)
    for main, argv in commands(no_file, photo, style_files[0], loss_weights, model):
        refused(main, argv, capfd)
        assert tree(room) == before, argv


@pytest.mark.parametrize("no_file", ["a\0b", "x" * 300, "photo.png/below"])
def test_such_a_name_of_a_file_to_write_is_refused_before_the_work(
    room, photo, style_files, loss_weights, no_file, capfd
):
    model = model_of(room / "model.safetensors", ["wave"])
    shutil.copy(photo, "photo.png")
    before = tree(room)
    picture, weights = [str(photo), "--device", "cpu"], f"--loss-weights={loss_weights}"
    for suffix in ("", ".png"):
        refused(infer.main, [*picture, "--model", str(model), "-o", no_file + suffix], capfd)
        refused(gatys.main, ["--content", str(photo), "--style", str(photo), weights, "--size=32",
                             "--steps=1", "-o", no_file + suffix], capfd)  # fmt: skip
    pictures = ["--content", str(photo), "--style", str(photo), weights, "--size=32"]
    pictures += ["--steps=1", "--content-layer=relu3_1", "-o", "out"]
    refused(gatys.main, [*pictures, "--log", no_file], capfd)
    refused(gram.main, [*picture, weights, "-o", no_file], capfd)
    refused(styles.main, ["extract", str(model), "-o", no_file], capfd)
    refused(styles.main, ["extract", str(model), "-o", no_file + ".safetensors"], capfd)
    refused(styles.main, ["remove", str(model), "0", "-o", no_file + ".safetensors"], capfd)
    refused(train.main, [f"--styles={style_files[0]}", weights, "--steps=1", "-o", no_file], capfd)
    assert tree(room) == before


def refused(main, argv, capfd):
    """Exit code 2, and every line is the command's own."""
    capfd.readouterr()
    try:
        code = main([str(argument) for argument in argv])
    except SystemExit as stop:  # argparse
        code = stop.code
    told = capfd.readouterr().err
    assert code == 2, (argv, code, told)
    lines = [line for line in told.splitlines() if not line.startswith(("usage: ", " "))]
    assert lines, (argv, told)
    assert all(line.startswith("fst-") and line.isprintable() for line in lines), (argv, told)
    assert sum(": error: " in line or line.startswith("fst-train: ") for line in lines) >= 1
