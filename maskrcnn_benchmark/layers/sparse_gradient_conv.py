"""A convolution for outputs of which few cells enter the loss, as an RPN's.

An RPN computes 65,536 cells of the finest map of a 1024x1024 tile, and its loss looks at no more
than 256 of them. The gradient is zero elsewhere, and so are most products of the backward pass.
"""

import itertools
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
        x_cells = x.permute(0, 2, 3, 1)
        grad_x, grad_weight = torch.zeros_like(x), torch.empty_like(weight)
        grad_x_cells = grad_x.permute(0, 2, 3, 1)
        height, width = x.shape[2:]
        for i, j in itertools.product(range(3), range(3)):
            source_row, source_column = row + i - 1, column + j - 1
            inside = (0 <= source_row) & (source_row < height)
            inside &= (0 <= source_column) & (source_column < width)
            source = image[inside], source_row[inside], source_column[inside]
            grad_weight[:, :, i, j] = rows[inside].T @ x_cells[source]
            # each cell once, so that the order of the sums does not depend on threads
            grad_x_cells[source] += rows[inside] @ weight[:, :, i, j]
        return grad_x, grad_weight, rows.sum(0)
