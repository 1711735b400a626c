"""Build layers from FBNet's architecture tables."""

import copy
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import nn

from .fbnet_blocks import (
    PRIMITIVES,
    CascadeConv3x3,
    ChannelShuffle,
    ConvBNRelu,
    Identity,
    IRFBlock,
    NormType,
    SEModule,
    Shift,
    ShiftBlock5x5,
    Upsample,
    divisible,
)

# the original has the blocks in this module
__all__ = [
    "PRIMITIVES",
    "CascadeConv3x3",
    "ChannelShuffle",
    "ConvBNRelu",
    "FBNetBuilder",
    "IRFBlock",
    "Identity",
    "NormType",
    "SEModule",
    "Shift",
    "ShiftBlock5x5",
    "Upsample",
    "expand_stage_cfg",
    "expand_stages_cfg",
    "get_blocks",
    "get_num_stages",
    "unify_arch_def",
]

logger = logging.getLogger(__name__)


def expand_stage_cfg(stage_cfg: list[list]) -> list[list]:
    """Return one row [expansion, channels, 1, stride] per block of a stage.

    Args:
        stage_cfg: rows [expansion, channels, count, stride]; only the first of a row's `count`
            blocks has the stride.
    """
    return [
        [expansion, channels, 1, stride if index == 0 else 1]
        for expansion, channels, count, stride in stage_cfg
        for index in range(count)
    ]


def expand_stages_cfg(stage_cfgs: list[list[list]]) -> list[list[list]]:
    """Expand every stage by `expand_stage_cfg`."""
    return [expand_stage_cfg(stage) for stage in stage_cfgs]


def unify_arch_def(arch_def: dict[str, Any]) -> dict[str, Any]:
    """Turn an architecture's table into a list with one entry per block.

    Args:
        arch_def: see fbnet_modeldef.add_archs.

    Returns:
        a dict: "stages" is a list of {"stage_idx", "block_idx", "block": [expansion, channels, 1,
        stride], "block_op_type"}; the other entries ("first", "last", "backbone", "rpn", …) are
        unchanged.

    Raises:
        ValueError: an entry is missing, or the numbers of ops and blocks differ.
    """
    ops, table = arch_def.get("block_op_type"), arch_def.get("block_cfg", {})
    if ops is None or "stages" not in table:
        raise ValueError(
            "an FBNet architecture needs 'block_op_type' and 'block_cfg' with 'stages', "
            f"got {sorted(arch_def)} and {sorted(table)}"
        )
    stages = expand_stages_cfg(table["stages"])
    if [len(s) for s in stages] != [len(s) for s in ops]:
        raise ValueError(
            "'block_op_type' needs one op per block in each stage: expected "
            f"{[len(s) for s in stages]} ops, got {[len(s) for s in ops]}"
        )
    unified = copy.deepcopy({**arch_def, **table})
    del unified["block_op_type"], unified["block_cfg"]
    unified["stages"] = [
        {"stage_idx": stage, "block_idx": index, "block": block, "block_op_type": op}
        for stage, (blocks, names) in enumerate(zip(stages, ops, strict=True))
        for index, (block, op) in enumerate(zip(blocks, names, strict=True))
    ]
    return unified


def get_num_stages(arch_def: dict[str, Any]) -> int:
    """Return the number of stages of a unified architecture."""
    return 1 + max(block["stage_idx"] for block in arch_def["stages"])


def get_blocks(
    arch_def: dict[str, Any],
    stage_indices: Sequence[int] | None = None,
    block_indices: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return a copy of a unified architecture that has only some of its blocks.

    Args:
        stage_indices: stages to keep; None or empty: all.
        block_indices: blocks to keep, counted from 0 within each stage; None or empty: all.
    """
    chosen = copy.deepcopy(arch_def)
    for key, wanted in (("stage_idx", stage_indices), ("block_idx", block_indices)):
        if wanted is not None and len(wanted):
            chosen["stages"] = [block for block in chosen["stages"] if block[key] in wanted]
    return chosen


class FBNetBuilder:
    """Build layers one after the other; each takes the `last_depth` channels of the one before.

    Args:
        width_ratio: factor of all numbers of channels.
        bn_type: see ConvBNRelu.
        width_divisor: numbers of channels are multiples of it.
        dw_skip_bn, dw_skip_relu: see IRFBlock.
    """

    def __init__(
        self,
        width_ratio: float,
        bn_type: NormType = "bn",
        width_divisor: int = 1,
        dw_skip_bn: bool = False,
        dw_skip_relu: bool = False,
    ):
        self.bn_type, self.last_depth = bn_type, -1
        self.width_ratio, self.width_divisor = width_ratio, width_divisor
        self.dw_skip_bn, self.dw_skip_relu = dw_skip_bn, dw_skip_relu

    def _width(self, channels: float) -> int:
        return divisible(int(channels), self.width_divisor, self.width_divisor)

    def add_first(self, stage_info: Sequence[int], dim_in: int = 3, pad: bool = True) -> nn.Module:
        """Build the first convolution from [channels, stride] or [channels, stride, kernel]."""
        channels, stride, *rest = stage_info
        kernel = rest[0] if rest else 3
        self.last_depth = self._width(channels * self.width_ratio)
        padding = kernel // 2 if pad else 0
        return ConvBNRelu(
            dim_in, self.last_depth, kernel, stride, padding, True, "relu", self.bn_type
        )

    def add_blocks(self, blocks: list[dict[str, Any]]) -> nn.Sequential:
        """Build the blocks of a unified architecture, named xif<stage>_<block>."""
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for block in blocks:
            name = f"xif{block['stage_idx']}_{block['block_idx']}"
            modules[name] = self.add_ir_block(block["block"], [block["block_op_type"]])
        return nn.Sequential(modules)

    def add_last(self, stage_info: Sequence[float]) -> nn.Module:
        """Build the last 1x1 convolution from [channels, scale].

        It has channels * scale channels or, with a negative scale, last_depth * -scale; for 0
        channels an empty Sequential is returned.
        """
        channels, scale = stage_info
        if scale < 0:
            width = self._width(self.last_depth * -scale)
        else:
            # a width_ratio below 1 does not narrow the last layer
            width = self._width(int(channels * max(self.width_ratio, 1.0)) * scale)
        if width == 0:
            return nn.Sequential()
        layer = ConvBNRelu(self.last_depth, width, 1, 1, 0, True, "relu", self.bn_type)
        self.last_depth = width
        return layer

    def add_ir_block(
        self, tcns: Sequence[Any], block_op_types: Sequence[str], **kwargs: Any
    ) -> nn.Module:
        """Build one block.

        Args:
            tcns: [expansion, channels, 1, stride].
            block_op_types: a list of one name in PRIMITIVES.
            kwargs: further arguments of that op.
        """
        expansion, channels, count, stride = tcns
        op = block_op_types[0]
        if count != 1 or op not in PRIMITIVES:
            raise ValueError(
                f"expected one block of an op among {sorted(PRIMITIVES)}, got {count} of {op!r}"
            )
        width = self._width(channels * self.width_ratio)
        block = PRIMITIVES[op](
            self.last_depth,
            width,
            expansion,
            stride,
            bn_type=self.bn_type,
            width_divisor=self.width_divisor,
            dw_skip_bn=self.dw_skip_bn,
            dw_skip_relu=self.dw_skip_relu,
            **kwargs,
        )
        self.last_depth = width
        return block
