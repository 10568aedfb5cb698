"""The training crops of vgg16-lite: from pictures, and from paintings in the making."""

import random
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fst.data.photos import PhotoFolder
from fst.data.scenes import Scenes
from fst.losses.gram import gram_matrix
from fst.losses.objective import CONTENT_LAYER, GATYS_STYLE_WEIGHT, STYLE_LAYERS
from fst.networks.loss_network import LossNetwork, layer_names

LAYERS = tuple(name for name in layer_names("vgg16") if name <= "relu5_1")
# Neighbouring features are nearly redundant: these strides leave 18x18 positions of a 144 px crop,
# and all of the fifth stage.
STRIDES = (8, 4, 2, 1, 1)  # by stage
PHOTO_SIDE_PX = 256  # shorter side
PAINTING_SIDES_PX = (256, 384, 512, 640)
SHARES = {"photos": 0.5, "paintings": 0.38, "scenes": 0.12}  # of the crops
COLOUR_SHARE, GREY_SHARE = 0.25, 0.2  # of the crops: in other colours, in grey
BATCH_SIZE, CROP_PX = 6, 144
# (pooling, padding) of `fst-train`, of `fst-gatys`, and of `fst-gatys --texture`.
MODES = (("max", "reflect"), ("avg", "zeros"), ("avg", "reflect"))
# One batch of new crops in so many steps; others come from a buffer that keeps the teacher's
# features. A crop is used four times on average, and the teacher costs a quarter of what it would.
STEPS_PER_RENEWAL = 4
PAINTED_SHARE = 0.6  # of the new batches: paintings in the making
# Of paintings in the making: optimiser steps before each use in training, the largest change of a
# pixel in one step, and uses before new ones are begun.
STEPS_PER_ADVANCE, STEP_SIZE, ADVANCES = 3, 0.02, 20

Sources = dict[str, Dataset | Sequence[Tensor]]


def set_mode(network: LossNetwork, pooling: str, padding: str) -> None:
    """Change the pooling and padding of a network in place."""
    network.pooling = pooling
    network.padding = padding
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.padding_mode = padding


def pictures(paths: list[str], sides_px: tuple[int, ...]) -> list[Tensor]:
    """All pictures (3,H,W) uint8 at each of the shorter sides."""
    folders = [PhotoFolder(paths, side_px, cache_bytes=0) for side_px in sides_px]
    return [folder[i] for folder in folders for i in range(len(folder))]


def training_sources(photos: list[str], paintings: list[str], scenes: int, seed: int) -> Sources:
    """Pictures to cut crops from, by the names of SHARES."""
    sources = {
        "photos": PhotoFolder(photos, PHOTO_SIDE_PX),
        "scenes": Scenes(scenes, PHOTO_SIDE_PX, seed=seed),
    }
    for source in sources.values():
        source.preload(max_workers=torch.get_num_threads())
    return {**sources, "paintings": pictures(paintings, PAINTING_SIDES_PX)}


def crop_batch(sources: Sources, draw: random.Random, kinds: Sequence[str] = ()) -> Tensor:
    """Random crops and flips, some in other colours or in grey: (B,3,H,W) in [0, 1].

    Of the `kinds` given, or of all by their SHARES.
    """
    kinds = kinds or draw.choices(list(SHARES), list(SHARES.values()), k=BATCH_SIZE)
    crops = torch.stack([_crop(sources[kind], draw) for kind in kinds]) / 255
    return crops.contiguous(memory_format=torch.channels_last)


def _crop(source: Dataset | Sequence[Tensor], draw: random.Random) -> Tensor:
    picture = source[draw.randrange(len(source))]
    top, left = (draw.randrange(size - CROP_PX + 1) for size in picture.shape[1:])
    crop = picture[:, top : top + CROP_PX, left : left + CROP_PX]
    crop = crop.flip(2) if draw.random() < 0.5 else crop
    kind = draw.random()
    if kind < COLOUR_SHARE:
        gain, shift = torch.tensor([draw.gauss(0, 1) for _ in range(6)]).view(2, 3, 1, 1)
        crop = (crop * (1 + 0.25 * gain) + 25 * shift).clamp(0, 255).to(torch.uint8)
    elif kind < COLOUR_SHARE + GREY_SHARE:
        crop = crop.float().mean(0, keepdim=True).to(torch.uint8).expand(3, -1, -1)
    return crop


class Canvases:
    """Photos that become paintings by gradient descent on their pixels, as the student sees them.

    Optimising an image against a network exploits the network's errors. The teacher labels these
    images, so the student is corrected where it is wrong (DAgger: Ross, Gordon & Bagnell 2011, "A
    Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning").
    """

    def __init__(self, sources: Sources, student: LossNetwork, draw: random.Random) -> None:
        self.sources, self.student, self.draw = sources, student, draw
        self.advances = ADVANCES
        self.images = self.photos = self.paintings = torch.empty(0)

    @torch.no_grad()
    def advance(self) -> Tensor:
        """The images (B,3,H,W) after a few more steps, in the student's present mode."""
        if self.advances == ADVANCES:
            self.advances = 0
            self.photos = crop_batch(self.sources, self.draw, ["photos"] * BATCH_SIZE)
            self.paintings = crop_batch(self.sources, self.draw, ["paintings"] * BATCH_SIZE)
            self.images = self.photos.clone()
        self.advances += 1
        self.student.convs.eval()
        target = self._features(self.photos, [CONTENT_LAYER])
        style = self._features(self.paintings, STYLE_LAYERS)
        target |= {name: gram_matrix(features) for name, features in style.items()}
        for _ in range(STEPS_PER_ADVANCE):
            with torch.enable_grad():
                images = self.images.requires_grad_(True)
                gradient = torch.autograd.grad(self._loss(images, target), images)[0]
            # Independent of the loss's scale: the tenth of largest gradients takes whole steps.
            steep = gradient.abs().flatten(1).quantile(0.9, dim=1).view(-1, 1, 1, 1)
            change = (gradient / steep.clamp_min(1e-12)).clamp(-1, 1)
            self.images = (images.detach() - STEP_SIZE * change).clamp(0, 1)
        return self.images

    def _loss(self, images: Tensor, target: dict[str, Tensor]) -> Tensor:
        """Of content as in the photos and Gram matrices as in the paintings, both relative."""
        ours = self._features(images, target)
        loss = relative(ours[CONTENT_LAYER], target[CONTENT_LAYER])
        for name in STYLE_LAYERS:
            part = relative(gram_matrix(ours[name]), target[name])
            loss = loss + GATYS_STYLE_WEIGHT / len(STYLE_LAYERS) * part
        return loss

    def _features(self, images: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            features = self.student(images, layers)
        return {name: values.float() for name, values in features.items()}


def relative(values: Tensor, target: Tensor) -> Tensor:
    """Sum over the batch of squared errors, each relative to the squares of its target."""
    squares = target.square().flatten(1).sum(1).clamp_min(1e-12)
    return ((values - target).square().flatten(1).sum(1) / squares).sum()


class ReplayBuffer:
    """Crops with the teacher's features of them, by the mode that these were computed in."""

    def __init__(self, sources, student, teacher, draw: random.Random, crop_count: int) -> None:
        self.sources, self.student, self.teacher, self.draw = sources, student, teacher, draw
        self.canvases = Canvases(sources, student, draw)
        self.crops, self.variances, count = {}, {}, crop_count // BATCH_SIZE // len(MODES) + 1
        for mode in MODES:
            set_mode(teacher, *mode)
            batches = [self._with_targets(crop_batch(sources, draw)) for _ in range(count)]
            self.crops[mode] = crops = [crop for batch in batches for crop in batch]
            self.variances[mode] = {n: variance([crop[n] for crop in crops[:256]]) for n in LAYERS}

    def refresh(self) -> None:
        """Put a batch of new crops, or of paintings in the making, in the place of old ones."""
        mode = self.draw.choice(MODES)
        for network in (self.student, self.teacher):
            set_mode(network, *mode)
        painted = self.draw.random() < PAINTED_SHARE
        images = self.canvases.advance() if painted else crop_batch(self.sources, self.draw)
        for crop in self._with_targets(images):
            self.crops[mode][self.draw.randrange(len(self.crops[mode]))] = crop

    def sample(self) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """A random batch and the layers' variances in one mode, which the student is set to."""
        mode = self.draw.choice(MODES)
        set_mode(self.student, *mode)
        return self.draw.sample(self.crops[mode], BATCH_SIZE), self.variances[mode]

    @torch.no_grad()
    def _with_targets(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Each a "crop" (3,H,W) and, by layer, the teacher's features at the compared places."""
        batch = {"crop": images}
        with torch.autocast("cpu", torch.bfloat16):
            for name, features in self.teacher(images, LAYERS).items():
                stride = STRIDES[int(name[4]) - 1]
                batch[name] = features[:, :, ::stride, ::stride].half()
        # Copies: a view would keep the features of the whole batch alive.
        return [
            {name: values[i].clone() for name, values in batch.items()} for i in range(len(images))
        ]


def variance(features: list[Tensor]) -> Tensor:
    """Mean squared deviation of features (C,H,W) about each channel's mean."""
    return torch.stack(features).float().var((0, 2, 3), correction=0).mean()
