"""Count the kernels that a training step launches on a GPU, and the bytes they move, without a GPU.

    python scripts/count_launches.py [--batch-size 4] [--size 256] [--styles 2]

Eager: the operations of a step on the "meta" device, which holds no data, are counted, except
views. Compiled: `fst.training.compiled.Compiled` compiles the step there; its graphs are moved to
fake CUDA tensors, and the kernels in inductor's code for them are counted, its own and those of
libraries. What runs between the graphs is counted as operations. An operation counts as one kernel,
though some launch several. Bytes are those of the tensors that go in and out. All in fp32, forward
and backward, without the optimizer. This relies on torch internals (2.14), which may change.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode

from fst import Architecture, Objective, StyleTransferModule
from fst.assets import SAMPLE_PHOTO
from fst.data.batches import StyleBatch
from fst.errors import FstError
from fst.training.compiled import Compiled

VIEWS = {"view", "_unsafe_view", "permute", "transpose", "t", "expand", "unsqueeze", "squeeze"}
VIEWS |= {"slice", "select", "detach", "alias", "as_strided", "split", "unbind", "unfold", "empty"}
VIEWS |= {"diagonal", "_reshape_alias", "empty_like", "new_empty", "split_with_sizes", "lift_fresh"}
VIEWS |= {"empty_strided", "new_empty_strided", "chunk"}
CARD = SimpleNamespace(
    name="H100", major=9, minor=0, multi_processor_count=132, warp_size=32, L2_cache_size=2**26,
    regs_per_multiprocessor=65536, max_threads_per_multi_processor=2048, total_memory=80 * 2**30,
    max_threads_per_block=1024, shared_memory_per_block=48 * 2**10, gcnArchName="", uuid="",
    shared_memory_per_block_optin=227 * 2**10, shared_memory_per_multiprocessor=228 * 2**10,
)  # fmt: skip
KERNEL = re.compile(r"(triton)_\w+\.run\(|extern_kernels\.\w+\(|= torch\.ops\.aten\.\w+")


def main() -> None:
    add = (parser := argparse.ArgumentParser(description=__doc__.partition("\n")[0])).add_argument
    add("--batch-size", type=int, default=4, help="images of a step (default: %(default)s)")
    add("--size", type=int, default=256, help="side of the crops, px (default: %(default)s)")
    add("--styles", type=int, default=2, help="how many (default: %(default)s)")
    args = parser.parse_args()
    if min(args.batch_size, args.styles) < 1 or args.size < 64:
        parser.error("expected at least 1 image, at least 1 style and crops of at least 64 px")
    with on_meta():
        rows = counted(module_of(args.styles), batch_of(args.styles, args.batch_size, args.size))
    print("\n| part | kernels | of which generated | GB |\n|---|---:|---:|---:|")
    for part, (kernels, generated, size) in rows.items():
        print(f"| {part} | {kernels} | {generated or ''} | {size / 1e9:.3f} |")


class Load(NamedTuple):
    """Kernels, how many of them inductor generates, and bytes that are read and written."""

    kernels: int
    generated: int
    bytes: int


def counted(module: StyleTransferModule, batch: StyleBatch) -> dict[str, Load]:
    """What the parts of a step take."""
    with Operations() as eager:
        step(module, batch)
    with replaced(module, network_left_out(module), loss_left_out), Operations() as between:
        step(module, batch)
    graphs: list[tuple[str, fx.GraphModule]] = []
    with replaced(module, *(f for *_, f in Compiled(recorder(graphs)).places(module))):
        step(module, batch)
    if len(graphs) != 4:
        raise FstError(f"{len(graphs)} graphs: expected those of network and loss, both ways")
    parts = zip(("network", "loss", "loss", "network"), graphs, strict=True)
    compiled = {f"compiled: {name}, {way}": load_of(way, graph) for name, (way, graph) in parts}
    compiled["compiled: between the compiled parts"] = between.load()
    whole = Load(*map(sum, zip(*compiled.values(), strict=True)))
    return {"eager: all": eager.load(), **compiled, "compiled: all": whole}


def module_of(
    num_styles: int, architecture: Architecture | None = None, objective: Objective | None = None
) -> StyleTransferModule:
    """As fst-train trains by default; of styles only the statistics are asked for."""
    module = StyleTransferModule([SAMPLE_PHOTO] * num_styles, architecture, objective)
    module.perceptual = module.objective.perceptual(module.styles, torch.device("cpu"))
    in_grey = bool(module.objective.grey_every)
    module.perceptual.set_styles([[torch.rand(3, 64, 64)]] * num_styles, in_grey)
    return module.to("meta")


def batch_of(num_styles: int, count: int, size_px: int) -> StyleBatch:
    photos = torch.empty(count, 3, size_px, size_px, device="meta")
    return StyleBatch(photos, torch.arange(count) % num_styles)


def step(module: StyleTransferModule, batch: StyleBatch) -> None:
    module.training_step(batch, 1)["loss"].backward()
    module.zero_grad()


# ---- what is counted -------------------------------------------------------------------------


class Operations(TorchDispatchMode):
    """Counts the operations of the device that give it something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.bytes = 0, 0

    def load(self) -> Load:
        return Load(self.kernels, 0, self.bytes)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in torch.utils._pytree.tree_leaves((args, out)) if isinstance(t, Tensor)]
        there = [t for t in tensors if t.is_meta]
        if there and func.overloadpacket.__name__ not in VIEWS:
            self.kernels += 1
            self.bytes += sum(t.nbytes for t in there)
        return out


class LeftOut(torch.autograd.Function):
    """Stands for what gives a tensor of some shape from others, and costs nothing, nor back."""

    @staticmethod
    def forward(ctx, shape: torch.Size, *inputs: Tensor) -> Tensor:
        ctx.inputs = inputs
        return inputs[0].new_empty(shape)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(x.new_empty(x.shape) for x in ctx.inputs)


def network_left_out(module: StyleTransferModule) -> Callable:
    weight = next(module.network.parameters())
    return lambda photos, style_weights: LeftOut.apply(photos.shape, photos, weight)


def loss_left_out(whole: tuple, seen: tuple, comparison: Any, traits: Any) -> dict[str, Tensor]:
    each = whole[0].new_empty(len(whole[0]))
    return {"total": LeftOut.apply((), whole[0], seen[0]), "style_per_image": each}


@contextmanager
def replaced(module: StyleTransferModule, network: Callable, loss: Callable) -> Iterator[None]:
    """Other functions in the places of those that are compiled."""
    with ExitStack() as held:
        held.enter_context(mock.patch.object(module.network, "forward", network))
        held.enter_context(mock.patch.object(module, "terms_of_images", loss))
        yield


def recorder(graphs: list[tuple[str, fx.GraphModule]]) -> Callable:
    """A backend for torch.compile that keeps the graphs that inductor would get."""
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.partitioners import min_cut_rematerialization_partition
    from torch._inductor.decomposition import select_decomp_table

    def keep(way: str) -> Callable:
        def compiler(graph: fx.GraphModule, inputs: Any) -> Callable:
            graphs.append((way, graph))
            return graph

        return compiler

    return aot_autograd(
        fw_compiler=keep("forward"),
        bw_compiler=keep("backward"),
        partition_fn=min_cut_rematerialization_partition,
        decompositions=select_decomp_table(),
    )


def load_of(way: str, graph: fx.GraphModule) -> Load:
    """What inductor's code for a graph takes."""
    code, size = code_for_cuda(graph, is_backward=way == "backward")
    kernels = KERNEL.findall(code[code.index("def call(") :])
    return Load(len(kernels), kernels.count("triton"), size)


# ---- torch, persuaded ------------------------------------------------------------------------


def code_for_cuda(graph: fx.GraphModule, is_backward: bool) -> tuple[str, int]:
    """What inductor would run of a graph that was traced without a device, and the bytes for it."""
    from torch._inductor.compile_fx import _recursive_post_grad_passes
    from torch._inductor.debug import DebugContext
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    fake = FakeTensorMode(allow_non_fake_inputs=True)

    def moved(value: Any) -> Any:
        if isinstance(value, torch.device):
            return torch.device("cuda", 0) if value.type == "meta" else value
        if not isinstance(value, Tensor):
            return value
        with fake:
            where = moved(value.device)
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=where)

    for node in graph.graph.nodes:
        node.args, node.kwargs = (fx.node.map_aggregate(p, moved) for p in (node.args, node.kwargs))
    for name, value in [*vars(graph).items(), *graph._buffers.items()]:
        if isinstance(value, Tensor):
            setattr(graph, name, moved(value))
    graph.recompile()
    inputs = [moved(n.meta["val"]) for n in graph.graph.nodes if n.op == "placeholder"]
    with pretended_card(), V.set_fake_mode(fake):
        FakeTensorProp(graph, fake).propagate_dont_convert_inputs(*inputs)
        _recursive_post_grad_passes(graph, is_inference=False)
        FakeTensorProp(graph, fake).propagate_dont_convert_inputs(*inputs)
        options = {"shape_env": ShapeEnv(), "is_backward": is_backward, "is_inference": False}
        lowering = GraphLowering(graph, example_inputs=inputs, **options)
        with V.set_graph_handler(lowering), V.set_debug_handler(DebugContext()):
            lowering.run(*inputs)
            code, _ = lowering.codegen()
            return code.value, lowering.count_bytes()[0]


@contextmanager
def on_meta() -> Iterator[None]:
    """Autocast, which does not know the device, takes it for the CPU."""
    genuine = torch.autocast.__init__

    @wraps(genuine)
    def made(self: torch.autocast, device_type: str, *args: Any, **options: Any) -> None:
        genuine(self, "cpu" if device_type == "meta" else device_type, *args, **options)

    with ExitStack() as held:
        held.enter_context(mock.patch.object(torch.autocast, "__init__", made))
        held.enter_context(mock.patch.object(torch, "is_autocast_enabled", return_value=False))
        yield


@contextmanager
def pretended_card() -> Iterator[None]:
    """Inductor finds a card and triton."""
    import torch._inductor.scheduler as scheduler
    import torch.utils._triton as triton
    from torch._dynamo.device_interface import CudaInterface

    answers = [
        (torch.cuda, {"get_device_properties": CARD, "current_device": 0}),
        (torch.cuda, {"get_device_capability": (CARD.major, CARD.minor)}),
        (CudaInterface.Worker, {"get_device_properties": CARD}),
        (CudaInterface, {"get_device_properties": CARD, "is_available": True}),
        (CudaInterface, {"get_compute_capability": 10 * CARD.major + CARD.minor}),
        (CudaInterface, {"is_triton_capable": True, "raise_if_triton_unavailable": None}),
        (scheduler, {"has_triton": True}),
        (triton, {"triton_hash_with_backend": "none"}),
    ]
    with ExitStack() as held:
        for place, values in answers:
            for name, value in values.items():
                answer = mock.Mock(return_value=value)
                held.enter_context(mock.patch.object(place, name, answer))
        yield


if __name__ == "__main__":
    try:
        main()
    except FstError as error:
        sys.exit(f"count_launches: {error}")
