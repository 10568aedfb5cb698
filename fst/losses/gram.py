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
        return flat @ flat.transpose(1, 2) / flat.shape[2]
