"""The Gram laboratory: tables against numpy, and the report that fst-gram writes."""

import csv
import re
import sys

import numpy as np
import pytest
import torch
from conftest import smooth_field, stripes

from fst.cli.gram import main
from fst.gramlab import Laboratory, report
from fst.gramlab.figures import reconstruction
from fst.gramlab.measure import relative_distances
from fst.io import images
from fst.losses.gram import gram_matrix
from fst.networks.loss_network import load_loss_network

LAYERS = ("relu1_1", "relu3_1")


@pytest.fixture(scope="module")
def pictures():
    return [images.to_tensor(p) for p in (stripes(1), smooth_field(3, 80, 96))]


@pytest.fixture(scope="module")
def laboratory(loss_weights, pictures):
    return Laboratory(load_loss_network(loss_weights), pictures, ["stripes", "cloud"], LAYERS)


@pytest.fixture(scope="module")
def grams(loss_weights, pictures):
    """By layer and name, computed one by one."""
    network = load_loss_network(loss_weights)
    found = {}
    for name, picture in zip(("stripes", "cloud"), pictures, strict=True):
        for layer, features in network(picture[None], LAYERS).items():
            found[layer, name] = gram_matrix(features)[0].double().numpy()
    return found


def test_spectra_and_ranks_are_numpys(laboratory, grams):
    spectra, ranks = laboratory.spectra().rows, laboratory.ranks().rows
    for (layer, name), matrix in grams.items():
        values = np.linalg.eigvalsh(matrix)[::-1].clip(0)
        rows = [row for row in spectra if row[:2] == (layer, name)]
        np.testing.assert_allclose([row[3] for row in rows], values, atol=1e-6 * values[0])
        energy = np.cumsum(values**2) / np.sum(values**2)
        np.testing.assert_allclose([row[4] for row in rows], energy, atol=1e-6)
        (row,) = [row for row in ranks if row[:2] == (layer, name)]
        expected = [int(np.argmax(energy >= share)) + 1 for share in (0.9, 0.95, 0.99)]
        assert row[2:] == (len(matrix), *expected)


def mean_of(loss_weights, picture, layer):
    features = load_loss_network(loss_weights)(picture[None], [layer])[layer]
    return features[0].flatten(1).double().numpy().mean(1)


@pytest.fixture(scope="module")
def centered(loss_weights, pictures):
    network = load_loss_network(loss_weights)
    return Laboratory(network, pictures, ["stripes", "cloud"], LAYERS, centered=True)


def test_centred_matrices_are_what_the_mean_leaves(centered, grams, loss_weights, pictures):
    for place, name in enumerate(("stripes", "cloud")):
        for layer in LAYERS:
            mean = mean_of(loss_weights, pictures[place], layer)
            covariance = grams[layer, name] - np.outer(mean, mean)
            found = centered.grams[layer][place].numpy()
            np.testing.assert_allclose(found, covariance, atol=1e-5 * np.trace(grams[layer, name]))
            values = [row[3] for row in centered.spectra().rows if row[:2] == (layer, name)]
            expected = np.linalg.eigvalsh(covariance)[::-1].clip(0)
            np.testing.assert_allclose(values, expected, atol=1e-5 * np.trace(grams[layer, name]))


@pytest.mark.parametrize("which", ["laboratory", "centered"])
def test_what_the_mean_holds_is_numpys(request, which, grams, loss_weights, pictures):
    rows = request.getfixturevalue(which).mean_shares().rows
    assert len(rows) == len(grams)
    for layer, name, trace, energy, cosine in rows:
        mean = mean_of(loss_weights, pictures[("stripes", "cloud").index(name)], layer)
        matrix = grams[layer, name]
        assert trace == pytest.approx(mean @ mean / np.trace(matrix), rel=1e-4)
        assert energy == pytest.approx((mean @ mean) ** 2 / np.sum(matrix**2), rel=1e-4)
        first = np.linalg.eigh(matrix)[1][:, -1]
        assert cosine == pytest.approx(abs(first @ mean) / np.linalg.norm(mean), rel=1e-4)


def test_a_black_picture_has_no_mean_to_share(loss_weights):
    black = Laboratory(load_loss_network(loss_weights), [torch.zeros(3, 64, 64)], ["black"], LAYERS)
    black.means["relu1_1"].zero_(), black.grams["relu1_1"].zero_()
    assert black.mean_shares().rows[0][2:] == (0, 0, 0)


def test_reconstruction_error_is_what_the_left_out_pairs_hold(laboratory, grams):
    for layer, name, share, k, error in laboratory.reconstruction().rows:
        values = np.linalg.eigvalsh(grams[layer, name])[::-1]
        expected = np.sqrt(np.sum(values[k:] ** 2) / np.sum(values**2))
        assert error == pytest.approx(expected, abs=1e-5)
        assert k == max(1, round(share * len(values)))


def test_similarity_is_zero_on_the_diagonal_and_symmetric(laboratory, grams):
    table = {row[:3]: row[3] for row in laboratory.similarity().rows}
    for layer in LAYERS:
        a, b = grams[layer, "stripes"], grams[layer, "cloud"]
        expected = 2 * np.linalg.norm(a - b) / (np.linalg.norm(a) + np.linalg.norm(b))
        assert table[layer, "stripes", "cloud"] == pytest.approx(expected, rel=1e-5)
        assert table[layer, "cloud", "stripes"] == table[layer, "stripes", "cloud"]
        assert table[layer, "cloud", "cloud"] == 0


def test_all_zero_matrices_have_distance_zero():
    assert relative_distances(torch.zeros(2, 3, 3)).tolist() == [[0, 0], [0, 0]]


def test_aggregates_say_what_is_no_gram_matrix(laboratory, grams):
    for layer, how, distance, _, negative in laboratory.aggregates().rows:
        both = np.stack([grams[layer, "stripes"], grams[layer, "cloud"]])
        matrix, mean = {"mean": np.mean, "max": np.max, "min": np.min}[how](both, 0), both.mean(0)
        values = np.linalg.eigvalsh(matrix)
        share = np.sum(values.clip(max=0) ** 2) / np.sum(values**2)
        norm = np.linalg.norm(matrix - mean) / np.linalg.norm(mean)
        assert (distance, negative) == pytest.approx((norm, share), abs=1e-5)


def test_the_only_patch_of_a_grid_of_one_is_the_picture(laboratory):
    assert all(row[4] == 0 for row in laboratory.patches((1, 1)).rows)
    assert any(row[4] > 0.01 for row in laboratory.patches((2, 2)).rows)


def test_costs_count_the_numbers_of_each_target(laboratory):
    counts = {row[0]: row[1] for row in laboratory.costs(("gram", "projected rank=2")).rows}
    channels = [4, 16]  # of relu1_1 and relu3_1, a sixteenth of VGG-19's
    assert counts["gram"] == sum(c * c + 1 for c in channels)
    assert counts["projected rank=2"] == sum(2 * 2 * c + 1 for c in channels)


def test_no_line_of_the_reconstruction_is_cut_off(laboratory):
    table = laboratory.reconstruction()
    shown = reconstruction(table)
    for axis, layer in zip(shown.axes, LAYERS, strict=False):
        assert axis.get_ylim()[1] >= max(row[4] for row in table.rows if row[0] == layer)


# ---- fst-gram ----------------------------------------------------------------------------------


@pytest.fixture
def argv(tmp_path, monkeypatch, style_files, loss_weights):
    """Makes the arguments of a small report."""
    monkeypatch.chdir(tmp_path)

    def make(*extra, pictures=style_files):
        common = [*pictures, "--loss-weights", loss_weights, "--size", 64, "--patches", "1x2"]
        return [str(argument) for argument in [*common, "--device", "cpu", *extra]]

    return make


def test_the_report_holds_figures_and_tables(argv, tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ["--synthesize", "gram", "eigen top=50%", "--texture-size", "32", "--steps", "3"]
    assert main(argv("-o", "report", *words)) == 0
    folder = tmp_path / "report"
    assert capsys.readouterr().out == "report/report.html\n"
    page = (folder / "report.html").read_text()
    assert len(re.findall(r'src="data:image/png;base64,', page)) == 9
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing but itself is needed
    names = {path.stem for path in (folder / "tables").iterdir()}
    assert names == {"mean_shares", "spectra", "ranks", "reconstruction", "similarity",
                     "aggregates", "patches", "costs"}  # fmt: skip
    rows = list(csv.reader((folder / "tables" / "ranks.csv").open()))
    assert len(rows) == 1 + 2 * 5
    assert images.load(folder / "figures" / "textures.png").shape[2] > 3 * 32
    log = EventAccumulator(str(folder / "tensorboard"))
    log.Reload()
    assert "gram/spectra_log" in log.Tags()["images"]


def test_a_centred_report_says_so_and_differs(argv, tmp_path):
    for folder, extra in (("plain", []), ("centred", ["--centered"])):
        assert main(argv("-o", folder, *extra)) == 0
    page = (tmp_path / "centred" / "report.html").read_text()
    assert "Eigenvalues of the centred Gram matrices" in page
    plain, centred = ((tmp_path / f).joinpath("tables") for f in ("plain", "centred"))
    for name in ("spectra", "ranks", "reconstruction", "similarity"):
        file = f"{name}.csv"
        assert (plain / file).read_text() != (centred / file).read_text()


def test_a_single_picture_has_no_similarity(argv, tmp_path, style_files):
    assert main(argv("-o", "one", pictures=style_files[:1])) == 0
    assert not (tmp_path / "one" / "figures" / "similarity.png").exists()


def test_a_folder_gives_its_pictures_its_name(argv, tmp_path, style_files):
    assert main(argv("-o", "of", pictures=[style_files[0].parent])) == 0
    assert f"{style_files[0].parent.name}/stripes" in (tmp_path / "of/tables/ranks.csv").read_text()


def test_hostile_names_are_harmless_in_the_page(argv, tmp_path):
    smooth_field(5, 64, 64).save(tmp_path / "<script>alert(1)<|script>.png")
    assert main(argv("-o", "r", pictures=["<script>alert(1)<|script>.png"])) == 0
    assert "<script>" not in (tmp_path / "r" / "report.html").read_text()


def test_everything_wrong_is_told_at_once_and_nothing_written(argv, tmp_path, capsys):
    wrong = ["--synthesize", "vibes", "--layers", "relu9_9", "-o", "r"]
    assert main([*argv(*wrong), "missing.png"]) == 2
    error = capsys.readouterr().err
    for part in ("vibes", "relu9_9", "missing.png"):
        assert part in error
    assert "Traceback" not in error and not (tmp_path / "r").exists()


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_a_missing_package_is_told_before_the_work(argv, tmp_path, capsys, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(argv("-o", "r")) == 2
    line = f"fst-gram: error: the report needs {missing}: pip install 'fst[gram]'\n"
    assert capsys.readouterr().err == line and not (tmp_path / "r").exists()


def test_patches_that_do_not_fit_are_refused(argv, tmp_path, capsys):
    assert main(argv("--patches", "9x9")) == 2
    assert "at least 32 px" in capsys.readouterr().err


def test_names_that_are_formulas_or_hidden_are_written_out(argv, tmp_path, recwarn):
    names = ["a$\\frac$.png", "_DSC0001.png"]
    for number, name in enumerate(names):
        smooth_field(number, 64, 64).save(tmp_path / name)
    assert main(argv("-o", "r", pictures=names)) == 0
    assert not [w for w in recwarn if issubclass(w.category, UserWarning)]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--synthesize", "eigen top=500"], "500 eigenpairs"),
        (["--size", "16"], "below 32 px a side"),
        (["-o", "/proc/x"], "/proc/x"),
    ],
)
def test_what_cannot_work_is_told_before_work(argv, words, part, capsys, monkeypatch):
    monkeypatch.setattr("fst.gramlab.measure.Laboratory.__init__", lambda *_: pytest.fail("work"))
    assert main(argv(*words)) == 2
    assert part in capsys.readouterr().err


def test_an_interrupt_leaves_no_report(argv, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fst.gramlab.synthesis.synthesize", interrupt)
    assert main(argv("-o", "r", "--synthesize", "gram")) == 130
    assert not (tmp_path / "r" / "report.html").exists()


def test_a_report_is_replaced_only_when_asked(argv, tmp_path, style_files, capsys):
    assert main(argv("-o", "r")) == 0
    assert main(argv("-o", "r")) == 2
    assert "--overwrite" in capsys.readouterr().err
    (tmp_path / "r" / "figures" / "mine.png").write_bytes(b"kept")
    assert main(argv("-o", "r", "--overwrite", pictures=style_files[:1])) == 0
    figures = {path.stem for path in (tmp_path / "r" / "figures").iterdir()}
    assert {"similarity", "aggregates"}.isdisjoint(figures) and {"mine", "pictures"} <= figures
    assert len(list((tmp_path / "r" / "tensorboard").iterdir())) == 1


def test_a_folder_without_a_report_keeps_what_it_holds(argv, tmp_path):
    theirs = [tmp_path / "run" / name for name in ("tensorboard/events.out.tfevents.1",
              "figures/textures.png")]  # fmt: skip
    for file in theirs:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"theirs")
    assert main(argv("-o", "run")) == 0
    assert [file.read_bytes() for file in theirs] == [b"theirs"] * 2


def test_textures_of_several_pictures_are_shown_beside_all_of_them(pictures):
    texture = {"gram": images.to_tensor(smooth_field(8, 32, 32))}
    one = report.texture_section(texture, {"stripes": pictures[0]})
    two = report.texture_section(texture, dict(zip(("stripes", "gram"), pictures, strict=True)))
    assert "2 pictures" in two.text and "pictures" not in one.text
    shapes = [section.images["textures"].shape for section in (one, two)]
    assert shapes[1][1] * shapes[1][2] > shapes[0][1] * shapes[0][2]  # a panel more


def test_the_name_of_a_page_is_no_folder(argv, tmp_path, capsys):
    assert main(argv("-o", "report.html")) == 2
    assert "-o report.html: name a folder" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()
