"""Figures of the tables of `fst.gramlab.measure`."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fst.gramlab.measure import ENERGIES, Table


def _panels(count: int, width: float = 3.4, height: float = 2.7) -> tuple[Figure, list[Axes]]:
    columns = min(3, count)  # as many as a page shows in their own size
    rows = math.ceil(count / columns)
    # Not through pyplot: the program that calls keeps its own backend.
    figure = Figure(figsize=(width * columns, height * rows), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[count:]:
        axis.axis("off")
    return figure, list(axes.flat[:count])


def _label(name: str) -> str:
    """A name as matplotlib writes it out: no formulas, and not left out of legends."""
    return name.replace("$", r"\$").lstrip("_") or "picture"


def _groups(table: Table, *places: int) -> dict[tuple, list[tuple]]:
    """Rows by the values at some places, in the order met."""
    groups: dict[tuple, list[tuple]] = {}
    for row in table.rows:
        groups.setdefault(tuple(row[place] for place in places), []).append(row)
    return groups


def _panel_a_layer(table: Table, x_label: str, y_label: str) -> tuple[Figure, dict[str, Axes]]:
    """Panels whose x axis is a scale of powers, by the table's layers."""
    layers = list(dict.fromkeys(row[0] for row in table.rows))
    figure, axes = _panels(len(layers))
    for layer, axis in zip(layers, axes, strict=True):
        axis.set_title(layer, fontsize=9)
        axis.set_xscale("log")
        axis.tick_params(labelsize=7)
    figure.supxlabel(x_label, fontsize=8)
    figure.supylabel(y_label, fontsize=8)
    return figure, dict(zip(layers, axes, strict=True))


def spectra(table: Table, log: bool) -> Figure:
    """Eigenvalues against rank, a panel a layer, a line a picture, energy ranks marked."""
    x_label = "rank (marks: 90, 95, 99 % of the energy)"
    figure, axes = _panel_a_layer(table, x_label, "eigenvalue")
    for (layer, picture), rows in _groups(table, 0, 1).items():
        ranks, values, energy = zip(*(row[2:] for row in rows), strict=True)
        shown = [max(value, 1e-9 * values[0]) for value in values] if log else values
        (line,) = axes[layer].plot(ranks, shown, linewidth=1.2, label=_label(picture))
        for share, marker in zip(ENERGIES, "os^", strict=True):
            place = next(i for i, e in enumerate(energy) if e >= share - 1e-12)
            axes[layer].plot(
                ranks[place], shown[place], marker, color=line.get_color(), markersize=5
            )
        axes[layer].set_yscale("log" if log else "linear")
    figure.axes[0].legend(fontsize=6)
    return figure


def reconstruction(table: Table) -> Figure:
    """Relative error against the share of eigenpairs kept."""
    figure, axes = _panel_a_layer(table, "eigenpairs kept, %", "||A - A_k|| / ||A||")
    for (layer, picture), rows in _groups(table, 0, 1).items():
        shares, errors = zip(*((100 * row[2], row[4]) for row in rows), strict=True)
        axes[layer].plot(shares, errors, ".-", linewidth=1, label=_label(picture))
    for axis in axes.values():
        axis.set_ylim(0, None)  # when all lines are there: it ends the choice of the upper limit
    figure.axes[0].legend(fontsize=6)
    return figure


def similarity(table: Table) -> Figure:
    """Heat map of the relative Gram distances of the pictures, a panel a layer."""
    return _heat_maps(
        {layer: rows for (layer,), rows in _groups(table, 0).items()},
        list(dict.fromkeys(row[1] for row in table.rows)),
        list(dict.fromkeys(row[2] for row in table.rows)),
    )


def patches(table: Table) -> Figure:
    """Heat map of the distance of each patch from its picture: mean over the layers."""
    maps = {}
    for (picture,), rows in _groups(table, 1).items():
        cells = {}
        for _, _, row, column, distance in rows:
            cells.setdefault((row, column), []).append(distance)
        maps[picture] = [(None, r, c, sum(d) / len(d)) for (r, c), d in cells.items()]
    first = next(iter(maps.values()))
    rows, columns = sorted({cell[1] for cell in first}), sorted({cell[2] for cell in first})
    return _heat_maps(maps, rows, columns)


def _heat_maps(maps: dict[str, list[tuple]], down: Sequence, across: Sequence) -> Figure:
    """Panels of cells (_, down, across, value)."""
    side = 1.6 + 0.35 * max(len(down), len(across))
    figure, axes = _panels(len(maps), side, side)
    most = max(cell[3] for cells in maps.values() for cell in cells)
    for axis, (title, cells) in zip(axes, maps.items(), strict=True):
        values = [[0.0] * len(across) for _ in down]
        for _, row, column, value in cells:
            values[list(down).index(row)][list(across).index(column)] = value
        shown = axis.imshow(values, cmap="viridis", vmin=0, vmax=max(most, 1e-9))
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6,
                          color="black" if value > 0.6 * most else "white")  # fmt: skip
        axis.set_title(_label(title), fontsize=8)
        axis.set_xticks(range(len(across)), map(_label, map(str, across)), rotation=90, fontsize=6)
        axis.set_yticks(range(len(down)), map(_label, map(str, down)), fontsize=6)
    figure.colorbar(shown, ax=axes, shrink=0.7).ax.tick_params(labelsize=7)
    return figure


def strip(pictures: dict[str, Tensor]) -> Figure:
    """Images (3, H, W) under their names."""
    figure, axes = _panels(len(pictures), 3.4, 3.7)
    for axis, (name, image) in zip(axes, pictures.items(), strict=True):
        axis.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
        axis.set_title(_label(name), fontsize=9)
        axis.axis("off")
    return figure


def aggregates(table: Table) -> Figure:
    """Distance of maximum and minimum from the mean, layer by layer."""
    groups = {how: rows for (how,), rows in _groups(table, 1).items()}
    figure, (axis,) = _panels(1, 7, 2.6)
    width = 0.8 / len(groups)
    for number, (how, rows) in enumerate(groups.items()):
        places = [i + number * width for i in range(len(rows))]
        axis.bar(places, [row[2] for row in rows], width, label=how)
    rows = next(iter(groups.values()))
    axis.set_xticks([i + 0.4 - width / 2 for i in range(len(rows))], [r[0] for r in rows])
    axis.set_ylabel("distance from the mean, over its norm", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=7)
    return figure


def costs(table: Table) -> Figure:
    """Numbers kept and time of each statistic."""
    figure, (left, right) = _panels(2, 4.5, 2.8)
    names = [row[0] for row in table.rows]
    for axis, place, label in ((left, 1, "numbers kept"), (right, 2, "ms, distance and gradient")):
        axis.barh(names, [row[place] for row in table.rows], color="tab:blue")
        axis.set_xlabel(label, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.invert_yaxis()
    return figure
