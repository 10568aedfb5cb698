"""The flags that choose loss network, layers and statistic, of several commands alike."""

import argparse
from typing import Any

from fst.losses import objective


def add_loss_network(parser: argparse.ArgumentParser) -> None:
    """Add those of the network to a parser of argparse or jsonargparse."""
    add = parser.add_argument
    add("--loss-network", default="vgg16-lite", metavar="NAME",
        help="vgg16-lite (shipped), vgg16 or vgg19 (downloaded)")  # fmt: skip
    add("--loss-weights", type=str, nargs="+", metavar="FILE",
        help="VGG files instead; each layer from the first that has it")  # fmt: skip


def add_loss(parser: argparse.ArgumentParser) -> None:
    """Add all of them."""
    add_loss_network(parser)
    add = parser.add_argument
    add("--content-layer", default=objective.CONTENT_LAYER, metavar="LAYER",
        help=f"deeper: freer forms ({objective.CONTENT_LAYER})")  # fmt: skip
    add("--style-layers", type=str, nargs="+", metavar="LAYER", help="relu1_1 ... relu5_1")
    add("--style-loss", type=str, nargs="+", metavar="NAME",
        help=f"statistic ({objective.STATISTIC}), with options: eigen top=5%%, ...")  # fmt: skip
    add("--classic-weights", action="store_true", help="Johnson's absolute sums, 1e5/1e10")


def loss_network(args: argparse.Namespace, *options: str | None) -> Any:
    """The network asked for; `options` are pooling and padding."""
    from fst.networks.loss_network import load_loss_networks

    return load_loss_networks(args.loss_weights or args.loss_network, *options)
