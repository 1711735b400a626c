"""Quadrilaterals: exact overlap, matching and suppression, on any device, in bounded memory.

Corners are (N, 4, 2) pixels, x right, y down, in either sense of rotation. They are edges and not
pixel indices (no + 1): an object that fills columns 3..12 spans x = 3 .. 13, and the BoxList box
(3, 4, 12, 8) has the corners (3, 4), (13, 4), (13, 9), (3, 9).

DOTA's labels are arbitrary quadrilaterals. One that is not convex is split into two triangles,
whose areas have the sign of their sense of rotation; for quadrilaterals that cross themselves this
gives the areas that DOTA's development kit computes. All is float64, so that nearly identical boxes
get an IoU near 1.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

_BLOCK = 2**20  # pairs whose upright boxes are compared in one step
_NMS_BLOCK = 1024  # boxes that are suppressed in one step
_PAIRS = 2**14  # pairs whose polygons are clipped in one step: 64 MB

Array = TypeVar("Array", np.ndarray, Tensor)


def signed_areas(polygons: Tensor) -> Tensor:
    """Return the areas (...) of polygons (..., K, 2), positive if clockwise on the screen."""
    local = polygons - polygons[..., :1, :]  # large coordinates would cost digits
    return _cross(local, local.roll(-1, dims=-2)).sum(dim=-1) / 2


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
    iou = a.corners.new_zeros(len(a), len(b))
    for rows, columns in _overlapping_pairs(a, b):
        iou[rows, columns] = _iou_of_pairs(a, rows, b, columns)
    return iou if isinstance(corners_a, Tensor) else iou.numpy()


def oriented_iou_of_pairs(corners_a: np.ndarray, corners_b: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N,) of each of (N, 4, 2) with its counterpart."""
    a, b = _Quads(_tensor(corners_a)), _Quads(_tensor(corners_b))
    each = torch.arange(len(a))
    return _iou_of_pairs(a, each, b, each).numpy()


def best_oriented_overlap(corners: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return which of the others each quadrilateral overlaps most; no matrix is held.

    Args:
        corners: (M, 4, 2).
        others: (N, 4, 2).

    Returns:
        the IoU (M,) float64, and the index (M,) int64, the first among equals; 0 and 0 where
        nothing overlaps.
    """
    a, b = _Quads(corners), _Quads(others)
    best = a.corners.new_zeros(len(a))
    index = torch.zeros(len(a), dtype=torch.int64, device=best.device)
    for rows, columns in _overlapping_pairs(a, b):
        iou = _iou_of_pairs(a, rows, b, columns)
        value = torch.zeros_like(best).scatter_reduce_(0, rows, iou, "amax")
        is_best = (iou == value[rows]) & (iou > 0)
        first = torch.full_like(index, len(b)).scatter_reduce_(
            0, rows, torch.where(is_best, columns, len(b)), "amin"
        )
        better = value > best  # columns come in rising blocks, so an equal one is a later one
        index = torch.where(better, first, index)
        best = torch.maximum(best, value)
    return best, index


def oriented_nms(
    corners: Array, scores: Array, iou_threshold: float, groups: Array | None = None
) -> Array:
    """Apply greedy non-maximum suppression to oriented boxes.

    The boxes are processed in blocks by falling score, so that memory is proportional to N.

    Args:
        corners: (N, 4, 2), arrays or tensors.
        scores: (N,); boxes of equal score keep their order.
        iou_threshold: a box is dropped if its IoU with a kept box of higher score is above this.
        groups: (N,) integers; only boxes of one group suppress each other. None: all.

    Returns:
        (K,) int64: indices of the kept boxes by falling score.
    """
    order = _tensor(scores).argsort(descending=True, stable=True)
    quads = _Quads(_tensor(corners)[order])
    group = torch.zeros_like(order) if groups is None else torch.as_tensor(groups)[order]
    kept: Tensor = order.new_empty(0)
    for block in torch.arange(len(quads), device=order.device).split(_NMS_BLOCK):
        kept = torch.cat([kept, _kept_of_block(quads, kept, block, group, iou_threshold)])
    keep = order[kept]
    return keep if isinstance(corners, Tensor) else keep.numpy()


def _kept_of_block(
    quads: "_Quads", kept: Tensor, block: Tensor, group: Tensor, iou_threshold: float
) -> Tensor:
    """Return which boxes of a block, indices by falling score, are kept beside the better ones."""
    dropped = torch.zeros(len(block), dtype=torch.bool, device=block.device)
    for _, columns in _suppressing_pairs(quads, kept, block, group, iou_threshold):
        dropped[columns] = True
    block = block[~dropped]
    among = _suppressing_pairs(quads, block, block, group, iou_threshold)
    pairs = torch.cat([block.new_empty(2, 0), *(torch.stack(pair) for pair in among)], dim=1)
    return block[torch.from_numpy(_greedy(len(block), pairs.cpu().numpy())).to(block.device)]


def _suppressing_pairs(
    quads: "_Quads", better: Tensor, worse: Tensor, group: Tensor, iou_threshold: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield places (P,) in `better` and in `worse` of pairs whose first drops the second.

    Args:
        quads: by falling score.
        better, worse: indices into them.
        group: as in oriented_nms, by falling score.
    """
    for rows, columns in _overlapping_pairs(quads.take(better), quads.take(worse)):
        first, second = better[rows], worse[columns]
        wanted = (first < second) & (group[first] == group[second])
        where = wanted.nonzero().squeeze(1)
        where = where[_above(quads, first[where], second[where], iou_threshold)]
        yield rows[where], columns[where]


def _tensor(values: np.ndarray | Tensor) -> Tensor:
    if isinstance(values, Tensor):
        return values.double()
    return torch.from_numpy(np.array(values, dtype=np.float64))


def _greedy(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return the boxes (K,) that are left when each kept one, from the best on, drops its own.

    Args:
        count: number of boxes, the best first.
        pairs: (2, P) of (box, worse box that it drops if it is kept itself).
    """
    better, worse = pairs[:, np.argsort(pairs[0], kind="stable")]
    alive = np.ones(count, dtype=bool)
    starts = np.flatnonzero(np.diff(better, prepend=-1))
    for start, dropped in zip(starts, np.split(worse, starts)[1:], strict=True):
        if alive[better[start]]:
            alive[dropped] = False
    return np.flatnonzero(alive)


def _above(quads: "_Quads", first: Tensor, second: Tensor, iou_threshold: float) -> Tensor:
    """Return which pairs, indices into (P,), have an IoU above the threshold."""
    # Two convex polygons overlap by at most the overlap of their upright boxes, which is quick to
    # compute; polygons are clipped only where this bound leaves the question open.
    low = torch.maximum(quads.hbb[first, :2], quads.hbb[second, :2])
    high = torch.minimum(quads.hbb[first, 2:], quads.hbb[second, 2:])
    area, other = quads.area[first], quads.area[second]
    shared = torch.minimum((high - low).prod(dim=1), torch.minimum(area, other))
    possible = shared > iou_threshold * (area + other - shared) * (1 - 1e-9)
    possible |= ~(quads.convex[first] & quads.convex[second])
    where = possible.nonzero().squeeze(1)
    iou = _iou_of_pairs(quads, first[where], quads, second[where])
    return where[iou > iou_threshold]


class _Quads:
    """Quadrilaterals, each as two convex pieces with a sign.

    A convex quadrilateral is its own first piece, and its second piece has no area; any other is
    two triangles. The sum of sign times area over the pieces is the quadrilateral's area.

    Args:
        corners: (N, 4, 2).

    Attributes:
        hbb: (N, 4) upright boxes x1 y1 x2 y2.
        convex: (N,) bool.
        area: (N,) square pixels.
        pieces: (N, 2, 4, 2) corners of the pieces, in the positive sense (from x towards y).
        signs: (N, 2) 1, -1, or 0 for a piece without area.
    """

    def __init__(self, corners: Tensor) -> None:
        corners = corners.detach().double().reshape(-1, 4, 2)
        self.corners = corners
        self.hbb = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
        sides = corners.roll(-1, dims=1) - corners
        turns = _cross(sides, sides.roll(-1, dims=1))  # [N, 4]
        self.convex = (turns >= 0).all(dim=1) | (turns <= 0).all(dim=1)
        halves = corners[:, [[0, 1, 2, 2], [0, 2, 3, 3]]]  # [N, 2, 4, 2], a triangle each
        whole = torch.stack([corners, corners[:, [0, 0, 0, 0]]], dim=1)
        pieces = torch.where(self.convex[:, None, None, None], whole, halves)
        areas = signed_areas(pieces)  # [N, 2]
        total = areas.sum(dim=1)
        self.area = total.abs()
        self.signs = areas.sign() * torch.where(total < 0, -1.0, 1.0).to(areas)[:, None]
        self.pieces = torch.where((areas < 0)[..., None, None], pieces.flip(2), pieces)

    def __len__(self) -> int:
        return len(self.area)

    def take(self, index: Tensor) -> "_Quads":
        """Return the quadrilaterals at the positions `index`."""
        new = object.__new__(_Quads)
        for name, value in vars(self).items():
            setattr(new, name, value[index])
        return new


def _overlapping_pairs(a: _Quads, b: _Quads) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the pairs (P,), (P,) whose upright boxes overlap, in parts of bounded size.

    The columns, b's, come in rising blocks for each block of rows.
    """
    side = int(_BLOCK**0.5)
    for top in range(0, len(a), side):
        ax1, ay1, ax2, ay2 = a.hbb[top : top + side, :, None].unbind(dim=1)
        for left in range(0, len(b), side):
            bx1, by1, bx2, by2 = b.hbb[left : left + side].unbind(dim=1)
            touch = (ax1 < bx2) & (bx1 < ax2) & (ay1 < by2) & (by1 < ay2)
            rows, columns = touch.nonzero(as_tuple=True)
            if len(rows):
                yield rows + top, columns + left


def _iou_of_pairs(a: _Quads, rows: Tensor, b: _Quads, columns: Tensor) -> Tensor:
    """Return the IoU (P,) of a[rows] with b[columns]."""
    parts = [
        _shared_of_pairs(a, row, b, column)
        for row, column in zip(rows.split(_PAIRS), columns.split(_PAIRS), strict=True)
    ]
    shared = torch.cat([a.area.new_empty(0), *parts])
    union = a.area[rows] + b.area[columns] - shared
    return torch.where(union > 0, shared / union, 0.0)


def _shared_of_pairs(a: _Quads, rows: Tensor, b: _Quads, columns: Tensor) -> Tensor:
    """Return the areas (P,) of the intersections, some pairs at a time."""
    shared = _shared_area(a.pieces[rows, 0], b.pieces[columns, 0])
    shared = shared * a.signs[rows, 0] * b.signs[columns, 0]
    second = ~(a.convex[rows] & b.convex[columns])  # others have one piece
    where = second.nonzero().squeeze(1)
    if len(where):
        rows, columns = rows[where], columns[where]
        for piece_a, piece_b in ((0, 1), (1, 0), (1, 1)):
            sign = a.signs[rows, piece_a] * b.signs[columns, piece_b]
            area = _shared_area(a.pieces[rows, piece_a], b.pieces[columns, piece_b])
            shared[where] += sign * area
    return shared


def _cross(u: Tensor, v: Tensor) -> Tensor:
    """Return the cross products (...) of vectors (..., 2)."""
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _shared_area(subject: Tensor, window: Tensor) -> Tensor:
    """Return the area (P,) of the intersection of convex quadrilaterals of positive sense.

    Each side of the window in turn cuts off what lies outside it (Sutherland and Hodgman, 1974).

    Args:
        subject, window: (P, 4, 2).
    """
    origin = window[:, :1]
    points, window = subject - origin, window - origin
    count = torch.full((len(subject),), 4, device=subject.device)
    for side in range(4):
        start, end = window[:, side, None], window[:, (side + 1) % 4, None]
        points, count = _cut(points, count, start, end - start)
    return signed_areas(points).clamp(min=0)


def _cut(points: Tensor, count: Tensor, start: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Cut polygons along lines and keep what lies on the positive side.

    Args:
        points: (P, K, 2), the first `count` of each row are its corners.
        count: (P,).
        start, direction: (P, 1, 2) of the lines.

    Returns:
        points (P, K + 2, 2), the unused ones repeating the first, and counts. A line cuts a convex
        polygon at two places, which makes one corner more; where a side lies along the line,
        rounding can make two.
    """
    room = points.shape[1] + 2
    index = torch.arange(points.shape[1], device=points.device)
    used = index < count[:, None]
    following = torch.where(index + 1 < count[:, None], index + 1, 0)  # [P, K]
    distance = _cross(direction, points - start)
    next_distance = distance.gather(1, following)
    next_points = points.gather(1, following[..., None].expand_as(points))
    stays = used & (distance >= 0)
    crosses = used & ((distance >= 0) != (next_distance >= 0))
    share = distance / torch.where(crosses, distance - next_distance, 1.0)
    crossings = points + (next_points - points) * share[..., None]

    emitted = stays.long() + crosses.long()
    place = emitted.cumsum(dim=1) - emitted
    # what is not emitted goes to a place behind the others, which is then cut off
    new = points.new_zeros(len(points), room + 1, 2)
    for wanted, at, values in ((stays, place, points), (crosses, place + stays, crossings)):
        at = torch.where(wanted, at, room).clamp(max=room)
        new.scatter_(1, at[..., None].expand_as(values), values)
    count = emitted.sum(dim=1).clamp(max=room)
    filled = torch.arange(room, device=points.device) < count[:, None]
    return torch.where(filled[..., None], new[:, :room], new[:, :1]), count
