"""The one tile grid, the tiles' names, and what a tile keeps of the labels.

Grid: windows start every `tile - overlap` pixels; the last one is pulled back to end at the border;
an image smaller than the tile is one window of its own size (no padding). Width 2425 with tile 1024
and overlap 200: windows start at 0, 824 and 2425 - 1024 = 1401.

Names: `SOURCE__RATE__X___Y`, X and Y being the window's first column and row in the source image
enlarged by RATE, as DOTA's development kit writes them: `P0706__1__824___0`. A place x, y in that
tile is at ((x + X) / RATE, (y + Y) / RATE) in the source.

Labels: an object that lies wholly in the window moves with it and stays as it is. Of any other, the
part inside is kept as its label; it keeps its difficult flag when more than 0.7 of its area is
inside and gets difficult = 2 otherwise. A part with more than four corners is made a quadrilateral:
its shortest edge shrinks to its middle until four are left. Left out, as by the kit: triangles (no
more than half of a rectangle) and objects without area; also parts below 0.01 square pixels.
With a window of 1024x1024 at (0, 0), a 10x10 object from x = 1016 to 1026 has 0.8 of its area
inside: corners 1016 ... 1024, flag kept. From x = 1019 to 1029 it is 0.5: 1019 ... 1024, flag 2.
"""

import re
from collections.abc import Iterable

import numpy as np

from maskrcnn_benchmark.dota.annotations import DotaObject, stack_corners
from maskrcnn_benchmark.images.image_reader import Window
from maskrcnn_benchmark.structures.polygons import clip_polygon, hull_area

MIN_VISIBLE = 0.7
MIN_AREA = 0.01
CUT_AWAY = 2
RULE = (
    f"labels are clipped to the tile; difficult = {CUT_AWAY} where no more than {MIN_VISIBLE} of "
    "the object's area is inside"
)
NAME_PATTERN = re.compile(r"(?P<source>.+)__(?P<rate>\d+(?:\.\d+)?)__(?P<x>\d+)___(?P<y>\d+)")
GREATEST_RATE = 16.0


def check_tile(tile: int, overlap: int) -> None:
    """Refuse what `tile_grid` cannot cut by (ValueError), before anything is read or loaded."""
    if tile < 0 or overlap < 0:
        raise ValueError(f"tile and overlap must not be negative, got {tile} and {overlap}")
    if tile and overlap >= tile:
        raise ValueError(
            f"overlap must be smaller than the tile, got an overlap of {overlap} and a tile of "
            f"{tile}"
        )


def tile_grid(image_width: int, image_height: int, tile: int, overlap: int) -> list[Window]:
    """Cut an image into overlapping windows, column by column.

    Args:
        image_width, image_height: pixels.
        tile: the windows' side in pixels; 0 never cuts.
        overlap: pixels that neighbours share at least.

    Raises:
        ValueError: a negative tile or overlap, or an overlap that is not smaller than the tile.
    """
    check_tile(tile, overlap)
    if tile == 0:
        return [Window(0, 0, image_width, image_height)]
    return [
        Window(x0, y0, min(tile, image_width), min(tile, image_height))
        for x0 in _starts(image_width, tile, overlap)
        for y0 in _starts(image_height, tile, overlap)
    ]


def tile_name(source: str, rate: float, window: Window) -> str:
    """Name a tile as DOTA's development kit does, without suffix."""
    return f"{source}__{rate:g}__{window.x0}___{window.y0}"


def parse_tile_name(name: str) -> tuple[str, float, int, int] | None:
    """Take a tile's name apart.

    Args:
        name: without suffix, for example "P0706__1__824___0".

    Returns:
        (source, rate, x, y), ("P0706", 1.0, 824, 0) here; None if it is no tile's name. Where the
        second part cannot be a rate because it is over 16, another tool wrote the tile's side
        there ("P0861__1024__0___1648"), and the rate is 1.
    """
    match = NAME_PATTERN.fullmatch(name)
    if match is None:
        return None
    rate = float(match["rate"])
    if rate > GREATEST_RATE:
        rate = 1.0
    return match["source"], rate, int(match["x"]), int(match["y"])


def clip_labels(
    objects: Iterable[DotaObject], window: Window, min_visible: float = MIN_VISIBLE
) -> list[DotaObject]:
    """Say what a window shows of an image's objects, by this module's rule.

    Args:
        objects: in the image's pixels.
        window: where the tile lies in the image.
        min_visible: the share of an object's area that must be exceeded for it to keep its flag.

    Returns:
        new objects in the window's pixels, in the same order.
    """
    objects = list(objects)
    corners = stack_corners(objects) - (window.x0, window.y0)
    low, high = corners.min(axis=1), corners.max(axis=1)  # [N, 2]
    size = np.array([window.width, window.height])
    touching = np.flatnonzero(((high > 0) & (low < size)).all(axis=1))
    clipped = []
    for index in touching:
        item, polygon = objects[index], corners[index]
        own_area = hull_area(polygon)
        if own_area < MIN_AREA:
            continue
        if (low[index] >= 0).all() and (high[index] <= size).all():
            clipped.append(DotaObject(polygon, item.name, item.difficult))
            continue
        part = clip_polygon(polygon, np.zeros(2), size)
        visible_area = hull_area(part)
        if len(part) < 4 or visible_area < MIN_AREA:
            continue
        difficult = item.difficult if visible_area / own_area > min_visible else CUT_AWAY
        quadrilateral = _start_like(_to_four_corners(part), polygon)
        clipped.append(DotaObject(quadrilateral, item.name, difficult))
    return clipped


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    last = max(length - tile, 0)
    return [*range(0, last, tile - overlap), last]


def _to_four_corners(polygon: np.ndarray) -> np.ndarray:
    """Shrink the shortest edge of a polygon (K >= 4, 2) to its middle until K = 4."""
    while len(polygon) > 4:
        lengths = np.linalg.norm(np.roll(polygon, -1, axis=0) - polygon, axis=1)
        polygon = np.roll(polygon, -int(lengths.argmin()), axis=0)  # shortest: from 0 to 1
        polygon = np.concatenate([[polygon[:2].mean(axis=0)], polygon[2:]])
    return polygon


def _start_like(polygon: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Turn the order of four corners, so that each is near the model's corner of the same rank."""
    turned = [np.roll(polygon, -start, axis=0) for start in range(4)]
    return min(turned, key=lambda corners: float(((corners - model) ** 2).sum()))
