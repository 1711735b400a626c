"""Areas and overlaps of quadrilaterals beside shapely's, which computes with GEOS."""

import numpy as np
import pytest

from maskrcnn_benchmark.structures.oriented_boxes import (
    best_oriented_overlap,
    oriented_iou,
    oriented_iou_of_pairs,
    oriented_nms,
)
from maskrcnn_benchmark.structures.polygons import clip_polygon, hull_area, polygon_areas

shapely = pytest.importorskip("shapely")

COUNT = 40


def quadrilaterals(seed: int, thickness: float = 1.0) -> np.ndarray:
    """Return rectangles (N, 4, 2) at all angles whose corners are moved at random a little."""
    random = np.random.default_rng(seed)
    center = random.uniform(300, 340, (COUNT, 1, 2))
    sides = random.uniform(10, 40, (COUNT, 2)) * (1, thickness)
    angle = random.uniform(0, 2 * np.pi, COUNT)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1) * sides[:, :1] / 2
    across = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * sides[:, 1:] / 2
    corners = [-along - across, along - across, along + across, across - along]
    corners = center + np.stack(corners, axis=1)
    corners += random.uniform(-0.2, 0.2, corners.shape) * sides.min(axis=1)[:, None, None]
    corners[::3] = corners[::3, ::-1]  # both senses of rotation
    return corners


def along_a_side(corners: np.ndarray) -> np.ndarray:
    """Return the shapes moved along their first sides, by 0 to twice the side."""
    shift = np.linspace(0, 2, len(corners))[:, None, None]
    return corners + (corners[:, 1:2] - corners[:, :1]) * shift


def mirrored(corners: np.ndarray) -> np.ndarray:
    """Return the shapes turned about the middle of their first sides, which they then share."""
    return corners[:, :1] + corners[:, 1:2] - corners


def nested(corners: np.ndarray) -> np.ndarray:
    center = corners.mean(axis=1, keepdims=True)
    return center + (corners - center) * 0.6


def darts(corners: np.ndarray) -> np.ndarray:
    """Return the shapes with the third corner pulled in, so that they are not convex."""
    pulled = corners.copy()
    pulled[:, 2] = corners[:, [0, 1, 3]].mean(axis=1)
    return pulled


def triangles(corners: np.ndarray) -> np.ndarray:
    """Return the shapes with the third corner on the side from the second to the fourth."""
    flat = corners.copy()
    flat[:, 2] = corners[:, [1, 3]].mean(axis=1)
    return flat


def shapely_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    first, second = shapely.polygons(a)[:, None], shapely.polygons(b)
    assert shapely.is_valid(first).all() and shapely.is_valid(second).all()
    shared = shapely.area(shapely.intersection(first, second))
    return shared / (shapely.area(first) + shapely.area(second) - shared)


KINDS = {
    "random": (quadrilaterals(1), quadrilaterals(2)),
    "touching and sliding": (quadrilaterals(3), along_a_side(quadrilaterals(3))),
    "on either side of a side": (quadrilaterals(4), mirrored(quadrilaterals(4))),
    "nested": (quadrilaterals(5), nested(quadrilaterals(5))),
    "equal": (quadrilaterals(6), quadrilaterals(6)),
    "needles": (quadrilaterals(7, 1e-3), quadrilaterals(8, 1e-3)),
    "needles and boxes": (quadrilaterals(9, 1e-3), quadrilaterals(10)),
    "equal needles": (quadrilaterals(11, 1e-4), quadrilaterals(11, 1e-4)),
    "not convex": (darts(quadrilaterals(12)), quadrilaterals(13)),
    "both not convex": (darts(quadrilaterals(14)), darts(quadrilaterals(15))),
    "triangles": (triangles(quadrilaterals(16)), triangles(quadrilaterals(17))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_overlaps_are_shapelys(kind):
    a, b = KINDS[kind]
    expected = shapely_iou(a, b)
    assert (expected > 0).sum() > 20
    assert np.abs(oriented_iou(a, b) - expected).max() < 1e-9
    assert np.abs(oriented_iou_of_pairs(a, b) - np.diag(expected)).max() < 1e-9
    best, index = best_oriented_overlap(a, b)
    assert np.abs(best - expected.max(axis=1)).max() < 1e-9
    assert np.abs(expected[np.arange(COUNT), index] - best).max() < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_areas_are_shapelys(kind):
    for corners in KINDS[kind]:
        moved = corners + (4000, 6000)
        shapes = shapely.polygons(moved)
        assert np.abs(polygon_areas(moved) / shapely.area(shapes) - 1).max() < 1e-9
        hulls = shapely.area(shapely.convex_hull(shapes))
        ours = np.array([hull_area(item) for item in moved])
        assert np.abs(ours / hulls - 1).max() < 1e-9
        crossed = np.array([hull_area(item[[0, 2, 1, 3]]) for item in moved])
        assert np.abs(crossed / hulls - 1).max() < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_in_a_rectangle_is_shapelys(kind):
    """The rectangle's borders go through the shapes, and along sides of the first."""
    left = 0
    for corners in KINDS[kind]:
        for low in (np.array([315.0, 305.0]), corners[0].min(axis=0)):
            high = low + (20, 25)
            parts = [clip_polygon(item, low, high) for item in corners]
            areas = np.array([polygon_areas(part) if len(part) else 0.0 for part in parts])
            box = shapely.box(*low, *high)
            expected = shapely.area(shapely.intersection(shapely.polygons(corners), box))
            whole = shapely.area(shapely.polygons(corners))
            assert (np.abs(areas - expected) / whole).max() < 1e-9
            left += int(((expected > 0) & (expected < whole)).sum())
            for part in filter(len, parts):
                assert (part >= low).all() and (part <= high).all()
    assert left > 10


def test_shapes_that_only_touch_share_nothing():
    """Exactly 0, so that rounding suppresses nothing at a threshold of 0."""
    shapes = quadrilaterals(4)
    convex = [
        place
        for place, area in enumerate(shapely_iou(shapes, mirrored(shapes)).diagonal())
        if area < 1e-9
    ]  # a skewed one reaches over the line of its first side
    assert len(convex) > 10
    assert (oriented_iou_of_pairs(shapes[convex], mirrored(shapes[convex])) == 0).all()
    pair = np.stack([shapes[convex[0]], mirrored(shapes[convex[:1]])[0]])
    assert oriented_nms(pair, np.array([0.5, 0.9]), 0.0).tolist() == [1, 0]
