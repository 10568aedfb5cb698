"""The flags that choose loss network, layers and statistic, of fst-train and fst-gatys alike."""

import argparse


def add_loss_network(parser: argparse.ArgumentParser, content_layers: str) -> None:
    """Add them to a parser of argparse or jsonargparse.

    Args:
        parser: What to add to.
        content_layers: The command's defaults, for the help.
    """
    add = parser.add_argument
    add("--loss-network", default="vgg19-lite", metavar="NAME", help="or vgg16, vgg19 (downloaded)")
    add("--loss-weights", type=str, nargs="+", metavar="FILE",
        help="VGG files instead; the first that has a layer gives it")  # fmt: skip
    add("--content-layer", metavar="LAYER", help=content_layers)
    add("--style-layers", type=str, nargs="+", metavar="LAYER", help="relu1_1 ... relu5_1")
    add("--style-loss", type=str, nargs="+", default=["gram"], metavar="NAME",
        help="statistic (gram) and its options: eigen top=5%%, ...; see README")  # fmt: skip
    add("--classic-weights", action="store_true", help="Johnson's absolute sums, 1e5/1e10")
