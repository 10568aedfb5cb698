"""Counting kernels without a GPU, on functions whose kernels are known."""

import pytest
import torch

from fst import Architecture, Objective

pytestmark = pytest.mark.skipif(
    not torch.__version__.startswith("2.14"), reason="the script uses insides of torch 2.14"
)


@pytest.fixture
def script(load_script):
    torch._dynamo.reset()
    return load_script("count_launches")


def test_operations_are_counted_with_their_bytes_but_not_views(script):
    x = torch.empty(10, 20, device="meta")
    torch.ones(3).add_(1)  # elsewhere
    with script.Operations() as found:
        x.T[:5].exp()  # 50 numbers in, 50 out
        torch.ones(3).add_(1)
    assert found.load() == (1, 0, 400)


def test_inductor_fuses_what_it_generates_and_calls_libraries_for_the_rest(script):
    x, y = (torch.empty(64, 64, device="meta", requires_grad=True) for _ in range(2))
    graphs = []

    def function(x, y):
        return ((x @ y).relu().exp() * 2).sum()

    torch.compile(function, backend=script.recorder(graphs))(x, y).backward()
    forward, backward = (script.load_of(*graph) for graph in graphs)
    assert [way for way, _ in graphs] == ["forward", "backward"]
    # The product, and one kernel or two for all else, as the sum is in one part or several.
    assert forward.kernels - forward.generated == 1 and 1 <= forward.generated <= 2
    assert backward.kernels - backward.generated == 2  # of x and of y
    assert forward.bytes >= 3 * 64 * 64 * 4


def test_what_is_left_out_costs_nothing(script):
    x = torch.empty(2, 3, device="meta", requires_grad=True)
    with script.Operations() as found:
        script.LeftOut.apply((4,), x).backward(torch.empty(4, device="meta"))
    assert found.load() == (0, 0, 0) and x.grad.shape == (2, 3)


def test_the_parts_of_a_compiled_step_are_told_apart_and_add_up(script, monkeypatch):
    def convolutions(graph, is_backward):  # inductor would take a minute
        nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
        calls = [str(node.target) for node in nodes if "convolution" in str(node.target)]
        assert is_backward == any("backward" in call for call in calls)
        return "def call(\n" + "buf = torch.ops.aten.convolution\n" * len(calls), len(calls)

    monkeypatch.setattr(script, "code_for_cuda", convolutions)
    few = dict.fromkeys(("grid_weight", "grain_weight", "colour_weight", "grey_every"), 0)
    with script.on_meta():
        objective = Objective(style_loss="gram", **few)
        module = script.module_of(2, Architecture(width=0.125, num_blocks=1), objective)
        eager, *parts, whole = script.counted(module, script.batch_of(2, 4, 64)).items()
    found = {name: load.kernels for name, load in parts}
    between = found.pop("compiled: between the compiled parts")
    # The loss network sees photo and painting, and the gradient of the painting comes back.
    assert found == {
        "compiled: network, forward": 6,
        "compiled: loss, forward": 9 + 11,
        "compiled: loss, backward": 11,
        "compiled: network, backward": 6,
    }
    assert 0 < between < eager[1].kernels / 4
    assert [sum(column) for column in zip(*(load for _, load in parts), strict=True)] == [*whole[1]]
