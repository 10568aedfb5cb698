"""What scripts/benchmark.py measures of exported networks: onnxruntime against torch."""

import argparse
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from benchmark_networks import trained_like
from benchmark_timing import Rows, interleaved

from fst.errors import FstError
from fst.runtime.memory import keep_freed_memory


def add_arguments(add: Callable) -> None:
    """What `onnx` takes beside the common flags."""
    add("--peer", type=Path, metavar="FILE", help="an ONNX file of another multi-style network, "
        "timed in turns with ours: image (1, 3, h, w), style_weights (S,) or (1, S)")  # fmt: skip


def run_onnx(args: argparse.Namespace) -> Rows:
    """Paintings by onnxruntime from files of fst-export, against torch, threads alike."""
    if not all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
        raise FstError("onnx needs its packages: pip install 'fst[export]'")
    rows: Rows = []
    for size_px in args.sizes:
        cases = onnx_cases(args.width, size_px)
        peer = peer_case(args.peer, size_px) if args.peer else {}
        keep_freed_memory()
        medians = interleaved(cases | peer, args.repeats)
        keep_freed_memory(False)
        expected, first = cases["torch, as fst paints"](), next(iter(medians.values()))
        for name, run in (cases | peer).items():
            is_ours = name in cases
            rows.append(
                {
                    "case": f"{name}{f', width {args.width:g}' * is_ours}, {size_px} px",
                    "ms": 1e3 * medians[name],
                    "ratio": first / medians[name],
                    "max difference": float(np.abs(run() - expected).max()) if is_ours else "",
                }
            )
    return rows


def onnx_cases(width: float, size_px: int) -> dict[str, Callable[[], np.ndarray]]:
    """Paintings of one photo (1, 3, s, s) by one network."""
    from fst.export.files import exported_program, onnx_bytes  # with the extra `export`

    network = trained_like(width).to(memory_format=torch.channels_last)
    image = np.random.default_rng(0).random((1, 3, size_px, size_px), np.float32)
    weights = np.ones((1, 1), np.float32)
    painters = {"": onnx_bytes(network, {}), " fp16": onnx_bytes(network, {}, half=True)}
    program = exported_program(network).module()
    cases = {
        "torch, as fst paints": partial(in_torch, network, image, weights),
        "torch, as exported": partial(in_torch, program, image, weights),
    }
    for name, content in painters.items():
        session = onnx_session(content)
        feed = {"image": image, "style_weights": weights}
        cases[f"onnxruntime{name}"] = lambda s=session, f=feed: s.run(None, f)[0]
    return cases


def peer_case(path: Path, size_px: int) -> dict[str, Callable[[], object]]:
    """A painting by another package's network, in its first style.

    Raises:
        FstError: It cannot be read.
    """
    if not path.is_file():
        raise FstError(f"--peer {path}: no such file")
    session = onnx_session(path.read_bytes())
    shape = next(i.shape for i in session.get_inputs() if i.name == "style_weights")
    weights = np.eye(shape[-1], dtype=np.float32)[:1]
    image = np.random.default_rng(0).random((1, 3, size_px, size_px), np.float32)
    feed = {"image": image, "style_weights": weights if len(shape) == 2 else weights[0]}
    return {f"onnxruntime, {path.stem}": lambda: session.run(None, feed)}


@torch.inference_mode()
def in_torch(
    network: torch.nn.Module,
    image: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """A painting by torch."""
    return network(torch.from_numpy(image), torch.from_numpy(weights)).contiguous().numpy()


def onnx_session(content: bytes):
    """On the CPU, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Its threads would go on spinning after a painting, in the way of the next case.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
