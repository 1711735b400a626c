"""Rectangles that are stated by centre, sides and angle, and corners.

The angle is that of the first side (corner 1 to corner 2) with the x axis, in radians, clockwise on
the screen, 0 <= angle < 2 pi; w is the length of that side, h that of the next. Corners are in
turn, clockwise, so that the rectangle says which corner is the first.

Worked numbers: (cx 50, cy 40, w 20, h 10, angle 0) has the corners (40, 35), (60, 35), (60, 45),
(40, 45); with the angle pi / 2 they are (55, 30), (55, 50), (45, 50), (45, 30).
"""

import math

import cv2
import numpy as np

EXACT = 0.005  # pixels that a corner of a rectangle may lie off

Rectangle = tuple[float, float, float, float, float]


def corners_to_rectangle(corners: np.ndarray) -> Rectangle:
    """Return (cx, cy, w, h, angle) of the corners (4, 2) of a rectangle.

    Of other quadrilaterals it is what `rectangle_to_corners` makes no such corners of.
    """
    cx, cy = corners.mean(axis=0)
    first = (corners[1] - corners[0] + corners[2] - corners[3]) / 2
    second = (corners[3] - corners[0] + corners[2] - corners[1]) / 2
    if not first.any():  # no more than a line: the next side says the angle
        first = np.array([second[1], -second[0]])
        angle, w = math.atan2(first[1], first[0]), 0.0
    else:
        angle, w = math.atan2(first[1], first[0]), math.hypot(*first)
    h = second @ (-math.sin(angle), math.cos(angle))
    return float(cx), float(cy), w, float(h), angle % (2 * math.pi)


def rectangle_to_corners(rectangle: Rectangle) -> np.ndarray:
    """Return the corners (4, 2) of (cx, cy, w, h, angle)."""
    cx, cy, w, h, angle = rectangle
    first = np.array([math.cos(angle), math.sin(angle)]) * w / 2
    second = np.array([-math.sin(angle), math.cos(angle)]) * h / 2
    return np.array([cx, cy]) + [
        -first - second,
        first - second,
        first + second,
        second - first,
    ]


def is_rectangle(corners: np.ndarray) -> bool:
    """Say whether corners (4, 2) are those of a rectangle, clockwise."""
    rectangle = corners_to_rectangle(corners)
    return rectangle[3] >= 0 and bool(
        np.abs(rectangle_to_corners(rectangle) - corners).max() <= EXACT
    )


def smallest_rectangle(points: np.ndarray) -> np.ndarray:
    """Return the corners (4, 2) of the smallest rectangle around points (K, 2).

    They are clockwise and begin with the one that is nearest to the first point.
    """
    points = np.asarray(points, dtype=np.float64)
    local = (points - points[0]).astype(np.float32)  # near 0, where float32 is exact enough
    corners = cv2.boxPoints(cv2.minAreaRect(local)).astype(np.float64) + points[0]
    if corners_to_rectangle(corners)[3] < 0:
        corners = corners[::-1]
    start = int(np.linalg.norm(corners - points[0], axis=1).argmin())
    return np.roll(corners, -start, axis=0)


def upright_corners(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    """Return the corners (4, 2) of an upright box given by its edges, clockwise from top left."""
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float64)
