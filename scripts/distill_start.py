"""First weights of a distilled network: a part of the teacher's channels, layer by layer.

In each layer those channels are chosen from which the others are best predicted, and their filters
fitted by least squares to what the layers before really give (channel pruning: He, Zhang & Sun
2017, sections 3.1 and 3.2, with a greedy choice in place of the lasso).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fst.networks.loss_network import LossNetwork

PLACES_PER_CROP, CROPS_AT_ONCE = 400, 8
RIDGE = 1e-4  # relative to the mean square of the inputs


@torch.no_grad()
def begin(
    student: LossNetwork,
    maps: nn.ModuleDict,
    teacher: LossNetwork,
    images: Tensor,
    first: LossNetwork | None = None,
) -> None:
    """Set the weights, norms and maps of a student.

    Args:
        student: Its `convs` are pairs of a convolution without bias and a batch normalisation.
        maps: 1x1 convolutions to the teacher's channels, by layer.
        teacher: With the student's layers.
        images: (N, 3, H, W) in [0, 1], which the fits are made on.
        first: A network of the student's shape whose weights to take; norms and maps are fitted.
    """
    generator = torch.Generator().manual_seed(0)
    own = theirs = (images - teacher.mean) / teacher.std
    stage = "1"
    for name, (convolution, norm) in student.convs.items():
        if name[4] != stage:
            stage, own, theirs = name[4], student._pool(own), teacher._pool(theirs)
        wanted = _in_parts(teacher.convs[name], theirs)  # before the ReLU
        theirs = wanted.relu()
        places = _places(wanted, generator)
        patches = _patches(own, places)
        if first:
            weight, bias = first.convs[name].weight.flatten(1).T, first.convs[name].bias
        else:
            chosen = best_channels(_taken(theirs, places), len(convolution.weight))
            weight, bias = least_squares(patches, _taken(wanted[:, chosen], places))
        convolution.weight.copy_(weight.T.unflatten(1, convolution.weight.shape[1:]))
        outputs = patches @ weight
        norm.running_mean.copy_(outputs.mean(0))
        norm.running_var.copy_(outputs.var(0))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean + bias)
        own = _in_parts(student.convs[name], own).relu()
        weight, bias = least_squares(_taken(own, places), _taken(wanted, places))
        maps[name].weight.copy_(weight.T[:, :, None, None])
        maps[name].bias.copy_(bias)


def best_channels(features: Tensor, count: int) -> Tensor:
    """Channels of (N, C) that explain the most of all of them, greedily: (count,) indices.

    Each time the one whose regression takes away the most of the squares that are left.
    """
    rest = torch.cov(features.T.double())
    chosen = []
    for _ in range(min(count, len(rest))):
        variances = rest.diagonal().clamp_min(1e-12)
        gain = rest.square().sum(0) / variances
        gain[chosen] = -1
        best = int(gain.argmax())
        chosen.append(best)
        rest = rest - rest[:, best, None] * rest[best] / variances[best]
    spare = [c for c in range(features.shape[1]) if c not in chosen]
    return torch.tensor((chosen + spare + chosen * count)[:count])


def least_squares(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (K, C) and bias (C,) that best take (N, K) to (N, C)."""
    inputs, outputs = inputs.double(), outputs.double()
    middle, target = inputs.mean(0), outputs.mean(0)
    centred = inputs - middle
    squares = centred.T @ centred
    ridge = RIDGE * squares.diagonal().mean() * torch.eye(len(squares)).to(squares)
    weight = torch.linalg.solve(squares + ridge, centred.T @ (outputs - target))
    return weight.float(), (target - middle @ weight).float()


def _in_parts(layer: nn.Module, images: Tensor) -> Tensor:
    training = layer.training
    layer.eval()
    with torch.autocast("cpu", torch.bfloat16):
        parts = [layer(part).float() for part in images.split(CROPS_AT_ONCE)]
    layer.train(training)
    return torch.cat(parts)


def _places(features: Tensor, generator: torch.Generator) -> Tensor:
    """Places (N, P) in a map, as indices into its H x W, the border left out where it can be."""
    height, width = features.shape[2:]
    edge = min(2, (min(height, width) - 1) // 2)
    shape = (len(features), PLACES_PER_CROP)
    rows = torch.randint(edge, height - edge, shape, generator=generator)
    return rows * width + torch.randint(edge, width - edge, shape, generator=generator)


def _taken(features: Tensor, places: Tensor) -> Tensor:
    """Features at places: (N P, C)."""
    index = places[:, None].expand(-1, features.shape[1], -1)
    return features.flatten(2).gather(2, index).permute(0, 2, 1).flatten(0, 1)


def _patches(features: Tensor, places: Tensor) -> Tensor:
    """What a 3x3 filter sees at places: (N P, 9 C), in the order of its weights."""
    padded = F.pad(features, (1, 1, 1, 1), mode="reflect")
    parts = zip(padded.split(CROPS_AT_ONCE), places.split(CROPS_AT_ONCE), strict=True)
    return torch.cat([_taken(F.unfold(part, 3)[:, :, None], where) for part, where in parts])
