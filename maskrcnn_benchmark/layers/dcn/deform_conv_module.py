"""Modules of deformable convolution (arXiv 1703.06211, 1811.11168)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from .deform_conv_func import Pair, deform_conv, modulated_deform_conv


class _DeformConvBase(nn.Module):
    """Weights and geometry of a deformable convolution.

    Args:
        groups: groups of channels that are convolved separately.
        deformable_groups: groups of input channels; each has its own offsets.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"in_channels {in_channels} and out_channels {out_channels} must both be "
                f"divisible by groups {groups}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = _pair(kernel_size), _pair(stride)
        self.padding, self.dilation = _pair(padding), _pair(dilation)
        self.groups, self.deformable_groups = groups, deformable_groups
        self.with_bias = bias
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // groups, *self.kernel_size)
        )
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight uniformly in +-1 / sqrt(in_channels * kh * kw) and zero the bias."""
        bound = 1.0 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _geometry(self) -> tuple:
        return self.stride, self.padding, self.dilation, self.groups, self.deformable_groups

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"groups={self.groups}, deformable_groups={self.deformable_groups}, "
            f"bias={self.with_bias}"
        )


class DeformConv(_DeformConvBase):
    """DCN v1, whose offsets the caller gives; it has no bias."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = False,
    ) -> None:
        if bias:
            raise ValueError("DeformConv has no bias; use ModulatedDeformConv or bias=False")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            deformable_groups,
            bias,
        )

    def forward(self, input: Tensor, offset: Tensor) -> Tensor:
        return deform_conv(input, offset, self.weight, *self._geometry())


class ModulatedDeformConv(_DeformConvBase):
    """DCN v2, whose offsets and masks the caller gives."""

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        return modulated_deform_conv(input, offset, mask, self.weight, self.bias, *self._geometry())


class ModulatedDeformConvPack(ModulatedDeformConv):
    """DCN v2 that predicts its offsets and masks from its input.

    At the start all offsets are 0 and all masks 0.5: half of a plain convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            deformable_groups,
            bias,
        )
        self.conv_offset_mask = nn.Conv2d(
            in_channels,
            3 * deformable_groups * math.prod(self.kernel_size),
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
        )
        self.init_offset()

    def init_offset(self) -> None:
        """Zero the predictor, so that offsets are 0 and masks sigmoid(0) = 0.5."""
        for parameter in self.conv_offset_mask.parameters():
            nn.init.zeros_(parameter)

    def forward(self, input: Tensor) -> Tensor:
        planes = self.conv_offset_mask(input)
        offset, mask = planes.tensor_split([planes.shape[1] // 3 * 2], dim=1)
        return super().forward(input, offset, mask.sigmoid())
