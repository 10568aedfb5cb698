"""A convolution of a network that is not trained."""

import torch
from torch import Tensor

from fst.networks.winograd import Conv3x3


class FrozenConv(Conv3x3):
    """A convolution that is not trained: on a GPU, under autocast, its weights are rounded once.

    Autocast keeps rounded weights of parameters that are trained alone, and would round these
    twice a step.
    """

    _rounded: tuple[Tensor, Tensor, int] | None = None  # and the version that they are of

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        kind = x.device.type
        if kind == "cpu" or torch.compiler.is_compiling() or not torch.is_autocast_enabled(kind):
            return self.convolved(x, weight, bias)
        return self.convolved(x, *self._weights_in(torch.get_autocast_dtype(kind)))

    def _weights_in(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        weight, bias, version = self._rounded or (None, None, None)
        fresh = version == self.weight._version and weight.device == self.weight.device
        if not (fresh and weight.dtype == dtype):
            with torch.inference_mode(False):  # they serve where there are gradients, too
                weight, bias = self.weight.to(dtype), self.bias.to(dtype)
            self._rounded = weight, bias, self.weight._version
        return weight, bias
