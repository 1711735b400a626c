"""Polygons in arrays: their areas, and what is left of them in a rectangle. All is float64.

What compares quadrilaterals with each other (IoU, matching, suppression) is in oriented_boxes.py,
which takes arrays, too; it needs PyTorch, this module does not.
"""

from collections.abc import Sequence

import numpy as np

FAR = 1 << 14  # cells beyond a grid's border: what lies further off does not show on it


def polygon_areas(polygons: np.ndarray) -> np.ndarray:
    """Return the areas (...) of polygons (..., K, 2), positive; lobes that cross cancel."""
    local = polygons - polygons[..., :1, :]  # large coordinates would cost digits
    after = np.roll(local, -1, axis=-2)
    twice = local[..., 0] * after[..., 1] - local[..., 1] * after[..., 0]
    return np.abs(twice.sum(axis=-1)) / 2


def hull_area(polygon: np.ndarray) -> float:
    """Return the area of a polygon's convex hull, which is the same for corners in any order.

    Args:
        polygon: (K, 2); 0 for K < 3.
    """
    points = sorted(polygon.tolist())  # of few corners: NumPy would take thrice as long
    hull = [*_chain(points), *_chain(points[::-1])]
    if not hull:
        return 0.0
    x0, y0 = hull[0]  # large coordinates would cost digits
    triangles = [
        (ax - x0) * (by - y0) - (bx - x0) * (ay - y0)
        for (ax, ay), (bx, by) in zip(hull, hull[1:], strict=False)
    ]
    return sum(triangles) / 2


def clip_polygon(polygon: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Cut a polygon to a rectangle, one border after the other (Sutherland and Hodgman, 1974).

    Args:
        polygon: (K, 2).
        low, high: (2,), least and greatest x and y.

    Returns:
        (L, 2), L = 0 where the polygon lies outside.
    """
    for axis in (0, 1):
        for limit, sign in ((float(low[axis]), 1.0), (float(high[axis]), -1.0)):
            polygon = _clip_half_plane(polygon, axis, limit, sign)
    return polygon


def cut_far_parts(ring: np.ndarray, width: float, height: float) -> np.ndarray:
    """Cut from a polygon what lies far off a grid, before it is drawn there.

    Drawing takes memory in proportion to the outline's length, of which a wrong number in a label
    makes gigabytes. A ring that reaches no further than FAR is returned as it is.

    Args:
        ring: (2K,), x1 y1 x2 y2 … in cells.
        width, height: the grid's, cells.
    """
    points = ring.reshape(-1, 2)
    low, high = np.array([-FAR, -FAR]), np.array([width + FAR, height + FAR])
    if (points >= low).all() and (points <= high).all():
        return ring
    part = clip_polygon(points, low, high)
    return part.reshape(-1) if len(part) > 2 else np.full(6, -FAR, dtype=ring.dtype)


def _chain(points: Sequence[list[float]]) -> list[list[float]]:
    """Return the half of a convex hull that turns one way, by Andrew's monotone chain (1979).

    Args:
        points: by x, then y, rising or falling.
    """
    chain: list[list[float]] = []
    for point in points:
        x, y = point
        while len(chain) > 1:
            ax, ay = chain[-2]
            bx, by = chain[-1]
            if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                break
            chain.pop()
        chain.append(point)
    return chain


def _clip_half_plane(polygon: np.ndarray, axis: int, limit: float, sign: float) -> np.ndarray:
    """Keep the part of (K, 2) where sign * (coordinate - limit) >= 0."""
    kept = []
    for here, after in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        depth_here = sign * (here[axis] - limit)
        depth_after = sign * (after[axis] - limit)
        if depth_here >= 0:
            kept.append(here)
        if depth_here * depth_after < 0:
            crossing = here + (after - here) * (depth_here / (depth_here - depth_after))
            crossing[axis] = limit
            kept.append(crossing)
    return np.array(kept).reshape(-1, 2)
