"""The transformer network as an ONNX graph, put together node by node.

    image (batch, 3, height, width), style_weights (batch, S) -> painting (batch, 3, height, width)

all fp32; batch, height and width are free. Written by hand and not traced from torch: every name
is that of the tensor in the style model, nothing of the machine gets in, the same network gives the
same bytes in a tenth of a second, and onnx is all that has to be installed.
That the graph paints what the network paints is measured by `fst.export.check` after each export.

Opset 17 is of 2022 (onnx 1.12) and read by onnxruntime 1.12 and all that came after. Nothing here
needs a newer operator; the newest one in use is Pad as of opset 13.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fst.errors import FstError
from fst.networks.transformer import STRIDE, ShuffledConv, TransformerNet, UpsampleConv

OPSET, IR_VERSION = 17, 8
ROWS_AND_COLUMNS = np.array([2, 3], np.int64)


def onnx_bytes(network: TransformerNet, properties: Mapping[str, str], half: bool = False) -> bytes:
    """The ONNX file of a network.

    Args:
        network: On the CPU.
        properties: What the file says of itself, as its `metadata_props`.
        half: Keep and compute the convolutions in fp16, and nothing else: sums over a whole picture
            would overflow there (65,504 is the largest number) or lose their last places, so
            statistics, affine, residual sums and the sigmoid stay in fp32.

    Raises:
        FstError: A weight is beyond the numbers of fp16.
    """
    from fst import __version__

    graph = _Graph(half)
    _network(graph, network)
    sizes = ["batch", 3, "height", "width"]
    described = helper.make_graph(
        graph.nodes,
        "fst",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, sizes),
            helper.make_tensor_value_info(
                "style_weights", TensorProto.FLOAT, ["batch", network.num_styles]
            ),
        ],
        [helper.make_tensor_value_info("painting", TensorProto.FLOAT, sizes)],
        graph.constants,
    )
    model = helper.make_model(
        described,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fst",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(properties))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


class _Graph:
    """Nodes and constants so far; each method adds one and returns the name of its result."""

    def __init__(self, half: bool) -> None:
        self.half = half
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray | Sequence[int]) -> str:
        """A tensor of the file; the same name twice is the same tensor."""
        if all(name != other.name for other in self.constants):
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: Sequence[str], result: str, **attributes) -> str:
        """A node."""
        self.nodes.append(helper.make_node(kind, inputs, [result], name=result, **attributes))
        return result


def _network(graph: _Graph, network: TransformerNet) -> None:
    padded, size = _padded_to_stride(graph)
    x = padded
    for name in ("conv_in", "down"):
        x = _relu(graph, _conditioned(graph, x, name, getattr(network, name)), name)
    for place, block in enumerate(network.blocks):
        name = f"blocks.{place}"
        y = _conditioned(graph, x, f"{name}.conv1", block.conv1)
        y = _relu(graph, y, f"{name}.conv1")
        y = _conditioned(graph, y, f"{name}.conv2", block.conv2)
        x = graph.add("Add", [x, y], f"{name}.sum")
    x = _relu(graph, _conditioned(graph, x, "up", network.up), "up")
    x = _conditioned(graph, x, "conv_out", network.conv_out)
    x = graph.add("Sigmoid", [x], "sigmoid")
    start = graph.constant("start", np.zeros(2, np.int64))
    axes = graph.constant("rows_and_columns", ROWS_AND_COLUMNS)
    graph.add("Slice", [x, start, size, axes], "painting")


def _padded_to_stride(graph: _Graph) -> tuple[str, str]:
    """The image reflected to multiples of 4, and its own height and width."""
    axes = graph.constant("rows_and_columns", ROWS_AND_COLUMNS)
    shape = graph.add("Shape", ["image"], "shape")
    size = graph.add("Gather", [shape, axes], "size")
    more = graph.constant("stride_less_one", np.array([STRIDE - 1], np.int64))
    stride = graph.constant("stride", np.array([STRIDE], np.int64))
    x = graph.add("Add", [size, more], "size_and_more")
    x = graph.add("Div", [x, stride], "size_in_strides")
    end = graph.add("Mul", [x, stride], "padded_size")
    # The first rows of a reflection by three are those of one by fewer.
    pads = graph.constant("image.pads", _pads(0, STRIDE - 1))
    x = graph.add("Pad", ["image", pads], "image.reflected", mode="reflect")
    start = graph.constant("start", np.zeros(2, np.int64))
    return graph.add("Slice", [x, start, end, axes], "image.padded"), size


def _pads(before: int, after: int) -> np.ndarray:
    return np.array([0, 0, before, before, 0, 0, after, after], np.int64)


def _relu(graph: _Graph, x: str, name: str) -> str:
    return graph.add("Relu", [x], f"{name}.relu")


def _conditioned(graph: _Graph, x: str, name: str, layer) -> str:
    """Upsampling where the layer has it, reflect padding, convolution, conditional norm."""
    weight = layer.conv.weight.detach().numpy()
    reach = weight.shape[2] // 2
    if isinstance(layer, UpsampleConv):
        scales = graph.constant("twice", np.array([1, 1, 2, 2], np.float32))
        x = graph.add("Resize", [x, "", scales], f"{name}.twice", mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    if graph.half:
        weight = _as_half(weight)
        x = graph.add("Cast", [x], f"{name}.half", to=TensorProto.FLOAT16)
    pads = graph.constant(f"pads.{reach}", _pads(reach, reach))
    x = graph.add("Pad", [x, pads], f"{name}.padded", mode="reflect")
    kernel = graph.constant(f"{name}.conv.weight", weight)
    strides = list(layer.conv.stride)
    x = graph.add("Conv", [x, kernel], f"{name}.conv", strides=strides)
    if graph.half:
        x = graph.add("Cast", [x], f"{name}.single", to=TensorProto.FLOAT)
    if isinstance(layer, ShuffledConv):
        x = graph.add("DepthToSpace", [x], f"{name}.shuffled", blocksize=2, mode="CRD")
    return _norm(graph, x, f"{name}.norm", layer.norm)


def _as_half(weight: np.ndarray) -> np.ndarray:
    largest = float(np.abs(weight).max())
    if largest > float(np.finfo(np.float16).max):
        raise FstError(f"a weight of {largest:.3g} is beyond the numbers of fp16: leave --fp16 out")
    return weight.astype(np.float16)


def _norm(graph: _Graph, x: str, name: str, norm) -> str:
    """gamma (x - mean) / sqrt(var + eps) + beta, with the tables' rows blended by the weights."""
    axes = graph.constant("rows_and_columns", ROWS_AND_COLUMNS)
    rows = {}
    for kind in ("gamma", "beta"):
        table = graph.constant(f"{name}.{kind}", getattr(norm, kind).detach().numpy())
        row = graph.add("MatMul", ["style_weights", table], f"{name}.{kind}.row")  # (B, C)
        rows[kind] = graph.add("Unsqueeze", [row, axes], f"{name}.{kind}.map")  # (B, C, 1, 1)
    channels = norm.gamma.shape[1]
    ones = graph.constant(f"ones.{channels}", np.ones(channels, np.float32))
    zeros = graph.constant(f"zeros.{channels}", np.zeros(channels, np.float32))
    x = graph.add("InstanceNormalization", [x, ones, zeros], f"{name}.normal", epsilon=norm.eps)
    x = graph.add("Mul", [x, rows["gamma"]], f"{name}.scaled")
    return graph.add("Add", [x, rows["beta"]], name)
