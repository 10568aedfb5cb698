"""fst-train with styles that have statistics, weights and sizes of their own, in a YAML file."""

import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fst import Stylizer
from fst.cli.infer import main as infer
from fst.cli.train import main
from fst.io import images

TEXTS = ["eigen top=1", "eigen top=50%", "gram"]


@pytest.fixture(scope="module")
def config(tmp_path_factory, style_files):
    """One picture in three statistics, and two pictures as one style of patches."""
    wave, cloud = map(str, style_files)
    styles = [{"images": wave, "name": f"wave-{i}", "statistic": t} for i, t in enumerate(TEXTS)]
    styles.append(
        {"images": [wave, cloud], "name": "both", "weight": 2.5, "size": 64,
         "statistic": "projected", "options": {"rank": 1, "patches": "1x2", "instances": "beside"}}
    )  # fmt: skip
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(yaml.safe_dump({"styles": styles}))
    return path


@pytest.fixture(scope="module")
def argv(train_argv, config):
    def make(folder, *extra):
        arguments = train_argv(folder, *extra)
        place = arguments.index("--styles")  # and the two files that follow
        return [*arguments[:place], "--config", str(config), *arguments[place + 3 :]]

    return make


@pytest.fixture(scope="module")
def trained(argv, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(argv(folder)) == 0
    return folder


def test_the_model_says_how_each_style_was_trained(trained):
    styles = Stylizer(trained / "model.safetensors").styles
    assert [style["name"] for style in styles] == ["wave-0", "wave-1", "wave-2", "both"]
    assert [style["statistic"] for style in styles[:3]] == TEXTS
    assert styles[3]["statistic"] == "projected instances=beside patches=1x2 rank=1"
    assert (styles[3]["weight"], styles[3]["size_px"]) == (2.5, 64)
    assert styles[3]["images"] == ["stripes.png", "cloud.jpg"]


def test_texture_moves_along_the_styles_of_one_picture(trained, photo_folder, tmp_path):
    photo = next(iter(sorted(photo_folder.iterdir())))
    model = str(trained / "model.safetensors")
    argv = [str(photo), "--model", model, "--style", "wave-2", "-o", str(tmp_path / "o.png")]
    assert infer([*argv, "--texture", "0.25"]) == 0
    stylizer = Stylizer(model)
    assert stylizer.texture_line("wave-0") == [0, 1, 2]
    expected = stylizer.stylize(photo, 0, texture=0.25)
    assert (images.load(tmp_path / "o.png") - expected).abs().max() < 1 / 255


def test_a_resumed_run_keeps_the_statistics(argv, trained, tmp_path):
    folder = tmp_path / "run"
    assert main(argv(folder, "--steps", "6")) == 0
    assert main(["--resume", str(folder / "last.ckpt"), "--steps", "12"]) == 0
    styles = [Stylizer(run / "model.safetensors").styles for run in (folder, trained)]
    assert styles[0] == styles[1]


def test_statistics_change_what_is_learned(argv, trained, train_argv, tmp_path):
    assert main(argv(tmp_path / "run", "--style-loss", "meanstd")) == 0  # the styles outweigh it
    same = load_file(tmp_path / "run" / "model.safetensors")
    for name, weights in load_file(trained / "model.safetensors").items():
        assert torch.equal(same[name], weights)
    runs = [tmp_path / name for name in ("gram", "meanstd")]
    for folder in runs:
        assert main(train_argv(folder, "--style-loss", folder.name)) == 0
    gram, meanstd = (load_file(folder / "model.safetensors") for folder in runs)
    assert not all(torch.equal(gram[name], meanstd[name]) for name in gram)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["eigen", "top=500"], "--style-loss: style loss eigen top=500, relu1_1: 500 eigenpairs"),
        (["eigen", "crop=1"], "option 'crop'"),
        (["eigen", "top=1", "bottom=1"], "top, bottom and slice: give one"),
        (["gram", "patches=9x9"], "style stripes: patches 9x9"),
        (["meanstd", "--classic-weights"], "'meanstd' has no classic form"),
        (["gram", "centered", "--classic-weights"], "'gram centered=yes' has no classic form"),
    ],
)
def test_a_statistic_that_does_not_fit_is_told_before_work(
    train_argv, tmp_path, capsys, words, part
):
    assert main(train_argv(tmp_path / "run", "--style-loss", *words)) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_wrong_specification_names_the_style(argv, config, tmp_path, capsys):
    content = yaml.safe_load(config.read_text())
    content["styles"][1]["statistic"] = "eigen top=0"
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump(content))
    arguments = argv(tmp_path / "run")
    arguments[arguments.index("--config") + 1] = str(broken)
    assert main(arguments) == 2
    assert "style wave-1: style loss eigen: top=0" in capsys.readouterr().err


def test_two_processes_train_styles_of_different_statistics(argv, tmp_path):
    words = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--steps", "4"]
    command = [sys.executable, "-m", "fst.cli.train", *argv(tmp_path / "run", *words)]
    command += ["--val-every", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(Stylizer(tmp_path / "run" / "model.safetensors").style_names) == 4


def test_paintings_of_one_file_name_are_no_line(train_argv, style_files, tmp_path):
    for name, file in zip(("monet", "gogh"), style_files, strict=True):
        (tmp_path / name).mkdir()
        images.save(images.load(file), tmp_path / name / "1.png")
    arguments = train_argv(tmp_path / "run", "--steps", "1")
    place = arguments.index("--styles")
    arguments[place + 1 : place + 3] = [str(tmp_path / "monet"), str(tmp_path / "gogh")]
    assert main(arguments) == 0
    assert Stylizer(tmp_path / "run" / "model.safetensors").texture_line("monet") == [0]


@pytest.mark.parametrize("words", [["instances=beside"], ["instances=beside", "patches=1x2"]])
def test_styles_of_unequal_counts_of_pictures_are_put_beside(
    train_argv, style_files, photo_folder, tmp_path, words
):
    argv = train_argv(tmp_path / "run", "--style-loss", "projected", "rank=1", *words)
    styles = [str(style_files[0]), str(photo_folder)]  # of one picture and of twelve
    assert main([*argv, "--styles", *styles, "--steps", "2"]) == 0
