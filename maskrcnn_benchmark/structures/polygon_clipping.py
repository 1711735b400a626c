"""Cut polygons to rectangles."""

import numpy as np

FAR = 1 << 14  # cells beyond a grid's border: what lies further off does not show on it


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
