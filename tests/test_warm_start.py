"""A warm start takes over the trunk, keeps styles it knows, and refuses what does not fit."""

import pytest
import torch
from conftest import smooth_field

from fst.assets import GALLERY
from fst.cli.train import main
from fst.cli.train_arguments import parse
from fst.errors import FstError
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, load_style_model, save_style_model
from fst.training.module import StyleTransferModule
from fst.training.start import SCRATCH_STEPS, WARM_STEPS
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
    with pytest.raises(FstError, match=r"width 0.125 and 1 blocks.*must be the same"):
        warm_start(TransformerNet(1, width=0.25, num_blocks=1), ["mosaic"], trained[1])


# The command line


def settings(*argv):
    return parse(["--styles", "a.jpg", *argv])[0]


def test_the_default_is_the_gallery_with_its_architecture_and_few_steps():
    chosen = settings()
    assert not chosen.from_scratch
    assert (chosen.width, chosen.num_blocks) == trunk_size(GALLERY)
    assert chosen.steps == WARM_STEPS


@pytest.mark.parametrize(
    ("argv", "batch_and_rate"),
    [
        ([], (16, 0.002)),
        (["--trainer.accelerator", "gpu"], (16, 0.002)),
        (["--trainer.accelerator", "cpu"], (4, 0.001)),
        (["--batch-size", "8"], (8, 0.001)),
        (["--batch-size", "32"], (32, 0.002)),
        (["--lr", "0.003"], (16, 0.003)),
    ],
)
def test_a_gpu_gets_larger_batches_and_a_higher_rate(monkeypatch, argv, batch_and_rate):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    chosen = settings(*argv)
    assert (chosen.batch_size, chosen.lr) == batch_and_rate


@pytest.mark.parametrize("argv", [["--from-scratch"], ["--width", "0.31"], ["--num-blocks", "2"]])
def test_another_architecture_or_the_flag_starts_from_scratch(argv):
    chosen = settings(*argv)
    assert not chosen.warm_start and chosen.from_scratch
    assert chosen.steps == SCRATCH_STEPS


def test_flags_that_contradict_each_other_are_refused(capsys):
    assert main(["--styles", "a.jpg", "--from-scratch", "--warm-start", "b.safetensors"]) == 2
    assert "give one of them" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--from-scratch", "--warm-start"])
def test_a_resumed_run_cannot_begin_anew(run, flag, capsys):
    model = [str(run / "model.safetensors")] * (flag == "--warm-start")
    assert main(["--resume", str(run / "last.ckpt"), flag, *model]) == 2
    assert f"leave out {flag}" in capsys.readouterr().err


def test_the_command_line_outweighs_the_start_in_a_file(trained, tmp_path):
    warm, scratch = tmp_path / "warm.yaml", tmp_path / "scratch.yaml"
    warm.write_text(f"styles: [a.jpg]\nwarm_start: {trained[1]}\n")
    scratch.write_text("styles: [a.jpg]\nfrom_scratch: true\n")
    assert parse(["--config", str(warm)])[0].width == 0.125
    chosen = parse(["--config", str(warm), "--from-scratch"])[0]
    assert chosen.from_scratch and not chosen.warm_start and chosen.width == 0.5
    chosen = parse(["--config", str(scratch), "--warm-start", str(trained[1])])[0]
    assert chosen.warm_start and not chosen.from_scratch and chosen.width == 0.125


def test_single_values_in_a_file_are_lists_of_one(tmp_path):
    (tmp_path / "run.yaml").write_text("styles: a.jpg\nstyle_size: 300\nstyle_weight: 4.0\n")
    file = str(tmp_path / "run.yaml")
    for argv in (["--config", file], [f"--config={file}"]):
        chosen = parse(argv)[0]
        assert (chosen.styles, chosen.style_size, chosen.style_weight) == (["a.jpg"], [300], [4.0])


def test_the_share_of_the_rows_follows_the_steps_of_another_run(run, train_argv, tmp_path):
    start = run / "model.safetensors"
    assert main(train_argv(tmp_path / "one", "--warm-start", start)) == 0
    config = ["--config", str(tmp_path / "one" / "config.yaml"), "--steps", "4"]
    assert main([*config, "-o", str(tmp_path / "two")]) == 0
    hyper = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["hyper_parameters"]
        for name in ("one", "two")
    ]
    assert [h["schedule"]["styles_first_steps"] for h in hyper] == [3, 1]
    assert {h["start"]["began_from"] for h in hyper} == {"model.safetensors"}


def test_a_warm_run_broken_off_while_the_rows_learn_alone_ends_as_an_unbroken_one(
    run, train_argv, tmp_path, monkeypatch
):
    extra = ["--warm-start", run / "model.safetensors", "--rows-first", 5]
    assert main(train_argv(tmp_path / "whole", *extra)) == 0
    genuine = StyleTransferModule.training_step

    def broken_off(self, batch, batch_idx):
        if self.global_step == 4:
            raise FstError("broken off")
        return genuine(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(StyleTransferModule, "training_step", broken_off)
        assert main(train_argv(tmp_path / "broken", *extra)) == 1
    assert main(["--resume", str(tmp_path / "broken" / "last.ckpt")]) == 0
    ends = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "broken")
    ]
    assert ends[0]["global_step"] == ends[1]["global_step"] == 12
    for name, tensor in ends[0]["state_dict"].items():
        assert torch.equal(tensor, ends[1]["state_dict"][name]), name


def test_a_checkpoint_of_an_older_version_is_refused_with_the_way_out(run, tmp_path, capsys):
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    del checkpoint["hyper_parameters"]["schedule"]["styles_rate"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    assert main(["--resume", str(tmp_path / "old.ckpt"), "--styles", "a.jpg"]) == 2
    assert "old.ckpt: a run of fst 0.1: resume it with that version" in capsys.readouterr().err


def test_all_problems_are_told_at_once(tmp_path, capsys):
    argv = ["--styles", "none.jpg", "b.jpg", "--style-size", "8", "9", "9"]
    assert main([*argv, "--loss-weights", "vgg19", "none.pt"]) == 2
    error = capsys.readouterr().err
    assert "none.jpg" in error and "--style-size 8" in error and "none.pt" in error
    assert "9 numbers" not in error  # the styles are not known


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
    assert checkpoint["hyper_parameters"]["start"]["began_from"] == "start.safetensors"


def test_one_number_a_style_reaches_the_loss(train_argv, tmp_path, monkeypatch):
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
    assert "--style-weight has 3 numbers, --styles 2" in capsys.readouterr().err


def test_style_sizes_apply_per_style(tmp_path):
    from fst.data.styles import Style, load_pictures

    smooth_field(1, 80, 100).save(tmp_path / "a.png")
    styles = [Style("a", (str(tmp_path / "a.png"),)), Style("b", (str(tmp_path / "a.png"),))]
    sizes = [picture[0].shape[1] for picture in load_pictures(styles, [40, 64])]
    assert sizes == [40, 64]
