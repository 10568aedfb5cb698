"""How strongly a photo is painted: from the photo itself to beyond the painting."""

import torch
from torch import Tensor

# Share of the painting at strength 0, 0.25, ... 1: where the style distance has gone that part of
# its way from photo to painting. In a plain mix it has gone 0.23, 0.45 and 0.73 of it at shares
# 0.25, 0.5 and 0.75, in the mean of eight styles of the gallery; from 0.12, 0.34, 0.66 to 0.42,
# 0.70, 0.87 (`scripts/evaluate_controls.py --share`, 10 held-out photos at 160 px, real VGG-19).
_SHARES = (0.0, 0.276, 0.548, 0.772, 1.0)


def exaggerated(weights: Tensor, strength: float) -> Tensor:
    """Style weights, beyond strength 1 moved on away from the even blend of all styles.

    So what is exaggerated is what sets the style apart from the model's others; a model of one
    style has nothing to move away from and paints as at strength 1.

    Args:
        weights: (1, S) or (1, S, H, W), adding up to 1 over S.
        strength: Up to 1 the weights are returned as they are.
    """
    beyond = max(0.0, strength - 1)
    return weights + beyond * (weights - 1 / weights.shape[1]) if beyond else weights


def mixed(photo: Tensor, painting: Tensor, strength: float, where: Tensor | None = None) -> Tensor:
    """Photo and painting (3, H, W) as one, from strength 0, the photo, to 1 and above, the
    painting; `where`, (H, W), is the share of the painting by place."""
    if strength >= 1 and where is None:
        return painting
    share = painting_share(strength)
    return torch.lerp(photo, painting, share if where is None else share * where)


def painting_share(strength: float) -> float:
    """The share of the painting that brings the style distance `strength` of the way from the
    photo's to the painting's."""
    strength = min(1.0, strength)
    step = 1 / (len(_SHARES) - 1)
    low = min(int(strength / step), len(_SHARES) - 2)
    return _SHARES[low] + (strength / step - low) * (_SHARES[low + 1] - _SHARES[low])
