"""Statistics of features that describe style."""

import torch
from torch import Tensor


def gram_matrix(features: Tensor) -> Tensor:
    """Gram matrix: how strongly each pair of channels fires together, wherever it does.

    G = F F^T / N with F the features as a (C, N = H W) matrix (Gatys et al. 2016, "Image Style
    Transfer Using Convolutional Neural Networks", eq. 3). Differs from the paper: divided by N,
    so that the size of the image drops out.

    Args:
        features: (B, C, H, W), any floating type.

    Returns:
        (B, C, C), fp32 (fp64 for fp64 features): sums over many positions overflow half precision.
    """
    with torch.autocast(features.device.type, enabled=False):
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        # flatten(2) of channels_last features is a strided view, which bmm takes as it is.
        flat = wide.flatten(2)  # (B, C, N)
        return _Square.apply(flat) / flat.shape[2]


class _Square(torch.autograd.Function):
    """F F^T of (B, C, N). torch would take the gradient of each factor, and add the two up."""

    @staticmethod
    def forward(ctx, flat: Tensor) -> Tensor:
        ctx.save_for_backward(flat)
        return flat @ flat.mT

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (flat,) = ctx.saved_tensors
        both = gradient + gradient.mT
        if flat.mT.is_contiguous():  # channels_last: so is the gradient then
            return (flat.mT @ both).mT
        return both @ flat
