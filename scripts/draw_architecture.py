"""Draw the picture of docs/how_it_works.md: the transformer network, its style rows, the loss.

python scripts/draw_architecture.py -o docs/pictures/architecture.svg

Channels and layers are read off a network, not written down here.
"""

import argparse
from html import escape
from pathlib import Path

from fst.io.atomic import write_atomically
from fst.losses.objective import CONTENT_LAYER, STYLE_LAYERS
from fst.networks.layers import ResidualBlock, ShuffledConv, UpsampleConv
from fst.networks.transformer import TransformerNet

WIDTH, HEIGHT = 1000, 606
INK, PAPER, BLUE, LIGHT, RUST, SAND = (
    *("#22303f", "#ffffff", "#275c9c", "#d5e2f1", "#b4532a", "#f5e6d3"),
)
MIDDLE = 130  # of the network, from the top
HEIGHTS = {1: 170, 2: 108, 4: 66}  # of a box, by how much smaller than the photo its map is
ROWS, COLUMNS = 5, 4  # shown of a table
GAP = 44  # between groups of layers
CHOSEN = 2


def main() -> None:
    """Draw and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/pictures/architecture.svg"))
    write_atomically(parser.parse_args().output, picture().encode())


def picture() -> str:
    """The whole as SVG."""
    network = TransformerNet(num_styles=11)
    parts = [rectangle(0, 0, WIDTH, HEIGHT, PAPER, PAPER)]
    boxes, last = layers(network)
    parts += boxes
    parts += loss(last)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{INK}">'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="{INK}"/></marker></defs>'
    )
    return "\n".join([head, *parts, "</svg>\n"])


def stages(network: TransformerNet) -> list[tuple[str, str, int, int]]:
    """Of each group of layers: name, kernel, channels, reduction."""
    steps, found = dict(network.convolutions()), []
    count = len(network.blocks)
    for layer in network.layers:
        last = [*layer.children()][-1] if isinstance(layer, ResidualBlock) else layer
        side, step = last.conv.kernel_size[0], steps[last]
        kernel, name = f"{side}x{side}", ""
        if isinstance(layer, ResidualBlock):
            if layer is not network.blocks[0]:
                continue  # one box stands for all
            kernel, name = f"{len([*layer.children()])} x {kernel}", f"{count} residual blocks"
        elif isinstance(layer, UpsampleConv):
            kernel = f"x2, {kernel}"
        elif layer.conv.stride[0] == 2:
            kernel += ", half"
        elif isinstance(layer, ShuffledConv):
            kernel, step = f"{kernel}, double", step // 2
        found.append((name, kernel, last.norm.gamma.shape[1], step))
    return found


def layers(network: TransformerNet) -> tuple[list[str], float]:
    """Photo, network and painting from left to right, tables below; and where the painting is."""
    parts, left = photo_box(24, MIDDLE, "photo", BLUE, LIGHT), 24 + 84
    for name, kernel, channels, reduction in stages(network):
        width, height = 16 + 0.42 * channels, HEIGHTS[reduction]
        copies = 3 if name else 1
        parts.append(arrow(left + 4, MIDDLE, left + GAP - 3, MIDDLE))
        left += GAP
        for copy in range(copies):
            x = left + copy * 16
            parts.append(rectangle(x, MIDDLE - height / 2, width, height, LIGHT, BLUE))
        centre = left + (width + 16 * (copies - 1)) / 2
        parts.append(text(centre, MIDDLE - height / 2 - 10, kernel, 12))
        if name:
            parts.append(text(centre, MIDDLE - height / 2 - 28, name, 12, bold=True))
        parts.append(text(left + (copies - 1) * 16 + width / 2, MIDDLE + 4, str(channels), 12))
        parts += table(centre, MIDDLE + height / 2)
        left += width + 16 * (copies - 1)
    parts.append(arrow(left + 4, MIDDLE, left + GAP - 3, MIDDLE))
    parts += photo_box(left + GAP, MIDDLE, "painting", RUST, SAND)
    parts.append(text(450, 326, "style weights choose rows: one a style in the table of "
        "every norm, scale and shift of every channel. All else is shared.", 13))  # fmt: skip
    return parts, left + GAP


def table(centre: float, box_bottom: float) -> list[str]:
    """A table of style rows, one of them chosen, below a layer."""
    cell, top = 8, 258
    left = centre - cell * COLUMNS / 2
    parts = [line(centre, top - 2, centre, box_bottom + 4, RUST)]
    for row in range(ROWS):
        fill = RUST if row == CHOSEN else SAND
        for column in range(COLUMNS):
            parts.append(rectangle(left + column * cell, top + row * cell, cell, cell, fill, PAPER))
    return parts


def photo_box(left: float, middle: float, name: str, edge: str, fill: str) -> list[str]:
    """A picture: a frame with a horizon and a sun."""
    side, top = 80, middle - 50
    hill = f"M{left} {top + 74}l26-30 18 18 14-12 22 24v26h-{side}z"
    return [
        rectangle(left, top, side, 100, fill, edge),
        f'<circle cx="{left + 56}" cy="{top + 28}" r="10" fill="{edge}" opacity="0.55"/>',
        f'<path d="{hill}" fill="{edge}" opacity="0.75"/>',
        text(left + side / 2, top + 118, name, 13, bold=True),
    ]


def loss(painting_left: float) -> list[str]:
    """The loss network below, with where it is tapped."""
    top, width, gap = 404, 74, 26
    left = 270
    title = "loss network: VGG-16, frozen, for training only"
    parts = [text(left, top - 12, title, 13, "start", bold=True)]
    names = STYLE_LAYERS
    for place, name in enumerate(names):
        x, height = left + place * (width + gap), 74 - 9 * place
        middle = top + 37
        parts.append(rectangle(x, middle - height / 2, width, height, "#eef0f2", INK))
        parts.append(text(x + width / 2, middle + 4, name, 12))
        if place:
            parts.append(arrow(x - gap + 3, middle, x - 4, middle))
        parts.append(line(x + width / 2, middle + height / 2, x + width / 2, 510, RUST))
    right = left + len(names) * (width + gap) - gap
    parts += [
        elbow([(painting_left + 40, MIDDLE + 78), (painting_left + 40, 356),
               (left - 40, 356), (left - 40, top + 30), (left - 4, top + 30)]),
        elbow([(64, MIDDLE + 78), (64, top + 46), (left - 4, top + 46)]),
        text(72, top + 38, "its form is kept", 12, "start"),
        *photo_box(right + 70, 500, "style pictures", RUST, SAND),
        arrow(right + 66, 527, right + 4, 527),
        rectangle(left, 510, right - left, 34, SAND, RUST),
        text((left + right) / 2, 532,
             "style: a statistic of these features against the style pictures'", 13),
        rectangle(left, 556, right - left, 34, LIGHT, BLUE),
        text((left + right) / 2, 578,
             f"content: features at {CONTENT_LAYER} against the photo's", 13),
    ]  # fmt: skip
    return parts


# ---- shapes ------------------------------------------------------------------------------------


def rectangle(x: float, y: float, w: float, h: float, fill: str, edge: str) -> str:
    """A box."""
    return f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" fill="{fill}" stroke="{edge}"/>'


def text(x: float, y: float, words: str, size: int, anchor: str = "middle", bold=False) -> str:
    """A line of text."""
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"{weight}>'
        f"{escape(words)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    """A plain line."""
    return f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" stroke="{colour}" fill="none"/>'


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """A straight arrow."""
    return elbow([(x1, y1), (x2, y2)])


def elbow(points: list[tuple[float, float]]) -> str:
    """An arrow with corners."""
    path = "L".join(f"{x:g} {y:g}" for x, y in points)
    return f'<path d="M{path}" stroke="{INK}" fill="none" marker-end="url(#head)"/>'


if __name__ == "__main__":
    main()
