"""The search for the network's shape: every shape paints, and is trained, judged and timed."""

import json

import pytest
import torch


@pytest.fixture
def shapes(load_script):
    return load_script("search_shapes")


def test_every_shape_paints_any_size_in_range(shapes):
    photo, weights = torch.rand(2, 3, 37, 50), torch.eye(2)
    for name, shape in shapes.SHAPES.items():
        with torch.no_grad():
            painted = shapes.ShapedNet(2, shape)(photo, weights)
        assert painted.shape == photo.shape, name
        assert painted.min() >= 0 and painted.max() <= 1, name


def test_the_shape_as_shipped_has_the_layers_of_the_network(shapes):
    from fst.networks.transformer import TransformerNet

    def kernels(network):
        return sorted(
            tuple(m.weight.shape) for m in network.modules() if isinstance(m, torch.nn.Conv2d)
        )

    shaped = shapes.ShapedNet(2, shapes.SHAPES["as shipped"])
    assert kernels(shaped) == kernels(TransformerNet(2, width=0.5))


def test_filter_response_norm_is_its_formula(shapes):
    norm = shapes.FilterResponseNorm(2, 3).double()
    torch.nn.init.normal_(norm.gamma)
    torch.nn.init.normal_(norm.beta)
    x = torch.randn(1, 3, 4, 5)
    expected = x / (x**2).mean((2, 3), keepdim=True).add(norm.eps).sqrt()
    expected = norm.gamma[1][:, None, None] * expected + norm.beta[1][:, None, None]
    got = norm(x, torch.tensor([[0.0, 1.0]]).double())
    torch.testing.assert_close(got, expected.float(), rtol=1e-5, atol=1e-5)


def test_a_search_is_judged_and_goes_on(
    load_script, tmp_path, photo_folder, style_files, loss_weights, capsys
):
    script = load_script("search_network")
    argv = ["--styles", style_files[0], "--content", photo_folder, "--photos", photo_folder]
    argv += ["--every", 6, "--loss-weights", loss_weights, "--steps", 1, "--size", 40]
    argv += ["-o", tmp_path / "search", "--only"]
    assert script.main([str(a) for a in [*argv, "5 blocks"]]) == 0
    path = tmp_path / "search" / "results.json"
    first = json.loads(path.read_text())["results"]["5 blocks"]
    assert script.main([str(a) for a in [*argv, "5 blocks", "FRN"]]) == 0
    results = json.loads(path.read_text())["results"]
    assert results["5 blocks"] == first and set(results) == {"5 blocks", "FRN"}
    assert "| 5 blocks |" in capsys.readouterr().out
