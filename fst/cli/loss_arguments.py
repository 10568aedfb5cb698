"""The flags that choose loss network, layers and statistic, of fst-train and fst-gatys alike."""

import argparse

from fst.losses import objective


def add_loss_network(parser: argparse.ArgumentParser) -> None:
    """Add them to a parser of argparse or jsonargparse."""
    add = parser.add_argument
    add("--loss-network", default="vgg16-lite", metavar="NAME", help="or vgg16, vgg19 (downloaded)")
    add("--loss-weights", type=str, nargs="+", metavar="FILE",
        help="VGG files instead; the first that has a layer gives it")  # fmt: skip
    add("--content-layer", default=objective.CONTENT_LAYER, metavar="LAYER",
        help=f"deeper: freer forms ({objective.CONTENT_LAYER})")  # fmt: skip
    add("--style-layers", type=str, nargs="+", metavar="LAYER", help="relu1_1 ... relu5_1")
    add(
        "--style-loss",
        type=str,
        nargs="+",
        metavar="NAME",
        help=f"statistic ({objective.STATISTIC}), options: eigen top=5%%, ...; see README",
    )
    add("--classic-weights", action="store_true", help="Johnson's absolute sums, 1e5/1e10")


def statistic(args: argparse.Namespace) -> str:
    """The style statistic asked for, or that of the mode."""
    return " ".join(args.style_loss or [objective.statistic(args.classic_weights)])
