"""Checkpoints: written in one step or not at all, plain values only, broken files refused."""

import os
import pickle

import pytest
import torch

from fst.errors import FstError
from fst.training.checkpoint import AtomicCheckpointIO, RunSaver, read_checkpoint

PLAIN = {"style_model": {}, "state_dict": {"a": torch.arange(3.0)}, "global_step": 3}


def stored(path, content=PLAIN):
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


def test_a_checkpoint_reads_back_equal(tmp_path):
    content = read_checkpoint(stored(tmp_path / "new" / "last.ckpt"))
    assert torch.equal(content["state_dict"]["a"], torch.arange(3.0))
    assert content["global_step"] == 3


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch, broken):
    path = stored(tmp_path / "last.ckpt")
    before = path.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(FstError, match=r"last\.ckpt.*No space left"):
        stored(path, PLAIN | {"global_step": 4})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_temporary_file_lies_beside_its_target(tmp_path, monkeypatch):
    """os.replace is atomic only within one file system, so $TMPDIR will not do."""
    pairs = []
    genuine = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (pairs.append((a, b)), genuine(a, b)))
    stored(tmp_path / "last.ckpt")
    ((source, target),) = pairs
    assert os.path.dirname(source) == os.path.dirname(target) == str(tmp_path)


class Payload:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return open, (str(self.victim), "w")


@pytest.mark.parametrize("plain_pickle", [True, False])
def test_pickled_code_is_refused_and_not_run(tmp_path, plain_pickle):
    victim, path = tmp_path / "victim", tmp_path / "evil.ckpt"
    content = PLAIN | {"payload": Payload(victim)}
    if plain_pickle:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(FstError) as error:
        read_checkpoint(path)
    with pytest.raises(FstError):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not victim.exists()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value) and str(error.value).isprintable()
    assert "weights_only" not in str(error.value)  # torch's advice to run it after all


@pytest.mark.parametrize("size", [0, 1, 100, -100])
def test_a_truncated_checkpoint_is_refused_by_name(tmp_path, size):
    path = stored(tmp_path / "last.ckpt")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FstError) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_foreign_checkpoint_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(FstError, match="not one of fst-train"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FstError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "last.ckpt")


@pytest.fixture(scope="module")
def run_checkpoint(train_argv, tmp_path_factory):
    from fst.cli.train import main

    folder = tmp_path_factory.mktemp("checkpoint") / "run"
    assert main(train_argv(folder, "--steps", 4)) == 0
    return torch.load(folder / "last.ckpt", weights_only=True)


def test_a_run_stores_the_network_and_nothing_of_the_loss(run_checkpoint):
    keys = list(run_checkpoint["state_dict"])
    assert keys and all(key.startswith("network.") for key in keys)


def tensors_in(value, path=""):
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from tensors_in(entry, f"{path}/{key}")
    elif isinstance(value, list | tuple):
        for place, entry in enumerate(value):
            yield from tensors_in(entry, f"{path}/{place}")


def test_a_run_stores_weights_and_adam_moments_only(run_checkpoint):
    """No targets, no metric states: three numbers a parameter and Adam's step counts."""
    parameters = sum(tensor.numel() for tensor in run_checkpoint["state_dict"].values())
    stored = dict(tensors_in(run_checkpoint))
    assert all(path.split("/")[1] in ("state_dict", "optimizer_states") for path in stored)
    counts = len(run_checkpoint["optimizer_states"][0]["state"])
    assert sum(tensor.numel() for tensor in stored.values()) == 3 * parameters + counts


def test_saves_fall_on_every_nth_step_and_on_the_last(train_argv, tmp_path, monkeypatch):
    from fst.cli.train import main

    steps, genuine = [], RunSaver.save

    def save(self, trainer, module):
        steps.append(trainer.global_step)
        genuine(self, trainer, module)

    monkeypatch.setattr(RunSaver, "save", save)
    two_batches_a_step = ["--trainer.accumulate_grad_batches", 2]
    argv = train_argv(tmp_path / "run", "--steps", 10, "--save-every", 4, *two_batches_a_step)
    assert main(argv) == 0
    assert steps == [4, 8, 10]
    steps.clear()
    assert main(["--resume", str(tmp_path / "run" / "last.ckpt"), "--steps", "12"]) == 0
    assert steps == [12]
