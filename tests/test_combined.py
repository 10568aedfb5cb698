"""Combined loss networks give each layer from the first network that has it."""

import pytest
import torch
from test_vgg import photos, state_dict_of

from fst.errors import FstError
from fst.networks.loss_network import CombinedLossNetwork, LossNetwork, load_loss_networks


@pytest.fixture(scope="module")
def shallow():
    return LossNetwork(state_dict_of(layers=3))


@pytest.fixture(scope="module")
def deep():
    return LossNetwork(state_dict_of(divide_by=16, layers=6), padding="reflect")


def test_each_layer_comes_from_the_first_network_that_has_it(shallow, deep):
    images = photos()
    features = CombinedLossNetwork([shallow, deep])(images, ["relu1_1", "relu2_1", "relu3_2"])
    for network, layers in ((shallow, ("relu1_1", "relu2_1")), (deep, ("relu3_2",))):
        for layer, expected in network(images, layers).items():
            assert torch.equal(features[layer], expected)


def test_a_network_that_is_not_needed_does_not_run(shallow, deep, monkeypatch):
    monkeypatch.setattr(deep, "forward", lambda *_: pytest.fail("ran"))
    assert set(CombinedLossNetwork([shallow, deep])(photos(), ["relu2_1"])) == {"relu2_1"}


def test_layers_are_those_of_all_networks_in_order(shallow, deep):
    combined = CombinedLossNetwork([shallow, deep])
    assert combined.layers == ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2")


def test_a_missing_layer_is_named(shallow, deep):
    with pytest.raises(FstError, match=r"relu5_1.*choose among relu1_1"):
        CombinedLossNetwork([shallow, deep])(photos(), ["relu5_1"])


def test_topologies_do_not_mix(shallow):
    with pytest.raises(FstError, match="vgg16, vgg19"):
        CombinedLossNetwork([shallow, LossNetwork(state_dict_of("vgg16", layers=3), "vgg16")])


def test_one_name_gives_a_plain_network_and_two_a_combined_one(loss_weights):
    assert isinstance(load_loss_networks(str(loss_weights)), LossNetwork)
    assert isinstance(load_loss_networks([loss_weights]), LossNetwork)
    assert isinstance(load_loss_networks([loss_weights, loss_weights]), CombinedLossNetwork)
