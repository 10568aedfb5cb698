"""The flags that choose loss network, layers and statistic, of fst-train and fst-gatys alike."""

import argparse


def add_loss_network(parser: argparse.ArgumentParser) -> None:
    """Add them to a parser of argparse or jsonargparse."""
    add = parser.add_argument
    add("--loss-network", default="vgg19-lite", metavar="NAME", help="or vgg16, vgg19 (downloaded)")
    add("--loss-weights", type=str, nargs="+", metavar="FILE",
        help="VGG files instead; the first that has a layer gives it")  # fmt: skip
    add("--content-layer", metavar="LAYER", help="relu3_2 (vgg19), relu3_3 (vgg16)")
    add("--style-layers", type=str, nargs="+", metavar="LAYER", help="relu1_1 ... relu5_1")
    add("--style-loss", default="gram", metavar="NAME", help="statistic of style (gram)")
    add("--classic-weights", action="store_true", help="Johnson's absolute sums, 1e5/1e10")
