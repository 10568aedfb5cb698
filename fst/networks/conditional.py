"""Conditional instance normalisation: one scale and shift per style and channel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fst.networks.padding import layout_of
from fst.networks.winograd import is_exporting

LANES = 128  # so many numbers side by side torch's kernel for moments takes at full speed
CHUNK_PIXELS = 2**13  # torch's fast kernel adds up in fp32: at a megapixel it is wrong by 1e-3


class ConditionalInstanceNorm2d(nn.Module):
    """Instance normalisation whose scale and shift are chosen by the style.

    z = gamma_s * (x - mean(x)) / sqrt(var(x) + eps) + beta_s, mean and variance over H and W of
    each image and channel (Dumoulin et al. 2017, "A Learned Representation for Artistic Style",
    eq. 5). All styles share one (S, C) table each for gamma and beta, read by a product with
    `style_weights`: a one-hot row picks a style, a convex row blends several.

    Differs from the paper: the tables are single tensors, not modules per style, so that
    distributed training always sees every parameter, and a spatial map of weights is accepted.
    """

    def __init__(self, num_styles: int, num_channels: int, eps: float = 1e-5) -> None:
        """Make the tables; they start as the identity (gamma 1, beta 0) for every style."""
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(num_styles, num_channels))  # (S, C)
        self.beta = nn.Parameter(torch.zeros(num_styles, num_channels))  # (S, C)

    def forward(self, x: Tensor, style_weights: "Tensor | ScalesAndShifts") -> Tensor:
        """Normalise `x` and apply the scale and shift of the weighted styles.

        Args:
            x: Features, (B, C, H, W), any floating type; the type is kept.
            style_weights: (B, S), or (B, S, h, w) to paint styles in different places; a map of
                another size than the features is resized to them. Or what
                `scales_and_shifts` made of (B, S).

        Returns:
            (B, C, H, W), the type and memory layout of `x`.
        """
        if isinstance(style_weights, dict):
            gamma, beta = style_weights[self]
        elif style_weights.dim() == 4:
            return self._spatial(x, style_weights)
        elif is_exporting():
            gamma, beta = ((style_weights @ t)[:, :, None, None] for t in (self.gamma, self.beta))
            return self._normal(x) * gamma + beta
        else:
            gamma, beta = scales_and_shifts([self], style_weights)[self]
        if x.device.type == "cpu":
            return self._per_image(x, gamma, beta)
        return self._affine(x, gamma[:, :, None, None], beta[:, :, None, None])

    def moments(self, image: Tensor, maps: int = 1) -> "Moments":
        """What is normalised by: the moments of an image's features.

        Args:
            image: (1, maps x C, H, W).
            maps: How many neighbouring channels count as one of the C that are normalised.
        """
        moments = Moments()
        moments.add(image)
        return moments.pooled(maps)

    def affine(self, moments: "Moments", style_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift, each (K, C), that are this norm in K styles, for features with these
        moments: scale * x + shift.

        Args:
            moments: Of each of C channels, over the whole image.
            style_weights: (K, S).
        """
        gamma, beta = (style_weights.to(t) @ t for t in (self.gamma, self.beta))  # (K, C)
        scale = gamma * torch.rsqrt(moments.variance + self.eps).to(gamma)
        return scale, beta - moments.mean.to(gamma) * scale

    def _normal(self, x: Tensor) -> Tensor:
        return F.instance_norm(x, eps=self.eps)

    def _per_image(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        usual = x.dtype in (torch.float32, torch.bfloat16) and gamma.dtype == torch.float32
        exactly = usual and not torch.is_grad_enabled()
        # Batch norm of a batch of one IS instance norm. On a CPU its fused kernel keeps
        # channels_last, reads bf16 with fp32 statistics, and halves the time of the network
        # against the written-out form; F.instance_norm would copy to NCHW and back.
        images = [
            self._exactly(image, g, b)
            if exactly
            else F.batch_norm(image, None, None, g, b, training=True, eps=self.eps)
            for image, g, b in zip(x.split(1), gamma, beta, strict=True)
        ]
        painted = images[0] if len(images) == 1 else torch.cat(images)  # which would copy a single
        if painted.requires_grad:
            # The kernel's backward pass reads a slice of an NCHW gradient as if it were in the
            # channels_last layout of its input (torch 2.13), and returns garbage.
            layout = layout_of(x)
            painted.register_hook(lambda gradient: gradient.contiguous(memory_format=layout))
        return painted

    def _exactly(self, image: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        # As fast as the kernel below, and right for images of many megapixels too.
        moments = self.moments(image)
        mean, variance = moments.mean.float(), moments.variance.float()
        return F.batch_norm(image, mean, variance, gamma, beta, training=False, eps=self.eps)

    def _spatial(self, x: Tensor, style_weights: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            weights = style_weights.to(self.gamma.dtype)
            if weights.shape[-2:] != x.shape[-2:]:
                weights = F.interpolate(weights, x.shape[-2:], mode="bilinear", antialias=True)
            gamma = torch.einsum("bshw,sc->bchw", weights, self.gamma)
            beta = torch.einsum("bshw,sc->bchw", weights, self.beta)
        return self._affine(x, gamma, beta)

    def _affine(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        if gamma.shape[2:] == (1, 1) and not torch.compiler.is_compiling():
            return normed(x, gamma, beta, self.eps)
        # Statistics and affine in fp32: a half-precision variance loses flat areas.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, dim=(2, 3), correction=0, keepdim=True)
        scale = gamma * torch.rsqrt(variance + self.eps)  # (B, C, 1 or H, 1 or W)
        return torch.addcmul(beta - mean * scale, wide, scale).to(x.dtype)


# Scale and shift, each (B, C), of each norm of a network.
ScalesAndShifts = dict[ConditionalInstanceNorm2d, tuple[Tensor, Tensor]]


def scales_and_shifts(
    norms: Sequence[ConditionalInstanceNorm2d], style_weights: Tensor
) -> ScalesAndShifts:
    """Scales and shifts of all norms for some style weights, from one matrix product.

    Args:
        norms: Of one network, or some of them.
        style_weights: (B, S).
    """
    tables = [table for norm in norms for table in (norm.gamma, norm.beta)]
    # Autocast would round the tables to half precision in this small product.
    with torch.autocast(style_weights.device.type, enabled=False):
        rows = style_weights.to(tables[0].dtype) @ torch.cat(tables, 1)
    parts = rows.split([table.shape[1] for table in tables], 1)
    return dict(zip(norms, zip(parts[::2], parts[1::2], strict=True), strict=True))


def takes_scales_and_shifts(norm: nn.Module) -> bool:
    """Whether a norm takes what `scales_and_shifts` gives: a user's own may ask for the weights."""
    return type(norm).forward is ConditionalInstanceNorm2d.forward


class ConditionalAffine2d(ConditionalInstanceNorm2d):
    """The scale and shift alone, gamma_s x + beta_s, after a layer that is not normalised."""

    def affine(self, moments: "Moments", style_weights: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(style_weights.to(t) @ t for t in (self.gamma, self.beta))

    def _normal(self, x: Tensor) -> Tensor:
        return x

    def _per_image(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return self._affine(x, gamma[:, :, None, None], beta[:, :, None, None])

    def _affine(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return torch.addcmul(beta, x.float(), gamma).to(x.dtype)


def normed(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """Instance norm in few kernels: to launch them is most of the time on a GPU.

    Differs from `torch.nn.functional.instance_norm`: the layout of `x` stays, half precision is
    summed up in fp32, and each image has a scale and a shift of its own.

    Args:
        x: (B, C, H, W).
        gamma: Scale, (B, C, 1, 1), at least fp32.
        beta: Shift, (B, C, 1, 1).
        eps: Added to the variance.
    """
    return _Normed.apply(x, gamma, beta, eps)


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, dim=(2, 3), correction=0, keepdim=True)
        inverse = torch.rsqrt(variance + eps)
        scale = gamma * inverse  # (B, C, 1, 1)
        ctx.save_for_backward(x, mean, inverse, scale)
        shift = torch.addcmul(beta, mean, scale, value=-1)
        return torch.addcmul(shift, x, scale, out=torch.empty_like(x))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, mean, inverse, scale = ctx.saved_tensors
        centred = x - mean  # at least fp32
        for_beta = gradient.sum((2, 3), keepdim=True, dtype=mean.dtype)
        for_gamma = (gradient * centred).sum((2, 3), keepdim=True) * inverse
        # gamma / sqrt(var + eps) (g - mean(g) - x^ mean(g x^)), x^ being the normed features
        share = scale / -(x.shape[2] * x.shape[3])
        both = torch.addcmul(share * for_beta, centred, share * inverse * for_gamma)
        for_x = torch.addcmul(both, gradient, scale, out=torch.empty_like(x))
        return for_x, for_gamma, for_beta, None


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
        parts, counts = [], []
        for part, abreast in _parts(rows):
            # Several times faster than var_mean; fp32 buffers make it answer in fp32.
            unused = torch.zeros(2, part.shape[1])
            found = torch.batch_norm_update_stats(part, unused[0], unused[1], 0.0)
            parts.append([t.view(abreast, -1) for t in found])
            counts += [part.shape[2] * part.shape[3]] * abreast
        if self.count:
            parts.append([self.mean[None], self.variance[None]])
            counts.append(self.count)
        means, variances = (torch.cat(column).double() for column in zip(*parts, strict=True))
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

    def pooled(self, maps: int) -> "Moments":
        """Those of each `maps` neighbouring channels together."""
        if maps == 1:
            return self
        means, squares = (t.unflatten(0, (-1, maps)) for t in (self.mean, self.squares))
        mean = means.mean(1)
        between = self.count * (means - mean[:, None]).square()
        return Moments(self.count * maps, mean, (squares + between).sum(1))

    @property
    def variance(self) -> Tensor:
        """Of each channel, (C,)."""
        return self.squares / self.count


def _parts(rows: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Rows (1, C, h, W) in parts (1, k C, h, w) of which fp32 holds the sums, each with its k.

    The kernel takes neighbouring numbers at a time: where pixels have few, k of them count as one.
    """
    channels = rows.shape[1]
    abreast = LANES // channels if layout_of(rows) == torch.channels_last else 1
    if not 1 < abreast <= rows[0, 0].numel():
        for part in rows.split(max(1, CHUNK_PIXELS // rows.shape[3]), dim=2):
            yield part, 1
        return
    pixels = rows.permute(0, 2, 3, 1).flatten(0, 2)  # (h W, C)
    even = len(pixels) // abreast * abreast
    for part in pixels[:even].unflatten(0, (-1, abreast)).flatten(1).split(CHUNK_PIXELS):
        yield part.T[None, :, None], abreast
    if even < len(pixels):
        yield pixels[even:].T[None, :, None], 1
