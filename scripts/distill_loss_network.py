"""Distil a VGG-16 into vgg16-lite, the small loss network that ships with the package.

    python scripts/distill_loss_network.py --teacher VGG16.safetensors --photos photos/ \
        --paintings paintings/*.jpg --scenes 150 --held-out-photos val/ \
        --held-out-paintings unseen/*.jpg --minutes 70 -o fst/assets/vgg16_lite.safetensors

The student has VGG-16's layers to relu5_1 with fewer channels. It starts from those channels of the
teacher that explain the others best (`distill_start.py`). At every layer a 1x1 map and a ReLU take
its features to the teacher's (the hints of Romero et al. 2015, FitNets), and the squared error
relative to the variance about each channel's mean is minimised.

Batch normalisation behind each convolution is folded into weights and biases. The maps of the
layers that have a bar stay in the file as `to_vgg16.<layer>.weight` and `.bias`, so that
`held_out_r2` can be measured again.
"""

import argparse
import json
import math
import os
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from distill_start import begin
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from fst.data.photos import PhotoFolder
from fst.data.scenes import Scenes
from fst.networks.loss_network import LossNetwork, layer_names, load_loss_network

# These widths make a file of 2.5 MB in fp16, maps included, and 44,000 multiply-adds per pixel.
CHANNELS_PER_STAGE = (32, 48, 112, 144, 112)
# What each layer should reach. Its error counts in units of the error allowed, 1 - bar.
BARS = {
    "relu1_2": 0.95,
    "relu2_2": 0.93,
    "relu3_3": 0.87,
    "relu4_2": 0.87,
    "relu4_3": 0.85,
    "relu5_1": 0.80,
}
HINT_WEIGHT = 0.5  # of the layers without a bar
LAYERS = tuple(name for name in layer_names("vgg16") if name <= "relu5_1")
# Neighbours in a feature map tell the same: this spacing leaves 36x36 places of a 144 px crop.
STRIDES = (4, 2, 1, 1, 1)  # by stage
PHOTO_SIDE_PX = 256  # shorter side
PAINTING_SIDES_PX = (256, 384, 512, 640)
HELD_OUT_PAINTING_SIDES_PX = (256, 384)
SHARES = {"photos": 0.5, "paintings": 0.38, "scenes": 0.12}  # of the training crops
BATCH_SIZE, CROP_PX = 6, 144
# A batch of new crops in so many steps. Others come from a pool that keeps the teachers' features:
# a crop is used four times on average, and the teacher costs a quarter of what it would.
STEPS_PER_RENEWAL = 4
START_CROPS = 96  # of which the student's first weights are computed
FROZEN_NORMS = 0.75  # share of the run after which batch statistics become constants
WARM_UP_STEPS, MINUTES_PER_REPORT = 200, 4


def main() -> None:
    """Distil, write the network, measure the file, add the figures to it."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    draw = random.Random(args.seed)
    teacher = load_loss_network(args.teacher).to(memory_format=torch.channels_last)
    teacher.require(LAYERS)
    held_out = {
        "photos": pictures(args.held_out_photos, (PHOTO_SIDE_PX,)),
        "paintings": pictures(args.held_out_paintings, HELD_OUT_PAINTING_SIDES_PX),
    }
    fresh_crops = partial(labelled_crops, training_sources(args), teacher, draw)
    pool = [crop for _ in range(args.pool_crops // BATCH_SIZE + 1) for crop in fresh_crops()]
    student, maps = make_student(), make_maps(teacher)
    begin(student, maps, teacher, torch.stack([crop["crop"] for crop in pool[:START_CROPS]]) / 255)
    for step in train(student, maps, pool, fresh_crops, draw, args):
        save(student, maps, {"step": step}, args)
        few = {kind: some[::4] for kind, some in held_out.items()}
        print(f"step {step}: held-out R2 {held_out_r2(args.output, teacher, few)}", flush=True)
    figures = held_out_r2(args.output, teacher, held_out)
    save(student, maps, {"step": step, "held_out_r2": figures}, args)
    print(f"{args.output}: {Path(args.output).stat().st_size} bytes, held-out R2 {figures}")


def parse_arguments() -> argparse.Namespace:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, help="VGG-16, to relu5_1 at least")
    for name in ("photos", "paintings", "held-out-photos", "held-out-paintings"):
        parser.add_argument(f"--{name}", nargs="+", required=True, help="files or folders")
    parser.add_argument("--scenes", type=int, default=150, help="1 or more drawn training pictures")
    parser.add_argument("--minutes", type=float, default=70, help="training time")
    parser.add_argument("--steps", type=int, help="instead of --minutes: reproducible")
    parser.add_argument("--pool-crops", type=int, default=1024, help="kept in memory, 2.5 MB each")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("-o", "--output", default="fst/assets/vgg16_lite.safetensors")
    return parser.parse_args()


def pictures(paths: list[str], sides_px: tuple[int, ...]) -> list[Tensor]:
    """All pictures (3,H,W) uint8 at each of the shorter sides."""
    folders = [PhotoFolder(paths, side_px, cache_bytes=0) for side_px in sides_px]
    return [folder[i] for folder in folders for i in range(len(folder))]


def training_sources(args: argparse.Namespace) -> dict[str, Dataset | list[Tensor]]:
    """Pictures to cut crops from, by the names of SHARES."""
    scenes = Scenes(args.scenes, PHOTO_SIDE_PX, seed=args.seed)
    sources = {"photos": PhotoFolder(args.photos, PHOTO_SIDE_PX), "scenes": scenes}
    for source in sources.values():
        source.preload(max_workers=args.threads)
    return {**sources, "paintings": pictures(args.paintings, PAINTING_SIDES_PX)}


def crop_batch(sources: dict[str, Dataset | list[Tensor]], draw: random.Random) -> Tensor:
    """Random crops and flips, one in four with other colours: (B,3,H,W) uint8."""
    crops = []
    for name in draw.choices(list(SHARES), list(SHARES.values()), k=BATCH_SIZE):
        picture = sources[name][draw.randrange(len(sources[name]))]
        top, left = (draw.randrange(size - CROP_PX + 1) for size in picture.shape[1:])
        crop = picture[:, top : top + CROP_PX, left : left + CROP_PX]
        crop = crop.flip(2) if draw.random() < 0.5 else crop
        if draw.random() < 0.25:
            gain, shift = torch.tensor([draw.gauss(0, 1) for _ in range(6)]).view(2, 3, 1, 1)
            crop = (crop * (1 + 0.25 * gain) + 25 * shift).clamp(0, 255).to(torch.uint8)
        crops.append(crop)
    return torch.stack(crops).contiguous(memory_format=torch.channels_last)


def frame(teacher: LossNetwork, layer: str) -> int:
    """Width of the border that a teacher's zero padding reaches; the student pads by reflection.

    One place at relu1_1, two at relu2_1 (behind two convolutions and a pooling), and so on; in the
    later layers of a stage it reaches a little further, which is left to the student's errors: on
    crops of 144 px a wider frame would leave next to nothing of the deep layers.
    """
    return int(layer[4]) if teacher.padding == "zeros" else 0


def inside(features: Tensor, frame: int) -> Tensor:
    """A feature map (B,C,H,W) without its frame; a quarter of a tiny map is left at least."""
    edges = [min(frame, size // 4) for size in features.shape[2:]]
    rows, columns = (slice(e, size - e) for e, size in zip(edges, features.shape[2:], strict=True))
    return features[:, :, rows, columns]


@torch.no_grad()
def labelled_crops(sources, teacher, draw: random.Random) -> list[dict[str, Tensor]]:
    """Fresh crops, each a "crop" and, by layer, the teacher's features at the compared places."""
    batch = {"crop": crop_batch(sources, draw)}
    with torch.autocast("cpu", torch.bfloat16):
        for name, features in teacher(batch["crop"] / 255, LAYERS).items():
            stride = STRIDES[int(name[4]) - 1]
            edge = math.ceil(frame(teacher, name) / stride)
            batch[name] = inside(features[:, :, ::stride, ::stride], edge).half()
    # Copies: a view would keep the features of the whole batch alive.
    return [{name: values[i].clone() for name, values in batch.items()} for i in range(BATCH_SIZE)]


def make_student() -> LossNetwork:
    """VGG-16's layers up to relu5_1, He-initialised, with batch normalisation in between."""
    state_dict, channels = {}, 3
    for name in LAYERS:
        out = CHANNELS_PER_STAGE[int(name[4]) - 1]
        weight = nn.init.kaiming_normal_(torch.empty(out, channels, 3, 3), nonlinearity="relu")
        prefix, channels = f"features.{layer_names('vgg16')[name]}", out
        state_dict |= {f"{prefix}.weight": weight, f"{prefix}.bias": torch.zeros(out)}
    student = LossNetwork(state_dict, topology="vgg16", padding="reflect").requires_grad_(True)
    for name, conv in student.convs.items():
        conv.bias.requires_grad_(False)  # the normalisation has one
        student.convs[name] = nn.Sequential(conv, nn.BatchNorm2d(len(conv.weight), momentum=0.03))
    return student.to(memory_format=torch.channels_last)


def make_maps(teacher: LossNetwork) -> nn.ModuleDict:
    """1x1 convolutions from the student's channels to the teacher's, by layer."""
    maps = nn.ModuleDict()
    for name in LAYERS:
        channels, stride = CHANNELS_PER_STAGE[int(name[4]) - 1], STRIDES[int(name[4]) - 1]
        # A strided map, not a sliced feature map, whose gradient would lose channels_last.
        out = len(teacher.convs[name].weight)
        maps[name] = nn.Conv2d(channels, out, 1, stride=stride)
    return maps


def train(student, maps, pool, fresh_crops, draw, args) -> Iterator[int]:
    """Adam with a warm-up and half a cosine; yields the step from time to time and at the end."""
    parameters = [p for net in (student, maps) for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.99))
    spreads = {name: spread([crop[name] for crop in pool[:256]]) for name in LAYERS}
    start, reported, step, passed = time.monotonic(), time.monotonic(), 0, 0.0
    while passed < 1:
        decay = 0.5 + 0.5 * math.cos(math.pi * passed)
        optimizer.param_groups[0]["lr"] = args.lr * min(1, (step + 1) / WARM_UP_STEPS) * decay
        if step % STEPS_PER_RENEWAL == 0:
            for crop in fresh_crops():
                pool[draw.randrange(len(pool))] = crop
        student.convs.train(passed < FROZEN_NORMS)
        optimizer.zero_grad()
        weighted_error(student, maps, draw.sample(pool, BATCH_SIZE), spreads).backward()
        nn.utils.clip_grad_norm_(parameters, 10)
        optimizer.step()
        step, now = step + 1, time.monotonic()
        passed = step / args.steps if args.steps else (now - start) / (60 * args.minutes)
        if now - reported > 60 * MINUTES_PER_REPORT or passed >= 1:
            reported = now
            yield step


def spread(features: list[Tensor]) -> Tensor:
    """Mean squared deviation of features (C,H,W) about each channel's mean."""
    return torch.stack(features).float().var((0, 2, 3), correction=0).mean()


def weighted_error(student, maps, crops: list[dict[str, Tensor]], spreads) -> Tensor:
    """Sum over the layers of 1 - R2, in units of what is allowed where there is a bar."""
    images = torch.stack([crop["crop"] for crop in crops]) / 255
    total = torch.zeros(())
    with torch.autocast("cpu", torch.bfloat16):
        features = student(images.contiguous(memory_format=torch.channels_last), LAYERS)
        for name in LAYERS:
            target = torch.stack([crop[name].float() for crop in crops])
            predicted = torch.relu(maps[name](features[name])).float()
            edge = (predicted.shape[2] - target.shape[2]) // 2
            error = (inside(predicted, edge) - target).square().mean() / spreads[name]
            total = total + error * (1 / (1 - BARS[name]) if name in BARS else HINT_WEIGHT)
    return total


@torch.no_grad()
def save(student: LossNetwork, maps: nn.ModuleDict, figures: dict, args) -> None:
    """Write fp16 weights, normalisation folded in, and maps with how they were made, atomically."""
    tensors = {}
    for name, (conv, norm) in student.convs.items():
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        prefix = f"features.{layer_names('vgg16')[name]}"
        tensors[f"{prefix}.weight"] = conv.weight * gain.view(-1, 1, 1, 1)
        tensors[f"{prefix}.bias"] = norm.bias + gain * (conv.bias - norm.running_mean)
    for name in BARS:
        tensors[f"to_vgg16.{name}.weight"] = maps[name].weight
        tensors[f"to_vgg16.{name}.bias"] = maps[name].bias
    options = {key: vars(args)[key] for key in ("seed", "minutes", "steps", "lr", "scenes")}
    metadata = {
        "topology": "vgg16",
        "padding": "reflect",
        "pooling": "max",
        "note": "to_vgg16.<layer>: 1x1 convolutions, before a ReLU, to the teacher's features",
        "made_by": f"scripts/distill_loss_network.py {json.dumps(options)}",
        **{key: json.dumps(value) for key, value in figures.items()},
    }
    tensors = {key: tensor.half().contiguous() for key, tensor in tensors.items()}
    unfinished = Path(f"{args.output}.part")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, unfinished, metadata=metadata)
    unfinished.chmod(0o644)  # safetensors makes it readable by its owner only
    os.replace(unfinished, args.output)


@torch.no_grad()
def held_out_r2(file: str, teacher, held_out: dict[str, list[Tensor]]) -> dict:
    """R2 by kind of picture and layer, of the file as anybody would load it.

    R2 = 1 - sum of squared errors / sum of squared deviations about each channel's mean, both over
    all places of all pictures but the frame that a teacher's zero padding reaches, in fp32.
    """
    student = load_loss_network(file).to(memory_format=torch.channels_last)
    maps = {key: tensor.float() for key, tensor in load_file(file).items() if "to_vgg" in key}
    return {kind: r2(student, maps, teacher, some) for kind, some in held_out.items()}


def r2(student: LossNetwork, maps: dict[str, Tensor], teacher, some: list[Tensor]) -> dict:
    """R2 by layer, pooled over pictures (3,H,W) uint8."""
    sums = {name: torch.zeros(()) for name in BARS}
    for picture in some:
        images = (picture[None] / 255).contiguous(memory_format=torch.channels_last)
        features = student(images, BARS)
        for name, target in teacher(images, BARS).items():
            weight, bias = (maps[f"to_vgg16.{name}.{part}"] for part in ("weight", "bias"))
            error = torch.relu(nn.functional.conv2d(features[name], weight, bias)) - target
            terms = torch.cat((torch.ones_like(target), target, target**2, error**2))
            terms = inside(terms, frame(teacher, name)).sum((2, 3), dtype=torch.double)  # (4, C)
            sums[name] = sums[name] + terms
    return {
        name: round(float(1 - errors.sum() / (squares - total**2 / count).sum()), 4)
        for name, (count, total, squares, errors) in sums.items()
    }


if __name__ == "__main__":
    main()
