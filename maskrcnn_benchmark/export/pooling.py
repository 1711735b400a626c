"""Pooling for exported graphs: as modeling/poolers.py and layers/roi_align_rotated.py compute it.

A graph has no numbers of Python that depend on the data, so each level's boxes are chosen by index
tensors, and rotated boxes are sampled by `grid_sample`, for which ONNX has an operator.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.layers import ROIAlign
from maskrcnn_benchmark.layers.roi_align_rotated import ROIAlignRotated, sample_points
from maskrcnn_benchmark.modeling.poolers import Pooler


class TracedBoxes:
    """What poolers and extractors read of a BoxList, of boxes whose number is not known.

    Args:
        bbox: [R, 4] xyxy, as in the BoxList; None where only fields are read.
        fields: tensors with one row per box.
    """

    def __init__(self, bbox: Tensor | None = None, **fields: Tensor) -> None:
        self.bbox, self._fields = bbox, fields

    def area(self) -> Tensor:
        """Return the areas [R], with BoxList's `+1`."""
        return (self.bbox[:, 2:] - self.bbox[:, :2] + 1).prod(dim=1)

    def get_field(self, name: str) -> Tensor:
        """Return a field."""
        return self._fields[name]


class TracedPooler(nn.Module):
    """Pooler of one image."""

    def __init__(self, pooler: Pooler) -> None:
        super().__init__()
        self.poolers = nn.ModuleList(
            ROIAlign(pooler.output_size, each.spatial_scale, each.sampling_ratio)
            for each in pooler.poolers
        )
        self.map_levels = pooler.map_levels

    def forward(self, x: Sequence[Tensor], boxes: list[TracedBoxes]) -> Tensor:
        """Return [R, C, height, width]; see Pooler."""
        rois = F.pad(boxes[0].bbox, (1, 0))
        if len(self.poolers) == 1:
            return self.poolers[0](x[0], rois)
        return _per_level(self.map_levels(boxes), rois, x, self.poolers)


class TracedRotatedPooler(nn.Module):
    """ROIAlignRotated of one image."""

    def __init__(self, pooler: ROIAlignRotated) -> None:
        super().__init__()
        self.output_size, self.scales = pooler.output_size, pooler.scales.tolist()
        self.map_levels = pooler.map_levels

    def forward(self, x: Sequence[Tensor], boxes: list[Tensor]) -> Tensor:
        """Return [R, C, output_size, output_size]; see ROIAlignRotated."""
        pools = [partial(self._pool, scale=scale) for scale in self.scales]
        return _per_level(self.map_levels(boxes[0]), boxes[0], x, pools)

    def _pool(self, features: Tensor, boxes: Tensor, scale: float) -> Tensor:
        height, width = features.shape[-2:]
        points = sample_points(boxes, torch.full_like(boxes[:, 0], scale), self.output_size)
        x, y = points.unbind(-1)  # [R, cells, samples]
        inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
        # grid_sample's -1 and 1 are the outer edges of the first and the last pixel
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        sampled = F.grid_sample(
            features, grid.flatten(0, 1)[None], padding_mode="border", align_corners=False
        )  # [1, C, R * cells, samples]
        cells = (sampled[0] * inside.flatten(0, 1)).mean(dim=2)  # [C, R * cells]
        side = self.output_size
        return cells.T.reshape(-1, side, side, features.shape[1]).permute(0, 3, 1, 2)


def _per_level(
    levels: Tensor,
    rois: Tensor,
    features: Sequence[Tensor],
    pools: Iterable[Callable[[Tensor, Tensor], Tensor]],
) -> Tensor:
    """Pool each level's boxes from it, and put the results into the order of the boxes."""
    rows, pooled = [], []
    # the pyramid may have levels above the last that is pooled from
    for index, (level, pool) in enumerate(zip(features, pools, strict=False)):
        rows.append((levels == index).nonzero().squeeze(1))
        pooled.append(pool(level, rois[rows[-1]]))
    return torch.cat(pooled)[torch.cat(rows).argsort()]


def with_traced_poolers(model: nn.Module) -> nn.Module:
    """Replace the poolers in a model by those of exported graphs, in place; return the model."""
    for module in list(model.modules()):
        pooler = getattr(module, "pooler", None)
        if isinstance(pooler, Pooler):
            module.pooler = TracedPooler(pooler)
        elif isinstance(pooler, ROIAlignRotated):
            module.pooler = TracedRotatedPooler(pooler)
    return model
