"""The transformer network as a program of `torch.export`, which torch runs without fst."""

import io
from collections.abc import Mapping

import torch
from torch.export import Dim, ExportedProgram

from fst.export.plain import PlainNetwork
from fst.networks.sizes import MIN_SIZE_PX
from fst.networks.transformer import TransformerNet

# Any that are odd, no multiple of 4, unlike each other, and no batch of one: the program then holds
# for all sizes.
TRACED_BATCH, TRACED_HEIGHT, TRACED_WIDTH = 2, 37, 50


def exported_program(network: TransformerNet) -> ExportedProgram:
    """`program.module()(image, style_weights)` paints as the network does; see `PlainNetwork`."""
    plain = PlainNetwork(network).eval()
    image = torch.zeros(TRACED_BATCH, 3, TRACED_HEIGHT, TRACED_WIDTH)
    weights = torch.zeros(TRACED_BATCH, network.num_styles)
    batch = Dim("batch")
    sizes = {
        "image": {0: batch, 2: Dim("height", min=MIN_SIZE_PX), 3: Dim("width", min=MIN_SIZE_PX)},
        "style_weights": {0: batch},
    }
    program = torch.export.export(plain, (image, weights), dynamic_shapes=sizes)
    for node in program.graph.nodes:  # they name the files of this machine
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack"):
            node.meta.pop(key, None)
    return program


def program_bytes(network: TransformerNet, properties: Mapping[str, str]) -> bytes:
    """The .pt2 file of a network; `torch.export.load(..., extra_files=)` reads the properties."""
    buffer = io.BytesIO()
    torch.export.save(exported_program(network), buffer, extra_files=dict(properties))
    return buffer.getvalue()
