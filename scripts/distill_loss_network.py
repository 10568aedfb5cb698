"""Distil a VGG-19 into vgg19-lite, the small loss network that ships with the package.

    python scripts/distill_loss_network.py --shallow VGG19.safetensors --deep TEACHER.safetensors \
        --photos photos/ --paintings paintings/*.jpg --scenes 150 --held-out-photos val/ \
        --held-out-paintings unseen/*.jpg --minutes 55 -o fst/assets/vgg19_lite.safetensors

The student starts from random weights and has VGG-19's layers with fewer channels. At every layer
a 1x1 map and a ReLU take its features to a teacher's (the hints of Romero et al. 2015, FitNets),
and the squared error relative to the variance about each channel's mean is minimised. `--shallow`
teaches the layers it has (torchvision's name or a file, however short), `--deep` those after it.

Batch normalisation behind each convolution, without which the deep layers hardly learn, is folded
into weights and biases. The maps of relu1_1, 2_1, 3_1, 4_1 and 5_1 stay in the file as
`to_vgg19.<layer>.weight` and `.bias`, so that `held_out_r2` can be measured again.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from fst.content.photos import PhotoFolder
from fst.content.scenes import Scenes
from fst.networks.vgg import LossNetwork, layer_names, load_loss_network

# PCA of the real features: 32, 48, 64 and 96 channels hold 0.87, 0.93, 0.96 and 0.99 of relu2_1's
# variance, 0.68, 0.76, 0.82 and 0.89 of relu3_1's. These widths make a file of 2.3 MB in fp16.
CHANNELS_PER_STAGE = (32, 64, 96, 128, 128)
# What each layer should reach. Its error counts in units of the error allowed, 1 - bar.
BARS = {"relu1_1": 0.97, "relu2_1": 0.92, "relu3_1": 0.70, "relu4_1": 0.85, "relu5_1": 0.75}
HINT_WEIGHT = 0.5  # of the layers without a bar
LAYERS = tuple(name for name in layer_names("vgg19") if name <= "relu5_1")
# Neighbours in a feature map tell the same: this spacing leaves 36x36 places of a 144 px crop.
STRIDES = (4, 2, 1, 1, 1)
PHOTO_SIDE_PX = 256  # shorter side
PAINTING_SIDES_PX = (192, 256, 384, 512)
HELD_OUT_PAINTING_SIDES_PX = (256, 384)
SHARES = {"photos": 0.63, "paintings": 0.25, "scenes": 0.12}  # of the training crops
POOL_CROPS = 1024  # kept with their teachers' features, 2.5 MB each
STEPS_PER_RENEWAL = 4  # of one batch of the pool, so that a crop is used four times on average
WARM_UP_STEPS = 200
FROZEN_NORMS = 0.75  # share of the run after which batch statistics become constants


def main() -> None:
    """Distil, write the network, measure the file, add the figures to it."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    teachers = load_teachers(args)
    held_out = {
        "photos": pictures(args.held_out_photos, (PHOTO_SIDE_PX,)),
        "paintings": pictures(args.held_out_paintings, HELD_OUT_PAINTING_SIDES_PX),
    }
    sources = training_sources(args)
    generator = torch.Generator().manual_seed(args.seed)
    pool = make_pool(sources, teachers, args, generator)
    student = make_student()
    maps = make_maps(pool)
    steps = train(student, maps, pool, sources, teachers, held_out, args, generator)
    figures = held_out_r2(args.output, teachers, held_out)
    save(student, maps, {"steps": steps, "held_out_r2": figures}, args)
    size_mb = Path(args.output).stat().st_size / 1e6
    print(f"{args.output}: {size_mb:.2f} MB after {steps} steps, held-out R2 {figures}")


def parse_arguments() -> argparse.Namespace:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shallow", required=True, help="VGG-19, to any depth")
    parser.add_argument("--deep", help="teacher of the layers --shallow lacks; not needed by all")
    parser.add_argument("--photos", nargs="+", required=True, help="training photos")
    parser.add_argument("--paintings", nargs="+", required=True, help="training paintings")
    parser.add_argument("--scenes", type=int, default=150, help="drawn training pictures")
    parser.add_argument("--held-out-photos", nargs="+", required=True, help="for the figures")
    parser.add_argument("--held-out-paintings", nargs="+", required=True, help="for the figures")
    parser.add_argument("--minutes", type=float, default=55, help="training time")
    parser.add_argument("--steps", type=int, help="instead of --minutes: reproducible")
    parser.add_argument("--batch-size", type=int, default=6)
    parser.add_argument("--crop-px", type=int, default=144, help="a multiple of 16, at most 192")
    parser.add_argument("--pool-crops", type=int, default=POOL_CROPS)
    parser.add_argument("--lr", type=float, default=2e-3, help="peak")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--report-minutes", type=float, default=4, help="between saves")
    parser.add_argument("-o", "--output", default="fst/assets/vgg19_lite.safetensors")
    return parser.parse_args()


def load_teachers(args: argparse.Namespace) -> dict[LossNetwork, list[str]]:
    """The teachers and the layers each of them teaches: --shallow those it has, --deep the rest."""
    shallow = load_loss_network(args.shallow).to(memory_format=torch.channels_last)
    teachers = {shallow: [name for name in LAYERS if name in shallow.layers]}
    rest = [name for name in LAYERS if name not in shallow.layers]
    if rest:
        if args.deep is None:
            raise SystemExit(f"--shallow has no {rest[0]}: give a --deep teacher, too")
        deep = load_loss_network(args.deep).to(memory_format=torch.channels_last)
        deep.require(rest)
        teachers[deep] = rest
    return teachers


def pictures(paths: list[str], sides_px: tuple[int, ...]) -> list[Tensor]:
    """All pictures (3,H,W) uint8 at each of the shorter sides."""
    folders = [PhotoFolder(paths, side_px, cache_bytes=0) for side_px in sides_px]
    return [folder[i] for folder in folders for i in range(len(folder))]


def training_sources(args: argparse.Namespace) -> dict[str, Dataset | list[Tensor]]:
    """Pictures to cut crops from, by the names of SHARES."""
    sources = {
        "photos": PhotoFolder(args.photos, PHOTO_SIDE_PX),
        "paintings": pictures(args.paintings, PAINTING_SIDES_PX),
    }
    sources["photos"].preload(max_workers=args.threads)
    if args.scenes:
        sources["scenes"] = Scenes(args.scenes, PHOTO_SIDE_PX, seed=args.seed)
        sources["scenes"].preload(max_workers=args.threads)
    return sources


def crop_batch(sources: dict, count: int, size_px: int, generator: torch.Generator) -> Tensor:
    """Random crops and flips, one in four with other colours: (count,3,size,size) uint8."""
    weights = torch.tensor([SHARES[name] for name in sources])
    kinds = list(sources.values())

    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    crops = []
    for kind in torch.multinomial(weights, count, replacement=True, generator=generator).tolist():
        picture = kinds[kind][draw(len(kinds[kind]))]
        top, left = draw(picture.shape[1] - size_px + 1), draw(picture.shape[2] - size_px + 1)
        crop = picture[:, top : top + size_px, left : left + size_px]
        crop = crop.flip(2) if draw(2) else crop
        if draw(4) == 0:
            gain, shift = torch.randn(2, 3, 1, 1, generator=generator)
            crop = (crop * (1 + 0.25 * gain) + 25 * shift).clamp(0, 255).to(torch.uint8)
        crops.append(crop)
    return torch.stack(crops).contiguous(memory_format=torch.channels_last)


def frame(teacher: LossNetwork, layer: str) -> int:
    """Width of the border that a teacher's zero padding reaches; the student pads by reflection.

    One place at relu1_1, two at relu2_1 (two convolutions before its pooling) and so on. This frame
    alone holds 4 % of the squared differences between VGG-19 padded with zeros and the same weights
    padded by reflection, on photos of 256 px: at relu1_1 a perfect student would score 0.960.
    """
    return int(layer[4]) if teacher.padding == "zeros" else 0


def inside(features: Tensor, frame: int) -> Tensor:
    """A feature map (B,C,H,W) without its frame; a quarter of a tiny map is left at least."""
    edges = [min(frame, size // 4) for size in features.shape[2:]]
    rows, columns = (slice(e, size - e) for e, size in zip(edges, features.shape[2:], strict=True))
    return features[:, :, rows, columns]


@torch.no_grad()
def labelled_batch(sources, teachers, args, generator: torch.Generator) -> dict[str, Tensor]:
    """Fresh `crops` and, by layer, the teachers' features at the compared places, fp16."""
    batch = {"crops": crop_batch(sources, args.batch_size, args.crop_px, generator)}
    with torch.autocast("cpu", torch.bfloat16):
        for teacher, layers in teachers.items():
            for name, features in teacher(batch["crops"] / 255, layers).items():
                stride = STRIDES[int(name[4]) - 1]
                edge = math.ceil(frame(teacher, name) / stride)
                batch[name] = inside(features[:, :, ::stride, ::stride], edge).half()
    return batch


def make_pool(sources, teachers, args, generator: torch.Generator) -> dict[str, Tensor]:
    """`crops` (N,3,H,W) uint8 and, by layer, the teachers' features of them."""
    pool: dict[str, Tensor] = {}
    count = args.pool_crops // args.batch_size * args.batch_size
    for start in range(0, count, args.batch_size):
        batch = labelled_batch(sources, teachers, args, generator)
        for name, values in batch.items():
            if name not in pool:
                pool[name] = values.new_empty(count, *values.shape[1:]).contiguous(
                    memory_format=torch.channels_last
                )
            pool[name][start : start + args.batch_size] = values
    return pool


def make_student() -> LossNetwork:
    """VGG-19's layers up to relu5_1, He-initialised, with batch normalisation in between."""
    state_dict, channels = {}, 3
    for name in LAYERS:
        index, out = layer_names("vgg19")[name], CHANNELS_PER_STAGE[int(name[4]) - 1]
        weight = nn.init.kaiming_normal_(torch.empty(out, channels, 3, 3), nonlinearity="relu")
        state_dict[f"features.{index}.weight"] = weight
        state_dict[f"features.{index}.bias"] = torch.zeros(out)
        channels = out
    student = LossNetwork(state_dict, topology="vgg19", padding="reflect").requires_grad_(True)
    for name, conv in student.convs.items():
        conv.bias.requires_grad_(False)  # the normalisation has one
        student.convs[name] = nn.Sequential(conv, nn.BatchNorm2d(len(conv.weight), momentum=0.03))
    student.convs.train()
    return student.to(memory_format=torch.channels_last)


def make_maps(pool: dict[str, Tensor]) -> nn.ModuleDict:
    """1x1 convolutions from the student's channels to the teachers', by layer."""
    maps = nn.ModuleDict()
    for name in LAYERS:
        stage = int(name[4]) - 1
        channels = CHANNELS_PER_STAGE[stage], pool[name].shape[1]
        # A strided map, not a sliced feature map, whose gradient would lose channels_last.
        maps[name] = nn.Conv2d(*channels, 1, stride=STRIDES[stage])
    return maps


def train(student, maps, pool, sources, teachers, held_out, args, generator) -> int:
    """Adam with a warm-up and a half cosine by steps or by wall time; returns the steps done."""
    parameters = [p for net in (student, maps) for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.99))
    spreads = {name: spread(pool[name][:256]) for name in LAYERS}
    frames = {name: frame(teacher, name) for teacher in teachers for name in teachers[teacher]}
    few = {kind: some[::4] for kind, some in held_out.items()}
    start, reported, step, passed = time.monotonic(), time.monotonic(), 0, 0.0
    while passed < 1:
        for group in optimizer.param_groups:
            warm_up = min(1, (step + 1) / WARM_UP_STEPS)
            group["lr"] = args.lr * warm_up * (0.5 + 0.5 * math.cos(math.pi * passed))
        if step % STEPS_PER_RENEWAL == 0:
            renew(pool, labelled_batch(sources, teachers, args, generator), generator)
        student.convs.train(passed < FROZEN_NORMS)
        places = torch.randint(len(pool["crops"]), (args.batch_size,), generator=generator)
        batch = {name: values[places] for name, values in pool.items()}
        update(optimizer, parameters, errors(student, maps, batch, frames, spreads))
        step, now = step + 1, time.monotonic()
        passed = step / args.steps if args.steps else (now - start) / (60 * args.minutes)
        if now - reported > 60 * args.report_minutes:
            reported = now
            save(student, maps, {"steps": step}, args)
            r2 = held_out_r2(args.output, teachers, few)
            print(f"step {step}, {100 * passed:.0f} %: {json.dumps(r2)}", flush=True)
    return step


def spread(features: Tensor) -> float:
    """Mean squared deviation of features (B,C,H,W) about each channel's mean."""
    return float(features.float().var((0, 2, 3), correction=0).mean())


def renew(pool: dict[str, Tensor], batch: dict[str, Tensor], generator: torch.Generator) -> None:
    """Overwrite random places of the pool with a batch."""
    places = torch.randperm(len(pool["crops"]), generator=generator)[: len(batch["crops"])]
    for name, values in batch.items():
        pool[name][places] = values


def errors(student, maps, batch, frames, spreads) -> dict[str, Tensor]:
    """1 - R2 of a batch by layer, with the pool's variance about each channel's mean."""
    crops = batch["crops"].contiguous(memory_format=torch.channels_last) / 255
    found = {}
    with torch.autocast("cpu", torch.bfloat16):
        for name, features in student(crops, LAYERS).items():
            edge = math.ceil(frames[name] / maps[name].stride[0])
            predicted = torch.relu(inside(maps[name](features), edge)).float()
            found[name] = (predicted - batch[name].float()).square().mean() / spreads[name]
    return found


def update(optimizer, parameters: list[Tensor], found: dict[str, Tensor]) -> None:
    """One step down the weighted errors of all layers."""
    weights = {name: 1 / (1 - BARS[name]) if name in BARS else HINT_WEIGHT for name in found}
    loss = sum(weights[name] * error for name, error in found.items())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 10)
    optimizer.step()


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that equals a convolution and its normalisation."""
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    return conv.weight * gain.view(-1, 1, 1, 1), norm.bias + gain * (conv.bias - norm.running_mean)


@torch.no_grad()
def save(student: LossNetwork, maps: nn.ModuleDict, figures: dict, args) -> None:
    """Write fp16 weights and maps with how they were made, atomically."""
    tensors = {}
    for name, (conv, norm) in student.convs.items():
        prefix = f"features.{layer_names('vgg19')[name]}"
        tensors[f"{prefix}.weight"], tensors[f"{prefix}.bias"] = folded(conv, norm)
    for name in BARS:
        tensors[f"to_vgg19.{name}.weight"] = maps[name].weight
        tensors[f"to_vgg19.{name}.bias"] = maps[name].bias
    tensors = {key: tensor.half().contiguous() for key, tensor in tensors.items()}
    metadata = {
        "topology": "vgg19",
        "padding": "reflect",
        "pooling": "max",
        "note": "to_vgg19.<layer>: 1x1 convolutions, before a ReLU, to the teachers' features",
        "made_by": f"scripts/distill_loss_network.py --seed {args.seed}",
        "seed": str(args.seed),
        **{key: json.dumps(value) for key, value in figures.items()},
    }
    output = Path(args.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f"{output.name}.part")
    save_file(tensors, partial, metadata=metadata)
    os.replace(partial, output)


@torch.no_grad()
def held_out_r2(file: str, teachers, held_out: dict[str, list[Tensor]]) -> dict:
    """R2 by kind of picture and layer, of the file as anybody would load it.

    R2 = 1 - sum of squared errors / sum of squared deviations about each channel's mean, both over
    all places of all pictures but the frame that a teacher's zero padding reaches, in fp32.
    """
    student = load_loss_network(file).to(memory_format=torch.channels_last)
    with safe_open(file, framework="pt") as weights:
        keys = [key for key in weights.keys() if key.startswith("to_vgg19.")]  # noqa: SIM118
        maps = {key: weights.get_tensor(key).float() for key in keys}
    return {kind: r2(student, maps, teachers, some) for kind, some in held_out.items()}


def r2(student: LossNetwork, maps: dict[str, Tensor], teachers, some: list[Tensor]) -> dict:
    """R2 by layer, pooled over pictures (3,H,W) uint8."""
    sums: dict[str, Tensor | int] = dict.fromkeys(BARS, 0)
    for picture in some:
        images = (picture[None] / 255).contiguous(memory_format=torch.channels_last)
        features = student(images, BARS)
        for teacher, layers in teachers.items():
            for name, target in teacher(images, [n for n in layers if n in BARS]).items():
                weight, bias = (maps[f"to_vgg19.{name}.{part}"] for part in ("weight", "bias"))
                error = torch.relu(nn.functional.conv2d(features[name], weight, bias)) - target
                terms = (torch.ones_like(target), target, target.square(), error.square())
                edge = frame(teacher, name)
                terms = [inside(t, edge).sum((0, 2, 3), dtype=torch.double) for t in terms]
                sums[name] += torch.stack(terms)  # (4,C)
    return {
        name: round(float(1 - errors.sum() / (squares - total**2 / count).sum()), 4)
        for name, (count, total, squares, errors) in sums.items()
    }


if __name__ == "__main__":
    main()
