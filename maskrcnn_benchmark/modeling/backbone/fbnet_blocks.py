"""FBNet's blocks (Wu et al., "FBNet", arXiv 1812.03443) and their names in architectures.

State-dict keys use the attributes' names: `pw`, `dw` and `pwl` of a block, `conv` and `bn` of a
layer.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers import BatchNorm2d, Conv2d, FrozenBatchNorm2d, interpolate

# "bn", "gn" with its number of groups, "af" (frozen batch norm), or no norm
NormType = str | tuple[str, int] | None


def divisible(width: float, divisor: int, at_least: int) -> int:
    """Return the multiple of `divisor` nearest to `width`, halves rounded up.

    A width that rounds to 0 becomes `at_least * divisor` (not `at_least`): width 3 with divisor 8
    and at_least 8 becomes 64, as in the original's networks.
    """
    if divisor <= 0 or width % divisor == 0:
        return int(width)
    return (math.floor(width / divisor + 0.5) or at_least) * divisor


class Identity(nn.Module):
    """Identity, or a 1x1 convolution where channels or size change."""

    def __init__(self, C_in: int, C_out: int, stride: int):
        super().__init__()
        self.conv = None
        if C_in != C_out or stride != 1:
            self.conv = ConvBNRelu(C_in, C_out, 1, stride, 0, True, "relu", "bn")

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C_out, H / stride, W / stride]."""
        return x if self.conv is None else self.conv(x)


class _Residual(nn.Sequential):
    """Layers in sequence; where the shapes agree, the input is added to their output."""

    def __init__(self, C_in: int, C_out: int, stride: int, *layers: nn.Module):
        if stride not in (1, 2):
            raise ValueError(f"the stride of {type(self).__name__} is 1 or 2, got {stride}")
        super().__init__(*layers)
        self.res_connect = stride == 1 and C_in == C_out

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C_out, H / stride, W / stride]."""
        y = super().forward(x)
        return y + x if self.res_connect else y


class CascadeConv3x3(_Residual):
    """Two 3x3 convolutions, with a shortcut where the shapes agree."""

    def __init__(self, C_in: int, C_out: int, stride: int):
        super().__init__(
            C_in,
            C_out,
            stride,
            Conv2d(C_in, C_in, 3, stride, 1, bias=False),
            BatchNorm2d(C_in),
            nn.ReLU(inplace=True),
            Conv2d(C_in, C_out, 3, 1, 1, bias=False),
            BatchNorm2d(C_out),
        )


class Shift(nn.Module):
    """Shift every channel by a fixed offset inside a window (arXiv 1711.08141), without learning.

    The C channels are divided equally among the window's cells, row by row; the middle cell also
    gets the remainder.
    """

    def __init__(self, C: int, kernel_size: int, stride: int, padding: int):
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"the stride of Shift is 1 or 2, got {stride}")
        cells = kernel_size**2
        share = torch.full((cells,), C // cells)
        share[cells // 2] += C % cells
        cell = torch.arange(cells).repeat_interleave(share)  # [C]
        kernel = F.one_hot(cell, cells).float().view(C, 1, kernel_size, kernel_size)
        self.kernel = nn.Parameter(kernel, requires_grad=False)
        self.C, self.kernel_size, self.stride, self.padding = C, kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, H / stride, W / stride]."""
        return F.conv2d(x, self.kernel, None, self.stride, self.padding, groups=self.C)


class ShiftBlock5x5(_Residual):
    """1x1 convolution, shift in a 5x5 window, 1x1 convolution; shortcut where shapes agree."""

    def __init__(self, C_in: int, C_out: int, expansion: float, stride: int):
        C_mid = divisible(C_in * expansion, 8, 8)
        super().__init__(
            C_in,
            C_out,
            stride,
            Conv2d(C_in, C_mid, 1, bias=False),
            BatchNorm2d(C_mid),
            nn.ReLU(inplace=True),
            Shift(C_mid, 5, stride, 2),
            Conv2d(C_mid, C_out, 1, bias=False),
            BatchNorm2d(C_out),
        )


class ChannelShuffle(nn.Module):
    """Interleave the channels of the groups (arXiv 1707.01083): a a b b -> a b a b."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` [N, C, H, W] with its channels in the new order."""
        if x.shape[1] % self.groups:
            raise ValueError(f"{x.shape[1]} channels cannot be cut into {self.groups} groups")
        return F.channel_shuffle(x, self.groups)


class ConvBNRelu(nn.Sequential):
    """Convolution `conv`, then optionally norm `bn` and `relu`.

    Args:
        no_bias: build the convolution without bias.
        use_relu: "relu", or None for no ReLU.
        bn_type: "bn", ("gn", groups), "af" for frozen batch norm, or None for no norm.
        group: groups of the convolution; further arguments are passed to it.
    """

    def __init__(
        self,
        input_depth: int,
        output_depth: int,
        kernel: int,
        stride: int,
        pad: int,
        no_bias: bool,
        use_relu: str | None,
        bn_type: NormType,
        group: int = 1,
        *args: Any,
        **kwargs: Any,
    ):
        if stride not in (1, 2, 4) or use_relu not in ("relu", None):
            raise ValueError(
                "expected stride 1, 2 or 4 and use_relu 'relu' or None, "
                f"got {stride!r} and {use_relu!r}"
            )
        super().__init__()
        self.conv = Conv2d(
            *(input_depth, output_depth, kernel, stride, pad, *args),
            groups=group,
            bias=not no_bias,
            **kwargs,
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        if bn_type is not None:
            self.bn = _norm(bn_type, output_depth)
        if use_relu:
            self.relu = nn.ReLU(inplace=True)


def _norm(bn_type: NormType, channels: int) -> nn.Module:
    if bn_type == "bn":
        return BatchNorm2d(channels)
    if bn_type == "af":
        return FrozenBatchNorm2d(channels)
    if isinstance(bn_type, (tuple, list)) and len(bn_type) == 2 and bn_type[0] == "gn":
        return nn.GroupNorm(bn_type[1], channels)
    raise ValueError(f"bn_type is 'bn', 'af', ('gn', groups) or None, got {bn_type!r}")


class SEModule(nn.Module):
    """Squeeze and excitation (arXiv 1709.01507): scale each channel by a factor in [0, 1].

    Two 1x1 convolutions compute the factors from the channels' means over the map.
    """

    reduction = 4

    def __init__(self, C: int):
        super().__init__()
        hidden = max(C // self.reduction, 8)
        self.op = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            Conv2d(C, hidden, 1),
            nn.ReLU(inplace=True),
            Conv2d(hidden, C, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of `x`."""
        return x * self.op(x)


class Upsample(nn.Module):
    """Module form of torch's `interpolate`."""

    def __init__(
        self, scale_factor: float | Sequence[float], mode: str, align_corners: bool | None = None
    ):
        super().__init__()
        self.scale, self.mode, self.align_corners = scale_factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, `scale_factor` times as high and wide."""
        return interpolate(
            x, scale_factor=self.scale, mode=self.mode, align_corners=self.align_corners
        )


def _get_upsample_op(stride: int | Sequence[int]) -> tuple[Upsample | None, int]:
    """Return the enlargement for a negative stride (else None), and the stride that remains."""
    steps = (stride, stride) if isinstance(stride, int) else tuple(stride)
    if all(step in (-1, -2, -4) for step in steps):
        return Upsample(tuple(float(-step) for step in steps), mode="nearest"), 1
    if isinstance(stride, int) and stride in (1, 2, 4):
        return None, stride
    raise ValueError(
        f"a stride is 1, 2, 4, or -1, -2, -4 or a pair of these to enlarge, got {stride}"
    )


class IRFBlock(nn.Module):
    """Inverted residual: a 1x1 convolution `pw` widens, depthwise `dw`, a 1x1 `pwl` narrows.

    At stride 1 with as many output as input channels, the input is added to the output.

    Args:
        expansion: channels inside / input_depth.
        stride: 1, 2 or 4; -2 or -4 enlarges the map before `dw`.
        bn_type: see ConvBNRelu.
        kernel: kernel size of `dw`: 1 (then there is no `dw`), 3, 5 or 7.
        width_divisor: the number of channels inside is a multiple of it.
        shuffle_type: "mid": shuffle the channels among the groups after `pw`.
        pw_group: groups of the 1x1 convolutions.
        se: append squeeze and excitation.
        cdw: use two depthwise convolutions instead of one.
        dw_skip_bn, dw_skip_relu: no norm, no ReLU after the (last) depthwise convolution.
    """

    def __init__(
        self,
        input_depth: int,
        output_depth: int,
        expansion: float,
        stride: int | Sequence[int],
        bn_type: NormType = "bn",
        kernel: int = 3,
        width_divisor: int = 1,
        shuffle_type: str | None = None,
        pw_group: int = 1,
        se: bool = False,
        cdw: bool = False,
        dw_skip_bn: bool = False,
        dw_skip_relu: bool = False,
    ):
        super().__init__()
        if kernel not in (1, 3, 5, 7):
            raise ValueError(f"kernel is 1, 3, 5 or 7, got {kernel}")
        self.output_depth = output_depth
        self.use_res_connect = stride == 1 and input_depth == output_depth
        width = divisible(int(input_depth * expansion), width_divisor, width_divisor)
        self.upscale, stride = _get_upsample_op(stride)

        def pointwise(c_in: int, c_out: int, relu: str | None) -> ConvBNRelu:
            return ConvBNRelu(c_in, c_out, 1, 1, 0, True, relu, bn_type, group=pw_group)

        def depthwise(step: int, relu: str | None, norm: NormType) -> ConvBNRelu:
            return ConvBNRelu(width, width, kernel, step, kernel // 2, True, relu, norm, width)

        self.pw = pointwise(input_depth, width, "relu")
        last_relu = None if dw_skip_relu else "relu"
        last_norm = None if dw_skip_bn else bn_type
        if kernel == 1:
            self.dw = nn.Sequential()
        elif cdw:
            first, second = depthwise(stride, "relu", bn_type), depthwise(1, last_relu, last_norm)
            self.dw = nn.Sequential(OrderedDict(dw1=first, dw2=second))
        else:
            self.dw = depthwise(stride, last_relu, last_norm)
        self.pwl = pointwise(width, output_depth, None)
        self.shuffle = ChannelShuffle(pw_group) if shuffle_type == "mid" else None
        self.se4 = SEModule(output_depth) if se else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, output_depth, H / stride, W / stride]."""
        y = self.pw(x)
        for step in (self.shuffle, self.upscale):
            y = y if step is None else step(y)
        y = self.pwl(self.dw(y))
        return self.se4(y + x if self.use_res_connect else y)


def _ir(kernel: int, expansion: float | None = None, groups: int = 1, **fixed: Any) -> Callable:
    """Return an op that builds an IRFBlock.

    Args:
        expansion: None: the op takes the expansion from the architecture's table.
        groups: above 1: groups of the 1x1 convolutions, with shuffled channels.
        fixed: further arguments of IRFBlock.
    """
    if groups > 1:
        fixed.update(shuffle_type="mid", pw_group=groups)
    own_expansion = expansion

    def build(C_in: int, C_out: int, expansion: float, stride: int, **kwargs: Any) -> IRFBlock:
        factor = expansion if own_expansion is None else own_expansion
        return IRFBlock(C_in, C_out, factor, stride, kernel=kernel, **fixed, **kwargs)

    return build


def _searched(kernel: int, suffix: str, se: bool) -> dict[str, Callable]:
    """Return the ops of the architecture search: "e" is the expansion, "s" the number of groups."""
    return {
        **{f"ir_k{kernel}_e{e}{suffix}": _ir(kernel, e, se=se) for e in (1, 3, 6)},
        f"ir_k{kernel}_s4{suffix}": _ir(kernel, 4, groups=4, se=se),
        f"ir_k{kernel}_s2{suffix}": _ir(kernel, 1, groups=2, se=se),
    }


# name -> op(C_in, C_out, expansion, stride, **norm and width options of IRFBlock)
PRIMITIVES: dict[str, Callable[..., nn.Module]] = {
    "skip": lambda C_in, C_out, expansion, stride, **_: Identity(C_in, C_out, stride),
    "basic_block": lambda C_in, C_out, expansion, stride, **_: CascadeConv3x3(C_in, C_out, stride),
    "shift_5x5": lambda C_in, C_out, expansion, stride, **_: ShiftBlock5x5(
        C_in, C_out, expansion, stride
    ),
    "shuffle": _ir(3, groups=4),
    **{f"ir_k{kernel}": _ir(kernel) for kernel in (1, 3, 5, 7)},
    **_searched(3, "", False),
    **_searched(5, "", False),
    **_searched(3, "_se", True),
    **_searched(5, "_se", True),
    "ir_k3_sep": _ir(3, cdw=True),
    "ir_k7_sep": _ir(7, cdw=True),
    **{f"ir_k33_e{e}": _ir(3, e, cdw=True) for e in (1, 3, 6)},
    **{f"ir_k7_e{e}": _ir(7, e) for e in (1, 3, 6)},
    **{f"ir_k7_sep_e{e}": _ir(7, e, cdw=True) for e in (1, 3, 6)},
}
