"""What is written: the transformer network as torch.export reads it, alone or as an ONNX file.

    image (batch, 3, height, width), style_weights (batch, S) -> painting (batch, 3, height, width)

all fp32; batch, height and width are free. Both files are traced from `TransformerNet.forward`, and
hold the same weights under the names that they have in a style model; the last kernel is written
as applied (`EvenConv`). `fst.export.check` measures after each export whether they paint what the
network paints.
"""

import copy
import io
import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.export import Dim, ExportedProgram

from fst import __version__
from fst.errors import FstError
from fst.networks.layers import ShuffledConv
from fst.networks.sizes import MIN_SIZE_PX
from fst.networks.transformer import TransformerNet
from fst.style_model.card import default_license
from fst.stylize.stylizer import Stylizer

if TYPE_CHECKING:
    import onnx

# Any that are odd, no multiple of 4, unlike each other, and no batch of one: the program then holds
# for all sizes.
TRACED_BATCH, TRACED_HEIGHT, TRACED_WIDTH = 2, 37, 50
OPSET = 18  # the least that torch's exporter writes; read by onnxruntime 1.14, of 2023, and later


def properties(stylizer: Stylizer, license_id: str | None, fp16: bool) -> dict[str, str]:
    """What a file says of itself: styles in order of id, licence, versions, architecture, precision
    and least size, as text."""
    return {
        "styles": json.dumps(stylizer.style_names),
        "license": license_id or default_license(stylizer.path),
        "fst_version": __version__,
        "model": stylizer.path.name,
        "architecture": json.dumps(stylizer.metadata["architecture"]),
        "convolutions": "fp16" if fp16 else "fp32",
        "min_size_px": str(MIN_SIZE_PX),
    }


def exported_program(network: TransformerNet) -> ExportedProgram:
    """What `TransformerNet.forward` computes; `program.module()(image, style_weights)` paints."""
    image = torch.zeros(TRACED_BATCH, 3, TRACED_HEIGHT, TRACED_WIDTH)
    weights = torch.zeros(TRACED_BATCH, network.num_styles)
    batch, height, width = Dim("batch"), *(Dim(n, min=MIN_SIZE_PX) for n in ("height", "width"))
    sizes = {"content": {0: batch, 2: height, 3: width}, "style_weights": {0: batch}}
    network = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)
    if isinstance(network.conv_out, ShuffledConv):
        network.conv_out.conv = network.conv_out.conv.plain()
    network.requires_grad_(False)
    program = torch.export.export(network, (image, weights), dynamic_shapes=sizes)
    for node in program.graph.nodes:  # they name the files of this machine
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack"):
            node.meta.pop(key, None)
    return program


def program_bytes(network: TransformerNet, about: Mapping[str, str]) -> bytes:
    """The .pt2 file of a network; `torch.export.load(..., extra_files=)` reads the properties."""
    buffer = io.BytesIO()
    torch.export.save(exported_program(network), buffer, extra_files=dict(about))
    return buffer.getvalue()


def onnx_bytes(network: TransformerNet, about: Mapping[str, str], half: bool = False) -> bytes:
    """The ONNX file of a network; the same network gives the same bytes.

    Args:
        network: On the CPU.
        about: What the file says of itself, as its `metadata_props`.
        half: Keep and compute the convolutions in fp16, and nothing else: sums over a whole picture
            would overflow there (65,504 is the largest number) or lose their last places, so
            statistics, affine, residual sums and the sigmoid stay in fp32.

    Raises:
        FstError: A weight is beyond the numbers of fp16.
        ImportError: onnx or onnxscript is not installed.
    """
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        names = {"input_names": ["image", "style_weights"], "output_names": ["painting"]}
        model = torch.onnx.export(
            exported_program(network), dynamo=True, opset_version=OPSET, verbose=False, **names
        ).model_proto
    _name_sizes(model.graph)
    _slice_ranges(model.graph)
    if half:
        _halve_convolutions(model.graph)
    model.producer_name, model.producer_version = "fst", __version__
    onnx.helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _name_sizes(graph: "onnx.GraphProto") -> None:
    """Free sizes by their names, and nothing that tells of the machine's files."""
    for value in (*graph.input, *graph.output):
        for size, name in zip(
            value.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=False
        ):
            if size.dim_param:
                size.dim_param = name
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]


def _slice_ranges(graph: "onnx.GraphProto") -> None:
    """Slices in the place of rows and columns that are gathered by 0, 1, ... n - 1: the way that
    torch.export reads a crop to sizes that are free."""
    from onnx import helper, numpy_helper

    for name, value in (("zero", 0), ("axis.2", 2), ("axis.3", 3)):
        graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    nodes, ends = [], {}  # of each 0, 1, ... n - 1 the name of n
    for node in graph.node:
        first = node.input[0]
        if node.op_type == "Range":
            ends[node.output[0]] = node.input[1]
        elif node.op_type == "Reshape" and first in ends:  # to what it is already
            ends[node.output[0]] = ends[first]
        elif node.op_type == "Gather" and node.input[1] in ends:
            end, axis = f"{node.output[0]}.end", f"axis.{node.attribute[0].i}"
            nodes += [
                helper.make_node("Unsqueeze", [ends[node.input[1]], "zero"], [end]),
                helper.make_node("Slice", [first, "zero", end, axis], node.output),
            ]
        else:
            nodes.append(node)
    _replace_nodes(graph, nodes)


def _halve_convolutions(graph: "onnx.GraphProto") -> None:
    """Kernels as fp16, and casts around each convolution."""
    from onnx import TensorProto, helper, numpy_helper

    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    for tensor in graph.initializer:
        if tensor.name in kernels:
            kernel = numpy_helper.to_array(tensor)
            largest = float(np.abs(kernel).max())
            if largest > float(np.finfo(np.float16).max):
                raise FstError(
                    f"a weight of {largest:.3g} is beyond the numbers of fp16: keep fp32"
                )
            tensor.CopyFrom(numpy_helper.from_array(kernel.astype(np.float16), tensor.name))
    nodes = []
    for node in graph.node:
        if node.op_type != "Conv":
            nodes.append(node)
            continue
        x, y = node.input[0], node.output[0]
        node.input[0], node.output[0] = f"{y}.padded.half", f"{y}.half"
        nodes += [
            helper.make_node("Cast", [x], [node.input[0]], to=TensorProto.FLOAT16),
            node,
            helper.make_node("Cast", [node.output[0]], [y], to=TensorProto.FLOAT),
        ]
    _replace_nodes(graph, nodes)


def _replace_nodes(graph: "onnx.GraphProto", nodes: list) -> None:
    """Other nodes, and the constants that they use."""
    used = {name for node in nodes for name in node.input}
    kept = nodes, [tensor for tensor in graph.initializer if tensor.name in used]
    for field, values in zip((graph.node, graph.initializer), kept, strict=True):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)
