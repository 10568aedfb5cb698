"""A warm start takes over the trunk, keeps styles it knows, and refuses what does not fit."""

import pytest
import torch
from conftest import smooth_field

from fst.cli.train import main
from fst.cli.train_arguments import SCRATCH_STEPS, WARM_STEPS, parse
from fst.errors import FstError
from fst.networks.transformer import TransformerNet
from fst.shipped import GALLERY
from fst.stylize.style_model import describe, load_style_model, save_style_model
from fst.training.warm_start import trunk_size, warm_start


@pytest.fixture
def trained(tmp_path):
    """A network of two styles with random rows, and its file."""
    network = TransformerNet(2, width=0.125, num_blocks=1)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    styles = [{"name": "wave", "images": []}, {"name": "udnie", "images": []}]
    path = save_style_model(tmp_path / "old.safetensors", network, describe(network, styles, {}))
    return network, path


def painted(network, style_id):
    photo = torch.linspace(0, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.no_grad():
        return network(photo, network.one_hot(torch.tensor([style_id])))


def test_a_style_known_by_name_paints_as_before_in_its_new_place(trained):
    old, path = trained
    new = TransformerNet(3, width=0.125, num_blocks=1)
    assert warm_start(new, ["mosaic", "udnie", "wave"], path) == ["udnie", "wave"]
    torch.testing.assert_close(painted(new, 1), painted(old, 1))
    torch.testing.assert_close(painted(new, 2), painted(old, 0))


def test_a_new_style_starts_as_the_even_blend_of_all(trained):
    old, path = trained
    new = TransformerNet(1, width=0.125, num_blocks=1)
    assert warm_start(new, ["mosaic"], path) == []
    photo = torch.linspace(0, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.no_grad():
        blend = old(photo, torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(painted(new, 0), blend)


def test_another_architecture_is_refused_with_the_way_out(trained):
    with pytest.raises(FstError, match=r"width 0.125 and 1 blocks.*--from-scratch"):
        warm_start(TransformerNet(1, width=0.25, num_blocks=1), ["mosaic"], trained[1])


# The command line


def settings(*argv):
    return parse(["--styles", "a.jpg", *argv])[0]


def test_the_default_is_the_gallery_with_its_architecture_and_few_steps():
    chosen = settings()
    assert chosen.warm_start == str(GALLERY)
    assert (chosen.width, chosen.num_blocks) == trunk_size(GALLERY)
    assert chosen.steps == WARM_STEPS and 0 < chosen.rows_first < WARM_STEPS


@pytest.mark.parametrize("argv", [["--from-scratch"], ["--width", "0.31"], ["--num-blocks", "2"]])
def test_another_architecture_or_the_flag_starts_from_scratch(argv):
    chosen = settings(*argv)
    assert not chosen.warm_start and chosen.from_scratch
    assert chosen.steps == SCRATCH_STEPS and chosen.rows_first == 0


def test_flags_that_contradict_each_other_are_refused(capsys):
    assert main(["--styles", "a.jpg", "--from-scratch", "--warm-start", "b.safetensors"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_a_broken_model_to_start_from_is_named(tmp_path, capsys):
    (tmp_path / "old.safetensors").write_bytes(b"not a model")
    assert main(["--styles", "a.jpg", "--warm-start", str(tmp_path / "old.safetensors")]) == 2
    assert "old.safetensors" in capsys.readouterr().err


def test_only_rows_move_while_they_learn_alone(run, train_argv, tmp_path):
    start = run / "model.safetensors"
    argv = train_argv(tmp_path / "run", "--warm-start", start, "--rows-first", 100)
    assert main(argv) == 0
    before, after = (
        dict(load_style_model(f)[0].named_parameters())
        for f in (start, tmp_path / "run" / "model.safetensors")
    )
    for name, parameter in before.items():
        assert torch.equal(parameter, after[name]) == (".norm." not in name), name


def test_a_resumed_run_no_longer_needs_the_model_it_began_from(run, train_argv, tmp_path):
    start = tmp_path / "start.safetensors"
    start.write_bytes((run / "model.safetensors").read_bytes())
    folder = tmp_path / "run"
    assert main(train_argv(folder, "--warm-start", start)) == 0
    start.unlink()
    assert main(["--resume", str(folder / "last.ckpt"), "--steps", "15"]) == 0
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 15


def test_one_number_a_style_reaches_the_loss(train_argv, tmp_path, monkeypatch):
    from fst.training.module import StyleTransferModule

    seen = {}
    genuine = StyleTransferModule.setup

    def setup(self, stage=None):
        genuine(self, stage)
        seen["weights"] = self.perceptual.weights[1]

    monkeypatch.setattr(StyleTransferModule, "setup", setup)
    argv = train_argv(tmp_path / "run", "--style-weight", 2, 7, "--style-size", 40, 64)
    assert main([*argv, "--steps", "1"]) == 0
    assert list(seen["weights"]) == [2, 7]


def test_a_wrong_count_of_numbers_is_refused(train_argv, tmp_path, capsys):
    assert main(train_argv(tmp_path / "run", "--style-weight", 1, 2, 3)) == 2
    assert "--style-weight: 3 numbers for 2 styles" in capsys.readouterr().err


def test_style_sizes_apply_per_style(tmp_path):
    from fst.styles import Style, load_pictures

    smooth_field(1, 80, 100).save(tmp_path / "a.png")
    styles = [Style("a", (str(tmp_path / "a.png"),)), Style("b", (str(tmp_path / "a.png"),))]
    sizes = [picture[0].shape[1] for picture in load_pictures(styles, [40, 64])]
    assert sizes == [40, 64]
