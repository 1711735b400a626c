"""FBNet detectors (arXiv 1812.03443): backbone, RPN head and the heads on pooled features.

MODEL.FBNET.ARCH names an architecture in fbnet_modeldef; each part consists of some of its stages.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from maskrcnn_benchmark.modeling import poolers, registry
from maskrcnn_benchmark.modeling.rpn import rpn
from maskrcnn_benchmark.structures.bounding_box import BoxList

from . import fbnet_builder as mbuilder
from . import fbnet_modeldef as modeldef

logger = logging.getLogger(__name__)

# name of a head in an architecture -> section of MODEL
ARCH_CFG_NAME_MAPPING = {
    "bbox": "ROI_BOX_HEAD",
    "kpts": "ROI_KEYPOINT_HEAD",
    "mask": "ROI_MASK_HEAD",
}


def create_builder(cfg: CfgNode) -> tuple[mbuilder.FBNetBuilder, dict[str, Any]]:
    """Return a builder with the settings of MODEL.FBNET, and its architecture.

    The architecture has the form that fbnet_builder.unify_arch_def returns.

    Raises:
        ValueError: the architecture is unknown, defined twice, or made for another anchor stride.
    """
    fbnet = cfg.MODEL.FBNET
    arch_def = mbuilder.unify_arch_def(_arch_def(fbnet.ARCH, fbnet.ARCH_DEF))
    stride = arch_def.get("rpn_stride")
    if stride is not None and cfg.MODEL.RPN.ANCHOR_STRIDE[0] != stride:
        raise ValueError(
            f"FBNet architecture {fbnet.ARCH!r} needs MODEL.RPN.ANCHOR_STRIDE ({stride},), "
            f"got {cfg.MODEL.RPN.ANCHOR_STRIDE}"
        )
    logger.info("FBNet architecture %s, widths times %s", fbnet.ARCH, fbnet.SCALE_FACTOR)
    builder = mbuilder.FBNetBuilder(
        width_ratio=fbnet.SCALE_FACTOR,
        bn_type=_norm_type(cfg, fbnet.BN_TYPE),
        width_divisor=fbnet.WIDTH_DIVISOR,
        dw_skip_bn=fbnet.DW_CONV_SKIP_BN,
        dw_skip_relu=fbnet.DW_CONV_SKIP_RELU,
    )
    return builder, arch_def


def _arch_def(name: str, definition: str) -> dict[str, Any]:
    """Return the architecture that the JSON `definition` holds or, if that is empty, `name`'s."""
    known = modeldef.MODEL_ARCH.get(name)
    given = json.loads(definition) if definition else known
    if given is None:
        raise ValueError(
            f"MODEL.FBNET.ARCH {name!r} is not among {sorted(modeldef.MODEL_ARCH)}; choose one, or "
            "add yours by fbnet_modeldef.add_archs or (in Python, as JSON) MODEL.FBNET.ARCH_DEF"
        )
    if known is not None and given != known:
        raise ValueError(
            f"MODEL.FBNET.ARCH_DEF differs from the architecture {name!r}, which exists already; "
            "set MODEL.FBNET.ARCH to another name"
        )
    return given


def _norm_type(cfg: CfgNode, name: str) -> mbuilder.NormType:
    return ("gn", cfg.MODEL.GROUP_NORM.NUM_GROUPS) if name == "gn" else name


class FBNetTrunk(nn.Module):
    """Backbone: the first convolution and the stages listed in the entry "backbone"."""

    def __init__(self, builder: mbuilder.FBNetBuilder, arch_def: dict[str, Any], dim_in: int):
        super().__init__()
        # without that entry, every stage but the last
        stages = arch_def.get("backbone", range(mbuilder.get_num_stages(arch_def) - 1))
        self.first = builder.add_first(arch_def["first"], dim_in=dim_in)
        self.stages = builder.add_blocks(mbuilder.get_blocks(arch_def, stages)["stages"])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return a list of one feature map [N, C, H', W'] of images (N, dim_in, H, W)."""
        return [self.stages(self.first(x))]


@registry.BACKBONES.register("FBNet")
def add_conv_body(cfg: CfgNode, dim_in: int = 3) -> nn.Module:
    """Build the backbone; its attribute `out_channels` is the number of channels of its map."""
    builder, arch_def = create_builder(cfg)
    model = nn.Sequential(OrderedDict(body=FBNetTrunk(builder, arch_def, dim_in)))
    model.out_channels = builder.last_depth
    return model


class FBNetRPNHead(nn.Module):
    """The architecture's blocks before the RPN's regressors, shared by all levels."""

    def __init__(
        self,
        cfg: CfgNode,
        in_channels: int,
        builder: mbuilder.FBNetBuilder,
        arch_def: dict[str, Any],
    ):
        super().__init__()
        fbnet = cfg.MODEL.FBNET
        if fbnet.RPN_BN_TYPE:
            builder.bn_type = _norm_type(cfg, fbnet.RPN_BN_TYPE)
        builder.last_depth = in_channels
        self.head = builder.add_blocks(_rpn_blocks(arch_def, fbnet.RPN_HEAD_BLOCKS))
        self.out_channels = builder.last_depth

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        """Return features [N, out_channels, H, W], one tensor per level."""
        return [self.head(level) for level in x]


def _rpn_blocks(arch_def: dict[str, Any], num_blocks: int) -> list[dict[str, Any]]:
    """Return the last `num_blocks` blocks of the stage "rpn" of an architecture; 0: all."""
    if "rpn" not in arch_def:
        raise ValueError(
            "this FBNet architecture has no stage 'rpn'; set MODEL.RPN.RPN_HEAD to "
            "SingleConvRPNHead or choose another MODEL.FBNET.ARCH"
        )
    chosen = mbuilder.get_blocks(arch_def, arch_def["rpn"])
    count = len(chosen["stages"])
    if num_blocks > count:
        raise ValueError(
            f"MODEL.FBNET.RPN_HEAD_BLOCKS must be at most {count} for this architecture, "
            f"got {num_blocks}"
        )
    if num_blocks > 0:
        chosen = mbuilder.get_blocks(chosen, block_indices=range(count - num_blocks, count))
    return chosen["stages"]


@registry.RPN_HEADS.register("FBNet.rpn_head")
def add_rpn_head(cfg: CfgNode, in_channels: int, num_anchors: int) -> nn.Module:
    """Build the RPN's head: the architecture's blocks, then layers for objectness and boxes."""
    builder, arch_def = create_builder(cfg)
    features = FBNetRPNHead(cfg, in_channels, builder, arch_def)
    return nn.Sequential(
        features, rpn.RPNHeadConvRegressor(cfg, features.out_channels, num_anchors)
    )


class FBNetROIHead(nn.Module):
    """Pool the proposals' features and apply the architecture's blocks to them.

    Args:
        head_name: "bbox", "mask" or "kpts".
        use_blocks: indices of the blocks to use in each stage; empty: all.
        stride_init: stride of the first block, 1 or 2; 0: the architecture's.
        last_layer_scale: see FBNetBuilder.add_last.
    """

    def __init__(
        self,
        cfg: CfgNode,
        in_channels: int,
        builder: mbuilder.FBNetBuilder,
        arch_def: dict[str, Any],
        head_name: str,
        use_blocks: Sequence[int],
        stride_init: int,
        last_layer_scale: float,
    ):
        super().__init__()
        if stride_init not in (0, 1, 2):
            raise ValueError(f"the stride of an FBNet head is 0, 1 or 2, got {stride_init}")
        self.pooler = poolers.make_pooler(cfg, ARCH_CFG_NAME_MAPPING[head_name])
        stages = arch_def.get(head_name, arch_def.get("head"))
        chosen = mbuilder.get_blocks(arch_def, stages, use_blocks)["stages"]
        if stride_init:
            chosen[0]["block"][3] = stride_init
        builder.last_depth = in_channels
        blocks = builder.add_blocks(chosen)
        last = builder.add_last((arch_def["last"][0], last_layer_scale))
        self.head = nn.Sequential(OrderedDict(blocks=blocks, last=last))
        self.out_channels = builder.last_depth

    def forward(self, x: list[Tensor], proposals: list[BoxList]) -> Tensor:
        """Return features [R, out_channels, H, W] of the R proposals of all images.

        Args:
            x: feature maps [N, C, H, W], one per level.
            proposals: one BoxList per image.
        """
        return self.head(self.pooler(x, proposals))


def _add_roi_head(cfg: CfgNode, in_channels: int, head_name: str, prefix: str) -> FBNetROIHead:
    builder, arch_def = create_builder(cfg)
    fbnet = cfg.MODEL.FBNET
    return FBNetROIHead(
        cfg,
        in_channels,
        builder,
        arch_def,
        head_name=head_name,
        use_blocks=fbnet[f"{prefix}_HEAD_BLOCKS"],
        stride_init=fbnet[f"{prefix}_HEAD_STRIDE"],
        last_layer_scale=fbnet[f"{prefix}_HEAD_LAST_SCALE"],
    )


@registry.ROI_BOX_FEATURE_EXTRACTORS.register("FBNet.roi_head")
def add_roi_head(cfg: CfgNode, in_channels: int) -> FBNetROIHead:
    """Build the box head's feature extractor."""
    return _add_roi_head(cfg, in_channels, "bbox", "DET")


@registry.ROI_KEYPOINT_FEATURE_EXTRACTORS.register("FBNet.roi_head_keypoints")
def add_roi_head_keypoints(cfg: CfgNode, in_channels: int) -> FBNetROIHead:
    """Build the keypoint head's feature extractor."""
    return _add_roi_head(cfg, in_channels, "kpts", "KPTS")


@registry.ROI_MASK_FEATURE_EXTRACTORS.register("FBNet.roi_head_mask")
def add_roi_head_mask(cfg: CfgNode, in_channels: int) -> FBNetROIHead:
    """Build the mask head's feature extractor."""
    return _add_roi_head(cfg, in_channels, "mask", "MASK")
