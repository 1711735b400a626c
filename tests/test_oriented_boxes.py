"""Oriented boxes: areas by hand and by exact fractions, NMS against the plain one."""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.benchmarks.memory import LiveTensors
from maskrcnn_benchmark.structures.mask_corners import masks_to_corners
from maskrcnn_benchmark.structures.oriented_boxes import (
    best_oriented_overlap,
    oriented_iou,
    oriented_iou_of_pairs,
    oriented_nms,
    signed_areas,
)

SQUARE = np.array([[10.0, 20], [20, 20], [20, 30], [10, 30]])


def rotated(center, width, height, angle_deg) -> np.ndarray:
    """Return the corners of a rectangle turned by an angle from x towards y."""
    angle = np.deg2rad(angle_deg)
    along = np.array([np.cos(angle), np.sin(angle)]) * width / 2
    across = np.array([-np.sin(angle), np.cos(angle)]) * height / 2
    signs = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return np.stack([np.asarray(center) + s * along + t * across for s, t in signs])


def polygon_iou(a: np.ndarray, b: np.ndarray) -> float:
    return oriented_iou(a[None], b[None]).item()


def upright(corners: np.ndarray) -> np.ndarray:
    """Return the upright box x1 y1 x2 y2 around corners (4, 2)."""
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def random_boxes(count: int, seed: int, spread: float = 100) -> np.ndarray:
    random = np.random.default_rng(seed)
    boxes = [
        rotated(
            random.uniform(30, 30 + spread, 2), *random.uniform(4, 30, 2), random.uniform(0, 360)
        )
        for _ in range(count)
    ]
    return np.stack([box[::-1] if k % 3 == 0 else box for k, box in enumerate(boxes)])


def exact_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Return the IoU of convex quadrilaterals, in fractions, by clipping corner by corner."""

    def area(points):
        pairs = zip(points, points[1:] + points[:1], strict=True)
        return sum(p[0] * q[1] - p[1] * q[0] for p, q in pairs) / 2

    def oriented(corners):
        points = [(Fraction(float(x)), Fraction(float(y))) for x, y in corners]
        return points if area(points) > 0 else points[::-1]

    subject, window = oriented(a), oriented(b)
    shared = subject
    for start, end in zip(window, window[1:] + window[:1], strict=True):
        dx, dy = end[0] - start[0], end[1] - start[1]
        sides = [dx * (p[1] - start[1]) - dy * (p[0] - start[0]) for p in shared]
        clipped = []
        for k, (p, side) in enumerate(zip(shared, sides, strict=True)):
            q, other = shared[(k + 1) % len(shared)], sides[(k + 1) % len(shared)]
            if side >= 0:
                clipped.append(p)
            if (side >= 0) != (other >= 0):
                t = side / (side - other)
                clipped.append((p[0] + (q[0] - p[0]) * t, p[1] + (q[1] - p[1]) * t))
        shared = clipped
        if not shared:
            return 0.0
    inter = area(shared)
    return float(inter / (area(subject) + area(window) - inter))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (SQUARE, SQUARE, 1),
        (SQUARE, SQUARE[::-1], 1),
        (SQUARE, SQUARE + [5, 0], 50 / 150),
        (SQUARE, SQUARE + [5, 5], 25 / 175),
        (SQUARE, SQUARE + [10, 0], 0),  # touching
        (SQUARE, SQUARE + [50, 0], 0),
        (SQUARE, np.array([[12.0, 22], [18, 22], [18, 28], [12, 28]]), 36 / 100),  # inside
        # a diamond of area 50 on the middles of the sides
        (SQUARE, np.array([[15.0, 20], [20, 25], [15, 30], [10, 25]]), 50 / 100),
        # a diamond of diagonals 20, area 200, with the square's corners on its sides
        (SQUARE, np.array([[15.0, 15], [25, 25], [15, 35], [5, 25]]), 100 / 200),
        (SQUARE, np.array([[10.0, 20], [20, 20], [20, 20], [10, 20]]), 0),  # no area
    ],
)
def test_iou_by_hand(a, b, expected):
    assert polygon_iou(a, b) == pytest.approx(expected, abs=1e-12)
    assert polygon_iou(b, a) == pytest.approx(expected, abs=1e-12)


def test_iou_of_a_turned_square():
    # a square turned by 45 degrees over itself shares a regular octagon: 2 (sqrt 2 - 1) s^2
    octagon = 2 * (2**0.5 - 1)
    iou = polygon_iou(rotated((50, 40), 10, 10, 0), rotated((50, 40), 10, 10, 45))
    assert iou == pytest.approx(octagon / (2 - octagon), abs=1e-12)


def test_iou_of_shapes_that_are_not_convex():
    # the square's upper and right quarter between its diagonals, 25 each; two corners coincide
    # with the square's, the third lies in its middle
    arrow = np.array([[10.0, 20], [20, 20], [20, 30], [15, 25]])
    assert polygon_iou(arrow, SQUARE) == pytest.approx(50 / 100)
    dart = np.array([[10.0, 20], [20, 25], [10, 30], [14, 25]])  # 50 less a triangle of 10 x 4 / 2
    assert polygon_iou(dart, SQUARE) == pytest.approx(30 / 100)
    assert polygon_iou(dart, dart[::-1]) == pytest.approx(1)
    # no part of the dart is in its notch
    assert polygon_iou(dart, np.array([[10.0, 24], [12, 24], [12, 26], [10, 26]])) == 0


def test_iou_of_a_self_crossing_shape_is_the_kits():
    """The two lobes have opposite senses and cancel, as in the sums of DOTA's development kit."""
    bow = np.array([[10.0, 20], [20, 30], [20, 20], [10, 24]])  # lobes of unequal size
    area = abs(sum(bow[k - 1, 0] * bow[k, 1] - bow[k - 1, 1] * bow[k, 0] for k in range(4))) / 2
    # the square covers both lobes: shared is the difference of the lobes
    assert polygon_iou(bow, SQUARE) == pytest.approx(area / 100)
    assert 0 < area < 50


def test_iou_against_exact_fractions():
    a, b = random_boxes(25, 1, 40), random_boxes(30, 2, 40)
    expected = np.array([[exact_iou(p, q) for q in b] for p in a])
    assert (expected > 0).mean() > 0.2
    assert np.abs(oriented_iou(a, b) - expected).max() < 1e-12
    assert np.abs(oriented_iou(a + 1e5, b + 1e5) - expected).max() < 1e-8


def test_iou_of_boxes_that_share_sides():
    """Return points on a side, on its line and nearly on it."""
    box = rotated((50.3, 40.7), 20, 10, 33.3)
    along = (box[1] - box[0]) / 20
    for shift in (0, 1e-13, 1e-9, 5, 20 - 1e-12, 20):
        moved = box + along * shift
        expected = max(20 - shift, 0) / (20 + shift)
        assert polygon_iou(box, moved) == pytest.approx(expected, abs=1e-9)
        assert polygon_iou(moved, box) == pytest.approx(expected, abs=1e-9)


def test_more_boxes_than_a_block():
    a, b = random_boxes(40, 5, 300), random_boxes(30, 6, 300)
    a, b = np.tile(a, (20, 1, 1)), np.tile(b, (20, 1, 1))
    iou = oriented_iou(a, b)
    assert iou.shape == (800, 600)
    # sums over blocks of other shapes, whose last bits may differ
    assert np.abs(iou - np.tile(iou[:40, :30], (20, 20))).max() < 1e-12


@cache
def many(spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Return more boxes than a block holds, and their IoU."""
    corners = random_boxes(560, 3, spread)
    return corners, oriented_iou(corners, corners)


@pytest.mark.parametrize("spread", [30, 200, 900])
@pytest.mark.parametrize("iou_threshold", [0.0, 0.1, 0.5, 0.9])
def test_nms_against_the_plain_one(iou_threshold, spread):
    corners, iou = many(spread)
    scores = np.random.default_rng(0).integers(0, 300, len(corners)) / 300  # with ties
    expected: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if all(iou[i, k] <= iou_threshold for k in expected):
            expected.append(i)
    kept = oriented_nms(corners, scores, iou_threshold)
    assert kept.tolist() == expected
    assert kept.dtype == np.int64


def test_nms_at_the_threshold():
    corners = np.stack([SQUARE, SQUARE + [5, 0], SQUARE + [40, 0]])  # IoU 1/3
    scores = np.array([0.5, 0.9, 0.7], dtype=np.float32)
    assert oriented_nms(corners, scores, 0.34).tolist() == [1, 2, 0]
    assert oriented_nms(corners, scores, 0.33).tolist() == [1, 2]
    assert oriented_nms(np.stack([SQUARE, SQUARE]), scores[:2], 1.0).tolist() == [1, 0]


def test_nms_of_shapes_that_are_not_convex():
    dart = np.array([[10.0, 20], [20, 25], [10, 30], [14, 25]])
    corners = np.stack([dart, SQUARE, dart + 0.01])
    assert oriented_nms(corners, np.array([0.9, 0.8, 0.7]), 0.29).tolist() == [0]
    assert oriented_nms(corners, np.array([0.9, 0.8, 0.7]), 0.31).tolist() == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1000, 5000])
def test_nms_of_20000_boxes(spread):
    random = np.random.default_rng(0)
    corners = np.tile(random_boxes(200, 1, spread), (100, 1, 1))
    corners += random.uniform(0, spread, (20000, 1, 2))
    kept = oriented_nms(corners, random.random(20000), 0.1)
    iou = oriented_iou(corners[kept[:2000]], corners[kept])
    np.fill_diagonal(iou, 0)
    assert 1000 < len(kept) < 20000 and iou.max() <= 0.1


def test_groups_do_not_suppress_each_other():
    boxes = np.stack([rotated((50, 40), 30, 8, 20), rotated((51, 40), 30, 8, 20)] * 2)
    scores, groups = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 2, 1, 3])
    kept = oriented_nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5, groups=groups)
    assert kept.tolist() == [0, 1, 3]


def test_best_overlap_is_the_matrixs():
    boxes, others = torch.from_numpy(random_boxes(700, 3)), torch.from_numpy(random_boxes(1100, 4))
    others[900:910] = others[:10]  # equal ones: the first counts
    matrix = oriented_iou(boxes, others)
    iou, index = best_oriented_overlap(boxes, others)
    assert torch.equal(iou, matrix.amax(dim=1))
    assert torch.equal(index, matrix.argmax(dim=1)) and (iou > 0).any() and index.max() < 1100
    assert best_oriented_overlap(boxes, others[:0])[0].tolist() == [0] * 700


def test_a_crowds_best_overlaps_take_bounded_memory():
    """5,000 objects and 2,000 proposals; the matrix alone would take 80 MB."""
    boxes, others = (torch.from_numpy(random_boxes(n, n, spread=1000)) for n in (2000, 5000))
    with LiveTensors() as live:
        iou, _ = best_oriented_overlap(boxes, others)
    assert live.peak < 128e6 and (iou > 0).sum() > 1000


def test_signed_areas():
    # a triangle of 10 x 4 / 2, clockwise on the screen; far from the origin float32 keeps digits
    triangle = torch.tensor([[0.0, 0], [10, 0], [3, 4]]) + 1e6
    assert signed_areas(torch.stack([triangle, triangle.flip(0)])).tolist() == [20, -20]


def test_empty_input():
    none = np.zeros((0, 4, 2))
    assert oriented_iou(none, SQUARE[None]).shape == (0, 1)
    assert oriented_iou(SQUARE[None], none).shape == (1, 0)
    assert oriented_nms(none, np.zeros(0), 0.1).shape == (0,)
    assert masks_to_corners(np.zeros((0, 28, 28)), np.zeros((0, 4))).shape == (0, 4, 2)


def drawn_mask(corners: np.ndarray, box: np.ndarray, cells: int = 28) -> np.ndarray:
    """Return the fraction of each cell of a box, edges (x1, y1, x2, y2), inside a rectangle."""
    fine = cells * 8
    x = box[0] + (np.arange(fine) + 0.5) / fine * (box[2] - box[0])
    y = box[1] + (np.arange(fine) + 0.5) / fine * (box[3] - box[1])
    points = np.stack(np.meshgrid(x, y), axis=2)
    inside = np.ones((fine, fine), dtype=bool)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        d, to = end - start, points - start
        inside &= d[0] * to[..., 1] - d[1] * to[..., 0] >= 0
    return inside.reshape(cells, 8, cells, 8).mean(axis=(1, 3))


@pytest.mark.parametrize("angle_deg", [0, 20, 45, 77, 90, 135, 160])
@pytest.mark.parametrize(("width", "height"), [(60, 20), (16, 12), (300, 80)])
def test_masks_to_corners(angle_deg, width, height):
    corners = rotated((200.4, 150.7), width, height, angle_deg)
    box = upright(corners)
    mask = drawn_mask(corners, box)
    found = masks_to_corners(mask[None], (box - [0, 0, 1, 1])[None])[0]
    assert polygon_iou(found, corners) > 0.95


def test_full_and_empty_masks_give_the_box():
    box = np.array([[3.0, 4, 12, 8]])  # edges 3 .. 13, 4 .. 9
    expected = [[3, 4], [3, 9], [13, 4], [13, 9]]
    for mask in (np.zeros((1, 28, 28)), np.full((1, 28, 28), 0.49), np.ones((1, 14, 14))):
        assert sorted(masks_to_corners(mask, box)[0].round(4).tolist()) == expected


def test_threshold_and_the_largest_part():
    mask = np.zeros((1, 10, 10))
    mask[0, 2:6, 1:9] = 0.6  # the largest part above 0.5
    mask[0, 8:, :2] = 0.9
    box = np.array([[100.0, 50, 119, 69]])  # 20 x 20 pixels: a cell is 2
    found = upright(masks_to_corners(mask, box)[0])
    # the centres of cells 1 .. 8, 2 .. 5 lie at 103 .. 117, 55 .. 61; towards a neighbour of 0 the
    # probability is 0.5 a sixth of a cell further
    expected = [103 - 2 / 6, 55 - 2 / 6, 117 + 2 / 6, 61 + 2 / 6]
    assert found.tolist() == pytest.approx(expected, abs=1e-3)
    low = upright(masks_to_corners(mask, box, threshold=0.7)[0])
    assert low[0] < 101 and low[1] > 50 + 15  # only the corner part is left


def test_iou_of_pairs_is_the_diagonal_of_all_pairs():
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 40, (30, 4, 2))  # of any shape, crossing themselves too
    b = a + rng.normal(0, 6, (30, 4, 2))
    assert oriented_iou_of_pairs(a, b) == pytest.approx(np.diagonal(oriented_iou(a, b)), abs=1e-9)
    assert oriented_iou_of_pairs(a[:0], b[:0]).shape == (0,)
