"""fst-train's arguments: what is refused, all at once, and what reaches Lightning."""

import subprocess
import sys

import pytest
import yaml

from fst.cli.train import main
from fst.cli.train_arguments import parse
from fst.errors import FstError


def test_help_fits_a_screen(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 100


def test_help_imports_neither_torch_nor_lightning():
    code = (
        "import sys\nfrom fst.cli.train import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'pytorch_lightning'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip().endswith("set()"), result.stderr


def test_all_wrong_values_are_named_at_once(capsys):
    argv = ["--steps", "many", "--width", "-1", "--bogus", "3", "--trainer.devices", "[1"]
    assert main(argv) == 2
    error = capsys.readouterr().err
    for name in ("steps", "width", "--bogus"):
        assert name in error
    assert "Traceback" not in error


def test_all_wrong_files_are_named_at_once_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["--styles", "no.jpg", "--content", "nowhere", "--loss-weights", "none.pt"]
    assert main([*argv, "--size", "8"]) == 2
    error = capsys.readouterr().err
    for name in ("no.jpg", "nowhere", "none.pt", "--size 8"):
        assert name in error
    assert list(tmp_path.iterdir()) == []


def test_styles_are_required(capsys, photo_folder, loss_weights, tmp_path):
    argv = ["--content", photo_folder, "--loss-weights", loss_weights, "-o", tmp_path / "run"]
    assert main([str(a) for a in argv]) == 2
    assert "--styles" in capsys.readouterr().err


def test_a_layer_the_loss_network_lacks_is_named_with_those_it_has(train_argv, tmp_path, capsys):
    assert main(train_argv(tmp_path / "run", "--content-layer", "relu9_9")) == 2
    error = capsys.readouterr().err
    assert "relu9_9" in error and "relu3_1" in error


def test_an_unknown_style_loss_is_named_with_the_known(train_argv, tmp_path, capsys):
    assert main(train_argv(tmp_path / "run", "--style-loss", "vibes")) == 2
    error = capsys.readouterr().err
    assert "vibes" in error and "gram" in error


def test_trainer_flags_reach_lightning():
    settings, trainer = parse(["--styles", "a.jpg", "--trainer.devices", "2", "--steps", "7"])
    assert int(trainer["devices"]) == 2  # Lightning takes "2" as well: "-1" and "0,1" are text
    assert settings.steps == 7 and settings.styles == ["a.jpg"]


def test_a_wrong_trainer_flag_is_one_line(train_argv, tmp_path, capsys):
    assert main(train_argv(tmp_path / "run", "--trainer.accelerator", "abacus")) == 2
    error = capsys.readouterr().err
    assert "abacus" in error and "Traceback" not in error


def test_printed_settings_are_a_config_file(tmp_path, capsys):
    with pytest.raises(SystemExit):
        parse(["--styles", "a.jpg", "b.jpg", "--width", "0.25", "--print_config"])
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["styles"] == ["a.jpg", "b.jpg"]
    path = tmp_path / "run.yaml"
    path.write_text(text)
    settings, _ = parse(["--config", str(path), "--steps", "9"])
    assert (settings.styles, settings.width, settings.steps) == (["a.jpg", "b.jpg"], 0.25, 9)


def test_a_missing_config_file_is_named(tmp_path):
    with pytest.raises(FstError, match=r"missing\.yaml"):
        parse(["--config", str(tmp_path / "missing.yaml")])
