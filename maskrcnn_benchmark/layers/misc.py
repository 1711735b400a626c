"""Convolutions and batch norm under the original's names.

The original wrapped them because PyTorch refused empty batches; it no longer does.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.modules.utils import _pair

from .dcn.deform_conv_module import DeformConv, ModulatedDeformConv

__all__ = ["BatchNorm2d", "Conv2d", "ConvTranspose2d", "DFConv2d", "interpolate"]

Conv2d = nn.Conv2d
ConvTranspose2d = nn.ConvTranspose2d
BatchNorm2d = nn.BatchNorm2d


class _NewEmptyTensorOp:
    """The original's name for reshaping an empty tensor within autograd."""

    apply = staticmethod(Tensor.reshape)


class DFConv2d(nn.Module):
    """Deformable convolution that predicts its offsets (and masks) from its input.

    Padding keeps the size at stride 1. State-dict keys: `offset.*` and `conv.*`.

    Args:
        with_modulated_dcn: True: DCN v2, with a mask in [0, 1] per kernel tap; False: DCN v1.
        deformable_groups: groups of input channels; each has its own offsets.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        with_modulated_dcn: bool = True,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        dilation: int | tuple[int, int] = 1,
        deformable_groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.with_modulated_dcn = with_modulated_dcn
        self.kernel_size, self.stride = _pair(kernel_size), _pair(stride)
        self.dilation = _pair(dilation)
        self.padding = tuple(
            d * (k - 1) // 2 for d, k in zip(self.dilation, self.kernel_size, strict=True)
        )
        geometry = {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
        }
        taps = deformable_groups * self.kernel_size[0] * self.kernel_size[1]
        self.num_offsets = 2 * taps  # y and x per tap
        planes = 3 * taps if with_modulated_dcn else 2 * taps
        self.offset = Conv2d(in_channels, planes, **geometry)
        nn.init.kaiming_uniform_(self.offset.weight, a=1)
        nn.init.zeros_(self.offset.bias)
        conv_class = ModulatedDeformConv if with_modulated_dcn else DeformConv
        self.conv = conv_class(
            in_channels,
            out_channels,
            groups=groups,
            deformable_groups=deformable_groups,
            bias=bias,
            **geometry,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` (N, in_channels, H, W); return (N, out_channels, H', W')."""
        planes = self.offset(x)
        if not self.with_modulated_dcn:
            return self.conv(x, planes)
        offset, mask = planes.tensor_split([self.num_offsets], dim=1)
        return self.conv(x, offset, torch.sigmoid(mask))
