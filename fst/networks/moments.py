"""Mean and variance of feature maps of any size."""

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK_PIXELS = 2**13  # torch's fast kernel adds up in fp32: at a megapixel it is wrong by 1e-3


@dataclass
class Moments:
    """Count, mean and summed squared deviation of each channel, merged part by part in fp64.

    Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample
    variances", eq. 2.1.

    Examples:
        >>> moments = Moments()
        >>> moments.add(torch.tensor([1.0, 2.0]).view(1, 1, 1, 2))
        >>> moments.add(torch.tensor([6.0]).view(1, 1, 1, 1))
        >>> moments.mean.item(), round(moments.variance.item(), 3)
        (3.0, 4.667)
    """

    count: int = 0
    mean: Tensor | float = 0.0  # (C,)
    squares: Tensor | float = 0.0  # (C,)

    def add(self, rows: Tensor) -> None:
        """Merge in the pixels of (1, C, h, W), fp32 or bf16."""
        if rows.device.type != "cpu":
            self._add_there(rows)
            return
        height, width = rows.shape[2:]
        step = max(1, CHUNK_PIXELS // width)
        parts = [_mean_and_variance(part) for part in rows.split(step, dim=2)]
        counts = [min(step, height - low) * width for low in range(0, height, step)]
        if self.count:
            parts.append((self.mean, self.variance))
            counts.append(self.count)
        means, variances = (torch.stack(column).double() for column in zip(*parts, strict=True))
        weights = torch.tensor(counts, dtype=torch.double)  # (parts,)
        self.count = sum(counts)
        self.mean = weights @ means / self.count
        self.squares = weights @ (variances + (means - self.mean) ** 2)

    def _add_there(self, rows: Tensor) -> None:
        """The same on another device, which is not waited for; on Apple's, which has no fp64, in
        fp32."""
        exact = torch.float32 if rows.device.type == "mps" else torch.float64
        variance, mean = torch.var_mean(rows.float(), dim=(0, 2, 3), correction=0)
        added = rows.shape[2] * rows.shape[3]
        self.count += added
        step = mean.to(exact) - self.mean
        self.mean = self.mean + step * (added / self.count)
        between = step.square() * (added * (self.count - added) / self.count)
        self.squares = self.squares + variance.to(exact) * added + between

    @property
    def variance(self) -> Tensor:
        """Of each channel, (C,)."""
        return self.squares / self.count


def _mean_and_variance(rows: Tensor) -> tuple[Tensor, Tensor]:
    # Several times faster than var_mean on channels_last; fp32 buffers make it answer in fp32.
    unused = torch.zeros(2, rows.shape[1])
    return torch.batch_norm_update_stats(rows, unused[0], unused[1], 0.0)
