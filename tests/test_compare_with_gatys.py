"""The script that holds a style model against Gatys."""

import json
import math

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def compare(load_script):
    return load_script("compare_with_gatys")


def result(level, curve):
    totals = {str(number): {"total": total} for number, total in curve.items()}
    return {"network": {"total": level}, "gatys": totals}


def test_equivalent_iterations_lie_where_the_curve_has_the_level(compare):
    curve = {1: 8.0, 10: 4.0, 100: 1.0}
    assert compare.equivalent_iterations(result(4.0, curve)) == pytest.approx(10)
    # Half way down from 4 to 1, half way from 10 to 100 on a logarithmic scale.
    assert compare.equivalent_iterations(result(2.5, curve)) == pytest.approx(10 * math.sqrt(10))
    assert compare.equivalent_iterations(result(9.0, curve)) == 1
    assert compare.equivalent_iterations(result(0.5, curve)) == math.inf


def test_the_spread_says_when_gatys_never_arrives(compare):
    curve = {1: 8.0, 10: 4.0, 100: 1.0}
    results = [result(level, curve) for level in (4.0, 0.5, 8.0)]
    assert compare.spread(results) == "10 (1 to > 100)"


def test_a_comparison_writes_all_and_goes_on_where_it_stopped(
    compare, run, photo_folder, style_files, loss_weights, tmp_path, capsys, monkeypatch
):
    argv = [run / "model.safetensors", "--photos", photo_folder, "--every", 6, "--size", 40]
    argv += ["--styles-dir", style_files[0].parent, "--iterations", 2, 5, "-o", tmp_path]
    argv = [str(a) for a in [*argv, "--loss-weights", loss_weights, "--judge", loss_weights]]
    assert compare.main(argv) == 0
    table = capsys.readouterr().out
    assert table == (tmp_path / "table.md").read_text()
    assert table.count("Gatys, 5") == 2 and "judged style" in table
    stored = json.loads((tmp_path / "results.json").read_text())["results"]
    assert len(stored) == 4  # two photos, two styles
    for figures in stored.values():
        assert figures["gatys"]["5"]["total"] <= figures["gatys"]["2"]["total"]
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (4 * 44 + 4, 2 * 44 + 4)
    assert (tmp_path / "loss.png").stat().st_size > 1000
    monkeypatch.setattr(compare, "optimize", None)  # nothing is left to optimise
    assert compare.main(argv) == 0
    assert compare.main([*argv[:-4], "--loss-weights", argv[-3]]) == 2  # without the judge
    assert "made with other settings" in capsys.readouterr().err
