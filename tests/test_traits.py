"""What training knows of styles beside their features."""

import pytest
import torch

from fst.errors import FstError
from fst.losses.colour import paleness
from fst.losses.grain import excess_grain
from fst.losses.perceptual import PerceptualLoss
from fst.losses.tone import misplaced_tone
from fst.losses.traits import Traits
from fst.networks.loss_network import load_loss_network


@pytest.fixture
def images():
    return torch.rand(3, 3, 48, 64, generator=torch.Generator().manual_seed(0))


def test_rows_are_those_of_the_styles(images):
    traits = Traits.of([[picture] for picture in images])
    for name, table in traits.rows(torch.tensor([2, 0, 2]))._asdict().items():
        torch.testing.assert_close(table, getattr(traits, name)[[2, 0, 2]])
    assert Traits.of([]) is None


def test_pictures_that_ask_for_gradients_get_none(images):
    assert not any(table.requires_grad for table in Traits.of([[images[0].requires_grad_()]]))


def test_terms_are_those_that_have_a_weight(images):
    traits = Traits.of([[picture] for picture in images])
    painted, photos = images.flip(0) ** 2, images.roll(1, 0)
    expected = {
        "grain": excess_grain(painted, traits.grain),
        "colour": paleness(painted, traits.colours),
        "tone": misplaced_tone(painted, photos, traits.colours[:, 0]),
    }
    for weights in ((1.0, 2.0, 3.0), (0, 0, 3.0), (1.0, 0, 0), (0, 0, 0)):
        found = list(traits.terms(painted, photos, *weights))
        named = [(n, w) for n, w in zip(expected, weights, strict=True) if w]
        assert [(name, weight) for name, weight, _ in found] == named
        for name, _, term in found:
            torch.testing.assert_close(term, expected[name])


def test_a_loss_knows_them_where_its_styles_are_set_from_pictures(images):
    loss = PerceptualLoss(load_loss_network("vgg16-lite"))
    loss.set_styles([[picture] for picture in images])
    rows = loss.to("meta").traits_of(torch.tensor([1]))
    assert {table.device.type for table in rows} == {"meta"}
    loss.set_targets([])
    with pytest.raises(FstError, match="without traits"):
        loss.traits_of(torch.tensor([0]))
