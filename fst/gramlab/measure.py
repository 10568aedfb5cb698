"""Tables of what Gram matrices say about style pictures."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fst.data.styles import numbered
from fst.io.paths import printable
from fst.losses.gram import count_of, eigenpairs, energy_rank, gram_matrix
from fst.losses.parse import read_statistic
from fst.losses.patches import cut
from fst.losses.style import split
from fst.losses.style_loss import aggregated

ENERGIES = (0.90, 0.95, 0.99)
RANKS = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
AGGREGATES = ("mean", "max", "min")
COSTS = ("gram", "eigen top=5%", "projected rank=10%", "projected rank=5%", "meanstd",
    "covariance", "wasserstein", "sliced")  # fmt: skip
REPEATS = 5


@dataclass(frozen=True)
class Table:
    """Rows of one length under a heading."""

    name: str
    header: tuple[str, ...]
    rows: list[tuple]


class Laboratory:
    """Style pictures, their features and Gram matrices at some layers.

    Attributes:
        names: Of the pictures, as they are shown: one that comes twice gets a number.
        centered: Whether the matrices are those of centred features: covariances.
        grams: Layer to (P, C, C), one matrix a picture, fp32.
        means: Layer to (P, C), the channel means of the features, fp32.
        eigenvalues: Layer to (P, C), largest magnitude first, float64.
    """

    @torch.no_grad()
    def __init__(
        self,
        loss_network: torch.nn.Module,
        pictures: Sequence[Tensor],
        names: Sequence[str],
        layers: Sequence[str],
        centered: bool = False,
    ) -> None:
        """Compute the Gram matrices of pictures, each (3, H, W) in [0, 1], on the network's device.

        Raises:
            FstError: The network lacks a layer.
        """
        self.network, self.pictures = loss_network, list(pictures)
        self.layers, self.centered = tuple(layers), centered
        self.names: list[str] = []
        for name in names:
            self.names.append(numbered(printable(name), self.names))
        rows = [self._moments(picture) for picture in self.pictures]
        self.means, self.grams = (
            {layer: torch.cat([row[layer][place] for row in rows]) for layer in self.layers}
            for place in (0, 1)
        )
        self.eigenvalues = {
            layer: torch.stack([eigenpairs(matrix)[0] for matrix in matrices])
            for layer, matrices in self.grams.items()
        }

    def _moments(self, picture: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Channel means (1, C) and Gram matrix (1, C, C) at each layer."""
        found = {}
        for layer, features in self.network(picture[None], self.layers).items():
            mean, rest = split(features)
            matrix = gram_matrix(rest if self.centered else features)
            found[layer] = mean.cpu(), matrix.cpu()
        return found

    def mean_shares(self) -> Table:
        """What the mean m holds of the Gram matrix that is not centred, A = S + m m^T: the share of
        the trace, that of ||A||_F^2, and |cos| of m and the first eigenvector, 1 where it is m."""
        rows = []
        for layer in self.layers:
            pairs = zip(self.means[layer].double(), self.grams[layer].double(), strict=True)
            for name, (mean, matrix) in zip(self.names, pairs, strict=True):
                whole = matrix + torch.outer(mean, mean) if self.centered else matrix
                square = mean.square().sum()
                trace = square / whole.trace().clamp_min(1e-30)
                energy = square.square() / whole.square().sum().clamp_min(1e-30)
                cosine = (eigenpairs(whole)[1][:, 0] @ mean).abs() / square.sqrt().clamp_min(1e-30)
                rows.append((layer, name, trace.item(), energy.item(), cosine.item()))
        header = ("layer", "picture", "of the trace", "of ||A||_F^2", "cosine with the first")
        return Table("mean_shares", header, rows)

    def spectra(self) -> Table:
        """Every eigenvalue of every picture, with the share of ||A||_F^2 that it completes."""
        rows = []
        for layer, picture, values in self._each():
            values = values.clamp_min(0)
            energy = values.square().cumsum(0) / values.square().sum().clamp_min(1e-30)
            pairs = enumerate(zip(values.tolist(), energy.tolist(), strict=True), start=1)
            rows += [(layer, picture, place, value, share) for place, (value, share) in pairs]
        return Table("spectra", ("layer", "picture", "rank", "eigenvalue", "energy"), rows)

    def ranks(self) -> Table:
        """How many eigenpairs hold 90, 95 and 99 % of ||A||_F^2."""
        rows = [
            (layer, picture, len(values), *(energy_rank(values, share) for share in ENERGIES))
            for layer, picture, values in self._each()
        ]
        shares = (f"rank for {share:.0%}" for share in ENERGIES)
        return Table("ranks", ("layer", "picture", "channels", *shares), rows)

    def reconstruction(self) -> Table:
        """||A - A_k||_F / ||A||_F where A_k keeps the top so many eigenpairs: what the others hold
        (Eckart & Young 1936)."""
        rows = []
        for layer, picture, values in self._each():
            for share in RANKS:
                k = count_of(share, len(values))
                error = values[k:].norm() / values.norm().clamp_min(1e-30)
                rows.append((layer, picture, share, k, error.item()))
        header = ("layer", "picture", "share of pairs", "pairs", "relative error")
        return Table("reconstruction", header, rows)

    def similarity(self) -> Table:
        """Relative distance of each two pictures, 2 ||A - B||_F / (||A||_F + ||B||_F)."""
        rows = []
        for layer in self.layers:
            distances = relative_distances(self.grams[layer])
            for one, row in zip(self.names, distances.tolist(), strict=True):
                rows += [(layer, one, two, d) for two, d in zip(self.names, row, strict=True)]
        return Table("similarity", ("layer", "picture", "other", "distance"), rows)

    def aggregates(self) -> Table:
        """Mean, maximum and minimum over the pictures: distance from the mean, and what of them no
        Gram matrix could be: the share of negative eigenvalues in ||A||_F^2."""
        rows = []
        for layer in self.layers:
            mean = aggregated(self.grams[layer], "mean")
            for how in AGGREGATES:
                matrix = aggregated(self.grams[layer], how)
                values = eigenpairs(matrix)[0]
                negative = values.clamp_max(0).square().sum() / values.square().sum()
                distance = (matrix - mean).norm() / mean.norm()
                rows.append((layer, how, distance.item(), energy_rank(values, 0.95),
                             negative.item()))  # fmt: skip
        header = ("layer", "aggregate", "distance from mean", "rank for 95%", "negative share")
        return Table("aggregates", header, rows)

    @torch.no_grad()
    def patches(self, grid: tuple[int, int]) -> Table:
        """Relative distance of each patch's Gram matrix from that of its whole picture.

        Raises:
            FstError: A picture is too small for the grid.
        """
        rows = []
        for place, (name, picture) in enumerate(zip(self.names, self.pictures, strict=True)):
            for number, patch in enumerate(cut(picture, grid)):
                row, column = divmod(number, grid[1])
                for layer, (_, matrix) in self._moments(patch).items():
                    whole = self.grams[layer][place]
                    distance = (matrix[0] - whole).norm() / whole.norm().clamp_min(1e-30)
                    rows.append((layer, name, row, column, distance.item()))
        return Table("patches", ("layer", "picture", "row", "column", "distance"), rows)

    def costs(self, texts: Sequence[str] = COSTS) -> Table:
        """Numbers kept as target, and milliseconds for distance and gradient, over all layers.

        The loss network's own time is not in it: features of the first picture are measured.
        """
        with torch.no_grad():
            features = self.network(self.pictures[0][None], self.layers)
        cases: dict[str, Callable[[], None]] = {}
        numbers = {}
        for text in texts:
            loss = read_statistic(text).loss
            targets = {layer: loss.target([features[layer]]) for layer in self.layers}
            numbers[text] = sum(t.numel() for parts in targets.values() for t in parts)
            cases[text] = lambda loss=loss, targets=targets: _run(loss, features, targets)
        medians = interleaved(cases, REPEATS)
        first = medians[texts[0]]
        rows = [(t, numbers[t], 1e3 * medians[t], medians[t] / first) for t in texts]
        return Table("costs", ("statistic", "numbers", "ms", f"time over {texts[0]}"), rows)

    def _each(self):
        """Layer, name of picture and eigenvalues of all."""
        for layer, values in self.eigenvalues.items():
            yield from ((layer, n, v) for n, v in zip(self.names, values, strict=True))


def relative_distances(matrices: Tensor) -> Tensor:
    """2 ||A - B||_F / (||A||_F + ||B||_F) of each two of (P, C, C): (P, P)."""
    norms = matrices.flatten(1).norm(dim=1)
    differences = (matrices[:, None] - matrices[None]).flatten(2).norm(dim=2)
    return 2 * differences / (norms[:, None] + norms[None]).clamp_min(1e-30)


def interleaved(cases: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each case, in turns, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats + 1):
        for name, run in cases.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def _run(loss, features: dict[str, Tensor], targets: dict[str, tuple[Tensor, ...]]) -> None:
    """Distance and gradient at every layer."""
    for layer, parts in targets.items():
        leaf = features[layer].detach().requires_grad_()
        loss.distance(leaf, *(part[None] for part in parts)).sum().backward()
    if features[layer].is_cuda:
        torch.cuda.synchronize()
