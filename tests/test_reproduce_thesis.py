"""scripts/reproduce_thesis.py: cases, tables and strips; goes on where it was stopped."""

import json

import pytest


@pytest.fixture(scope="module")
def thesis(load_script):
    return load_script("reproduce_thesis")


@pytest.fixture
def argv(tmp_path, style_files, loss_weights):
    words = ["--style", style_files[0], "--instances", style_files[0].parent, "--size", 64]
    words += ["--loss-weights", loss_weights, "--judge", loss_weights, "--steps", 10]
    return [str(word) for word in [*words, "-o", tmp_path / "out"]]


def test_every_statistic_can_be_read(thesis):
    from fst.losses.parse import read_statistic

    for texts in thesis.PARTS.values():
        for text in texts:
            read_statistic(text)
            if centred := thesis.centered_form(text):
                assert "centered=yes" in read_statistic(centred).text


@pytest.mark.parametrize(
    ("text", "centred"),
    [
        ("gram", "gram centered"),
        ("eigen top=5%", "eigen centered top=5%"),
        ("projected rank=10% patches=2x2", "projected centered rank=10% patches=2x2"),
        ("wasserstein", None),
        ("meanstd instances=max", None),
    ],
)
def test_statistics_of_gram_matrices_have_a_centred_form(thesis, text, centred):
    assert thesis.centered_form(text) == centred


def test_all_eigenpairs_paint_the_picture_of_plain_gram(thesis, argv, tmp_path, capsys):
    assert thesis.main([*argv, "--parts", "a", "f"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heading, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert len(rows) == 5 + 6
    table = {row[1]: dict(zip(heading[2:7], row[2:7], strict=True)) for row in rows}
    centred = {row[1]: dict(zip(heading[2:7], row[7:], strict=True)) for row in rows}
    for form in (table, centred):
        for figure in ("brushwork", "style"):
            found = float(form["eigen top=100%"][figure])
            assert found == pytest.approx(float(form["gram"][figure]), abs=0.02)
        assert float(form["gram"][heading[5]]) == 0 < float(form["eigen top=5%"][heading[5]])
    assert table["gram"] != centred["gram"]
    assert table["meanstd instances=max"]["brushwork"] and not any(
        centred["meanstd instances=max"].values()
    )
    assert (tmp_path / "out" / "strip_a.png").is_file()


def test_a_second_call_paints_only_what_lacks(thesis, argv, tmp_path, monkeypatch, capsys):
    assert thesis.main([*argv, "--parts", "d"]) == 0
    path = tmp_path / "out" / "results.json"
    stored = json.loads(path.read_text())
    assert len(stored["results"]) == 4  # two statistics, uncentred and centred
    monkeypatch.setattr(thesis, "paint", lambda *_: pytest.fail("painted again"))
    assert thesis.main([*argv, "--parts", "d"]) == 0
    assert thesis.main([*argv, "--parts", "d", "--steps", "4"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "part"), [(["--parts", "x"], "choose among a c d e f g o")])
def test_parts_that_are_none_are_refused(thesis, argv, words, part, capsys):
    assert thesis.main([*argv, *words]) == 2
    assert part in capsys.readouterr().err


def test_instances_are_asked_for(thesis, capsys):
    assert thesis.main(["--parts", "f"]) == 2
    assert "--instances" in capsys.readouterr().err
