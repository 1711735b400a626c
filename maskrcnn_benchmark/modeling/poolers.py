"""Pooling features inside boxes, from one feature map or from the levels of a pyramid."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.layers import ROIAlign
from maskrcnn_benchmark.structures.bounding_box import BoxList

from .utils import cat, nonzero_each


class LevelMapper:
    """Choose the pyramid level of each box: level 4 for 224 pixels, one less for each halving.

    Source: "Feature Pyramid Networks for Object Detection", equation 1.
    """

    def __init__(
        self,
        k_min: int,
        k_max: int,
        canonical_scale: int = 224,
        canonical_level: int = 4,
        eps: float = 1e-6,
    ):
        self.s0, self.lvl0 = canonical_scale, canonical_level
        self.k_min, self.k_max = k_min, k_max
        self.eps = eps

    def __call__(self, boxlists: list[BoxList]) -> Tensor:
        """Return each box's index into the levels, int64 [sum of boxes]."""
        side = cat([boxes.area() for boxes in boxlists]).sqrt()
        level = torch.log2(side / self.s0 + self.eps).add(self.lvl0).floor()
        return level.clamp(self.k_min, self.k_max).sub(self.k_min).long()


class Pooler(nn.Module):
    """ROIAlign on the level that suits each box.

    Args:
        output_size: (height, width) of the pooled grid, cells.
        scales: feature pixels / image pixels of each level, each half of the one before.
        sampling_ratio: samples per side of a cell; 0 adapts to the box.
        fast: see ROIAlign.
    """

    def __init__(
        self,
        output_size: tuple[int, int],
        scales: list[float],
        sampling_ratio: int,
        fast: bool = False,
    ):
        super().__init__()
        self.poolers = nn.ModuleList(
            ROIAlign(output_size, spatial_scale=scale, sampling_ratio=sampling_ratio, fast=fast)
            for scale in scales
        )
        self.output_size = output_size
        self.map_levels = LevelMapper(-math.log2(scales[0]), -math.log2(scales[-1]))

    def convert_to_roi_format(self, boxes: list[BoxList]) -> Tensor:
        """Return [R, 5] rows of (image index, x1, y1, x2, y2)."""
        return torch.cat([F.pad(b.bbox, (1, 0), value=i) for i, b in enumerate(boxes)])

    def forward(self, x: list[Tensor], boxes: list[BoxList]) -> Tensor:
        """Pool.

        Args:
            x: feature maps [N, C, H, W], one per level.
            boxes: one BoxList per image.

        Returns:
            [sum of boxes, C, height, width], in the order of the boxes.
        """
        rois = self.convert_to_roi_format(boxes)
        if len(self.poolers) == 1:
            return self.poolers[0](x[0], rois)
        levels = self.map_levels(boxes)
        pooled = x[0].new_zeros(len(rois), x[0].shape[1], *self.output_size)
        rows = nonzero_each([levels == index for index in range(len(self.poolers))])
        # the pyramid may have levels above the last that is pooled from
        for features, pooler, here in zip(x, self.poolers, rows, strict=False):
            pooled[here] = pooler(features, rois[here]).to(pooled.dtype)
        return pooled


def make_pooler(cfg, head_name: str) -> Pooler:
    """Build the pooler that MODEL.<head_name> asks for."""
    head = cfg.MODEL[head_name]
    side = head.POOLER_RESOLUTION
    return Pooler(
        (side, side), head.POOLER_SCALES, head.POOLER_SAMPLING_RATIO, cfg.MODEL.FAST_ROI_ALIGN
    )
