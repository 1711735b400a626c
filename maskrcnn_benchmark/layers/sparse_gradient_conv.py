"""A convolution for outputs of which few cells enter the loss, as an RPN's.

An RPN computes 65,536 cells of the finest map of a 1024x1024 tile, and its loss looks at no more
than 256 of them. The gradient is zero elsewhere, and so are most products of the backward pass.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

# Of cells with a gradient: beyond it, what these cells were computed from is more than the map.
DENSE_SHARE = 1 / 9


class SparseGradientConv2d(nn.Conv2d):
    """A 3x3 convolution of stride 1 that keeps the map's size.

    The output is nn.Conv2d's to the last bit. On the CPU the backward pass computes only with the
    cells whose gradient is not zero, which gives the same sums in another order. Elsewhere it is
    the usual one: to find these cells would make the host wait.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H, W) for `x` (N, in_channels, H, W)."""
        if x.device.type != "cpu" or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().forward(x)
        parameters = (x, self.weight, self.bias)
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            parameters = tuple(parameter.to(dtype) for parameter in parameters)
        return _Conv3x3.apply(*parameters)


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, weight = ctx.saved_tensors
        cells = gradient.any(dim=1)  # (N, H, W)
        image, row, column = cells.nonzero(as_tuple=True)
        if len(image) > DENSE_SHARE * cells.numel():
            grad_x = conv2d_input(x.shape, weight, gradient, padding=1)
            grad_weight = conv2d_weight(x, weight.shape, gradient, padding=1)
            return grad_x, grad_weight, gradient.sum((0, 2, 3))
        rows = gradient.permute(0, 2, 3, 1)[image, row, column]  # (K, out)
        # the 9 cells that each of the K was computed from; beyond the border lie zeros
        steps = torch.arange(-1, 2)
        row, column = row[:, None, None] + steps[:, None], column[:, None, None] + steps
        height, width = x.shape[2:]
        outside = ((row < 0) | (row >= height) | (column < 0) | (column >= width))[..., None]
        nine = image[:, None, None], row.clamp(0, height - 1), column.clamp(0, width - 1)

        kernel = weight.permute(0, 2, 3, 1)  # (out, 3, 3, in)
        patches = x.permute(0, 2, 3, 1)[nine].masked_fill(outside, 0)  # (K, 3, 3, in)
        grad_weight = (rows.T @ patches.flatten(1)).view(kernel.shape).permute(0, 3, 1, 2)
        summands = (rows @ kernel.flatten(1)).view(patches.shape).masked_fill(outside, 0)
        grad_x = torch.zeros_like(x)
        grad_x.permute(0, 2, 3, 1).index_put_(nine, summands, accumulate=True)
        return grad_x, grad_weight, rows.sum(0)
