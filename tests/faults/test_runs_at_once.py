"""Runs of fst-train that begin together: none is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fst.style_model.format import load_style_model

ROUNDS, AT_ONCE = 20, 8

pytestmark = pytest.mark.slow


def train(argv, folder):
    """Starts fst-train; its seed tells its model from the others."""
    program = "import sys; from fst.cli.train import main; sys.exit(main(sys.argv[1:]))"
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, *argv]
    return subprocess.Popen(command, cwd=folder, env=settings, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def seeds_of(folder):
    """The seeds of a run by its three files."""
    stored = torch.load(folder / "last.ckpt", weights_only=True)["hyper_parameters"]["seed"]
    model = load_style_model(folder / "model.safetensors")[1]["training"]["settings"]["seed"]
    (line,) = [w for w in (folder / "config.yaml").read_text().splitlines() if w[:5] == "seed:"]
    return {stored, model, int(line.split()[1])}


@pytest.mark.parametrize("round", range(ROUNDS))
@pytest.mark.parametrize("output", [None, "one"])
def test_runs_that_begin_together_lose_nothing(train_argv, tmp_path, output, round):
    argv = train_argv(output)
    if output is None:
        del argv[argv.index("-o") : argv.index("-o") + 2]
    runs = [train([*argv, "--steps", "2", "--seed", str(n)], tmp_path) for n in range(AT_ONCE)]
    said = [run.communicate(timeout=600)[0] for run in runs]
    codes = [run.returncode for run in runs]
    folders = [path.parent for path in tmp_path.rglob("last.ckpt")]
    found = [seeds_of(Path(folder)) for folder in folders]
    assert all(len(seeds) == 1 for seeds in found)  # no folder holds files of two runs
    written = {seed for seeds in found for seed in seeds}
    assert written == {n for n, code in enumerate(codes) if code == 0}, "\n".join(said)
    if output is None:
        assert codes == [0] * AT_ONCE
    else:
        assert sorted(codes) == [0] + [2] * (AT_ONCE - 1)
