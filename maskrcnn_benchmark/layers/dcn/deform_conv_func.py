"""Deformable convolution (arXiv 1703.06211, 1811.11168) in the original's argument order."""

from torch import Tensor
from torchvision.ops import deform_conv2d

Pair = int | tuple[int, int]


def _check_groups(name: str, channels: int, per_group: int, groups: int) -> None:
    if channels != per_group * groups:
        raise ValueError(
            f"{name} has {channels} channels where {groups} groups of {per_group} were expected"
        )


def deform_conv(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    deformable_groups: int = 1,
    im2col_step: int = 64,
) -> Tensor:
    """Convolve with kernel taps moved by `offset` (DCN v1).

    Args:
        input: (N, C, H, W).
        offset: (N, deformable_groups * kh * kw * 2, H', W'), y before x, in pixels of `input`.
        weight: (C', C / groups, kh, kw).
        stride, padding, dilation: one number, or (height, width).
        groups: groups of channels that are convolved separately.
        deformable_groups: groups of input channels; each has its own offsets.
        im2col_step: ignored; torchvision chooses.

    Returns:
        (N, C', H', W')
    """
    return modulated_deform_conv(
        input, offset, None, weight, None, stride, padding, dilation, groups, deformable_groups
    )


def modulated_deform_conv(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    deformable_groups: int = 1,
) -> Tensor:
    """Convolve with moved and weighted kernel taps (DCN v2).

    Args:
        mask: (N, deformable_groups * kh * kw, H', W') weights of the taps; None: all 1.
        bias: (C',), or None.
        others: as in `deform_conv`.

    Returns:
        (N, C', H', W')
    """
    taps = weight.shape[2] * weight.shape[3]
    _check_groups("deform_conv: input", input.shape[1], weight.shape[1], groups)
    _check_groups("deform_conv: offset", offset.shape[1], 2 * taps, deformable_groups)
    return deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)


class DeformConvFunction:
    """The original's autograd function; torchvision's operator has the gradients."""

    apply = staticmethod(deform_conv)


class ModulatedDeformConvFunction:
    """The original's autograd function; torchvision's operator has the gradients."""

    apply = staticmethod(modulated_deform_conv)
