"""Styles one by one: files, merging, removing, renaming, and the command fst-styles."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fst import FstError, Stylizer
from fst.cli.styles import main
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, load_style_model, save_style_model
from fst.style_model.sets import (
    merged,
    read_styles_of,
    renamed,
    save_style,
    styles_of,
    trunk_fingerprint,
    with_styles,
)

NAMES = ["wave", "udnie", "rain"]
PHOTO = torch.rand(3, 33, 40, generator=torch.Generator().manual_seed(5))


def network_of(num_styles, seed, width=0.125):
    torch.manual_seed(seed)
    network = TransformerNet(num_styles, width, num_blocks=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def write_model(path, network, names):
    styles = [{"name": name, "images": [f"{name}.jpg"], "weight": 2.0} for name in names]
    return save_style_model(path, network, describe(network, styles, {"step": 7}))


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return str(write_model(tmp_path / "m.safetensors", network_of(3, 0), NAMES))


def paintings(path):
    stylizer = Stylizer(path)
    return {name: stylizer.stylize(PHOTO, name) for name in stylizer.style_names}


def assert_same_paintings(found, expected):
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_out_and_in_again_paints_the_same_to_the_bit(model, capsys):
    before = paintings(model)
    assert main(["extract", model, "udnie"]) == 0
    assert main(["remove", model, "udnie", "-o", "less.safetensors"]) == 0
    assert_same_paintings(paintings("less.safetensors"), {n: before[n] for n in ("wave", "rain")})
    words = ["merge", "less.safetensors", "udnie.style.safetensors", "-o", "again.safetensors"]
    assert main(words) == 0
    assert_same_paintings(
        paintings("again.safetensors"), {n: before[n] for n in ("wave", "rain", "udnie")}
    )
    assert capsys.readouterr().out.split() == [
        "udnie.style.safetensors", "less.safetensors", "again.safetensors"
    ]  # fmt: skip
    metadata = load_style_model("again.safetensors")[1]
    assert metadata["styles"][2] == {"name": "udnie", "images": ["udnie.jpg"], "weight": 2.0}
    assert metadata["training"] == {"step": 7}


def test_a_style_file_holds_the_rows_alone(model, tmp_path):
    assert main(["extract", model]) == 0
    network, _ = load_style_model(model)
    rows = sum(p[0].numel() for n, p in network.named_parameters() if "norm" in n)
    for place, name in enumerate(NAMES):
        file = tmp_path / f"{name}.style.safetensors"
        assert 4 * rows < file.stat().st_size < 4 * rows + 4000
        (style,) = read_styles_of(file)
        assert style.trunk == trunk_fingerprint(network)
        assert torch.equal(
            style.rows["conv_in.norm.gamma"], network.state_dict()["conv_in.norm.gamma"][place]
        )


def test_the_fingerprint_knows_the_trunk_and_not_the_styles():
    network, other = network_of(2, 0), network_of(2, 0)
    with torch.no_grad():
        other.conv_in.norm.gamma.add_(1)
    assert trunk_fingerprint(network) == trunk_fingerprint(other)
    with torch.no_grad():
        other.blocks[0].conv2.conv.weight[0, 0, 0, 0] += 1e-6
    assert trunk_fingerprint(network) != trunk_fingerprint(other)


def test_another_trunk_is_refused_with_the_way_out(model, tmp_path, capsys):
    other = write_model(tmp_path / "other.safetensors", network_of(1, 1), ["candy"])
    before = (tmp_path / "m.safetensors").read_bytes()
    assert main(["merge", model, str(other), "--in-place"]) == 2
    told = capsys.readouterr().err
    assert "'candy' belongs to another network" in told and "fst-train --add-to" in told
    assert told.count("\n") == 1 and (tmp_path / "m.safetensors").read_bytes() == before


def test_another_trunk_is_told_before_a_clash_of_names(model, tmp_path, capsys):
    other = write_model(tmp_path / "other.safetensors", network_of(1, 1), ["wave"])
    assert main(["merge", model, str(other), "-o", "n.safetensors"]) == 2
    assert "'wave' belongs to another network" in capsys.readouterr().err


def test_what_is_there_already_is_left_out_and_a_clash_of_names_refused(model, tmp_path, capsys):
    assert main(["merge", model, model, "-o", "same.safetensors"]) == 0
    assert "wave, udnie, rain there already" in capsys.readouterr().err
    assert_same_paintings(paintings("same.safetensors"), paintings(model))
    (style,) = styles_of(*load_style_model(model))[:1]
    style.rows["conv_in.norm.beta"][0] += 1
    save_style(tmp_path / "wave.style.safetensors", style)
    words = ["merge", model, "wave.style.safetensors", "-o", "clash.safetensors"]
    assert main(words) == 2
    assert "two different styles are named 'wave'" in capsys.readouterr().err
    assert not (tmp_path / "clash.safetensors").exists()


def test_rename_in_place_keeps_ids_and_paintings(model):
    before = paintings(model)
    assert main(["rename", "./m.safetensors", "1", "duchamp", "--in-place"]) == 0
    after = paintings(model)
    assert list(after) == ["wave", "duchamp", "rain"]
    assert torch.equal(after["duchamp"], before["udnie"])


def test_list_shows_models_and_style_files(model, capsys):
    assert main(["list", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["1", "udnie", "1", "picture,", "weight", "2.0"]
    assert main(["extract", model, "rain", "-o", "r.safetensors"]) == 0
    capsys.readouterr()
    assert main(["list", "r.safetensors"]) == 0
    assert capsys.readouterr().out.startswith("  0  rain")


def test_styles_of_a_wider_network_do_not_fit(model):
    narrow, metadata = load_style_model(model)
    style = styles_of(narrow, metadata)[0]
    style.rows["conv_in.norm.gamma"] = torch.ones(99)
    with pytest.raises(FstError, match="has not the rows of this network"):
        with_styles(narrow, metadata, [style])


@pytest.mark.parametrize("name", ["", "  ", "-o", "a\nb", "a=0.5"])
def test_names_that_cannot_be_asked_for_are_refused(model, name):
    with pytest.raises(FstError, match="no name for a style"):
        renamed(read_styles_of(model)[0], name)


def test_merged_keeps_order():
    network = network_of(3, 0)
    styles = styles_of(network, describe(network, [{"name": n} for n in NAMES], {}))
    assert [s.name for s in merged(styles[1:], styles)] == ["udnie", "rain", "wave"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["remove", "m.safetensors", "wafe", "-o", "n.safetensors"], "did you mean wave"),
        (["remove", "m.safetensors", "7", "-o", "n.safetensors"], "out of range"),
        (["remove", "m.safetensors", *NAMES, "-o", "n.safetensors"], "at least one style"),
        (["remove", "m.safetensors", "wave", "-o", "m.safetensors"], "m.safetensors exists"),
        (["remove", "m.safetensors", "wave", "-o", "n.txt"], "end in .safetensors"),
        (["remove", "gallery", "udnie", "--in-place"], "the shipped gallery stays"),
        (["extract", "m.safetensors", "-o", "one.safetensors"], "one file for 3 styles"),
        (["list", "nothing.safetensors"], "nothing.safetensors: no such model"),
        (["merge", "m.safetensors", "broken.safetensors", "--in-place"], "broken.safetensors: not"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(model, tmp_path, words, part, capsys):
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    before = sorted(tmp_path.iterdir())
    assert main(words) == 2
    captured = capsys.readouterr()
    assert part in captured.err and captured.err.count("\n") == 1 and not captured.out
    assert sorted(tmp_path.iterdir()) == before


def test_a_model_is_changed_only_when_asked(model, capsys):
    with pytest.raises(SystemExit):
        main(["remove", model, "wave"])
    assert "one of the arguments -o/--output --in-place is required" in capsys.readouterr().err


def test_a_hostile_style_file_is_refused(model, tmp_path):
    rows = {"conv_in.norm.gamma": torch.tensor([float("nan")])}
    for about in ({"format": 1}, {"format": 9}, {"format": 1, "style": {"name": 3}, "trunk": "x"}):
        save_file(rows, tmp_path / "x.safetensors", metadata={"fst_style": json.dumps(about)})
        with pytest.raises(FstError, match=r"x\.safetensors"):
            read_styles_of(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["", " ", None])
def test_a_style_file_without_a_name_is_refused(tmp_path, name):
    about = {"format": 1, "style": {"name": name}, "trunk": "x"}
    rows = {"conv_in.norm.gamma": torch.zeros(3)}
    save_file(rows, tmp_path / "x.safetensors", metadata={"fst_style": json.dumps(about)})
    with pytest.raises(FstError, match="a style file without a name or trunk"):
        read_styles_of(tmp_path / "x.safetensors")


def test_a_name_like_a_path_stays_in_the_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    write_model(tmp_path / "m.safetensors", network_of(1, 0), ["../../escape"])
    assert main(["extract", "../m.safetensors"]) == 0
    assert len(list((tmp_path / "in").iterdir())) == 1
    shutil.rmtree(tmp_path / "in")
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


# For programs


def test_styles_and_files_are_told_as_objects(model, capsys):
    assert main(["list", model, "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    common = {"pictures": 1, "model": model, "weight": 2.0}
    assert told == [{"id": i, "name": name, **common} for i, name in enumerate(NAMES)]
    assert main(["extract", model, "rain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": "rain.style.safetensors"}
    assert main(["remove", model, "wave", "-o", "less.safetensors", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": "less.safetensors"}


def test_without_a_model_the_newest_run_is_listed_and_else_the_gallery(model, capsys):
    assert main(["list"]) == 0
    assert capsys.readouterr().err.startswith("fst-styles: gallery: trunk ")
    Path("checkpoints").mkdir()
    shutil.copy(model, "checkpoints/m.safetensors")
    assert main(["list"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("fst-styles: checkpoints/m.safetensors: trunk ")
    assert [line.split()[1] for line in out.splitlines()] == NAMES
