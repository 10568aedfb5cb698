"""Several processes train the model that one process with the whole batch trains."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fst.errors import FstError
from fst.losses.perceptual import PerceptualLoss
from fst.networks.loss_network import load_loss_network
from fst.networks.transformer import TransformerNet
from fst.runtime import processes
from fst.style_model.format import load_style_model
from fst.training.module import StyleTransferModule
from fst.training.schedule import scaled_rate
from fst.training.settings import Architecture
from fst.training.warm_start import style_parameters

SCRIPT = Path(__file__).parent / "distributed_run.py"
PROCESSES = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


def start(folder, argv, **environment):
    """Run fst-train through distributed_run.py; returns what it said."""
    command = [sys.executable, str(SCRIPT), str(folder), *argv]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=200, env=settings
    )


@pytest.fixture(scope="module")
def pair(train_argv, tmp_path_factory):
    """Folders of a run of two processes with batches of 2, and of one with batches of 4."""
    folders = []
    for extra in (PROCESSES, ["--batch-size", "4"]):
        folder = tmp_path_factory.mktemp("run")
        argv = train_argv(folder / "run", "--steps", 4, "--val-every", 2, *extra)
        argv += ["--style-loss", "meanstd"]
        done = start(folder, argv)
        assert done.returncode == 0, done.stderr[-3000:]
        folders.append((folder, done))
    return folders


@pytest.fixture(scope="module")
def seen(pair):
    """What each of the two processes saw, and what the one saw."""
    (two, _), (one, _) = pair
    return [torch.load(f) for f in (two / "seen-0.pt", two / "seen-1.pt", one / "seen-0.pt")]


def test_gradients_are_those_of_one_process_with_the_whole_batch(seen):
    """But for rounding: fp32 adds up images and pixels in another order."""
    first, second, whole = (record["gradients"] for record in seen)
    for name, gradient in whole.items():
        assert torch.equal(first[name], second[name])
        # The first layer adds up the most pixels: 1.8e-6 there, below 1e-6 in all others.
        within = 4e-6 if name.startswith("conv_in") else 1e-6
        within = 2e-7 if "norm" in name else within
        assert (first[name] - gradient).norm() / gradient.norm() < within


def test_paintings_are_those_of_one_process_with_the_whole_batch(seen, pair):
    """Weights can part where the gradient is nothing but rounding: Adam divides by it."""
    for name, weight in seen[0]["weights"].items():
        assert torch.equal(weight, seen[1]["weights"][name])
    photos = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        two, one = (
            network(photos, torch.eye(2))
            for network in (load_style_model(f / "run" / "model.safetensors")[0] for f, _ in pair)
        )
    assert (two - one).abs().max() < 1e-4


def test_processes_see_the_halves_of_each_batch_in_their_own_styles(seen):
    halves, whole = zip(seen[0]["batches"], seen[1]["batches"], strict=True), seen[2]["batches"]
    styles = set()
    for (one, other), both in zip(halves, whole, strict=True):
        for part in (0, 1):
            assert torch.equal(torch.cat([one[part], other[part]]), both[part])
        styles.add((tuple(one[1].tolist()), tuple(other[1].tolist())))
    assert any(mine != yours for mine, yours in styles)


def test_targets_are_computed_by_the_first_process_alone(seen):
    assert [record["targets_computed"] for record in seen] == [1, 0, 1]
    for mine, yours in zip(seen[0]["targets"], seen[1]["targets"], strict=True):
        for layer in mine:
            assert all(torch.equal(*pair) for pair in zip(mine[layer], yours[layer], strict=True))


def test_the_loss_network_is_not_wrapped(seen):
    assert "DistributedDataParallel" in seen[0]["wrapped"]
    assert not {"LossNetwork", "CombinedLossNetwork"} & set(seen[0]["wrapped"])


def test_the_first_process_alone_writes_and_speaks(pair):
    (two, done), _ = pair
    assert done.stdout.count("written:") == done.stdout.count("card:") == 1
    events = list((two / "run").glob("events*"))
    assert len(events) == len(list((pair[1][0] / "run").glob("events*")))
    assert sorted(f.name for f in (two / "run").iterdir() if f not in events) == [
        "config.yaml",
        "hparams.yaml",
        "last.ckpt",
        "model.jpg",
        "model.md",
        "model.safetensors",
    ]


def test_sharding_strategies_are_refused_with_the_reason(train_argv, tmp_path, capsys):
    from fst.cli.train import main

    argv = train_argv(tmp_path / "run", "--trainer.strategy", "fsdp")
    assert main(argv) == 2
    message = capsys.readouterr().err
    assert "fsdp" in message and "use ddp" in message and len(message.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_spawned_processes_train_the_same_model(pair, train_argv, tmp_path):
    """ddp_spawn: the starting process does not train; the model is none the less whole."""
    argv = train_argv(tmp_path / "run", "--steps", 4, "--val-every", 2, "--trainer.devices", 2)
    argv += ["--style-loss", "meanstd", "--trainer.strategy", "ddp_spawn"]
    done = subprocess.run(
        [sys.executable, "-m", "fst.cli.train", *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    files = [folder / "run" / "model.safetensors" for folder in (pair[0][0], tmp_path)]
    (first, about), (second, same) = (load_style_model(file) for file in files)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert about["training"]["metrics"] == same["training"]["metrics"]
    assert about["styles"] == same["styles"]


@pytest.mark.parametrize("statistic", ["gram", "meanstd", "sliced", "eigen top=10%"])
def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_halves(loss_weights, statistic):
    """In fp64, where rounding hides nothing."""
    torch.manual_seed(0)
    vgg, network = load_loss_network(loss_weights).double(), TransformerNet(2, 0.125, 1).double()
    loss = PerceptualLoss(vgg, style_loss=statistic)
    loss.set_styles([[torch.rand(3, 64, 64).double()] for _ in range(2)])
    photos, styles = torch.rand(4, 3, 48, 48).double(), torch.tensor([0, 1, 1, 0])

    def gradient(part):
        weights = torch.eye(2).double()[styles[part]]
        terms = loss(network(photos[part], weights), photos[part], styles[part])
        parts = torch.autograd.grad(terms["total"], list(network.parameters()))
        return torch.cat([g.flatten() for g in parts])

    whole = gradient(slice(0, 4))
    halves = (gradient(slice(0, 2)) + gradient(slice(2, 4))) / 2
    assert (halves - whole).norm() / whole.norm() < 1e-12


def test_draws_of_kept_styles_are_those_of_the_whole_batch(monkeypatch):
    from fst.training.warm_start import Keeper

    keeper, photos = Keeper(5, 0.125, 1), torch.rand(4, 3, 16, 16)
    drawn = []
    monkeypatch.setattr(
        keeper, "_paintings", lambda student, photos, index: (drawn.append(index), photos)[1:] * 2
    )
    student = TransformerNet(6, 0.125, 1)
    keeper.loss(student, photos, 3)
    for rank in (0, 1):
        keeper.loss(student, photos[:2], 3, rank, 2)
    assert torch.equal(torch.cat(drawn[1:]), drawn[0])


def test_kept_rows_are_held_in_a_copy_and_in_a_spawned_process_too():
    """Pickling leaves the hooks of tensors behind."""
    from multiprocessing.reduction import ForkingPickler

    kept = [{"name": "old", "images": ["old.jpg"]}]
    start = {"kept_styles": kept, "tune_trunk": True}
    module = StyleTransferModule(["new.jpg"], Architecture(0.125, 1), start=start)
    copy = pickle.loads(ForkingPickler.dumps(module))
    tables = style_parameters(copy.network)
    copy(torch.rand(1, 3, 32, 32), torch.tensor([0])).mean().backward()
    for table in tables:
        assert not table.grad[0].any()
    assert any(table.grad[1].any() for table in tables)


def test_the_rate_follows_the_square_root_of_the_processes_when_asked():
    assert scaled_rate(0.001, 16) == pytest.approx(0.004)


def test_alone_a_process_asks_nobody():
    assert not processes.several()
    assert processes.from_first(lambda: 7) == 7
    assert processes.any_process(True, torch.device("cpu"))
    with pytest.raises(FstError, match="unreadable"):
        processes.from_first(_unreadable)


def _unreadable():
    raise FstError("unreadable")
