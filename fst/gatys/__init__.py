"""Optimise the pixels of one image: the slow way to a stylized image, and the baseline.

Gatys, Ecker and Bethge 2016, "Image Style Transfer Using Convolutional Neural Networks", with the
`PerceptualLoss` that trains the networks, so that both can be compared number by number.
`optimization` has the whole of it, size by size, `descent` the work at one size.
"""

from fst.gatys.descent import GatysStep
from fst.gatys.optimization import GatysResult, optimize

__all__ = ["GatysResult", "GatysStep", "optimize"]
