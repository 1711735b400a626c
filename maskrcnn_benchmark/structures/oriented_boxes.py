"""Oriented boxes: overlap, suppression, and boxes from masks.

Corners are (N, 4, 2) float pixels, x right, y down, in either sense of rotation. They are edges
and not pixel indices (no + 1): an object that fills columns 3..12 spans x = 3 .. 13, and the
BoxList box (3, 4, 12, 8) has the corners (3, 4), (13, 4), (13, 9), (3, 9).

DOTA's labels are arbitrary quadrilaterals. One that is not convex is split into two triangles,
whose areas have the sign of their sense of rotation; for quadrilaterals that cross themselves this
gives the areas that DOTA's development kit computes.
"""

from collections.abc import Iterator

import cv2
import numpy as np

_ROWS = 512  # boxes per block; the pairs of two blocks are compared together
_PAIRS = 2**15  # pairs of polygons that are clipped together
_MAX_CORNERS = 12  # room for a clipped quadrilateral: 8 corners, and 4 more due to rounding


def corners_to_hbb(corners: np.ndarray) -> np.ndarray:
    """Return the upright boxes (N, 4) x1 y1 x2 y2 around corners (N, 4, 2); both are edges."""
    corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4, 2)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def polygon_iou(corners_a: np.ndarray, corners_b: np.ndarray) -> float:
    """Return the intersection over union of two quadrilaterals, each (4, 2)."""
    return float(oriented_iou(np.asarray(corners_a)[None], np.asarray(corners_b)[None])[0, 0])


def oriented_iou(corners_a: np.ndarray, corners_b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of all pairs.

    Args:
        corners_a: (N, 4, 2).
        corners_b: (M, 4, 2).

    Returns:
        (N, M) float64, computed for the pairs whose upright boxes overlap; the others are 0.
    """
    a, b = _Quads(corners_a), _Quads(corners_b)
    iou = np.zeros((len(a), len(b)))
    for rows, columns in _overlapping_pairs(a, b):
        iou[rows, columns] = _iou_of_pairs(a, rows, b, columns)
    return iou


def oriented_nms(corners: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Apply greedy non-maximum suppression to oriented boxes.

    The boxes are processed in blocks by falling score, so that memory is proportional to N.

    Args:
        corners: (N, 4, 2).
        scores: (N,); boxes of equal score keep their order.
        iou_threshold: a box is dropped if its IoU with a kept box of higher score is above this.

    Returns:
        (K,) int64: indices of the kept boxes by falling score.
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    quads = _Quads(np.asarray(corners).reshape(-1, 4, 2)[order])
    kept = np.empty(0, dtype=np.int64)
    for start in range(0, len(order), _ROWS):
        block = np.arange(start, min(start + _ROWS, len(order)))
        block = block[~_suppressed(quads, kept, block, iou_threshold)]
        kept = np.concatenate([kept, block[_greedy(quads, block, iou_threshold)]])
    return order[kept]


def _suppressed(
    quads: "_Quads", kept: np.ndarray, block: np.ndarray, iou_threshold: float
) -> np.ndarray:
    """Return which boxes of a block (n,) have an IoU with a kept box above the threshold."""
    dropped = np.zeros(len(block), dtype=bool)
    for rows, columns in _overlapping_pairs(quads.take(kept), quads.take(block)):
        remaining = ~dropped[columns]
        rows, columns = kept[rows[remaining]], columns[remaining]
        too_much = _above(quads, rows, block[columns], iou_threshold)
        dropped[columns[too_much]] = True
    return dropped


def _greedy(quads: "_Quads", block: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Return which boxes of one block (n,), sorted by falling score, suppression keeps."""
    members = quads.take(block)
    kept = np.ones(len(block), dtype=bool)
    # per box the later boxes of the block that overlap it too much
    worse: dict[int, list[np.ndarray]] = {}
    for rows, columns in _overlapping_pairs(members, members):
        later = rows < columns
        rows, columns = rows[later], columns[later]
        too_much = _above(members, rows, columns, iou_threshold)
        rows, columns = rows[too_much], columns[too_much]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))  # the pairs are sorted by row
        for row, some in zip(rows[starts], np.split(columns, starts)[1:], strict=True):
            worse.setdefault(int(row), []).append(some)
    for row in sorted(worse):
        if kept[row]:
            for columns in worse[row]:
                kept[columns] = False
    return kept


def _above(
    quads: "_Quads", first: np.ndarray, second: np.ndarray, iou_threshold: float
) -> np.ndarray:
    """Return which pairs (P,) of boxes have an IoU above the threshold."""
    # Two convex polygons overlap by at most the overlap of their upright boxes, which is quick to
    # compute; polygons are clipped only where this bound leaves the question open.
    low = np.maximum(quads.hbb[first, :2], quads.hbb[second, :2])
    high = np.minimum(quads.hbb[first, 2:], quads.hbb[second, 2:])
    areas = np.stack([quads.area[first], quads.area[second]])
    shared = np.minimum((high - low).prod(axis=1), areas.min(axis=0))
    possible = shared > iou_threshold * (areas.sum(axis=0) - shared) * (1 - 1e-9)
    possible |= ~(quads.convex[first] & quads.convex[second])
    above = np.zeros(len(first), dtype=bool)
    iou = _iou_of_pairs(quads, first[possible], quads, second[possible])
    above[possible] = iou > iou_threshold
    return above


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

    def __init__(self, corners: np.ndarray) -> None:
        corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4, 2)
        self.hbb = corners_to_hbb(corners)
        sides = np.roll(corners, -1, axis=1) - corners
        turns = _cross(sides, np.roll(sides, -1, axis=1))  # [N, 4]
        self.convex: np.ndarray = np.all(turns >= 0, axis=1) | np.all(turns <= 0, axis=1)
        halves = corners[:, [[0, 1, 2, 2], [0, 2, 3, 3]]]  # [N, 2, 4, 2], a triangle each
        whole = np.stack([corners, corners[:, [0, 0, 0, 0]]], axis=1)
        pieces = np.where(self.convex[:, None, None, None], whole, halves)
        areas = _signed_areas(pieces)  # [N, 2]
        sense = np.where(areas.sum(axis=1) < 0, -1.0, 1.0)
        self.area = np.abs(areas.sum(axis=1))
        self.signs = np.sign(areas) * sense[:, None]
        self.pieces = np.where((areas < 0)[..., None, None], pieces[:, :, ::-1], pieces)

    def __len__(self) -> int:
        return len(self.area)

    def take(self, index: np.ndarray) -> "_Quads":
        """Return the quadrilaterals at the positions `index`."""
        new = object.__new__(_Quads)
        for name, value in vars(self).items():
            setattr(new, name, value[index])
        return new


def _overlapping_pairs(a: _Quads, b: _Quads) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the index pairs (P,), (P,) whose upright boxes overlap, in parts of bounded size."""
    for top in range(0, len(a), _ROWS):
        ax1, ay1, ax2, ay2 = a.hbb[top : top + _ROWS].T[:, :, None]
        for left in range(0, len(b), _ROWS):
            bx1, by1, bx2, by2 = b.hbb[left : left + _ROWS].T
            overlap = (ax1 < bx2) & (bx1 < ax2) & (ay1 < by2) & (by1 < ay2)
            rows, columns = np.divmod(np.flatnonzero(overlap), overlap.shape[1])
            if len(rows):
                yield rows + top, columns + left


def _iou_of_pairs(a: _Quads, rows: np.ndarray, b: _Quads, columns: np.ndarray) -> np.ndarray:
    """Return the IoU (P,) of a[rows] with b[columns]."""
    shared = np.zeros(len(rows))
    for piece_a in (0, 1):
        for piece_b in (0, 1):
            sign = a.signs[rows, piece_a] * b.signs[columns, piece_b]
            wanted = np.flatnonzero(sign)
            for start in range(0, len(wanted), _PAIRS):
                pair = wanted[start : start + _PAIRS]
                both = a.pieces[rows[pair], piece_a], b.pieces[columns[pair], piece_b]
                shared[pair] += sign[pair] * _shared_area(*both)
    union = a.area[rows] + b.area[columns] - shared
    return np.divide(shared, union, out=np.zeros(len(rows)), where=union > 0)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the cross products (...) of vectors (..., 2)."""
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _signed_areas(polygons: np.ndarray) -> np.ndarray:
    """Return the areas (...) of polygons (..., K, 2), positive from x towards y."""
    local = polygons - polygons[..., :1, :]  # products of large coordinates would lose digits
    return _cross(local, np.roll(local, -1, axis=-2)).sum(axis=-1) / 2


def _shared_area(subject: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return the area (P,) of the intersection of convex quadrilaterals of positive sense.

    The subject is cut along each side of the window (Sutherland and Hodgman, 1974).

    Args:
        subject, window: (P, 4, 2).
    """
    origin = window[:, :1]
    points = np.zeros((len(subject), _MAX_CORNERS, 2))
    points[:, :4], window = subject - origin, window - origin
    count = np.full(len(subject), 4)
    for side in range(4):
        start, end = window[:, side, None], window[:, (side + 1) % 4, None]
        points, count = _cut(points, count, start, end - start)
    return np.maximum(_signed_areas(points), 0)


def _cut(
    points: np.ndarray, count: np.ndarray, start: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cut each polygon along a line and keep the part on the line's positive side.

    Args:
        points: (P, K, 2), of which the first `count` per row are the polygon's corners.
        count: (P,).
        start, direction: (P, 1, 2), a point on each line and its direction.

    Returns:
        the new points (unused ones repeat the first) and counts, of the same shapes.
    """
    index = np.arange(points.shape[1])
    used = index < count[:, None]
    following = np.where(index + 1 < count[:, None], index + 1, 0)  # [P, K]
    distance = _cross(direction, points - start)
    next_distance = np.take_along_axis(distance, following, axis=1)
    next_points = np.take_along_axis(points, following[..., None], axis=1)
    stays = used & (distance >= 0)
    crosses = used & ((distance >= 0) != (next_distance >= 0))
    share = distance / np.where(crosses, distance - next_distance, 1)
    crossings = points + (next_points - points) * share[..., None]

    emitted = stays.astype(np.int64) + crosses
    count = np.minimum(emitted.sum(axis=1), points.shape[1])
    place = np.minimum(emitted.cumsum(axis=1) - emitted, points.shape[1] - 1)
    new = np.zeros_like(points)
    row, column = np.nonzero(stays)
    new[row, place[row, column]] = points[row, column]
    row, column = np.nonzero(crosses)
    after = np.minimum(place[row, column] + stays[row, column], points.shape[1] - 1)
    new[row, after] = crossings[row, column]
    return np.where((index < count[:, None])[..., None], new, new[:, :1]), count


def masks_to_corners(
    mask_probs: np.ndarray, boxes_xyxy: np.ndarray, threshold: float = 0.5
) -> np.ndarray:
    """Return the smallest oriented box around the largest part of each mask.

    The outline is computed on the M x M cells of the mask and scaled to the box, so that no mask
    of the image's size is needed.

    Args:
        mask_probs: (N, M, M) probabilities over the boxes.
        boxes_xyxy: (N, 4) in the BoxList convention, both ends included.
        threshold: least probability of a pixel that belongs to the object.

    Returns:
        (N, 4, 2) float64; the corners of the upright box where a mask is empty.
    """
    mask_probs = np.asarray(mask_probs, dtype=np.float32)
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    x1, y1, x2, y2 = boxes[:, 0], boxes[:, 1], boxes[:, 2] + 1, boxes[:, 3] + 1
    corners = np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=1).reshape(-1, 4, 2)
    for number, probs in enumerate(mask_probs):
        outline = _outline(probs, threshold)
        if len(outline) < 3:
            continue
        start = corners[number, 0]
        scale = (corners[number, 2] - start) / probs.shape[::-1]
        rectangle = cv2.minAreaRect((outline * scale).astype(np.float32))
        corners[number] = cv2.boxPoints(rectangle) + start
    return corners


def _outline(probs: np.ndarray, threshold: float) -> np.ndarray:
    """Return points (K, 2) on the outline of a mask's largest part, in cells from its top left.

    The outline passes where the probability, interpolated linearly between the centres of
    neighbouring cells, equals the threshold. Outside the mask it is 0, and the points are clipped
    to the mask, so that the outline of a full mask is the mask's border.
    """
    padded = np.pad(probs, 1)
    parts, labels, stats, _ = cv2.connectedComponentsWithStats(
        (padded >= threshold).astype(np.uint8), connectivity=8
    )
    if parts < 2:
        return np.empty((0, 2))
    part = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    outline = []
    for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        outside = np.roll(padded, (-step[0], -step[1]), axis=(0, 1))
        rows, columns = np.nonzero(part & (outside < threshold))
        inside_value, outside_value = padded[rows, columns], outside[rows, columns]
        share = (inside_value - threshold) / (inside_value - outside_value)
        outline.append(np.stack([columns + share * step[1], rows + share * step[0]], axis=1))
    # index 1 of the padded mask is the first cell, whose centre is 0.5 cells from the border
    return np.clip(np.concatenate(outline) - 0.5, 0, probs.shape[0])
