"""Backbones by the names of MODEL.BACKBONE.CONV_BODY."""

from collections import OrderedDict

from torch import nn
from yacs.config import CfgNode

from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.make_layers import (
    conv_with_kaiming_uniform,
    set_group_norm_from_cfg,
)

from . import fpn as fpn_module
from . import resnet


@registry.BACKBONES.register("R-50-C4")
@registry.BACKBONES.register("R-50-C5")
@registry.BACKBONES.register("R-101-C4")
@registry.BACKBONES.register("R-101-C5")
def build_resnet_backbone(cfg: CfgNode) -> nn.Module:
    """Build a ResNet that returns one feature map, of stride 16 (C4) or 32 (C5)."""
    return _backbone(cfg.MODEL.RESNETS.BACKBONE_OUT_CHANNELS, body=resnet.ResNet(cfg))


@registry.BACKBONES.register("R-50-FPN")
@registry.BACKBONES.register("R-101-FPN")
@registry.BACKBONES.register("R-152-FPN")
def build_resnet_fpn_backbone(cfg: CfgNode) -> nn.Module:
    """Build a ResNet with FPN, which returns maps of strides 4, 8, 16, 32 and 64."""
    body = resnet.ResNet(cfg)
    return _with_fpn(cfg, body, first_level=1, top_blocks=fpn_module.LastLevelMaxPool())


@registry.BACKBONES.register("R-50-FPN-RETINANET")
@registry.BACKBONES.register("R-101-FPN-RETINANET")
def build_resnet_fpn_p3p7_backbone(cfg: CfgNode) -> nn.Module:
    """Build a ResNet with RetinaNet's FPN, which returns maps of strides 8, 16, 32, 64 and 128."""
    body = resnet.ResNet(cfg)
    out_channels = cfg.MODEL.RESNETS.BACKBONE_OUT_CHANNELS
    c5_channels = cfg.MODEL.RESNETS.RES2_OUT_CHANNELS * 8
    p6_source = c5_channels if cfg.MODEL.RETINANET.USE_C5 else out_channels
    top_blocks = fpn_module.LastLevelP6P7(p6_source, out_channels)
    return _with_fpn(cfg, body, first_level=2, top_blocks=top_blocks)


def build_backbone(cfg: CfgNode) -> nn.Module:
    """Build the backbone that MODEL.BACKBONE.CONV_BODY names.

    Returns:
        a module from images (N, 3, H, W) to a list or tuple of feature maps, finest first; its
        attribute `out_channels` is the number of channels of each map.
    """
    name = cfg.MODEL.BACKBONE.CONV_BODY
    if name not in registry.BACKBONES:
        known = ", ".join(sorted(registry.BACKBONES))
        raise ValueError(f"MODEL.BACKBONE.CONV_BODY '{name}' is not registered; there are: {known}")
    set_group_norm_from_cfg(cfg)
    backbone = registry.BACKBONES[name](cfg)
    is_resnet = any(isinstance(module, resnet.ResNet) for module in backbone.modules())
    if cfg.MODEL.CHECKPOINT_BODY and not is_resnet:
        raise ValueError(
            f"MODEL.CHECKPOINT_BODY works on ResNets, but MODEL.BACKBONE.CONV_BODY is {name!r}: "
            "set it to False; SOLVER.ACCUMULATE saves memory with every body"
        )
    return backbone


def _with_fpn(cfg: CfgNode, body: nn.Module, first_level: int, top_blocks: nn.Module) -> nn.Module:
    """Build an FPN on the stages of `body` from `first_level` on, and join the two."""
    out_channels = cfg.MODEL.RESNETS.BACKBONE_OUT_CHANNELS
    levels = (cfg.MODEL.RESNETS.RES2_OUT_CHANNELS * 2**i for i in range(4))
    fpn = fpn_module.FPN(
        [c if level >= first_level else 0 for level, c in enumerate(levels, 1)],
        out_channels,
        conv_with_kaiming_uniform(cfg.MODEL.FPN.USE_GN, cfg.MODEL.FPN.USE_RELU),
        top_blocks,
    )
    return _backbone(out_channels, body=body, fpn=fpn)


def _backbone(out_channels: int, **parts: nn.Module) -> nn.Module:
    """Join the parts in sequence; their names are in the state-dict keys."""
    model = nn.Sequential(OrderedDict(parts))
    model.out_channels = out_channels
    return model
