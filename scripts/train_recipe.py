"""Train the recipe of pytorch/examples fast_neural_style, and paint photos for evaluate.py.

    python scripts/train_recipe.py wave.jpg --content photos/ --loss-weights vgg19.safetensors \
        --steps 200 --photos val/ -o recipe/
    python scripts/evaluate.py --pictures recipe/ --photos val/ --style wave=wave.jpg ...

Width 1, batches of 4 crops of 256 px, Adam at 1e-3, colours 0..255 in and out, absolute sums
weighted 1e5 and 1e10: the recipe, on any VGG. Where its weights end before the recipe's four style
layers, those that they have are used. Photos and crops are those that fst-train draws by the seed.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from benchmark_networks import CONTENT_LAYER, CONTENT_WEIGHT, STYLE_WEIGHT, BaselineNet, gram
from frame import run_script
from torch import Tensor

from fst.data.datamodule import READ_PER_CROP, TrainingImages
from fst.data.photos import PhotoFolder
from fst.io import images
from fst.networks.loss_network import LossNetwork, load_loss_network

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
SIZE_PX, BATCH, RATE, COLOURS = 256, 4, 1e-3, 255


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("style", type=Path, help="the picture whose style is learned")
    add("--content", type=Path, nargs="+", required=True, help="photos to train on")
    add("--loss-weights", required=True, metavar="FILE", help="a VGG")
    add("--steps", type=int, default=200, metavar="N", help="of 4 images each (200)")
    add("--seed", type=int, default=0)
    add("--photos", type=Path, nargs="+", required=True, help="photos to paint")
    add("--every", type=int, default=1, metavar="N", help="paint each Nth of them")
    add("-o", "--output", type=Path, required=True, metavar="DIR")
    return run_script(__file__, parser, lambda args: paint(train(args), args), argv)


def train(args: argparse.Namespace) -> BaselineNet:
    """The network after the steps asked for."""
    torch.manual_seed(args.seed)
    vgg = load_loss_network(args.loss_weights)
    layers = [name for name in STYLE_LAYERS if name in vgg.layers]
    if len(layers) < 3 and "relu3_1" in vgg.layers:  # cut before relu3_3
        layers.append("relu3_1")
    with torch.no_grad():
        picture = images.resize_shorter_side(images.decode(args.style), SIZE_PX)
        style = vgg(images.to_uint8_tensor(picture)[None].float() / COLOURS, layers)
        grams = {name: gram(style[name]) for name in layers}
    photos = PhotoFolder(args.content, round(SIZE_PX * READ_PER_CROP))
    crops = TrainingImages(photos, SIZE_PX, 1, args.seed)
    network, begun = BaselineNet(), time.monotonic()
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for step in range(args.steps):
        batch = torch.stack([crops[step * BATCH + i][0] for i in range(BATCH)]).float()
        optimizer.zero_grad()
        loss = recipe_loss(vgg, network(batch) / COLOURS, batch / COLOURS, grams)
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == args.steps - 1:
            print(f"step {step}: loss {loss.item():.4g}, {time.monotonic() - begun:.0f} s")
            sys.stdout.flush()
    return network.eval()


def recipe_loss(
    vgg: LossNetwork, stylized: Tensor, photos: Tensor, grams: dict[str, Tensor]
) -> Tensor:
    """Mean squared differences of features and of Gram matrices."""
    features = vgg(stylized, {CONTENT_LAYER, *grams})
    with torch.no_grad():
        content = vgg(photos, [CONTENT_LAYER])[CONTENT_LAYER]
    loss = CONTENT_WEIGHT * F.mse_loss(features[CONTENT_LAYER], content)
    for name, target in grams.items():
        got = gram(features[name])
        loss = loss + STYLE_WEIGHT * F.mse_loss(got, target.expand_as(got))
    return loss


@torch.no_grad()
def paint(network: BaselineNet, args: argparse.Namespace) -> None:
    """Paintings of the photos, PHOTO_STYLE.png."""
    args.output.mkdir(parents=True, exist_ok=True)
    for file in images.find(args.photos)[:: args.every]:
        photo = images.load(file, SIZE_PX)[None]
        height, width = photo.shape[2:]
        padded = F.pad(photo, (0, -width % 4, 0, -height % 4), mode="reflect")
        painted = network(COLOURS * padded)[0, :, :height, :width] / COLOURS
        target = args.output / f"{file.stem}_{args.style.stem}.png"
        images.save(painted.clamp(0, 1), target, overwrite=True)


if __name__ == "__main__":
    sys.exit(main())
