"""The report of `fst-gram`: figures, tables, one web page that holds all, and TensorBoard."""

import base64
import csv
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from fst.errors import FstError
from fst.gramlab import figures
from fst.gramlab.measure import Laboratory, Table
from fst.io import images
from fst.io.atomic import write_atomically

# Figures and tables that one picture, or no textures, do without.
NOT_ALWAYS = ("similarity", "aggregates", "textures")


@dataclass
class Section:
    """A part of the report.

    Attributes:
        title: Its heading.
        text: What is to be seen.
        images: File stem to image (3, H, W).
        table: Shown below; a long one is only written as CSV.
        hidden: Tables that are only written.
    """

    title: str
    text: str
    images: dict[str, Tensor] = field(default_factory=dict)
    table: Table | None = None
    hidden: list[Table] = field(default_factory=list)


def sections(laboratory: Laboratory, grid: tuple[int, int]) -> list[Section]:
    """Measure and draw all but the textures."""
    spectra, reconstruction = laboratory.spectra(), laboratory.reconstruction()
    similarity, patches = laboratory.similarity(), laboratory.patches(grid)
    aggregates, costs = laboratory.aggregates(), laboratory.costs()
    matrices = "centred Gram matrices" if laboratory.centered else "Gram matrices"
    pictures = {n: p.cpu() for n, p in zip(laboratory.names, laboratory.pictures, strict=True)}
    parts = [
        Section("Pictures", "Style pictures as measured.",
                {"pictures": drawn(figures.strip(pictures))}),
        Section("What the mean holds", "Shares of the channel means in the Gram matrices that are "
                "not centred, and how nearly the first eigenvector is the mean. What is left, the "
                "covariance, is what a report of centred features shows.",
                table=laboratory.mean_shares()),
        Section("Spectra", f"Eigenvalues of the {matrices}, largest first; marks show where 90, "
                "95 and 99 % of ||A||_F^2 are reached. The steeper, the fewer pairs carry the "
                "style.", {"spectra_linear": drawn(figures.spectra(spectra, log=False)),
                "spectra_log": drawn(figures.spectra(spectra, log=True))}, laboratory.ranks(),
                [spectra]),
        Section("Reconstruction", "What is missing when only the top eigenpairs are kept.",
                {"reconstruction": drawn(figures.reconstruction(reconstruction))},
                hidden=[reconstruction]),
        Section("Patches", f"How far each patch of a {grid[0]}x{grid[1]} grid is from its picture: "
                "high where the style is not the same all over.",
                {"patches": drawn(figures.patches(patches))}, hidden=[patches]),
        Section("Costs", "Targets and time of the statistics, over all layers, without the loss "
                "network's own.", {"costs": drawn(figures.costs(costs))}, costs),
    ]  # fmt: skip
    if len(laboratory.names) > 1:
        parts[4:4] = [
            Section("Similarity", f"Relative distances of the pictures' {matrices}: 0 the same, "
                    "about 1 nothing in common.",
                    {"similarity": drawn(figures.similarity(similarity))}, hidden=[similarity]),
            Section("Mean, maximum, minimum", "Aggregates over the pictures. A negative share says "
                    "that no picture could have that matrix.",
                    {"aggregates": drawn(figures.aggregates(aggregates))}, aggregates),
        ]  # fmt: skip
    return parts


def texture_section(textures: dict[str, Tensor], pictures: dict[str, Tensor]) -> Section:
    """Textures beside the pictures, by name, that they come from: all of one style."""
    sources = {f"picture {name}": picture.cpu() for name, picture in pictures.items()}
    text = "What each statistic keeps: noise made to match it, and nothing else."
    if len(sources) > 1:
        text += f" Each texture is of all {len(sources)} pictures: instances of one style."
    return Section("Textures", text, {"textures": drawn(figures.strip({**sources, **textures}))})


def write(folder: Path, names: Sequence[str], settings: str, parts: Sequence[Section]) -> Path:
    """Write figures/*.png, tables/*.csv, tensorboard/ and report.html, in the place of those of an
    earlier report; returns the last.

    Raises:
        FstError: The folder cannot be written.
    """
    _remove_former(folder)
    shown = []
    for part in parts:
        encoded = []
        for stem, image in part.images.items():
            path = images.save(image, folder / "figures" / f"{stem}.png", overwrite=True)
            encoded.append((stem, base64.b64encode(path.read_bytes()).decode()))
        for table in [*([part.table] if part.table else []), *part.hidden]:
            write_atomically(folder / "tables" / f"{table.name}.csv", csv_bytes(table))
        shown.append({"title": part.title, "text": part.text, "images": encoded,
                      "table": part.table and rounded(part.table)})  # fmt: skip
    template = (Path(__file__).parent / "report.html").read_text()
    page = jinja2.Template(template, autoescape=True).render(
        names=[images.printable(name) for name in names], settings=settings, sections=shown
    )
    write_atomically(folder / "report.html", page.encode())
    _log(folder / "tensorboard", parts)
    return folder / "report.html"


def _remove_former(folder: Path) -> None:
    """What an earlier report has and this one may lack; other folders are left alone."""
    if not (folder / "report.html").exists():
        return
    former = [folder / "figures" / f"{name}.png" for name in NOT_ALWAYS]
    former += [folder / "tables" / f"{name}.csv" for name in NOT_ALWAYS]
    for file in (*former, *(folder / "tensorboard").glob("events.out.tfevents.*")):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise FstError(f"{file} cannot be removed: {error.strerror}") from error


def _log(folder: Path, parts: Sequence[Section]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for part in parts:
            for stem, image in part.images.items():
                writer.add_image(f"gram/{stem}", image)
            if part.table:
                writer.add_text(f"gram/{part.table.name}", markdown(part.table))


# ---- pieces ------------------------------------------------------------------------------------


def drawn(figure: Figure) -> Tensor:
    """A figure as an image (3, H, W) in [0, 1]."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # names in scripts that the font has not
        canvas.draw()
    pixels = torch.from_numpy(np.array(canvas.buffer_rgba()))  # (H, W, 4)
    return pixels[..., :3].permute(2, 0, 1).float() / 255


def csv_bytes(table: Table) -> bytes:
    """A table as a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table.header)
    writer.writerows(table.rows)
    return text.getvalue().encode()


def rounded(table: Table) -> Table:
    """The same with numbers as people read them."""
    rows = [tuple(f"{v:.4g}" if isinstance(v, float) else v for v in row) for row in table.rows]
    return Table(table.name, table.header, rows)


def markdown(table: Table) -> str:
    """A table as Markdown."""
    lines = [table.header, ["---"] * len(table.header), *rounded(table).rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
