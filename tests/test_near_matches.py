"""A mistyped flag, command or style is answered with what comes near, and with nothing else."""

import importlib

import pytest

from fst.__main__ import main as fst
from fst.errors import FstError, near_matches
from fst.style_model.names import find_style

GALLERY = ["wave", "udnie", "the_scream", "starry_night", "signac", "pointillism"]


@pytest.mark.parametrize(
    "word, near",
    [("wafe", "wave"), ("Wave", "wave"), ("UDNIE", "udnie"), ("stary_nigth", "starry_night"),
     ("scream", "the_scream"), ("signak", "signac")],
)  # fmt: skip
def test_words_that_come_near_are_named(word, near):
    assert near_matches(word, GALLERY) == f"did you mean {near}?"


@pytest.mark.parametrize("word", ["monet", "van_gogh", "picasso", "night", "x", ""])
def test_words_that_do_not_are_answered_with_those_there_are(word):
    with pytest.raises(FstError) as refused:
        find_style(GALLERY, word)
    assert "did you mean" not in str(refused.value)
    assert f"it has {', '.join(GALLERY)}" in str(refused.value)


def test_of_many_styles_the_first_are_named_and_the_others_counted():
    names = [f"style{i}" for i in range(10)]
    for more, end in (([], "style9"), (["wave", "udnie"], "style9 and 2 more")):
        with pytest.raises(FstError) as refused:
            find_style([*names, *more], "picasso")
        assert str(refused.value).endswith(f"it has {', '.join(names[:9])}, {end}")


@pytest.mark.parametrize(
    "command, argv, near",
    [
        ("infer", ["a.jpg", "--styel", "wave"], "--style"),
        ("infer", ["a.jpg", "--keep-colours"], "--keep-colors"),
        ("infer", ["a.jpg", "--overwrit=yes"], "--overwrite"),
        ("gatys", ["--contnet", "a.jpg"], "--content"),
        ("gram", ["a.jpg", "--synthesise"], "--synthesize"),
        ("export", ["--fp-16"], "--fp16"),
        ("styles", ["extract", "gallery", "wave", "--overwite"], "--overwrite"),
        ("demo", ["--prot", "80"], "--port"),
        ("train", ["--stpes", "3"], "--steps"),
        ("train", ["--styles", "a.jpg", "--trainer.precison", "32"], "--trainer.precision"),
        ("train", ["--trainer.max_step=3"], "--trainer.max_steps"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_mistyped_flag_is_answered_with_the_one_meant(command, argv, near, capsys):
    main = importlib.import_module(f"fst.cli.{command}").main
    try:
        code = main(argv)
    except SystemExit as stop:
        code = stop.code
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert f"did you mean {near}" in told and "unrecognized arguments" in told


def test_a_flag_like_no_other_gets_no_near_match(capsys):
    from fst.cli.gatys import main

    with pytest.raises(SystemExit):
        main(["--quux", "3"])
    assert "did you mean" not in capsys.readouterr().err


def test_a_mistyped_command_too(capsys):
    assert fst(["trian"]) == 2
    assert "no command 'trian': did you mean train?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, near",
    [("stepz: 3", "--steps"), ("styles: a.jpg\nstepz: 3", "--steps"),
     ("style_wight: 3", "--style-weight"),
     ("trainer: {precison: 32-true}", "--trainer.precision")],
)  # fmt: skip
def test_a_mistyped_name_in_a_settings_file_too(tmp_path, capsys, text, near):
    from fst.cli.train import main

    (tmp_path / "run.yaml").write_text(text)
    assert main(["--config", str(tmp_path / "run.yaml")]) == 2
    told = capsys.readouterr().err
    assert f"did you mean {near}" in told and str(tmp_path / "run.yaml") in told
