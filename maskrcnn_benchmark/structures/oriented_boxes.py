"""Quadrilaterals: exact overlap, matching and suppression, on any device, in bounded memory.

Corners are (N, 4, 2) pixels, x right, y down, in either sense of rotation. They are edges and not
pixel indices (no + 1): an object that fills columns 3..12 spans x = 3 .. 13, and the BoxList box
(3, 4, 12, 8) has the corners (3, 4), (13, 4), (13, 9), (3, 9).

DOTA's labels are arbitrary quadrilaterals, convex or not. Shared areas are integrals over x: the
area between a side and the x axis counts positive or negative by the side's direction, and the sum
over the four sides is the quadrilateral. So the area that two quadrilaterals share is a sum over
the 16 pairs of sides of what lies below both. No term jumps where corners or sides coincide, and no
shape needs a case of its own. Where a quadrilateral crosses itself, its lobes have opposite signs,
as in the sums of DOTA's development kit. All is float64: nearly identical boxes have an IoU near 1.
"""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.structures.overlapping_boxes import overlapping_pairs
from maskrcnn_benchmark.structures.suppression import suppress

_PAIRS = 2**12  # pairs whose shared area is computed in one step: arrays that fit a CPU's cache
_ROUNDING = 2.0**-46  # of the area around both: a shared area that rounding alone can make is 0
_LEAST_WIDTH = 1e-100  # a side that spans less of x has no area below it, and a slope without end

Array = TypeVar("Array", np.ndarray, Tensor)


def signed_areas(polygons: Tensor) -> Tensor:
    """Return the areas (...) of polygons (..., K, 2), positive if clockwise on the screen."""
    local = polygons - polygons[..., :1, :]  # large coordinates would cost digits
    after = torch.cat([local[..., 1:, :], local[..., :1, :]], dim=-2)
    return (local[..., 0] * after[..., 1] - local[..., 1] * after[..., 0]).sum(dim=-1) / 2


def oriented_iou(corners_a: Array, corners_b: Array) -> Array:
    """Return the intersection over union of all pairs.

    Args:
        corners_a: (N, 4, 2), arrays or tensors.
        corners_b: (M, 4, 2) of the same kind.

    Returns:
        (N, M) float64 of that kind, computed for the pairs whose upright boxes overlap; the others
        are 0.
    """
    a, b = _Quads(_tensor(corners_a)), _Quads(_tensor(corners_b))
    iou = a.corners.new_zeros(len(a.corners), len(b.corners))
    for rows, columns in overlapping_pairs(a.edges, b.edges):
        iou[rows, columns] = _iou_of_pairs(a, rows, b, columns)
    return iou if isinstance(corners_a, Tensor) else iou.numpy()


def oriented_iou_of_pairs(corners_a: np.ndarray, corners_b: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N,) of each of (N, 4, 2) with its counterpart."""
    a, b = _Quads(_tensor(corners_a)), _Quads(_tensor(corners_b))
    each = torch.arange(len(a.corners))
    return _iou_of_pairs(a, each, b, each).numpy()


def best_oriented_overlap(corners: Array, others: Array) -> tuple[Array, Array]:
    """Return which of the others each quadrilateral overlaps most; no matrix is held.

    Args:
        corners: (M, 4, 2), arrays or tensors.
        others: (N, 4, 2) of the same kind.

    Returns:
        the IoU (M,) float64, and the index (M,) int64, the first among equals; 0 and 0 where
        nothing overlaps.
    """
    a, b = _Quads(_tensor(corners)), _Quads(_tensor(others))
    best = a.corners.new_zeros(len(a.corners))
    none = len(b.corners)
    index = torch.full_like(best, none, dtype=torch.int64)
    for rows, columns in overlapping_pairs(a.edges, b.edges):
        iou = _iou_of_pairs(a, rows, b, columns)
        value = best.scatter_reduce(0, rows, iou, "amax")
        index = torch.where(value > best, none, index)
        places = torch.where((iou == value[rows]) & (iou > 0), columns, none)
        best, index = value, index.scatter_reduce(0, rows, places, "amin")
    index = torch.where(index < none, index, 0)
    return (best, index) if isinstance(corners, Tensor) else (best.numpy(), index.numpy())


def oriented_nms(
    corners: Array,
    scores: Array,
    iou_threshold: float,
    groups: Array | None = None,
    sources: Array | None = None,
) -> Array:
    """Apply greedy non-maximum suppression to oriented boxes.

    Args:
        corners: (N, 4, 2), arrays or tensors.
        scores: (N,); boxes of equal score keep their order.
        iou_threshold: a box is dropped if its IoU with a kept box of higher score is above this.
        groups: (N,) integers; only boxes of one group suppress each other. None: all.
        sources: (N,) integers; boxes of one source do not suppress each other. None: they do.

    Returns:
        (K,) int64: indices of the kept boxes by falling score.
    """
    order = _tensor(scores).argsort(descending=True, stable=True)
    quads = _Quads(_tensor(corners)[order])

    def is_duplicate(first: Tensor, second: Tensor) -> Tensor:
        return _above(quads, first, second, iou_threshold)

    group, source = (
        None if given is None else torch.as_tensor(given)[order] for given in (groups, sources)
    )
    keep = order[suppress(quads.edges, is_duplicate, group, source)]
    return keep if isinstance(corners, Tensor) else keep.numpy()


def _tensor(values: np.ndarray | Tensor) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().double()
    return torch.from_numpy(np.array(values, dtype=np.float64))


class _Quads:
    """Quadrilaterals with what is computed once for each.

    Args:
        corners: (N, 4, 2) float64.

    Attributes:
        edges: (N, 4) upright boxes x1 y1 x2 y2.
        area: (N,) square pixels, positive.
        sense: (N,) 1 or -1, the sign of the area as the corners go round.
    """

    def __init__(self, corners: Tensor) -> None:
        self.corners = corners.reshape(-1, 4, 2)
        self.edges = torch.cat([self.corners.amin(dim=1), self.corners.amax(dim=1)], dim=1)
        areas = signed_areas(self.corners)
        self.area, self.sense = areas.abs(), torch.where(areas < 0, -1.0, 1.0).to(areas)


def _above(quads: _Quads, first: Tensor, second: Tensor, iou_threshold: float) -> Tensor:
    """Say which pairs (P,), indices into the quadrilaterals, have an IoU above the threshold."""
    # What upright boxes share bounds what the polygons share, and is quick to compute.
    a, b = quads.edges[first], quads.edges[second]
    bound = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).prod(dim=1)
    least = iou_threshold / (1 + iou_threshold) * (quads.area[first] + quads.area[second])
    above = bound >= least * (1 - 1e-9)
    where = above.nonzero().squeeze(1)
    above[where] = _iou_of_pairs(quads, first[where], quads, second[where]) > iou_threshold
    return above


def _iou_of_pairs(a: _Quads, rows: Tensor, b: _Quads, columns: Tensor) -> Tensor:
    """Return the IoU (P,) of a[rows] with b[columns]."""
    parts = [a.area.new_empty(0)]
    for row, column in zip(rows.split(_PAIRS), columns.split(_PAIRS), strict=True):
        corners, others = a.corners[row], b.corners[column]
        origin = corners[:, :1]  # large coordinates would cost digits
        shared = shared_areas(corners - origin, others - origin)
        parts.append(shared * a.sense[row] * b.sense[column])
    shared = torch.cat(parts)
    union = a.area[rows] + b.area[columns] - shared
    return torch.where(union > 0, shared / union, 0.0)


def shared_areas(corners: Tensor, others: Tensor) -> Tensor:
    """Return the areas (P,) that pairs of polygons (P, 4, 2) share.

    An area is negative where the senses of rotation differ.
    """
    (ax, ay), (bx, by) = (points.permute(2, 1, 0).contiguous() for points in (corners, others))
    left, right, slope, sign = _sides(bx, by)  # [4, P]
    total = torch.zeros_like(bx)
    for left_a, right_a, slope_a, sign_a, x, y in zip(*_sides(ax, ay), ax, ay, strict=True):
        start, end = torch.maximum(left, left_a), torch.minimum(right, right_a)
        below_b, below_a = by + (start - bx) * slope, y + (start - x) * slope_a
        below_b_end, below_a_end = by + (end - bx) * slope, y + (end - x) * slope_a
        # The mean of the lower line is that of b plus that of (a - b) where it is negative.
        gap, gap_end = below_a - below_b, below_a_end - below_b_end
        under, under_end = gap.clamp(max=0), gap_end.clamp(max=0)
        part = torch.where(gap == gap_end, 1.0, (under - under_end) / (gap - gap_end))
        twice_mean = below_b + below_b_end + (under + under_end) * part
        total += torch.where(end > start, (end - start) * twice_mean * sign_a, 0.0)
    total = total * sign / 2
    shared = total[0] + total[1] + total[2] + total[3]  # in this order on every processor
    extent = (_extent(ax) + _extent(bx)) * (_extent(ay) + _extent(by))
    return torch.where(shared.abs() > _ROUNDING * extent, shared, 0.0)


def _extent(coordinates: Tensor) -> Tensor:
    return coordinates.amax(dim=0) - coordinates.amin(dim=0)


def _sides(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return least and greatest x, slope dy / dx, and direction in x of sides, each (4, P)."""
    next_x, next_y = torch.cat([x[1:], x[:1]]), torch.cat([y[1:], y[:1]])
    dx, dy = next_x - x, next_y - y
    # not x + dx, which is rounded: neighbouring sides must meet
    left, right = torch.minimum(x, next_x), torch.maximum(x, next_x)
    slope = dy / torch.where(dx.abs() < _LEAST_WIDTH, 1.0, dx)
    return left, right, slope, torch.where(dx < 0, -1.0, 1.0).to(x)
