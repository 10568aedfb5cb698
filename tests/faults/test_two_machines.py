"""Two machines for real: two network namespaces, joined by a cable, one Lightning node in each."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "distributed_run.py"
ADDRESSES, PORT = ("10.77.0.1", "10.77.0.2"), "29577"


def ip(*words, **options):
    """Run the ip command."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, **options)


@pytest.fixture
def machines():
    """Names of two namespaces whose interface "cable" leads to the other."""
    names = [f"fst-{os.getpid()}-{i}" for i in (0, 1)]
    try:
        for name in names:
            ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the privilege to make network namespaces")
    try:
        peer = ["peer", "name", "cable", "netns", names[1]]
        ip("link", "add", "cable", "netns", names[0], "type", "veth", *peer)
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def node(name, rank, folder, argv, port=PORT):
    """Start one machine's part of a run."""
    settings = {
        "MASTER_ADDR": ADDRESSES[0],
        "MASTER_PORT": port,
        "NODE_RANK": str(rank),
        "GLOO_SOCKET_IFNAME": "cable",
        "OMP_NUM_THREADS": "1",
    }
    command = ["ip", "netns", "exec", name, sys.executable, str(SCRIPT), str(folder), *argv]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **settings},
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs the ip command")
def test_two_machines_train_what_one_process_trains(machines, train_argv, tmp_path):
    for folder in ("two", "one"):
        (tmp_path / folder).mkdir()
    argv = train_argv(tmp_path / "two" / "run", "--steps", 6, "--trainer.num_nodes", 2)
    argv += ["--trainer.devices", "1", "--trainer.strategy", "ddp"]
    nodes = [node(name, rank, tmp_path / "two", argv) for rank, name in enumerate(machines)]
    said = [process.communicate(timeout=240)[0] for process in nodes]
    assert [process.returncode for process in nodes] == [0, 0], said
    assert [text.count("written:") for text in said] == [1, 0]
    argv = train_argv(tmp_path / "one" / "run", "--steps", 6, "--batch-size", 4)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "one"), *argv]
    # One thread each: rounded otherwise, a value at the bend of a ReLU moves gradients by 1e-3.
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, timeout=240, env=alone)
    first, second, whole = (
        torch.load(tmp_path / file)["gradients"]
        for file in ("two/seen-0.pt", "two/seen-1.pt", "one/seen-0.pt")
    )
    # Relative to all gradients together: some are nothing but rounding.
    apart = torch.cat([(first[name] - whole[name]).flatten() for name in whole]).norm()
    error = (apart / torch.cat([whole[name].flatten() for name in whole]).norm()).item()
    assert all(torch.equal(first[name], second[name]) for name in whole)
    print(f"\ntwo machines against one process, relative error of the gradients: {error:.2g}")
    assert error < 2e-6


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs the ip command")
def test_a_machine_that_is_cut_off_ends_the_run_on_the_other(machines, train_argv, tmp_path):
    """The cable is pulled for good, with a kill of the second machine's process."""
    argv = train_argv(tmp_path / "run", "--steps", 100000, "--trainer.num_nodes", 2)
    argv += ["--trainer.devices", "1", "--trainer.strategy", "ddp", "--save-every", "2"]
    nodes = [node(name, rank, tmp_path, argv, "29578") for rank, name in enumerate(machines)]
    wait_for(tmp_path / "run" / "last.ckpt", nodes)
    nodes[1].kill()
    start = time.monotonic()
    said = nodes[0].communicate(timeout=60)[0]
    print(f"\nthe first machine ended {time.monotonic() - start:.1f} s after the second was killed")
    assert nodes[0].returncode != 0 and "Error" in said
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs the ip command")
def test_machines_with_different_photos_train_to_the_end(
    machines, train_argv, photo_folder, tmp_path
):
    """Twelve photos on one, five on the other: neither runs out, neither waits."""
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(photo_folder.iterdir())[:5]:
        shutil.copy(file, few)
    argv = train_argv(tmp_path / "run", "--trainer.num_nodes", 2, "--trainer.devices", 1)
    argv += ["--trainer.strategy", "ddp"]
    argvs = [argv, [*argv, "--content", str(few)]]
    nodes = [node(n, i, tmp_path, argvs[i], "29579") for i, n in enumerate(machines)]
    said = [process.communicate(timeout=240)[0] for process in nodes]
    assert [process.returncode for process in nodes] == [0, 0], said
    records = [torch.load(tmp_path / f"seen-{rank}.pt") for rank in (0, 1)]
    assert [len(record["batches"]) for record in records] == [12, 12]


def wait_for(file, processes, seconds=120):
    """Wait until a file is there, the processes running."""
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < deadline and all(p.poll() is None for p in processes)
        time.sleep(0.1)
