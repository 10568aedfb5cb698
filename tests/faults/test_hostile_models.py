"""Damaged and malicious model files are read or refused by name; nothing that they hold is run.

The slow test reads 2,000 files in child processes under watch: pytest -m slow -s tests/faults.
"""

import contextlib
import io
import json
import os
import pickle
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

if __name__ == "__main__":  # as the child process
    sys.path.insert(0, str(Path(__file__).parent))

from model_mutations import (
    Payload,
    archive_of,
    bomb,
    model_of,
    records_of,
)
from mutations import MEMORY_LIMIT_BYTES, serve, table, told_rightly, watched

from fst.cli import infer, styles, train
from fst.errors import FstError
from fst.networks.loss_network import load_loss_network
from fst.style_model.format import load_style_model
from fst.style_model.sets import read_styles_of, save_style
from fst.stylize.stylizer import Stylizer
from fst.training.checkpoint import read_checkpoint, read_run
from fst.training.module import StyleTransferModule
from fst.training.warm_start import trunk_size

MANY, FEW = 2_000, 150
TRAIN_EVERY = 4  # of the slow test's files, so many are given to fst-train as well


def painted(path):
    Stylizer(path).stylize(torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)))


def seen(path):
    network = load_loss_network(path)
    network(torch.rand(1, 3, 32, 32), network.layers)


WAYS = {
    "model": [load_style_model, read_styles_of, painted, trunk_size],
    "style": [read_styles_of, load_style_model],
    "last": [load_style_model, read_styles_of, painted, trunk_size, read_checkpoint, read_run],
    "vgg": [seen],
}


def outcome_of(path):
    """("accepted" or "refused" or "wrong", what is wrong) of a file read by the library."""
    outcome = "refused"
    for read in WAYS[Path(path).name.split("-")[0]]:
        try:
            read(path)
        except FstError as error:
            if wrong := told_rightly(error, path):
                return "wrong", f"{read.__name__}: {wrong}"
        except Exception as error:  # the very thing that must not happen
            return "wrong", f"{read.__name__}: {type(error).__name__}: {error}"
        else:
            outcome = "accepted"
    return outcome, ""


# ---- the commands ------------------------------------------------------------------------------


def commands_for(path, folder, with_training):
    """(main, argv) of every command that takes such a file."""
    name, out = path.name.split("-")[0], folder / "out"
    photo, style = folder / "photo.png", folder / "style.png"
    if name != "vgg":
        yield styles.main, ["list", path]
        yield styles.main, ["extract", path, "-o", out / "styles", "--overwrite"]
        whole = folder / "whole.safetensors"
        yield styles.main, ["merge", whole, path, "-o", out / "m.safetensors"]
    if name in ("model", "last"):
        yield infer.main, [photo, "--model", path, "-o", out, "--all-styles", "--device", "cpu"]
        yield styles.main, ["rename", path, "0", "new", "-o", out / "r.safetensors"]
    if not with_training:
        return
    small = ["--steps", 13, "--size", 32, "--batch-size", 1, "--num-workers", 0, "--seed", 1]
    small += ["--content", folder / "content", "--trainer.accelerator", "cpu", "-o", out / "run"]
    small += ["--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    small += ["--trainer.limit_val_batches", 0, "--trainer.precision", "32-true"]
    weights = ["--loss-weights", path if name == "vgg" else folder / "slim.safetensors"]
    if name == "vgg":
        yield train.main, ["--styles", style, *weights, *small, "--steps", 1, "--from-scratch"]
    if name == "last":
        pictures = ["--styles", folder / "stripes.png", folder / "cloud.jpg"]
        yield train.main, ["--resume", path, *pictures, *weights, *small, "--width", 0.125,
                           "--num-blocks", 1, "--size", 48, "--batch-size", 2]  # fmt: skip
    if name in ("model", "last"):
        yield train.main, ["--add-to", path, "--styles", style, *weights, *small, "--steps", 1]


def outcome_of_command(main, argv, path, folder):
    """As `outcome_of`, of a command in this process."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            code = main([str(argument) for argument in argv])
    except BaseException as error:  # SystemExit too: the arguments are right
        return "wrong", f"{main.__module__} {argv}: {type(error).__name__}: {error}"
    text = told.getvalue()
    if code == 0:
        return "accepted", ""
    # Weights that are numbers, but far too large, are found out by what they lead to.
    named = path.name in text or "--loss-weights" in text or "with a lower learning rate" in text
    if code not in (1, 2) or "Traceback" in text or not named:
        return "wrong", f"{main.__module__} {argv[0]} code {code}: {text[-500:]}"
    return "refused", ""


def outcome_everywhere(path, folder, with_training):
    """A file given to the library and to the commands."""
    outcome, detail = outcome_of(path)
    for main, argv in commands_for(path, folder, with_training):
        if outcome == "wrong":
            break
        of_command, detail = outcome_of_command(main, argv, path, folder)
        outcome = of_command if of_command == "wrong" else outcome
    if (folder / "marker").exists():
        return "wrong", f"code was run: {path}"
    return outcome, detail


# ---- seeds -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run, style_files, photo_folder, loss_weights):
    """A place with whole files: what mutations begin from and what commands need beside them."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copy(run / "model.safetensors", folder / "whole.safetensors")
    shutil.copy(run / "last.ckpt", folder / "last.ckpt")
    shutil.copy(loss_weights, folder / "slim.safetensors")
    torch.save(load_file(loss_weights), folder / "slim.pth")
    save_style(folder / "one.style.safetensors", read_styles_of(run / "model.safetensors")[0])
    for file in style_files:
        shutil.copy(file, folder)
    shutil.copy(style_files[0], folder / "style.png")
    shutil.copy(next(photo_folder.iterdir()), folder / "photo.png")
    shutil.copytree(photo_folder, folder / "content")
    return folder


@pytest.fixture(scope="module")
def seeds(folder):
    """File names that say what each is, to bytes."""
    return {
        "model.safetensors": (folder / "whole.safetensors").read_bytes(),
        "last.ckpt": (folder / "last.ckpt").read_bytes(),
        "style.safetensors": (folder / "one.style.safetensors").read_bytes(),
        "vgg.safetensors": (folder / "slim.safetensors").read_bytes(),
        "vgg.pth": (folder / "slim.pth").read_bytes(),
    }


def put(folder, number, name, content):
    stem, _, suffix = name.partition(".")
    path = folder / f"{stem}-{number}.{suffix}"
    path.write_bytes(content)
    return path


# ---- tests -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_undamaged_files_are_accepted_by_every_command(folder, seeds):
    """Else the tests below would show nothing."""
    for name, content in seeds.items():
        path = put(folder, 0, name, content)
        assert outcome_of(path) == ("accepted", "")
        for main, argv in commands_for(path, folder, with_training=True):
            assert outcome_of_command(main, argv, path, folder) == ("accepted", ""), argv


@pytest.mark.filterwarnings("ignore")
def test_a_few_hundred_damaged_models_are_read_or_refused_by_name(folder, seeds):
    counts, wrong = Counter(), []
    for number in range(0, MANY, MANY // FEW + 1):  # + 1: else ever the same file
        name, kind, content = model_of(number, seeds, folder / "marker")
        path = put(folder, number, name, content)
        outcome, detail = outcome_of(path)
        counts[outcome] += 1
        wrong += [f"{number} {name} {kind}: {detail}"] * (outcome == "wrong")
    assert not wrong, "\n".join(wrong)
    assert not (folder / "marker").exists()
    assert counts["accepted"] > 3 and counts["refused"] > FEW // 2


def test_the_payload_would_work(tmp_path):
    """Or it would prove nothing that no file is touched."""
    pickle.loads(pickle.dumps(Payload(f"touch {tmp_path / 'marker'}")))
    assert (tmp_path / "marker").exists()


def changed(folder, seeds, change, name="last.ckpt"):
    """A checkpoint after `change(its content)`."""
    content = torch.load(io.BytesIO(seeds[name]), weights_only=True)
    change(content)
    path = folder / f"{name.partition('.')[0]}-changed.{name.partition('.')[2]}"
    torch.save(content, path)
    return path


def moments(content):
    return content["optimizer_states"][0]["state"][0]


def schedule_of(content):
    return content["hyper_parameters"]["schedule"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # The fused Adam writes beyond such a moment: "free(): invalid size", or worse.
        (lambda c: moments(c).update(exp_avg=torch.zeros(3)), "optimizer"),
        (lambda c: moments(c).update(exp_avg=torch.zeros(1).expand(moments(c)["exp_avg"].shape)),
         "of which 1 are there"),
        (lambda c: moments(c).pop("exp_avg_sq"), "optimizer"),
        (lambda c: c["optimizer_states"][0]["param_groups"].pop(), "optimizer"),
        (lambda c: c["optimizer_states"][0]["param_groups"][0].update(betas="os.system"), "resume"),
        (lambda c: c["state_dict"].popitem(), "resume"),
        (lambda c: c.update(loops=bomb()), "resume"),
        (lambda c: c.update(lr_schedulers=[{"step": "os.system"}]), "resume"),
        (lambda c: schedule_of(c).update(styles_rate=bomb(80)), "too many values"),
        (lambda c: schedule_of(c).update(styles_rate="fast"), "damaged"),
        (lambda c: c.update(hyper_parameters=None), "damaged"),
        (lambda c: c.update(global_step=-5), "damaged"),
        (lambda c: c["style_model"]["styles"].pop(), "2 styles but 1 names"),
        (lambda c: c["style_model"]["architecture"].update(width="0.125"), "of other than numbers"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_a_changed_checkpoint_is_not_resumed(folder, seeds, change, message, capfd):
    path = changed(folder, seeds, change)
    (resume,) = [
        argv for main, argv in commands_for(path, folder, with_training=True)
        if main is train.main and argv[0] == "--resume"
    ]  # fmt: skip
    assert train.main([str(argument) for argument in resume]) in (1, 2)
    told = capfd.readouterr().err.strip().splitlines()
    assert message in told[-1] and path.name in told[-1]
    assert len(told) == 1, told


@pytest.mark.parametrize("lure", ["_class_path", "_instantiator"])
def test_lightning_makes_no_object_that_a_checkpoint_names(folder, seeds, lure):
    """Lightning before 2.6.6 imported and called what stood there."""

    def change(content):
        content["hyper_parameters"] |= {lure: "os.system", "command": f"touch {folder / 'marker'}"}

    path = changed(folder, seeds, change)
    with contextlib.suppress(Exception):
        StyleTransferModule.load_from_checkpoint(path)
    assert outcome_of(path)[0] == "accepted"  # nothing of ours looks at it
    assert not (folder / "marker").exists()


def test_records_that_grow_when_read_are_refused_before_they_do(folder, seeds):
    records = records_of(seeds["last.ckpt"])
    name = next(name for name in records if name.endswith("data/0"))
    records[name] = bytes(100_000_000)
    content = archive_of(records, packed=[name])
    assert len(content) < 1_000_000
    with pytest.raises(FstError, match="packed"):
        read_checkpoint(put(folder, 0, "last.ckpt", content))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_thousand_damaged_models_under_watch(folder, seeds):
    by_file, by_kind, wrong, peak = Counter(), Counter(), [], 0
    made = [model_of(number, seeds, folder / "marker") for number in range(MANY)]

    def jobs():
        for number, (name, _, content) in enumerate(made):
            training = number // len(seeds) % TRAIN_EVERY == 0
            yield json.dumps([str(put(folder, number, name, content)), training])

    answers = watched([__file__, folder], jobs(), batch=200)
    for (name, kind, _), (number, answer) in zip(made, enumerate(answers), strict=True):
        outcome = answer["outcome"]
        if answer["peak_bytes"] > MEMORY_LIMIT_BYTES:
            outcome = "memory"
        by_file[name, outcome] += 1
        by_kind[kind, outcome] += 1
        peak = max(peak, answer["peak_bytes"])
        if outcome not in ("accepted", "refused"):
            megabytes = answer["peak_bytes"] >> 20
            wrong.append(f"{number} {name} {kind}: {outcome} {megabytes} MB {answer['detail']}")
    print(f"\n{table(by_file)}\n\n{table(by_kind)}\n\nlargest process: {peak >> 20} MB")
    assert not wrong, "\n".join(wrong)
    assert not (folder / "marker").exists()


if __name__ == "__main__":
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    FOLDER = Path(sys.argv[1])
    os.chdir(FOLDER)

    def judge(line):
        path, training = json.loads(line)
        return outcome_everywhere(Path(path), FOLDER, training)

    serve(judge)
