"""The training objective: hand computed, zero where it must be, fp32 throughout."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import vgg

from fst.errors import FstError
from fst.losses import objective, wasserstein
from fst.losses.perceptual import PerceptualLoss
from fst.losses.style_loss import register
from fst.networks.loss_network import LossNetwork

TORCHVISION_CONFIG = {"vgg16": vgg.cfgs["D"], "vgg19": vgg.cfgs["E"]}


def loss_network(topology="vgg19", divide_by=16):
    """A slim VGG with random weights, large enough that deep layers do not die out."""
    torch.manual_seed(0)
    config = [c if c == "M" else c // divide_by for c in TORCHVISION_CONFIG[topology]]
    state = vgg.make_layers(config).state_dict()
    return LossNetwork({f"features.{key}": value for key, value in state.items()}, topology)


def pictures(batch=2, height=40, width=32, seed=1):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def loss_of(*styles, topology="vgg19", **options):
    """A loss whose style ids are single pictures."""
    loss = PerceptualLoss(loss_network(topology), **options)
    loss.set_styles([[style] for style in styles])
    return loss


STYLES = [*pictures(2, 36, 44, seed=5)]


def by_torchvision(state_source, images, index):
    """The features after the ReLU behind convolution `index`, by torchvision's own layers."""
    network = vgg.make_layers([c if c == "M" else c // 16 for c in TORCHVISION_CONFIG["vgg16"]])
    convs = [m for m in network if isinstance(m, nn.Conv2d)]
    for conv, source in zip(convs, state_source.convs.values(), strict=True):
        conv.load_state_dict({"weight": source.weight, "bias": source.bias})
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        return network[: index + 2]((images - mean) / std)


def test_identical_images_have_zero_content_loss():
    photo = pictures()
    assert loss_of(*STYLES)(photo, photo, torch.tensor([0, 1]))["content"].item() == 0


@pytest.mark.parametrize("classic", [False, True])
def test_the_style_picture_itself_has_zero_style_loss(classic):
    terms = loss_of(*STYLES, classic=classic)(
        torch.stack(STYLES), pictures(2, 36, 44), torch.tensor([0, 1])
    )
    # The target was computed one picture at a time, which may round the convolutions differently;
    # the Wasserstein distance of the default is a small difference of large numbers.
    assert terms["style"].item() == pytest.approx(0, abs=1e-10 if classic else 1e-5)
    assert terms["content"].item() > 0


def test_terms_are_the_formulas_in_numpy():
    network, (photo, stylized) = loss_network(), (pictures(), pictures(seed=2))
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    loss = PerceptualLoss(network, weights=(2.0, 3.0, 0.5), style_loss="gram")
    loss.set_styles([[style] for style in STYLES])
    index = torch.tensor([1, 0])

    def flat(images, layer):  # one (C, N) matrix for each image
        return [f.flatten(1).double().numpy() for f in network(images, [layer])[layer]]

    def gram(matrix):
        return matrix @ matrix.T / matrix.shape[1]

    content = np.mean(
        [
            np.square(y - x).sum() / np.square(x).sum()
            for y, x in zip(flat(stylized, "relu4_2"), flat(photo, "relu4_2"), strict=True)
        ]
    )
    style = {
        layer: np.array(
            [
                np.square(gram(y) - a).sum() / np.square(a).sum()
                for y, s in zip(flat(stylized, layer), index, strict=True)
                for a in [gram(flat(STYLES[s][None], layer)[0])]
            ]
        )
        for layer in layers
    }
    # The deep stages count more.
    per_image = np.average(list(style.values()), axis=0, weights=[1, 1, 2, 4, 2])
    y = stylized.double().numpy()
    tv = np.square(np.diff(y, axis=2)).mean() + np.square(np.diff(y, axis=3)).mean()

    terms = {k: v.double().numpy() for k, v in loss(stylized, photo, index).items()}
    np.testing.assert_allclose(terms["content"], content, rtol=1e-5)
    np.testing.assert_allclose(terms["style_per_image"], per_image, rtol=1e-4)
    np.testing.assert_allclose(terms["style"], per_image.mean(), rtol=1e-4)
    np.testing.assert_allclose(terms["tv"], tv, rtol=1e-5)
    total = 2 * content + 3 * per_image.mean() + 0.5 * tv
    np.testing.assert_allclose(terms["total"], total, rtol=1e-4)
    for layer in layers:
        np.testing.assert_allclose(terms[f"style/{layer}"], style[layer].mean(), rtol=1e-4)


def test_classic_mode_is_the_recipe_of_the_pytorch_examples():
    # github.com/pytorch/examples, fast_neural_style: MSE of features, Gram / (C H W), MSE summed
    # over layers, weights 1e5 and 1e10. The content layer of that recipe is relu2_2.
    loss = loss_of(*STYLES, topology="vgg16", classic=True, content_layer="relu2_2")
    photo, stylized, index = pictures(), pictures(seed=2), torch.tensor([1, 0])

    def gram_of_the_recipe(features):
        b, c, h, w = features.shape
        flat = features.view(b, c, h * w)
        return flat.bmm(flat.transpose(1, 2)) / (c * h * w)

    network = loss.loss_network
    content = 1e5 * F.mse_loss(
        by_torchvision(network, stylized, 7), by_torchvision(network, photo, 7)
    )
    style = 0.0
    for conv in (2, 7, 14, 21):  # relu1_2, relu2_2, relu3_3, relu4_3
        gram = gram_of_the_recipe(by_torchvision(network, stylized, conv))
        target = gram_of_the_recipe(by_torchvision(network, torch.stack(STYLES), conv))[index]
        style = style + 1e10 * F.mse_loss(gram, target)
    terms = loss(stylized, photo, index)
    torch.testing.assert_close(1e5 * terms["content"], content, rtol=1e-4, atol=0)
    torch.testing.assert_close(1e10 * terms["style"], style, rtol=1e-3, atol=0)
    torch.testing.assert_close(terms["total"], content + style, rtol=1e-3, atol=0)


# Rounding weighs more in a small difference of large numbers.
@pytest.mark.parametrize(("style_loss", "atol"), [("gram", 1e-6), ("wasserstein", 3e-5)])
def test_a_mixed_batch_equals_single_images(style_loss, atol):
    loss, index = loss_of(*STYLES, style_loss=style_loss), torch.tensor([1, 0, 1])
    photo, stylized = pictures(3), pictures(3, seed=2)
    together = loss(stylized, photo, index)
    alone = [loss(stylized[i : i + 1], photo[i : i + 1], index[i : i + 1]) for i in range(3)]
    for name in ("content", "style", "tv", "style/relu3_1"):
        mean = torch.stack([terms[name] for terms in alone]).mean()
        torch.testing.assert_close(together[name], mean, rtol=1e-4, atol=atol)
    total = torch.stack([terms["total"] for terms in alone]).mean()
    torch.testing.assert_close(together["total"], total, rtol=1e-4, atol=20 * atol)
    styles = torch.cat([terms["style_per_image"] for terms in alone])
    torch.testing.assert_close(together["style_per_image"], styles, rtol=1e-4, atol=atol)


def test_style_index_picks_the_target():
    picture = STYLES[0][None]
    loss = loss_of(*STYLES)
    own, other = (loss(picture, picture, torch.tensor([i]))["style"].item() for i in (0, 1))
    assert own < 1e-5 < 1e-4 < other


def test_a_style_of_several_pictures_has_the_mean_of_their_targets():
    network = loss_network()
    both = PerceptualLoss(network, style_loss="gram")
    both.set_styles([[STYLES[0], STYLES[1][:, :20]]])
    singles = PerceptualLoss(network, style_loss="gram")
    singles.set_styles([[STYLES[0]], [STYLES[1][:, :20]]])
    for layer, (target, _) in both.groups[0].targets.items():
        assert len(target) == 1
        torch.testing.assert_close(target[0], singles.groups[0].targets[layer][0].mean(0))


def test_targets_are_computed_once(monkeypatch):
    loss, photo = loss_of(*STYLES), pictures()
    sizes = []
    monkeypatch.setattr(
        loss.loss_network,
        "forward",
        lambda images, layers: (
            sizes.append(tuple(images.shape[-2:])),
            LossNetwork.forward(loss.loss_network, images, layers),
        )[1],
    )
    before = {layer: parts[0].clone() for layer, parts in loss.groups[0].targets.items()}
    for _ in range(3):
        loss(pictures(seed=2), photo, torch.tensor([0, 1]))
    assert sizes == [(40, 32)] * 6  # the stylized and the content images, never the styles
    assert all(torch.equal(loss.groups[0].targets[layer][0], before[layer]) for layer in before)


def test_the_content_pass_stops_at_the_content_layer():
    loss, ran = loss_of(*STYLES), []
    for name, conv in loss.loss_network.convs.items():
        conv.register_forward_hook(lambda *_, name=name: ran.append(name))
    loss(pictures(seed=2), pictures(), torch.tensor([0, 1]))
    names = list(loss.loss_network.layers)
    assert ran == names[: names.index("relu4_2") + 1] + names[: names.index("relu5_1") + 1]


def test_gradients_reach_the_stylized_images_only():
    loss = loss_of(*STYLES, weights=(1.0, 1.0, 1.0))
    photo, stylized = pictures().requires_grad_(), pictures(seed=2).requires_grad_()
    terms = loss(stylized, photo, torch.tensor([0, 1]))
    for name in ("content", "style", "tv", "total"):
        (gradient,) = torch.autograd.grad(terms[name], stylized, retain_graph=True)
        assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0
    terms["total"].backward()
    assert photo.grad is None
    assert all(parameter.grad is None for parameter in loss.loss_network.parameters())
    logged = [value for name, value in terms.items() if name.startswith(("style/", "style_per"))]
    assert len(logged) == 6 and not any(value.requires_grad for value in logged)


@pytest.mark.parametrize("classic", [False, True])
def test_terms_are_fp32_under_bf16_autocast(classic):
    loss = loss_of(*STYLES, classic=classic)
    arguments = (pictures(seed=2), pictures(), torch.tensor([0, 1]))
    with torch.autocast("cpu", torch.bfloat16):
        features = loss.loss_network(arguments[0], ["relu3_1"])["relu3_1"]
        terms = loss(*arguments)
    assert features.dtype == torch.bfloat16  # or this test would show nothing
    exact = loss(*arguments)
    for name, value in terms.items():
        assert value.dtype == torch.float32, name
        torch.testing.assert_close(value, exact[name], rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("classic", [False, True])
def test_a_one_colour_photo_gives_finite_terms_and_gradients(classic):
    loss = loss_of(torch.zeros(3, 40, 32), *STYLES, classic=classic)
    stylized = torch.zeros(2, 3, 40, 32, requires_grad=True)
    terms = loss(stylized, torch.zeros(2, 3, 40, 32), torch.tensor([0, 1]))
    terms["total"].backward()
    assert all(torch.isfinite(value).all() for value in terms.values())
    assert torch.isfinite(stylized.grad).all()


def test_the_loss_network_is_in_no_state_dict():
    owner = nn.Module()
    owner.layer, owner.loss = nn.Linear(2, 2), loss_of(*STYLES)
    assert list(owner.state_dict()) == ["layer.weight", "layer.bias"]
    assert sum(parameter.numel() for parameter in owner.parameters()) == 6
    owner.train()
    assert not owner.loss.loss_network.training


def test_moving_the_loss_moves_targets_and_network():
    loss = loss_of(*STYLES).to(torch.device("meta"))
    assert {t.device.type for ts in loss.groups[0].targets.values() for t in ts} == {"meta"}
    assert {p.device.type for p in loss.loss_network.parameters()} == {"meta"}


def test_layers_that_the_network_lacks_are_named():
    state = vgg.make_layers([4, 4, "M", 8]).state_dict()
    shallow = LossNetwork({f"features.{key}": value for key, value in state.items()})
    with pytest.raises(FstError, match=r"no layer relu4_2, relu3_1.*relu1_1, relu1_2, relu2_1"):
        PerceptualLoss(shallow)


def test_an_unknown_style_loss_is_refused_with_the_choice():
    with pytest.raises(FstError, match=r"'odd' is unknown.*gram"):
        PerceptualLoss(loss_network(), style_loss="odd")


def test_default_layers_follow_the_topology():
    for topology in ("vgg16", "vgg19"):
        loss = PerceptualLoss(loss_network(topology))
        assert loss.content_layer == objective.CONTENT_LAYER
        assert loss.style_layers == objective.STYLE_LAYERS
    johnson = PerceptualLoss(loss_network("vgg16"), classic=True)
    assert johnson.style_layers == ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


def test_each_style_has_its_own_weight():
    photo, index = pictures(), torch.tensor([1, 0])
    plain = loss_of(*STYLES)(photo, photo, index)
    terms = loss_of(*STYLES, weights=(0.0, [2.0, 3.0], 0.0))(photo, photo, index)
    expected = (plain["style_per_image"] * torch.tensor([3.0, 2.0])).mean()
    torch.testing.assert_close(terms["total"], expected)


def test_a_loss_network_that_overflows_is_refused_when_the_styles_are_set():
    network = loss_network("vgg19")
    with torch.no_grad():
        next(iter(network.convs.values())).weight.fill_(1e30)
    with pytest.raises(FstError, match=r"overflows at relu1_1.*`loss_weights`"):
        PerceptualLoss(network).set_styles([[STYLES[0]]])


def test_styles_of_different_statistics_are_each_measured_by_their_own():
    texts = ["gram", "eigen top=50%", "meanstd", "eigen top=50%", "projected rank=2"]
    pictures_of = [[STYLES[i % 2]] for i in range(5)]
    mixed = PerceptualLoss(loss_network(), style_loss=texts)
    mixed.set_styles(pictures_of)
    assert len(mixed.groups) == 4  # styles of one statistic share a batch of targets
    photos = pictures(6)
    index = torch.tensor([3, 0, 4, 1, 1, 2])
    found = mixed(photos, photos, index)["style_per_image"]
    for place, style_id in enumerate(index.tolist()):
        single = PerceptualLoss(loss_network(), style_loss=texts[style_id])
        single.set_styles([pictures_of[style_id]])
        alone = single(photos[place][None], photos[place][None], torch.tensor([0]))["style"]
        torch.testing.assert_close(found[place], alone, rtol=1e-4, atol=1e-7)


def test_patches_are_instances_of_the_picture():
    picture = pictures(1, 64, 96, seed=3)[0]
    patched = loss_of(picture, style_loss="gram patches=2x3 instances=max")
    parts = [picture[:, y : y + 32, x : x + 32] for y in (0, 32) for x in (0, 32, 64)]
    pieces = PerceptualLoss(loss_network(), style_loss="gram instances=max")
    pieces.set_styles([parts])
    for layer, (target, _) in patched.groups[0].targets.items():
        assert torch.equal(target, pieces.groups[0].targets[layer][0])


def test_a_rank_that_a_layer_lacks_is_told_with_the_layer():
    with pytest.raises(FstError, match=r"eigen top=5, relu1_1: 5 eigenpairs.*4 channels"):
        loss_of(STYLES[0], style_loss="eigen top=5")


def test_style_losses_must_be_one_or_one_a_style():
    with pytest.raises(FstError, match="2 style losses for 1 styles"):
        loss_of(STYLES[0], style_loss=["gram", "meanstd"])


def test_only_gram_has_a_classic_form():
    with pytest.raises(FstError, match="'meanstd' has no classic form"):
        PerceptualLoss(loss_network(), style_loss="meanstd", classic=True)


def test_classic_gram_takes_instances():
    loss = loss_of(STYLES[0], style_loss="gram instances=max", classic=True)
    photo = STYLES[0][None]
    assert loss(photo, photo, torch.tensor([0]))["style"].item() == 0


def test_a_loss_without_styles_and_an_id_of_no_style_are_refused():
    image, index = torch.rand(1, 3, 32, 32), torch.tensor([0])
    with pytest.raises(FstError, match="call set_styles first"):
        PerceptualLoss(loss_network())(image, image, index)
    statistics = ["gram", "wasserstein"]
    loss = PerceptualLoss(loss_network(), style_loss=statistics)
    loss.set_styles([[torch.rand(3, 32, 32)]] * 2)
    with pytest.raises(FstError, match=r"style ids \[2\]: expected 0 to 1"):
        loss(image, image, torch.tensor([2]))


def test_styles_of_unequal_counts_of_pictures_lie_beside_each_other():
    pictures = [torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    styles = [pictures[:1], pictures[1:]]
    text = "projected rank=2 instances=beside"
    both, images = PerceptualLoss(loss_network(), style_loss=text), torch.rand(2, 3, 32, 32)
    both.set_styles(styles)
    together = both(images, images, torch.tensor([0, 1]))["style_per_image"]
    for style_id, style in enumerate(styles):
        alone = PerceptualLoss(loss_network(), style_loss=text)
        alone.set_styles([style])
        image = images[style_id, None]
        expected = alone(image, image, torch.tensor([0]))["style_per_image"]
        torch.testing.assert_close(together[style_id, None], expected)


class Means:
    """A statistic of a user's: the channel means."""

    def __init__(self, scale: float = 1.0, squared: bool = True):
        self.scale, self.squared = scale, squared

    def target(self, features):
        return (torch.stack([image.mean((2, 3))[0] for image in features]).mean(0),)

    def distance(self, features, mean):
        difference = features.mean((2, 3)) - mean
        return self.scale * (difference.square() if self.squared else difference.abs()).sum(1)


def test_a_statistic_of_ones_own_is_an_object():
    loss = PerceptualLoss(loss_network(), style_loss=Means(2.0), weights=(0.0, 1.0, 0.0))
    loss.set_styles([[style] for style in STYLES])
    images = pictures().requires_grad_()
    terms = loss(images, images, [1, 0])
    expected = torch.zeros(2)
    for layer, weight in zip(loss.style_layers, loss.layer_weights, strict=True):
        means = loss.loss_network(images, [layer])[layer].mean((2, 3))
        targets = [loss.loss_network(s[None], [layer])[layer].mean((2, 3)) for s in STYLES[::-1]]
        expected = expected + weight * 2 * (means - torch.cat(targets)).square().sum(1)
    torch.testing.assert_close(terms["style_per_image"], expected.detach())
    terms["total"].backward()
    assert images.grad.abs().sum() > 0


def test_statistics_of_ones_own_are_told_apart_by_what_they_are():
    loss = PerceptualLoss(loss_network(), style_loss=[Means(1.0), Means(3.0), "gram"])
    loss.set_styles([[STYLES[0]]] * 3)
    assert len(loss.groups) == 3
    image = pictures(1)
    one, three = (loss(image, image, i)["style"] for i in (0, 1))
    torch.testing.assert_close(three, 3 * one)


def test_a_registered_statistic_is_written_by_name_and_reads_its_options():
    entered = register("channel_means")(Means)
    assert entered is Means and register("channel_means")(Means) is Means  # a cell run again
    statistic = PerceptualLoss(
        loss_network(), style_loss="channel_means scale=2.5 squared=no"
    ).statistics[0]
    assert (statistic.loss.scale, statistic.loss.squared) == (2.5, False)
    assert statistic.text == "channel_means scale=2.5 squared=no"
    for text, told in (
        ("channel_means scale=big", "expected a number"),
        ("channel_means rank=2", "'rank' is unknown"),
    ):
        with pytest.raises(FstError, match=told):
            PerceptualLoss(loss_network(), style_loss=text)
    with pytest.raises(FstError, match="there is a style loss 'gram' already"):
        register("gram")(Means)


@pytest.mark.parametrize("wrong", [Means, 3, torch.nn.Identity()])
def test_what_is_no_statistic_is_refused(wrong):
    with pytest.raises(FstError, match="the methods target and distance"):
        PerceptualLoss(loss_network(), style_loss=wrong)


def test_the_loss_is_a_module_that_stores_and_trains_nothing_and_moves():
    holder = nn.Module()
    holder.loss, image = loss_of(*STYLES, style_loss=["gram", "meanstd"]), pictures(1)
    before = holder.loss(image, image, 0)["style"]
    assert not holder.state_dict() and not list(holder.parameters()) + list(holder.buffers())
    holder.half()  # nor is it rounded
    assert torch.equal(holder.loss(image, image, 0)["style"], before)
    holder.to("meta")
    held = [t for g in holder.loss.groups for parts in g.targets.values() for t in parts]
    held += list(holder.loss.loss_network.parameters())
    assert {tensor.device.type for tensor in held} == {"meta"}


def test_style_ids_may_be_numbers_of_any_kind():
    loss, images = loss_of(*STYLES), pictures()
    expected = loss(images, images, torch.tensor([1, 1]))["style"]
    for index in (1, np.int64(1), torch.tensor(1), [1, 1], np.array([1, 1]), torch.ones(2).int()):
        assert torch.equal(loss(images, images, index)["style"], expected)
    for index, told in (([0.0, 1.0], "whole number"), ([0], "1 style ids for 2 images"),
                        (-1, "expected 0 to 1"), (2, "expected 0 to 1")):  # fmt: skip
        with pytest.raises(FstError, match=told):
            loss(images, images, index)


@pytest.mark.parametrize("wrong", [2, -3])
def test_a_wrong_style_id_is_told_where_each_style_has_its_weight(wrong):
    loss = loss_of(*STYLES, weights=(1.0, [1.0, 2.0], 0.0))
    with pytest.raises(FstError, match=f"style ids .*{wrong}.*: expected 0 to 1"):
        loss(pictures(), pictures(), torch.tensor([0, wrong]))


class Odd:
    """A statistic that forgets what a distance is."""

    def __init__(self, shape):
        self.shape = shape

    def target(self, features):
        return (features[0].mean(),)

    def distance(self, features, mean):
        return features.mean() * torch.ones(self.shape)


def test_distances_of_another_shape_are_refused():
    for shape in ((2, 1), (2, 3), (3,)):
        with pytest.raises((RuntimeError, IndexError, ValueError)):
            loss_of(*STYLES, style_loss=Odd(shape))(pictures(), pictures(), torch.tensor([0, 1]))


def test_one_distance_is_that_of_all_images():
    terms = loss_of(*STYLES, style_loss=Odd(()))(pictures(), pictures(), torch.tensor([0, 1]))
    assert terms["style_per_image"].shape == (2,)


@pytest.mark.parametrize(
    "text",
    ["gram", "gram centered", "eigen top=2", "projected", "meanstd", "covariance", "wasserstein",
     "sliced"],
)  # fmt: skip
def test_every_statistic_compiles_as_one_graph(text, monkeypatch):
    monkeypatch.setattr(wasserstein, "roots_by_eigenvalues", wasserstein.roots_by_products)
    loss = loss_of(*STYLES, style_loss=text)
    comparison = loss.comparison(torch.tensor([0, 1]), 2).as_tensors(pictures())
    torch._dynamo.reset()
    compiled = torch.compile(loss.compare, backend="eager", fullgraph=True, dynamic=False)
    found, expected = (way(pictures(), pictures(seed=2), comparison)["total"].item()
                       for way in (compiled, loss.compare))  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-3)
