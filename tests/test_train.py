"""fst-train from the command line to the painted picture: runs, resumes and ways to fail."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import smooth_field
from PIL import Image
from safetensors.torch import load_file, save_file

from fst.cli import train
from fst.cli.train import main
from fst.io import images
from fst.training.module import StyleTransferModule

pytest.importorskip("fst.data.datamodule")

PHOTO_SIZE = (61, 50)  # width and height, not multiples of the network's stride


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def assert_same(left, right):
    """Nested dicts and lists with equal leaves, tensors to the bit."""
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for pair in zip(left, right, strict=True):
            assert_same(*pair)
    else:
        assert left == right


def assert_same_end(folder, reference):
    """Both runs ended with the same weights, optimiser state and schedule."""
    assert_same(weights_of(folder), weights_of(reference))
    ends = [torch.load(run / "last.ckpt", weights_only=True) for run in (folder, reference)]
    assert ends[0]["global_step"] == ends[1]["global_step"] == 12
    for key in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_same(ends[0][key], ends[1][key])


def steps_done(folder):
    return torch.load(folder / "last.ckpt", weights_only=True)["global_step"]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    smooth_field(200, PHOTO_SIZE[1], PHOTO_SIZE[0]).save(path)
    return path


# What a run leaves behind


def test_a_run_writes_checkpoint_model_card_and_settings(run):
    names = {path.name.split(".tfevents")[0] for path in run.iterdir()}
    card = {"model.md", "model.jpg"}
    curves = {"events.out", "hparams.yaml"}
    assert names == {"last.ckpt", "model.safetensors", "config.yaml"} | curves | card


@pytest.mark.parametrize("name", ["model.safetensors", "last.ckpt"])
def test_both_files_paint_as_the_trained_network_does(run, photo, name):
    from fst import Stylizer

    stored = torch.load(run / "last.ckpt", weights_only=True)
    module = StyleTransferModule(**stored["hyper_parameters"])
    missing = module.load_state_dict(stored["state_dict"])
    assert not missing.missing_keys and not missing.unexpected_keys
    pixels = torch.from_numpy(np.array(Image.open(photo))).permute(2, 0, 1).float() / 255
    for style_id, style in enumerate(["stripes", "cloud"]):
        with torch.no_grad():
            expected = module.eval()(pixels[None], torch.tensor([style_id]))[0]
        painted = Stylizer(run / name).stylize(photo, style)
        assert painted.shape == (3, *PHOTO_SIZE[::-1])
        torch.testing.assert_close(painted, expected, rtol=0, atol=1e-6)


def test_fst_infer_writes_the_pixels_of_the_trained_network(run, photo, tmp_path):
    infer = pytest.importorskip("fst.cli.infer")
    from fst import Stylizer

    output = tmp_path / "painted.png"
    argv = [photo, "--model", run / "last.ckpt", "--style", "cloud", "-o", output]
    assert infer.main([str(argument) for argument in argv]) == 0
    expected = Stylizer(run / "model.safetensors").stylize(photo, "cloud").permute(1, 2, 0)
    written = np.array(Image.open(output)) / 255
    assert np.abs(written - expected.numpy()).max() <= 1 / 255


def test_styles_paint_differently(run, photo):
    from fst import Stylizer

    stylizer = Stylizer(run / "model.safetensors")
    difference = stylizer.stylize(photo, "stripes") - stylizer.stylize(photo, "cloud")
    assert difference.abs().mean() > 1e-4  # untrained, they are equal


def test_the_model_names_no_folder_of_this_machine(run, style_files):
    content = (run / "model.safetensors").read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].decode()
    metadata = json.loads(json.loads(header)["__metadata__"]["fst"])
    assert [style["images"] for style in metadata["styles"]] == [["stripes.png"], ["cloud.jpg"]]
    assert str(style_files[0].parent) not in header
    assert metadata["training"]["step"] == 12
    assert set(metadata["training"]["metrics"]) >= {"val/style/cloud", "val/style"}


def test_the_same_command_gives_the_same_weights(run, train_argv, tmp_path):
    assert main(train_argv(tmp_path / "again")) == 0
    assert_same_end(tmp_path / "again", run)


def test_results_are_told_to_programs_and_all_else_to_people(train_argv, tmp_path):
    command = [sys.executable, "-m", "fst.cli.train", *train_argv(tmp_path / "run", "--json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["event"], line["step"]) for line in told] == [
        ("validation", 6),
        ("validation", 12),
        ("end", 12),
    ]
    assert told[0]["metrics"].keys() >= {"val/brushwork", "val/style/cloud"}
    assert told[2]["metrics"] == told[1]["metrics"] and told[2]["stopped"] is None
    assert told[2]["model"] == str(tmp_path / "run" / "model.safetensors")
    assert os.path.isfile(told[2]["model"]) and os.path.isfile(told[2]["checkpoint"])
    assert "held-out distances" in done.stderr and "paint:" in done.stderr
    assert "json" not in (tmp_path / "run" / "config.yaml").read_text()


def test_another_seed_gives_other_weights(run, train_argv, tmp_path):
    assert main(train_argv(tmp_path / "other", "--seed", 1)) == 0
    first, second = weights_of(run), weights_of(tmp_path / "other")
    assert not torch.equal(first["conv_in.conv.weight"], second["conv_in.conv.weight"])


def test_training_brings_the_paintings_closer_to_the_style(train_argv, loss_weights, tmp_path):
    """Measured by the held-out distance, which is not the training loss.

    With the network to relu3_1 alone: deeper, random features of crops of 48 px are but noise.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shallow = {k: v for k, v in load_file(loss_weights).items() if int(k.split(".")[1]) <= 10}
    about = {"topology": "vgg19", "padding": "reflect"}
    save_file(shallow, tmp_path / "shallow.safetensors", about)
    # Enough steps for any seed and any processor's rounding: four seeds came to 0.46 to 0.52.
    extra = ["--steps", 200, "--save-every", 200, "--val-every", 2, "--width", 0.25]
    extra += ["--lr", 0.005, "--style-weight", 20, "--content-layer", "relu3_1"]
    extra += ["--style-layers", "relu1_1", "relu2_1", "relu3_1"]
    extra += ["--loss-weights", tmp_path / "shallow.safetensors"]
    assert main(train_argv(tmp_path / "run", *extra)) == 0
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    values = [e.value for e in sorted(events.Scalars("val/style"), key=lambda e: e.step)]
    assert np.mean(values[-2:]) < 0.85 * values[0]


def test_one_style_trains(train_argv, style_files, tmp_path):
    argv = train_argv(tmp_path / "run", "--styles", style_files[0])
    assert main(argv) == 0
    stored = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["style_model"]
    assert [style["name"] for style in stored["styles"]] == ["stripes"]
    assert stored["training"]["metrics"]["val/style/stripes"] > 0


@pytest.mark.parametrize(
    "flags",
    [
        ("--trainer.gradient_clip_val", 1, "--trainer.precision", "bf16-mixed"),
        ("--trainer.limit_val_batches", 0),
        ("--trainer.logger", "false"),
        ("--trainer.accumulate_grad_batches", 2),
    ],
    ids=lambda flags: flags[0],
)
def test_trainer_flags_that_change_the_run_work(train_argv, tmp_path, flags):
    assert main(train_argv(tmp_path / "run", "--steps", 4, *flags)) == 0
    assert steps_done(tmp_path / "run") == 4


def test_the_smallest_crops_train(train_argv, tmp_path):
    """32 px leave two pixels a side at relu5_1: enough to reflect only if none is shifted away."""
    argv = train_argv(tmp_path / "run", "--size", 32, "--steps", 4)
    assert main(argv) == 0


def test_counts_of_styles_never_differ_by_more_than_one(train_argv, tmp_path, monkeypatch):
    batches = []
    genuine = StyleTransferModule.training_step

    def training_step(self, batch, batch_idx):
        batches.append(batch[1].tolist())
        return genuine(self, batch, batch_idx)

    monkeypatch.setattr(StyleTransferModule, "training_step", training_step)
    assert main(train_argv(tmp_path / "run", "--batch-size", 3)) == 0
    ids = [style_id for batch in batches for style_id in batch]
    assert len(batches) == 12 and all(len(batch) == 3 for batch in batches)
    for seen in range(2, len(ids) + 1):
        counts = Counter(ids[:seen])
        assert abs(counts[0] - counts[1]) <= 1


# Resume


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_failed_on_the_way_resumes_exactly(
    run, train_argv, tmp_path, interrupted_at, workers
):
    folder = tmp_path / "run"
    interrupted_at(7, SystemExit(9))
    with pytest.raises(SystemExit):
        main(train_argv(folder, "--num-workers", workers))
    assert steps_done(folder) == 6  # --save-every 3
    assert main(["--resume", str(folder / "last.ckpt")]) == 0
    assert_same_end(folder, run)


def test_an_interrupted_run_resumes_exactly_from_the_last_step_done(
    run, train_argv, tmp_path, interrupted_at, keep_interrupts
):
    """Ctrl-C in the middle of a step: the batch under way has not been learned."""
    folder = tmp_path / "run"
    interrupted_at(7, KeyboardInterrupt())
    with pytest.raises(SystemExit) as stop:
        main(train_argv(folder))
    assert stop.value.code not in (0, None)
    assert steps_done(folder) == 7
    assert main(["--resume", str(folder / "last.ckpt")]) == 0
    assert_same_end(folder, run)


def test_a_resume_mid_accumulation_is_exact(train_argv, tmp_path, interrupted_at, keep_interrupts):
    accumulate = ["--trainer.accumulate_grad_batches", "2"]
    assert main(train_argv(tmp_path / "whole", *accumulate)) == 0
    interrupted_at(7, KeyboardInterrupt())
    with pytest.raises(SystemExit):
        main(train_argv(tmp_path / "run", *accumulate))
    assert main(["--resume", str(tmp_path / "run" / "last.ckpt")]) == 0
    assert_same_end(tmp_path / "run", tmp_path / "whole")


KILLED_RUN = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from fst.cli.train import main
from fst.training.module import StyleTransferModule

genuine = StyleTransferModule.training_step

def training_step(self, batch, batch_idx):
    if self.global_step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return genuine(self, batch, batch_idx)

if __name__ == "__main__":
    StyleTransferModule.training_step = training_step
    main(sys.argv[1:])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_resumes_exactly_elsewhere(run, train_argv, tmp_path):
    folder, program = tmp_path / "run", tmp_path / "killed.py"
    program.write_text(KILLED_RUN)
    command = [sys.executable, str(program), *train_argv(folder, "--num-workers", 2)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert steps_done(folder) == 6
    assert not list(folder.glob(".*"))  # no half-written file
    moved = tmp_path / "moved"
    shutil.move(folder, moved)
    assert main(["--resume", str(moved / "last.ckpt"), "--num-workers", "0"]) == 0
    assert_same_end(moved, run)


def test_out_of_memory_names_the_ways_out(train_argv, tmp_path, capsys, monkeypatch):
    def training_step(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(StyleTransferModule, "training_step", training_step)
    assert main(train_argv(tmp_path / "run", "--batch-size", 3)) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "for --batch-size 3 and --size 48: give smaller ones" in told


def test_a_finished_run_can_be_given_more_steps(run, train_argv, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    assert main(["--resume", str(tmp_path / "run" / "last.ckpt"), "--steps", "14"]) == 0
    assert steps_done(tmp_path / "run") == 14


def fails(argv, capsys, code):
    """Runs main; returns the lines it wrote to stderr."""
    assert main([str(argument) for argument in argv]) == code
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.strip().splitlines()


def test_a_finished_run_put_in_the_queue_again_changes_nothing(run, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    assert main(["--resume", str(run / "last.ckpt")]) == 0
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "12 steps" in line and "--steps" in line
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_a_resumed_run_first_brings_its_model_up_to_the_checkpoint(run, tmp_path, monkeypatch):
    """A kill between the two files has left an older one, or none."""

    def killed(*_):
        raise RuntimeError("killed")

    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "model.safetensors").unlink()
    monkeypatch.setattr(StyleTransferModule, "training_step", killed)
    assert main(["--resume", str(folder / "last.ckpt"), "--steps", "20"]) == 1
    assert_same(weights_of(folder), weights_of(run))


@pytest.mark.parametrize("flag, value", [("--steps", 11), ("--rows-first", 7)])
def test_what_a_resumed_run_cannot_take_back_is_refused(run, capsys, flag, value):
    steps = [] if flag == "--steps" else ["--steps", 20]
    (line,) = fails(["--resume", run / "last.ckpt", *steps, flag, value], capsys, 2)
    assert f"{flag} {value}" in line or "--rows-first 0" in line


def test_a_resumed_run_learns_at_the_rate_that_it_is_given(run, train_argv, tmp_path):
    """Not at that of the checkpoint: it is the way out that a diverged run is told of."""
    assert main(train_argv(tmp_path / "run", "--steps", 6)) == 0
    last = tmp_path / "run" / "last.ckpt"
    assert main(["--resume", str(last), "--steps", "12", "--lr", "1e-5"]) == 0
    state = torch.load(last, weights_only=True)
    assert state["lr_schedulers"][0]["base_lrs"] == [1e-5, 1e-5]
    assert state["hyper_parameters"]["schedule"]["learning_rate"] == 1e-5


def test_other_styles_do_not_resume(run, style_files, capsys):
    argv = ["--resume", run / "last.ckpt", "--steps", 20, "--styles", style_files[0]]
    (line,) = fails(argv, capsys, 2)
    assert "stripes, cloud" in line and "--styles" in line


def test_another_width_does_not_resume(run, capsys):
    (line,) = fails(["--resume", run / "last.ckpt", "--steps", 20, "--width", 0.5], capsys, 2)
    assert "width" in line and "0.125" in line


def test_a_missing_checkpoint_does_not_resume(tmp_path, train_argv, capsys):
    missing = tmp_path / "none" / "last.ckpt"
    lines = fails(["--resume", missing], capsys, 2)
    assert any(str(missing) in line and "no such checkpoint" in line for line in lines)
    assert not missing.parent.exists()


def test_a_truncated_checkpoint_is_refused_by_name(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    broken = tmp_path / "run" / "last.ckpt"
    broken.write_bytes(broken.read_bytes()[:-1000])
    (line,) = fails(["--resume", broken, "--steps", 20], capsys, 2)
    assert str(broken) in line


def test_a_new_run_does_not_overwrite_an_old_one(run, train_argv, capsys):
    before = (run / "last.ckpt").read_bytes()
    (line,) = fails(train_argv(run), capsys, 2)
    assert "--resume" in line and str(run) in line
    assert (run / "last.ckpt").read_bytes() == before


# A loss or weights that are not finite


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_NTASKS"])
def test_processes_started_from_outside_have_to_be_given_their_folder(
    train_argv, tmp_path, capsys, monkeypatch, variable
):
    """Each would choose one of its own."""
    monkeypatch.setenv(variable, "2")
    monkeypatch.chdir(tmp_path)
    argv = train_argv("none")
    place = argv.index("-o")
    assert main(argv[:place] + argv[place + 2 :]) == 2
    assert capsys.readouterr().err.strip().endswith("give them one folder with -o")
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_stops_the_run(run, train_argv, tmp_path, capsys, monkeypatch):
    from fst.losses.perceptual import PerceptualLoss

    genuine, calls = PerceptualLoss.compare, []

    def loss(self, *args):
        calls.append(1)
        terms = genuine(self, *args)
        return terms | {"total": terms["total"] * float("nan")} if len(calls) == 6 else terms

    monkeypatch.setattr(PerceptualLoss, "compare", loss)
    argv = train_argv(tmp_path / "run", "--batch-size", 1)
    (line,) = fails(argv, capsys, 1)
    assert "nan" in line and "step 5" in line
    assert ("stripes" in line) != ("cloud" in line)  # the one style of the batch
    stored = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 3
    assert all(tensor.isfinite().all() for tensor in stored["state_dict"].values())


def test_weights_that_are_not_finite_are_never_stored(train_argv, tmp_path, capsys, monkeypatch):
    """A finite loss can have a gradient that is not; the step after it may be due for saving."""
    genuine = StyleTransferModule.training_step

    def training_step(self, batch, batch_idx):
        outputs = genuine(self, batch, batch_idx)
        if self.global_step == 5:
            outputs["loss"].register_hook(lambda gradient: gradient * float("nan"))
        return outputs

    monkeypatch.setattr(StyleTransferModule, "training_step", training_step)
    (line,) = fails(train_argv(tmp_path / "run"), capsys, 1)
    assert "gradient" in line and "step 5" in line
    assert steps_done(tmp_path / "run") == 3
    assert all(t.isfinite().all() for t in weights_of(tmp_path / "run").values())


# Photos


def broken_folder(folder, count, broken):
    folder.mkdir()
    for seed in range(count):
        smooth_field(seed, 60, 60).save(folder / f"{seed:02}.png")
    for name in broken:
        (folder / name).write_bytes((folder / name).read_bytes()[:40])
    return folder


def with_content(argv, folder):
    place = argv.index("--content") + 1
    return [*argv[:place], str(folder), *argv[place + 1 :]]


def test_a_folder_of_broken_photos_is_one_line(train_argv, tmp_path, capsys):
    folder = broken_folder(tmp_path / "photos", 4, [f"{seed:02}.png" for seed in range(4)])
    argv = with_content(train_argv(tmp_path / "run"), folder)
    code = main(argv)
    error = capsys.readouterr().err.strip()
    assert code in (1, 2)
    assert len(error.splitlines()) == 1 and "photos cannot be read" in error


@pytest.mark.parametrize("workers", [0, 2])
def test_one_broken_photo_of_thirty_is_skipped_and_named(train_argv, tmp_path, capsys, workers):
    folder = broken_folder(tmp_path / "photos", 30, ["17.png"])
    argv = with_content(train_argv(tmp_path / "run", "--steps", 3), folder)
    assert main([*argv, "--num-workers", str(workers)]) == 0
    assert "17.png" in capsys.readouterr().out


def test_photos_of_other_shapes_and_modes_train(train_argv, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    smooth_field(1, 20, 300).save(folder / "panorama.png")
    smooth_field(2, 50, 50).convert("L").save(folder / "grey.png")
    smooth_field(3, 50, 50).convert("CMYK").save(folder / "print.jpg")
    smooth_field(4, 50, 50).convert("RGBA").save(folder / "clear.png")
    argv = with_content(train_argv(tmp_path / "run", "--steps", 4), folder)
    assert main(argv) == 0


def test_the_command_itself_prints_no_warning(train_argv, tmp_path):
    program = "import sys; from fst.cli.train import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, *train_argv(tmp_path / "run", "--steps", 3)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0
    assert done.stderr.strip() == ""


def test_each_file_is_read_once(run, train_argv, style_files, tmp_path, monkeypatch):
    """Style pictures, loss network, and in a resumed run the checkpoint."""
    import safetensors

    from fst.training import checkpoint

    opened, counting = [], True
    sys.addaudithook(lambda event, args: opened.append(str(args[0]))
                     if counting and event == "open" else None)  # fmt: skip
    genuine = checkpoint.read_torch_file
    checkpoints, networks, safe_open = [], [], safetensors.safe_open
    monkeypatch.setattr(
        checkpoint, "read_torch_file",
        lambda path, *args, **kwargs: (checkpoints.append(path), genuine(path, *args, **kwargs))[1],
    )  # fmt: skip
    monkeypatch.setattr(
        safetensors, "safe_open",
        lambda path, **kwargs: (networks.append(str(path)), safe_open(path, **kwargs))[1],
    )  # fmt: skip
    for resume in (False, True):
        folder = tmp_path / "run"
        argv = ["--resume", str(folder / "last.ckpt")] if resume else train_argv(folder)
        del opened[:], checkpoints[:], networks[:]
        assert main([*argv, "--steps", "6" if resume else "4"]) == 0
        assert [opened.count(str(path)) for path in style_files] == [1, 1]
        assert sum("slim_vgg19" in path for path in networks) == 1
        assert len(checkpoints) == resume
    counting = False


def test_a_style_picture_deleted_while_training_does_no_harm(train_argv, style_files, tmp_path):
    pictures = tmp_path / "styles"
    pictures.mkdir()
    own = [shutil.copy(path, pictures) for path in style_files]

    class Deleting(pl.Callback):
        def on_train_start(self, trainer, module):
            shutil.rmtree(pictures)

    genuine = train._trainer

    def with_deleting(*args):
        trainer, saver = genuine(*args)
        trainer.callbacks.insert(0, Deleting())
        return trainer, saver

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_trainer", with_deleting)
        argv = train_argv(tmp_path / "run", "--styles", *map(str, own), "--steps", 4)
        assert main(argv) == 0
    assert not pictures.exists()
    card = images.load(tmp_path / "run" / "model.jpg")
    expected = tmp_path / "expected"
    assert main(train_argv(expected, "--steps", 4)) == 0
    assert torch.equal(card, images.load(expected / "model.jpg"))  # its style pictures too
