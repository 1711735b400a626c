"""Batch normalisation with statistics that stay as they were loaded."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FrozenBatchNorm2d(nn.Module):
    """Normalise with buffers for statistics and affine parameters, which training leaves alone.

    No epsilon is added to the variance: Detectron's weights come with it folded in.

    What is multiplied and added is computed anew only after the buffers changed: by
    load_state_dict, `to`, or an edit in place. An edit through `.data` is not noticed.

    Args:
        n: number of channels.
    """

    # `convolve_and_normalize` multiplies the weights of the convolution instead of its output
    fold = False

    # how the buffers were, they themselves, and the two tensors that came of them
    _last: tuple[list[Any], tuple[Tensor, ...], Tensor, Tensor] | None = None

    def __init__(self, n: int) -> None:
        super().__init__()
        for name, fill in (("weight", 1.0), ("bias", 0.0)):
            self.register_buffer(name, torch.full((n,), fill))
        for name, fill in (("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((n,), fill))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (N, n, H, W); the result has x's dtype, under autocast too."""
        scale, shift = self._scale_and_shift(x.dtype)
        # The product is needed by nobody else, so that the sum may overwrite it.
        return (x * scale).add_(shift)

    def folded(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """Return this norm of `conv(x)` by one convolution; `conv` has no bias."""
        scale, shift = self._scale_and_shift(conv.weight.dtype)
        weight = conv.weight * scale[..., None]
        return F.conv2d(
            x, weight, shift.flatten(), conv.stride, conv.padding, conv.dilation, conv.groups
        )

    def _scale_and_shift(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return (n, 1, 1) factors and summands of a dtype, those of the last call if they hold."""
        buffers = (self.weight, self.bias, self.running_mean, self.running_var)
        untracked = any(buffer.is_inference() or buffer.requires_grad for buffer in buffers)
        if untracked or torch.compiler.is_compiling():
            return self._compute(buffers, dtype)
        state = [dtype, *((id(b), b._version, b.device, b.dtype) for b in buffers)]
        if self._last is None or self._last[0] != state:
            with torch.inference_mode(False):  # such tensors could not be used in training
                self._last = (state, buffers, *self._compute(buffers, dtype))
        return self._last[2:]

    @staticmethod
    def _compute(buffers: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        weight, bias, mean, variance = buffers
        scale = weight * variance.rsqrt()
        shift = bias - mean * scale
        return scale.to(dtype)[:, None, None], shift.to(dtype)[:, None, None]

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: a copy's buffers have versions of their own."""
        return {name: value for name, value in self.__dict__.items() if name != "_last"}

    def extra_repr(self) -> str:
        return str(self.weight.numel())


def convolve_and_normalize(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """Return `norm(conv(x))`, by one convolution where the norm is frozen and told to fold."""
    if isinstance(norm, FrozenBatchNorm2d) and norm.fold and isinstance(conv, nn.Conv2d):
        return norm.folded(conv, x)
    return norm(conv(x))
