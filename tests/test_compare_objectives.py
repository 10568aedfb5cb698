"""The script that trains one setting at a time and judges it."""

import json

import pytest


@pytest.fixture
def script(load_script):
    """The script."""
    return load_script("compare_objectives")


def test_cases_are_trained_judged_and_not_trained_again(
    script, photo_folder, style_files, loss_weights, tmp_path, monkeypatch, capsys
):
    train = f"--content {photo_folder} --loss-weights {loss_weights} --size 48 --batch-size 2 "
    train += "--num-workers 0 --trainer.accelerator cpu --trainer.enable_progress_bar false"
    argv = ["--styles", *style_files, "--photos", photo_folder, "--every", 6, "--size", 48]
    argv += ["--loss-weights", loss_weights, "--steps", 2, "--train", train]
    argv = [str(a) for a in [*argv, "--only", "as shipped", "gram", "-o", tmp_path / "out"]]
    assert script.main(argv) == 0
    first = capsys.readouterr().out
    assert "| as shipped |" in first and "| gram |" in first
    results = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert results["as shipped"]["brushwork"] != results["gram"]["brushwork"]
    monkeypatch.setattr(script, "fst_train", lambda argv: pytest.fail("trained again"))
    assert script.main(argv) == 0
    assert capsys.readouterr().out.endswith(first[first.index("| |") :])
