"""Distil a VGG-19 into vgg19-lite, the small loss network that ships with the package.

    python scripts/distill_loss_network.py --shallow VGG19.safetensors --deep TEACHER.safetensors \
        --photos photos/ paintings/ --held-out val/ -o fst/assets/vgg19_lite.safetensors

The student has VGG-19's layers with a quarter of its channels. At each distilled layer a 1x1 map
and a ReLU take its features to the teacher's, and the squared error relative to the variance about
each channel's mean is minimised. A teacher is any VGG the loss network reader takes; `--shallow`
teaches relu1_1, 2_1 and 3_1, `--deep` relu4_1 and 5_1. The maps are dropped from the result.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fst.content.photos import PhotoFolder
from fst.networks.vgg import LossNetwork, layer_names, load_loss_network

CHANNELS_PER_STAGE = (16, 32, 64, 128, 128)  # a quarter of VGG-19's
SHALLOW, DEEP = ("relu1_1", "relu2_1", "relu3_1"), ("relu4_1", "relu5_1")


def main() -> None:
    """Distil, print the held-out figures, write the network."""
    args = parse_arguments()
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    teachers = {SHALLOW: load_loss_network(args.shallow), DEEP: load_loss_network(args.deep)}
    teachers = {layers: t.to(memory_format=torch.channels_last) for layers, t in teachers.items()}
    photos = PhotoFolder(args.photos, shorter_side_px=256)
    photos.preload()
    held_out = PhotoFolder(args.held_out, shorter_side_px=256)
    batches = [crop_batch(held_out, 8, 224, seed) for seed in range(8)]
    student = make_student(args.seed)
    with torch.no_grad():
        channels = {
            name: feature.shape[1]
            for layers, teacher in teachers.items()
            for name, feature in teacher(batches[0][:1], layers).items()
        }
    maps = nn.ModuleDict(
        {
            name: nn.Conv2d(CHANNELS_PER_STAGE[int(name[4]) - 1], out, 1)
            for name, out in channels.items()
        }
    )
    train(
        student, maps, teachers, photos, args, lambda: held_out_r2(student, maps, teachers, batches)
    )
    scores = held_out_r2(student, maps, teachers, batches)
    print("held-out R2:", {name: round(score, 4) for name, score in scores.items()})
    save(student, scores, args)


def parse_arguments() -> argparse.Namespace:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shallow", required=True, help="teacher of relu1_1 to relu3_1")
    parser.add_argument("--deep", required=True, help="teacher of relu4_1 and relu5_1")
    parser.add_argument("--photos", nargs="+", required=True, help="training pictures")
    parser.add_argument("--held-out", nargs="+", required=True, help="pictures for the figures")
    parser.add_argument("--minutes", type=float, default=40, help="training time")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--crop-px", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", default="fst/assets/vgg19_lite.safetensors")
    return parser.parse_args()


def make_student(seed: int) -> LossNetwork:
    """VGG-19's layers up to relu5_1 at a quarter of the channels, He-initialised."""
    torch.manual_seed(seed)
    state_dict, channels = {}, 3
    for name, index in layer_names("vgg19").items():
        out = CHANNELS_PER_STAGE[int(name[4]) - 1]
        weight = torch.empty(out, channels, 3, 3)
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
        state_dict |= {
            f"features.{index}.weight": weight,
            f"features.{index}.bias": torch.zeros(out),
        }
        channels = out
        if name == "relu5_1":
            break
    student = LossNetwork(state_dict, topology="vgg19", padding="reflect")
    return student.requires_grad_(True).to(memory_format=torch.channels_last)


def crop_batch(photos: PhotoFolder, count: int, size_px: int, seed: int) -> Tensor:
    """Random crops, flips and contrasts: (count, 3, size_px, size_px) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    crops = []
    for _ in range(count):
        photo = photos[draw(len(photos))]
        top, left = draw(photo.shape[1] - size_px + 1), draw(photo.shape[2] - size_px + 1)
        crop = photo[:, top : top + size_px, left : left + size_px]
        crops.append(crop.flip(2) if draw(2) else crop)
    batch = torch.stack(crops).float() / 255
    return batch.contiguous(memory_format=torch.channels_last)


def teacher_features(teachers: dict, images: Tensor) -> dict[str, Tensor]:
    """The teachers' features of their layers, fp32, without gradients."""
    features = {}
    with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16):
        for layers, teacher in teachers.items():
            features |= teacher(images, layers)
    return {name: feature.float() for name, feature in features.items()}


def relative_errors(student, maps, images: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """1 - R2 per layer, the variance taken about each channel's mean."""
    features = student(images, targets)
    errors = {}
    for name, target in targets.items():
        predicted = torch.relu(maps[name](features[name])).float()
        spread = (target - target.mean((0, 2, 3), keepdim=True)).square().mean()
        errors[name] = (predicted - target).square().mean() / spread
    return errors


@torch.no_grad()
def held_out_r2(student, maps, teachers, batches: list[Tensor]) -> dict[str, float]:
    """Mean R2 per layer over the held-out batches, in fp32."""
    totals: dict[str, float] = {}
    for images in batches:
        errors = relative_errors(student, maps, images, teacher_features(teachers, images))
        for name, error in errors.items():
            totals[name] = totals.get(name, 0.0) + (1 - float(error)) / len(batches)
    return totals


def train(student, maps, teachers, photos, args, report) -> None:
    """Adam, one-cycle by wall time, so that the schedule ends when the minutes do."""
    parameters = [*student.parameters(), *maps.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=args.lr)
    start, step, passed = time.monotonic(), 0, 0.0
    while passed < 1:
        passed = (time.monotonic() - start) / (60 * args.minutes)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 200) * max(1 - passed, 1e-3)
        images = crop_batch(
            photos, args.batch_size, args.crop_px, seed=1_000_000 * args.seed + step
        )
        targets = teacher_features(teachers, images)
        with torch.autocast("cpu", torch.bfloat16):
            loss = sum(relative_errors(student, maps, images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 500 == 0:
            r2 = {name: round(score, 3) for name, score in report().items()}
            print(f"step {step}, {100 * passed:.0f} %: loss {loss.item():.3f}, R2 {r2}", flush=True)
            save(student, r2, args)  # an interrupted run leaves its last state


def save(student: LossNetwork, scores: dict[str, float], args: argparse.Namespace) -> None:
    """Write fp16 weights under torchvision's names, with how they were made."""
    indices = layer_names("vgg19")
    tensors = {}
    for name, conv in student.convs.items():
        tensors[f"features.{indices[name]}.weight"] = conv.weight.detach().half().contiguous()
        tensors[f"features.{indices[name]}.bias"] = conv.bias.detach().half()
    metadata = {
        "topology": "vgg19",
        "padding": "reflect",
        "pooling": "max",
        "held_out_r2": json.dumps({name: round(float(s), 4) for name, s in scores.items()}),
        "made_by": f"scripts/distill_loss_network.py --seed {args.seed} --minutes {args.minutes}",
    }
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, args.output, metadata=metadata)


if __name__ == "__main__":
    main()
