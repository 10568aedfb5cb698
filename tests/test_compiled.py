"""Training with compiled networks: the same steps, and eager ones where compiling fails."""

from dataclasses import replace

import pytest
import pytorch_lightning as pl
import torch
from torch._dynamo.backends.debugging import aot_eager
from torch._dynamo.utils import counters

from fst import Architecture, Objective, StyleTransferModule
from fst.cli.train import main
from fst.data.styles import Style
from fst.style_model.format import load_style_model
from fst.training.compiled import Compiled

LARGE = 400  # nodes of a graph: of the loss, not of a network alone
CALLBACK = ("--trainer.callbacks", "fst.training.compiled.Compiled")


def trained(folder):
    return load_style_model(folder / "model.safetensors")[0].state_dict()


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    counters.clear()


@pytest.fixture
def fit(style_files, loss_weights):
    """Trains a module for some steps in Python, with Lightning's own defaults."""

    def fit(callback, steps=3, statistics=(None, None)):
        objective = Objective(loss_network=str(loss_weights))
        shape = Architecture(width=0.125, num_blocks=1)
        pairs = zip(style_files, statistics, strict=True)
        styles = [replace(Style.of(file), statistic=statistic) for file, statistic in pairs]
        module = StyleTransferModule(styles, shape, objective)
        photos = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
        loader = torch.utils.data.DataLoader(photos, batch_size=2)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(
            accelerator="cpu", max_steps=steps, callbacks=callback, val_check_interval=2, **quiet
        )
        trainer.fit(module, loader, loader)
        return module

    return fit


def assert_as_before(module):
    """Nothing compiles any more: a picture of another size is painted by the network itself."""
    counters.clear()
    module(torch.rand(1, 3, 40, 56), 0)
    assert not counters["stats"] and "forward" not in vars(module.network)


def test_a_compiled_run_learns_what_an_eager_one_does(train_argv, run, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", *CALLBACK, "--trainer.callbacks.backend", "aot_eager")
    assert main(argv) == 0
    assert "compil" not in capsys.readouterr().err
    # The painter and the loss; validations and card add none.
    assert counters["stats"]["unique_graphs"] == 2 and not counters["graph_break"]
    eager = trained(run)
    for name, tensor in trained(tmp_path / "run").items():
        torch.testing.assert_close(tensor, eager[name], rtol=0.01, atol=0.001)


def test_where_it_cannot_be_compiled_the_run_goes_on_and_says_why(fit, capsys):
    def backend(graph, inputs):
        raise RuntimeError("no compiler here")

    callback = Compiled(backend)
    module = fit(callback)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "compil" in line]
    assert line.startswith("fst-train: compiling failed, training continues uncompiled: ")
    assert "no compiler here" in line and callback.compiled == "nothing"
    for tensor, eager in zip(module.parameters(), fit([]).parameters(), strict=True):
        assert torch.equal(tensor, eager)
    assert_as_before(module)


def test_after_the_run_the_networks_are_as_before(fit):
    callback = Compiled("aot_eager")
    module = fit(callback)
    assert callback.compiled == "all" and counters["stats"]["unique_graphs"] == 2
    assert_as_before(module)


def test_where_the_loss_cannot_be_compiled_the_networks_are(fit, capsys):
    def backend(graph, inputs):
        if len(list(graph.graph.nodes)) > LARGE:
            raise RuntimeError("a loss is too much")
        return aot_eager(graph, inputs)

    callback = Compiled(backend)
    fit(callback)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "compiled" in line]
    assert line.startswith(
        "fst-train: only the two networks are compiled; compiling the whole loss"
    )
    assert "a loss is too much" in line and callback.compiled == "networks"


def test_of_styles_of_several_statistics_the_networks_alone_are_compiled(fit, capsys):
    statistics = "gram", "meanstd"
    module = fit(Compiled("aot_eager"), statistics=statistics)
    # The painter, and the loss network of paintings and of photos.
    assert counters["stats"]["unique_graphs"] == 3 and not counters["graph_break"]
    assert "several kinds" in capsys.readouterr().err
    eager = fit([], statistics=statistics)
    for tensor, other in zip(module.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(tensor, other, rtol=0.01, atol=0.001)


def test_what_is_wrong_at_the_command_line_is_told(train_argv, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", *CALLBACK, "--trainer.callbacks.backend", "nonsense")
    assert main(argv) == 0
    assert "training continues uncompiled: InvalidBackend" in capsys.readouterr().err
