"""Drawing of the objects of a toy scene, seen from above.

An object is drawn in its unit frame: x from -0.5 (rear) to 0.5 (front), y from -0.5 (left) to 0.5
(right). Each outline reaches all four sides, so that the frame's corners are the exact label.
Colours are BGR.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from maskrcnn_benchmark.dota.toy.layout import Placed, rotation

SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates: sixteenths of a pixel
Colour = Sequence[float] | np.ndarray

WHITE, DARK = (236, 238, 238), (42, 38, 36)
HEIGHTS = {  # of the objects, which their shadows show, in pixels at scale 1
    "plane": 9.0,
    "small-vehicle": 4.0,
    "large-vehicle": 8.0,
    "ship": 5.0,
    "storage-tank": 13.0,
}
CAR_PAINTS = ((225, 226, 228), (195, 195, 192), (60, 58, 58), (45, 40, 150), (140, 80, 40))
TRUCK_PAINTS = ((232, 234, 235), (205, 215, 225), (150, 105, 60), (60, 70, 175), (120, 160, 190))
HULL_PAINTS = ((235, 236, 238), (222, 226, 230), (70, 62, 58), (60, 60, 140), (130, 90, 50))
TANK_PAINTS = ((238, 240, 240), (214, 220, 222), (190, 205, 215), (150, 165, 185))
COURT_PAINTS = (
    ((70, 110, 70), (150, 105, 55)),
    ((60, 95, 60), (85, 130, 85)),
    ((75, 115, 75), (70, 95, 175)),
    ((140, 95, 50), (165, 125, 70)),
)
POOL_PAINTS = ((225, 190, 75), (210, 200, 110), (235, 205, 130), (200, 165, 60))


def fill(image: np.ndarray, points: np.ndarray, colour: Colour) -> None:
    """Fill a polygon (N, 2), in place, with smooth edges, to a sixteenth of a pixel."""
    # integer coordinates are pixel centres for OpenCV, and edges here
    fixed = np.round((points - 0.5) * (1 << SHIFT)).astype(np.int32)
    cv2.fillPoly(image, [fixed], tuple(map(float, colour)), cv2.LINE_AA, SHIFT)


def line(image: np.ndarray, points: np.ndarray, colour: Colour, width: float) -> None:
    """Draw a straight line between two points (2, 2), in place, `width` pixels wide."""
    along = points[1] - points[0]
    length = float(np.hypot(*along))
    if length == 0:
        return
    across = np.array([-along[1], along[0]]) / length * width / 2
    strip = [points[0] + across, points[1] + across, points[1] - across, points[0] - across]
    fill(image, np.array(strip), colour)


def draw_object(image: np.ndarray, item: Placed, rng: np.random.Generator) -> None:
    """Draw one object in place; `rng` decides its colours and variants."""
    PAINTERS[item.name](Pen(image, item, rng), rng)


def draw_shadow(mask: np.ndarray, item: Placed, sun: np.ndarray, scale: float) -> None:
    """Draw an object's shadow into a mask (H, W) of shadows, where 255 is darkest.

    Args:
        sun: the direction of shadows, unit vector (2,).
        scale: of the scene, at most 1.
    """
    height = HEIGHTS.get(item.name)
    if height is None:
        return
    for outline in SILHOUETTES[item.name]:
        points = item.to_image(outline * (item.length, item.width))
        fill(mask, points + sun * height * scale * 0.7, (255,))


class Pen:
    """A pen that draws into an image, in an object's unit frame."""

    def __init__(self, image: np.ndarray, item: Placed, rng: np.random.Generator):
        self.image = image
        self.item = item
        self.light = rng.uniform(0.85, 1.05)

    def shape(self, outline: np.ndarray, colour: Colour) -> None:
        """Fill a polygon (N, 2)."""
        points = self.item.to_image(np.asarray(outline) * (self.item.length, self.item.width))
        fill(self.image, points, np.array(colour) * self.light)

    def box(self, x1: float, y1: float, x2: float, y2: float, colour: Colour) -> None:
        """Fill a rectangle."""
        self.shape(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]), colour)


def mirrored(half: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return the outline (2N, 2) whose half with y >= 0 is given, from front to rear."""
    right = np.array(half)
    return np.concatenate([right, right[::-1] * (1, -1)])


def rounded(cut_x: float, cut_y: float) -> np.ndarray:
    """Return the outline of the unit box, its corners cut off by (cut_x, cut_y)."""
    return mirrored(
        [(0.5, 0.5 - cut_y), (0.5 - cut_x, 0.5), (-0.5 + cut_x, 0.5), (-0.5, 0.5 - cut_y)]
    )


def disc(diameter: float = 1.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Return a circle (40, 2) around (x, y), including the points farthest in x and in y."""
    angles = np.arange(40) * np.pi / 20
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * diameter / 2 + (x, y)


FUSELAGE = mirrored(
    [(0.5, 0.0), (0.46, 0.035), (0.38, 0.055), (-0.25, 0.05), (-0.44, 0.025), (-0.5, 0.008)]
)
WINGS = mirrored([(0.14, 0.04), (-0.1, 0.5), (-0.19, 0.5), (-0.09, 0.04)])
TAIL = mirrored([(-0.33, 0.02), (-0.44, 0.19), (-0.5, 0.19), (-0.45, 0.02)])
HULL = mirrored([(0.5, 0.02), (0.4, 0.24), (0.24, 0.43), (0.02, 0.5), (-0.44, 0.48), (-0.5, 0.4)])
SILHOUETTES = {
    "plane": [FUSELAGE, WINGS, TAIL],
    "small-vehicle": [rounded(0.08, 0.14)],
    "large-vehicle": [rounded(0.02, 0.05)],
    "ship": [HULL],
    "storage-tank": [disc()],
}


def _choose(rng: np.random.Generator, paints: Sequence) -> Any:
    return paints[int(rng.integers(len(paints)))]


def _plane(pen: Pen, rng: np.random.Generator) -> None:
    accent = _choose(rng, ((160, 80, 40), (50, 50, 170), (120, 120, 120), (200, 200, 200)))
    body = np.array(WHITE) * rng.uniform(0.88, 1.02)
    pen.shape(WINGS, body * 0.9)
    for y in (-0.2, 0.2):
        pen.box(-0.06, y - 0.025, 0.08, y + 0.025, body * 0.62)
    pen.shape(TAIL, body * 0.85)
    pen.shape(FUSELAGE, body)
    pen.box(-0.5, -0.012, -0.34, 0.012, accent)
    pen.box(0.4, -0.025, 0.44, 0.025, DARK)


def _small_vehicle(pen: Pen, rng: np.random.Generator) -> None:
    paint = np.array(_choose(rng, CAR_PAINTS))
    pen.shape(rounded(0.08, 0.14), paint)
    pen.box(-0.36, -0.4, 0.24, 0.4, DARK)
    pen.box(-0.24, -0.36, 0.1, 0.36, np.minimum(paint * 1.08, 250))
    pen.box(0.44, -0.4, 0.49, -0.2, (190, 220, 225))
    pen.box(0.44, 0.2, 0.49, 0.4, (190, 220, 225))


def _large_vehicle(pen: Pen, rng: np.random.Generator) -> None:
    paint = np.array(_choose(rng, TRUCK_PAINTS))
    if rng.random() < 0.4:  # a bus
        pen.shape(rounded(0.02, 0.05), paint)
        pen.box(0.42, -0.42, 0.47, 0.42, DARK)
        for x in (-0.3, 0.0, 0.25):
            pen.box(x - 0.05, -0.22, x + 0.05, 0.22, paint * 0.72)
        return
    pen.box(-0.4, -0.25, 0.4, 0.25, (50, 50, 50))
    pen.box(0.34, -0.46, 0.5, 0.46, _choose(rng, CAR_PAINTS))
    pen.box(0.42, -0.38, 0.46, 0.38, DARK)
    pen.box(-0.5, -0.5, 0.31, 0.5, paint)
    for x in np.arange(-0.42, 0.3, 0.12):
        pen.box(x, -0.48, x + 0.015, 0.48, paint * 0.88)


def _ship(pen: Pen, rng: np.random.Generator) -> None:
    hull = np.array(_choose(rng, HULL_PAINTS))
    pen.shape(HULL, hull)
    deck = _choose(rng, ((150, 185, 205), (195, 200, 200), (120, 140, 155)))
    pen.shape(HULL * (0.88, 0.72), deck)
    if rng.random() < 0.6:  # a yacht's cabin
        pen.box(-0.22, -0.32, 0.18, 0.32, WHITE)
        pen.box(0.12, -0.28, 0.2, 0.28, DARK)
        pen.box(-0.16, -0.18, 0.04, 0.18, (205, 205, 205))
    else:  # a cargo of hatches, the bridge behind
        pen.box(-0.42, -0.36, -0.28, 0.36, WHITE)
        for x in (-0.2, -0.03, 0.14):
            pen.box(x, -0.26, x + 0.12, 0.26, _choose(rng, TRUCK_PAINTS))


def _tennis_court(pen: Pen, rng: np.random.Generator) -> None:
    around, court = _choose(rng, COURT_PAINTS)
    pen.box(-0.5, -0.5, 0.5, 0.5, around)
    x, y, w = 0.38, 0.33, 0.6 / min(pen.item.width, 60)
    pen.box(-x, -y, x, y, WHITE)
    thin_x, thin_y = w * pen.item.width / pen.item.length, w
    pen.box(-x + thin_x, -y + thin_y, x - thin_x, y - thin_y, court)
    for level in (-0.25, 0.25):
        pen.box(-x, level - thin_y / 2, x, level + thin_y / 2, WHITE)
    for level in (-0.2, 0.2):
        pen.box(level - thin_x / 2, -0.25, level + thin_x / 2, 0.25, WHITE)
    pen.box(-0.2, -thin_y / 2, 0.2, thin_y / 2, WHITE)
    pen.box(-thin_x, -0.4, thin_x, 0.4, DARK)


def _storage_tank(pen: Pen, rng: np.random.Generator) -> None:
    paint = np.array(_choose(rng, TANK_PAINTS))
    pen.shape(disc(), paint * 0.72)
    pen.shape(disc(0.92), paint)
    pen.shape(disc(0.7, -0.06, -0.06), np.minimum(paint * 1.05, 250))
    if rng.random() < 0.5:
        pen.shape(disc(0.16), paint * 0.7)
    else:
        turn = rng.uniform(0, np.pi)
        stair = np.array([[-0.45, -0.015], [0.45, -0.015], [0.45, 0.015], [-0.45, 0.015]])
        pen.shape(stair @ rotation(turn), paint * 0.75)


def _swimming_pool(pen: Pen, rng: np.random.Generator) -> None:
    water = np.array(_choose(rng, POOL_PAINTS))
    outline = _choose(rng, (rounded(0.04, 0.06), rounded(0.2, 0.3), disc()))
    pen.shape(outline, (205, 215, 222))
    pen.shape(outline * (0.9, 0.85), water)
    pen.shape(outline * (0.6, 0.5) + (0.1, 0.05), np.minimum(water * (1.02, 1.05, 1.12), 250))
    pen.box(0.36, -0.08, 0.45, 0.08, (215, 220, 225))


PAINTERS: dict[str, Callable[[Pen, np.random.Generator], None]] = {
    "plane": _plane,
    "small-vehicle": _small_vehicle,
    "large-vehicle": _large_vehicle,
    "ship": _ship,
    "tennis-court": _tennis_court,
    "storage-tank": _storage_tank,
    "swimming-pool": _swimming_pool,
}
