"""Layers with the original's initial weights, optionally followed by GroupNorm and ReLU."""

from collections.abc import Callable

from torch import nn
from yacs.config import CfgNode

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.layers import Conv2d

# group_norm() takes no config, because other projects call it without one. A model may still be
# built from a config other than the global one, so build_backbone, which builds the first part of
# every model, stores that config's MODEL.GROUP_NORM here.
_group_norm_settings: CfgNode | None = None


def set_group_norm_from_cfg(cfg: CfgNode | None) -> None:
    """Make `group_norm` follow `cfg.MODEL.GROUP_NORM`; None: the global config's."""
    global _group_norm_settings
    _group_norm_settings = None if cfg is None else cfg.MODEL.GROUP_NORM


def get_group_gn(dim: int, dim_per_gp: int, num_groups: int) -> int:
    """Return how many groups GroupNorm uses for `dim` channels.

    Args:
        dim: number of channels.
        dim_per_gp: channels per group, or -1.
        num_groups: groups, or -1; exactly one of the two must be -1.

    Raises:
        ValueError: both or neither are -1, or `dim` is not divisible.
    """
    if (dim_per_gp == -1) == (num_groups == -1):
        raise ValueError(
            "set exactly one of MODEL.GROUP_NORM.DIM_PER_GP and NUM_GROUPS, the other to -1; "
            f"got {dim_per_gp} and {num_groups}"
        )
    divisor = dim_per_gp if num_groups == -1 else num_groups
    if divisor <= 0 or dim % divisor:
        what = "groups of DIM_PER_GP" if num_groups == -1 else "NUM_GROUPS"
        raise ValueError(f"{dim} channels cannot be cut into {what} {divisor}")
    return dim // dim_per_gp if num_groups == -1 else num_groups


def group_norm(out_channels: int, affine: bool = True, divisor: int = 1) -> nn.GroupNorm:
    """Build GroupNorm with the settings of the config that the model is built from.

    Args:
        out_channels: number of channels, before the division by `divisor`.
        affine: learn a scale and a shift per channel.
        divisor: divides the channels, the groups and the channels per group.
    """
    settings = _group_norm_settings
    if settings is None:
        settings = global_cfg.MODEL.GROUP_NORM
    channels = out_channels // divisor
    groups = get_group_gn(channels, settings.DIM_PER_GP // divisor, settings.NUM_GROUPS // divisor)
    return nn.GroupNorm(groups, channels, settings.EPSILON, affine)


def _finish(layer: nn.Module, channels: int, use_gn: bool, use_relu: bool) -> nn.Module:
    """Zero the layer's bias and append norm and ReLU; with neither, return the layer itself."""
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    tail = [group_norm(channels)] if use_gn else []
    if use_relu:
        tail.append(nn.ReLU(inplace=True))
    return nn.Sequential(layer, *tail) if tail else layer


def make_conv3x3(
    in_channels: int,
    out_channels: int,
    dilation: int = 1,
    stride: int = 1,
    use_gn: bool = False,
    use_relu: bool = False,
    kaiming_init: bool = True,
) -> nn.Module:
    """Build a 3x3 convolution that keeps the size at stride 1.

    Args:
        use_gn, use_relu: append GroupNorm, ReLU.
        kaiming_init: draw the weights by Kaiming's normal rule (fan out); False: from a normal
            distribution of standard deviation 0.01.
    """
    conv = Conv2d(
        in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=not use_gn
    )
    if kaiming_init:
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.normal_(conv.weight, std=0.01)
    return _finish(conv, out_channels, use_gn, use_relu)


def make_fc(dim_in: int, hidden_dim: int, use_gn: bool = False) -> nn.Module:
    """Build a fully connected layer with Caffe2's XavierFill (Kaiming uniform with a = 1)."""
    fc = nn.Linear(dim_in, hidden_dim, bias=not use_gn)
    nn.init.kaiming_uniform_(fc.weight, a=1)
    return _finish(fc, hidden_dim, use_gn, use_relu=False)


def conv_with_kaiming_uniform(
    use_gn: bool = False, use_relu: bool = False
) -> Callable[..., nn.Module]:
    """Return `make_conv(in_channels, out_channels, kernel_size, stride=1, dilation=1)`.

    The convolutions that it builds keep the size at stride 1 and start with Caffe2's XavierFill.
    """

    def make_conv(
        in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, dilation: int = 1
    ) -> nn.Module:
        padding = dilation * (kernel_size - 1) // 2
        conv = Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, bias=not use_gn
        )
        nn.init.kaiming_uniform_(conv.weight, a=1)
        return _finish(conv, out_channels, use_gn, use_relu)

    return make_conv
