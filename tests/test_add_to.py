"""fst-train --add-to: what a model had stays to the bit, and with --tune-trunk is held near."""

import pytest
import torch
from conftest import smooth_field

from fst import Stylizer
from fst.cli.train import main
from fst.cli.train_arguments import parse
from fst.errors import FstError
from fst.io import images
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, load_style_model, save_style_model
from fst.training.module import StyleTransferModule
from fst.training.start import ADD_BATCH, ADD_STEPS, BATCH, WARM_STEPS
from fst.training.warm_start import Keeper


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A picture that no style shows."""
    path = tmp_path_factory.mktemp("fresh") / "fresh.png"
    smooth_field(77, 90, 70).save(path)
    return path


@pytest.fixture(scope="module")
def argv(run, train_argv, fresh):
    """Makes the arguments that add the picture to the finished run's model."""

    def make(folder, *extra):
        words = train_argv(folder, "--add-to", run / "model.safetensors", *extra)
        place = words.index("--styles")  # and the two files that follow
        return [*words[: place + 1], str(fresh), *words[place + 3 :]]

    return make


@pytest.fixture(scope="module")
def added(argv, tmp_path_factory):
    folder = tmp_path_factory.mktemp("added") / "run"
    assert main(argv(folder)) == 0
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "last.ckpt"])
def test_earlier_styles_are_the_same_to_the_bit_and_keep_their_ids(run, added, photo_folder, name):
    before, after = Stylizer(run / "model.safetensors"), Stylizer(added / name)
    assert after.style_names == [*before.style_names, "fresh"]
    assert after.styles[:2] == before.styles
    old, new = before.network.state_dict(), after.network.state_dict()
    for key, tensor in old.items():
        kept = new[key][: len(tensor)] if key.endswith(("gamma", "beta")) else new[key]
        assert torch.equal(kept, tensor), key
    photo = images.load(next(iter(sorted(photo_folder.iterdir()))))
    for style in before.style_names:
        assert torch.equal(before.stylize(photo, style), after.stylize(photo, style))


@pytest.mark.parametrize("margin", [0, 8])
def test_the_margin_is_that_of_the_model(run, argv, tmp_path, margin):
    network, metadata = load_style_model(run / "model.safetensors")
    assert network.margin == 4
    network.margin = margin
    metadata = describe(network, metadata["styles"], {})
    model = str(save_style_model(tmp_path / "m.safetensors", network, metadata))
    assert main(argv(tmp_path / "run", "--add-to", model, "--steps", "1")) == 0
    assert load_style_model(tmp_path / "run" / "model.safetensors")[0].margin == margin


def test_the_new_style_has_learned_and_is_not_the_blend_it_began_as(added, photo_folder):
    rows = Stylizer(added / "model.safetensors").network.conv_in.norm.gamma
    assert not torch.allclose(rows[2], rows[:2].mean(0), atol=1e-3)


def test_a_run_broken_off_resumes_exactly_without_the_model(
    run, added, argv, tmp_path, monkeypatch
):
    model = tmp_path / "base.safetensors"
    model.write_bytes((run / "model.safetensors").read_bytes())
    genuine = StyleTransferModule.training_step

    def broken_off(self, batch, batch_idx):
        if self.global_step == 7:
            raise FstError("broken off")
        return genuine(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(StyleTransferModule, "training_step", broken_off)
        assert main(argv(tmp_path / "run", "--add-to", model)) == 1
    model.unlink()
    assert main(["--resume", str(tmp_path / "run" / "last.ckpt")]) == 0
    ends = [
        Stylizer(f / "model.safetensors").network.state_dict() for f in (added, tmp_path / "run")
    ]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_a_tuned_trunk_moves_and_the_drift_is_told(run, argv, tmp_path, capsys):
    assert main(argv(tmp_path / "run", "--tune-trunk", "--rows-first", 2)) == 0
    before, after = (Stylizer(f / "model.safetensors") for f in (run, tmp_path / "run"))
    assert not torch.equal(before.network.conv_in.conv.weight, after.network.conv_in.conv.weight)
    told = capsys.readouterr().out
    drift = after.metadata["training"]["metrics"]["val/drift"]
    assert drift > 0 and f"{drift:.2f}/255" in told
    tables = [{k: v[:2] for k, v in s.network.state_dict().items() if k.endswith(("gamma", "beta"))}
              for s in (before, after)]  # fmt: skip
    assert all(torch.equal(tables[0][key], tables[1][key]) for key in tables[0])


def test_drift_and_loss_of_the_keeper_are_those_of_the_paintings():
    torch.manual_seed(0)
    keeper, student = Keeper(2, 0.125, 1), TransformerNet(3, 0.125, 1)
    for parameter in (*keeper.parameters(), *student.parameters()):  # styles begin alike
        parameter.data += 0.3 * torch.randn_like(parameter)
    photos = torch.rand(2, 3, 32, 32)
    paint = [
        [network(photos, network.one_hot(torch.tensor([i, i]))) for i in range(2)]
        for network in (keeper.network, student)
    ]
    expected = [255 * (a - b).abs().mean().item() for a, b in zip(*paint, strict=True)]
    assert keeper.drift(student, photos).tolist() == pytest.approx(expected, rel=1e-5)
    squares = [[(a - b)[k].square().mean() for k in range(2)] for a, b in zip(*paint, strict=True)]
    possible = [(squares[i][0] + squares[j][1]).item() / 2 for i in range(2) for j in range(2)]
    losses = [keeper.loss(student, photos, seed).item() for seed in range(20)]
    assert all(min(abs(loss - p) for p in possible) < 1e-6 for loss in losses)
    assert len({round(loss, 7) for loss in losses}) == 4  # every draw of styles comes
    keeper.loss(student, photos, 0).backward()
    assert all(parameter.grad is None for parameter in keeper.parameters())


# ---- the command line --------------------------------------------------------------------------


def test_steps_follow_from_what_learns(run):
    model = str(run / "model.safetensors")
    words = ["--styles", "a.jpg", "--add-to", model]
    chosen = parse(words)[0]
    assert (chosen.steps, chosen.size, chosen.batch_size) == (ADD_STEPS, *ADD_BATCH)
    assert parse([*words, "--size", "99"])[0].size == 99
    chosen = parse([*words, "--tune-trunk"])[0]
    assert (chosen.steps, chosen.size, chosen.batch_size) == (WARM_STEPS, *BATCH)
    assert chosen.width == 0.125


def test_the_shipped_gallery_goes_by_its_name():
    from fst.assets import GALLERY

    assert parse(["--styles", "a.jpg", "--add-to", "gallery"])[0].add_to == str(GALLERY)


@pytest.mark.parametrize(
    ("extra", "part"),
    [
        (["--from-scratch"], "--add-to and --from-scratch: give one of them"),
        (["--add-to", "missing.safetensors"], "missing.safetensors: no such model"),
        (["--width", "0.25"], "leave --width and --num-blocks out"),
    ],
)
def test_what_cannot_be_added_to_is_one_line(argv, tmp_path, extra, part, capsys):
    assert main(argv(tmp_path / "run", *extra)) == 2
    told = capsys.readouterr().err
    assert part in told and told.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_name_that_the_model_has_is_refused(run, train_argv, tmp_path, capsys):
    assert main(train_argv(tmp_path / "run", "--add-to", run / "model.safetensors")) == 2
    assert "has stripes, cloud already" in capsys.readouterr().err


def test_tuning_without_adding_is_refused(capsys):
    assert main(["--styles", "a.jpg", "--tune-trunk"]) == 2
    assert "--tune-trunk goes with --add-to MODEL" in capsys.readouterr().err


def test_a_run_goes_on_with_the_trunk_as_it_began(added, capsys):
    settings = (added / "config.yaml").read_bytes()
    words = ["--resume", str(added / "last.ckpt"), "--steps", "14", "--tune-trunk"]
    assert main(words) == 2
    assert "began without --tune-trunk" in capsys.readouterr().err
    assert (added / "config.yaml").read_bytes() == settings


def test_a_model_with_a_name_twice_is_not_added_to(argv, run, tmp_path, capsys):
    network, metadata = load_style_model(run / "model.safetensors")
    metadata["styles"][1]["name"] = metadata["styles"][0]["name"]
    model = save_style_model(tmp_path / "twice.safetensors", network, metadata)
    assert main(argv(tmp_path / "run", "--add-to", model)) == 2
    assert "several styles of one name" in capsys.readouterr().err


def test_a_file_with_two_beginnings_is_refused_and_a_flag_outweighs_it(tmp_path, run):
    model = run / "model.safetensors"
    file = tmp_path / "run.yaml"
    file.write_text(f"styles: [a.jpg]\nfrom_scratch: true\nadd_to: {model}\n")
    with pytest.raises(FstError, match="in the file: give one of them"):
        parse(["--config", str(file)])
    file.write_text(f"styles: [a.jpg]\nadd_to: {model}\ntune_trunk: true\n")
    chosen = parse(["--config", str(file), "--from-scratch"])[0]
    assert chosen.from_scratch and not chosen.add_to and not chosen.tune_trunk
