"""Training with compiled networks: the same steps, and eager ones where compiling fails."""

import pytest
import torch
from torch._dynamo.utils import counters

from fst.cli.train import main
from fst.style_model.format import load_style_model

COMPILED = ("--trainer.callbacks", "fst.training.compiled.Compiled")


def trained(folder):
    return load_style_model(folder / "model.safetensors")[0].state_dict()


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    counters.clear()


def test_a_compiled_run_learns_what_an_eager_one_does(train_argv, run, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", *COMPILED, "--trainer.callbacks.backend", "aot_eager")
    assert main(argv) == 0
    assert "not compiled" not in capsys.readouterr().err
    assert counters["stats"]["unique_graphs"] >= 2 and not counters["graph_break"]
    eager = trained(run)
    for name, tensor in trained(tmp_path / "run").items():
        torch.testing.assert_close(tensor, eager[name], rtol=0.01, atol=0.001)
    # Outside of the run nothing is left of it.
    assert torch.compile(lambda x: torch.compiler.is_compiling(), backend="eager")(1)


def test_where_compiling_fails_the_run_goes_on_and_says_why(train_argv, run, tmp_path, capsys):
    argv = train_argv(tmp_path / "run", *COMPILED, "--trainer.callbacks.backend", "aot_ts_none")
    assert main(argv) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "not compiled" in line]
    assert line.startswith("fst-train: not compiled (") and "aot_ts_none" in line
    eager = trained(run)
    for name, tensor in trained(tmp_path / "run").items():
        assert torch.equal(tensor, eager[name])
