"""Distil a VGG-16 into vgg16-lite, the small loss network that ships with the package.

    python scripts/distill_loss_network.py --teacher VGG16.safetensors --photos photos/ \
        --paintings paintings/*.jpg --held-out-photos val/ --held-out-paintings unseen/*.jpg \
        --minutes 60 -o fst/assets/vgg16_lite.safetensors
    # The same again, with --start-from fst/assets/vgg16_lite.safetensors --lr 4e-4

The student has VGG-16's layers to relu5_1 with fewer channels. It starts from those channels of the
teacher that explain the others best (`distill_start.py`), or from a file of this script. At every
layer a 1x1 map and a ReLU take its features to the teacher's (the hints of Romero et al. 2015,
FitNets), and the squared error relative to the variance about each channel's mean is minimised.

Pooling and padding vary from batch to batch, the same for teacher and student, because `fst-gatys`
uses others than `fst-train`. Some crops are paintings in the making, optimised by the student: an
optimiser finds the pictures in which the student errs (`distill_crops.py`).

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
from pathlib import Path

import torch
from distill_crops import (
    LAYERS,
    MODES,
    PHOTO_SIDE_PX,
    STEPS_PER_RENEWAL,
    STRIDES,
    ReplayBuffer,
    crop_batch,
    pictures,
    set_mode,
    training_sources,
)
from distill_start import begin
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fst.networks.loss_network import LossNetwork, layer_names, load_loss_network

# These widths make a file of 2.5 MB in fp16, maps included, and 44,000 multiply-adds per pixel.
CHANNELS_PER_STAGE = (32, 48, 112, 144, 112)
# What each layer of the default objective should reach; its error counts in units of the error
# allowed, 1 - bar.
BARS = {
    "relu1_1": 0.95,
    "relu2_1": 0.93,
    "relu3_1": 0.87,
    "relu4_1": 0.75,
    "relu4_2": 0.8,
    "relu5_1": 0.6,
}
HINT_WEIGHT = 1.5  # of the layers without a bar
HELD_OUT_PAINTING_SIDES_PX = (256, 384)
START_BATCHES = 16  # which the student's first weights are fitted to
CONSTANT_NORMS_FROM = 0.75  # share of the run after which batch statistics become constants
WARM_UP_STEPS, MINUTES_PER_REPORT = 200, 8


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
    sources = training_sources(args.photos, args.paintings, args.scenes, args.seed)
    student, maps = make_student(), make_maps(teacher)
    set_mode(teacher, *MODES[0])
    images = torch.cat([crop_batch(sources, draw) for _ in range(START_BATCHES)])
    begin(student, maps, teacher, images, args.start_from and load_loss_network(args.start_from))
    for step in train(student, maps, teacher, sources, draw, args):
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
    parser.add_argument("--start-from", metavar="FILE", help="go on from a file of this script")
    parser.add_argument("--minutes", type=float, default=70, help="training time")
    parser.add_argument("--steps", type=int, help="instead of --minutes: reproducible")
    parser.add_argument("--buffer-crops", type=int, default=1024, help="in memory, 2.1 MB each")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("-o", "--output", default="fst/assets/vgg16_lite.safetensors")
    args = parser.parse_args()
    try:  # before the output is written, which may be the same file
        args.runs = [made_by(args.start_from)] if args.start_from else []
    except (OSError, SafetensorError, TypeError, KeyError):
        parser.error(f"--start-from {args.start_from}: not a file of this script")
    return args


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


def train(student, maps, teacher, sources, draw, args) -> Iterator[int]:
    """Adam with a warm-up and half a cosine; yields the step from time to time and at the end."""
    parameters = [p for net in (student, maps) for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.99))
    buffer = ReplayBuffer(sources, student, teacher, draw, args.buffer_crops)
    # In a file of this script they are folded in, and stay constants.
    constant_norms_from = 0 if args.start_from else CONSTANT_NORMS_FROM
    start, reported, step, passed = time.monotonic(), time.monotonic(), 0, 0.0
    while passed < 1:
        decay = 0.5 + 0.5 * math.cos(math.pi * passed)
        optimizer.param_groups[0]["lr"] = args.lr * min(1, (step + 1) / WARM_UP_STEPS) * decay
        if step % STEPS_PER_RENEWAL == 0:
            buffer.refresh()
        crops, variances = buffer.sample()
        student.convs.train(passed < constant_norms_from)
        optimizer.zero_grad()
        weighted_error(student, maps, crops, variances).backward()
        nn.utils.clip_grad_norm_(parameters, 10)
        optimizer.step()
        step, now = step + 1, time.monotonic()
        passed = step / args.steps if args.steps else (now - start) / (60 * args.minutes)
        if now - reported > 60 * MINUTES_PER_REPORT or passed >= 1:
            reported = now
            yield step


def weighted_error(student, maps, crops: list[dict[str, Tensor]], variances) -> Tensor:
    """Sum over the layers of 1 - R2, in units of what is allowed where there is a bar."""
    images = torch.stack([crop["crop"] for crop in crops])
    total = torch.zeros(())
    with torch.autocast("cpu", torch.bfloat16):
        features = student(images.contiguous(memory_format=torch.channels_last), LAYERS)
        for name in LAYERS:
            target = torch.stack([crop[name].float() for crop in crops])
            predicted = torch.relu(maps[name](features[name])).float()
            error = (predicted - target).square().mean() / variances[name]
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
        "made_by": "; then ".join(
            [*args.runs, f"scripts/distill_loss_network.py {json.dumps(options)}"]
        ),
        **{key: json.dumps(value) for key, value in figures.items()},
    }
    tensors = {key: tensor.half().contiguous() for key, tensor in tensors.items()}
    unfinished = Path(f"{args.output}.part")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, unfinished, metadata=metadata)
    unfinished.chmod(0o644)  # safetensors makes it readable by its owner only
    os.replace(unfinished, args.output)


def made_by(file: str) -> str:
    """The runs of this script that a file comes from."""
    with safe_open(file, framework="pt") as weights:
        return weights.metadata()["made_by"]


@torch.no_grad()
def held_out_r2(file: str, teacher, held_out: dict[str, list[Tensor]]) -> dict:
    """R2 by mode, kind of picture and layer, of the file as anybody would load it, in fp32.

    R2 = 1 - sum of squared errors / sum of squared deviations about each channel's mean, both over
    all places of all pictures, both networks in that mode.
    """
    student = load_loss_network(file).to(memory_format=torch.channels_last)
    maps = {key: tensor.float() for key, tensor in load_file(file).items() if "to_vgg" in key}
    figures = {}
    for mode in MODES:
        for network in (student, teacher):
            set_mode(network, *mode)
        figures[", ".join(mode)] = {k: r2(student, maps, teacher, p) for k, p in held_out.items()}
    return figures


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
            sums[name] = sums[name] + terms.sum((2, 3), dtype=torch.double)  # (4, C)
    return {
        name: round(float(1 - errors.sum() / (squares - total**2 / count).sum()), 4)
        for name, (count, total, squares, errors) in sums.items()
    }


if __name__ == "__main__":
    main()
