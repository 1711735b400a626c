"""Where the tiles' borders lie in an image, and what they do to objects.

A seam is a tile's border inside the image; the image's own border is none. A tile that an object
reaches out of over a seam cuts it: the network sees a part of it there, and may find that part.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np

from maskrcnn_benchmark.dota.annotations import DotaObject, upright_edges
from maskrcnn_benchmark.dota.average_precision import upright_iou
from maskrcnn_benchmark.dota.overlaps import Overlaps
from maskrcnn_benchmark.dota.tiles import Window, clip_labels, parse_tile_name

NOWHERE_WHOLE, CUT = -1.0, 0.0  # among seam_distance's values
BLOCK = 256

Tiles = Mapping[str, Sequence[Window]]


def planned_tiles(plan: Mapping[str, Any]) -> dict[str, list[Window]]:
    """Return the tiles of each image of a tiles.json, in the image's pixels.

    Tiles of an image that was enlarged or shrunk are rounded to its whole pixels.

    Raises:
        ValueError: a name is no tile's, or an image's size is not noted.
    """
    tiles: dict[str, list[Window]] = {}
    for name, entry in plan["sources"].items():
        tiles[name] = []
        if not isinstance(entry.get("width"), int) or not isinstance(entry.get("height"), int):
            raise ValueError(f"tiles.json: expected the width and height of {name}, found none")
        for tile in entry["tiles"]:
            parsed = parse_tile_name(tile)
            if parsed is None:
                raise ValueError(f"tiles.json: {tile!r} of {name} is no tile's name")
            _, rate, x, y = parsed
            side = plan["tile"] or ceil(max(entry["width"], entry["height"]) * rate)
            tiles[name].append(unscaled_window(Window(x, y, side, side), rate, entry))
    return tiles


def unscaled_window(window: Window, rate: float, image: Mapping[str, Any]) -> Window:
    """Return what a window of an image that was enlarged or shrunk shows of it, in whole pixels.

    Args:
        window: in the image enlarged by the rate; it may reach over the border.
        rate: of the window.
        image: "width" and "height" before it was enlarged, if they are known.
    """
    x0, x1 = _span(window.x0, window.width, rate, image.get("width"))
    y0, y1 = _span(window.y0, window.height, rate, image.get("height"))
    return Window(x0, y0, x1 - x0, y1 - y0)


def _span(start: int, side: int, rate: float, length: int | None) -> tuple[int, int]:
    """Return a window's first edge and last in one direction, of an image of that length.

    What reaches the border of the enlarged image, which was rounded there, reaches the image's.
    """
    end = start + side
    if length is not None and end >= round(length * rate):
        return round(start / rate), length
    return round(start / rate), round(end / rate)


def seam_distance(boxes: np.ndarray, tiles: Sequence[Window]) -> np.ndarray:
    """Measure how far boxes of an image are from the nearest seam.

    Args:
        boxes: (K, 4) x1 y1 x2 y2, pixels.
        tiles: all tiles of the image.

    Returns:
        (K,) pixels; CUT where a tile cuts the box, NOWHERE_WHOLE where no tile shows it whole.
    """
    edges = _edges(tiles)
    parts = [np.zeros(0)]
    for start in range(0, len(boxes), BLOCK):
        block = boxes[start : start + BLOCK]
        touches, whole = _shown(block, edges)
        distance = np.where((touches & ~whole).any(axis=1), CUT, _to_borders(block, edges))
        parts.append(np.where(whole.any(axis=1), distance, NOWHERE_WHOLE))
    return np.concatenate(parts)


def objects_found_in_part(
    table: Overlaps, chosen: np.ndarray, tiles: Tiles, iou: float
) -> np.ndarray:
    """Say of which objects detections are only the part that some tile shows.

    A detection is one, if its IoU with the part (`tiles.clip_labels`) of an object of its class in
    a tile that cuts the object exceeds `iou` and the detection's IoU with the whole object.

    Args:
        table: objects, detections and which overlap.
        chosen: bool (N,), the detections that are asked for.
        tiles: of every image in question.
        iou: the threshold.

    Returns:
        int (N,): the object, or -1.
    """
    pairs = np.flatnonzero(chosen[table.pair_detection] & table.pair_is_own_class)
    parts_of = _cut_parts(table, np.unique(table.pair_object[pairs]), tiles)
    rows = [(pair, part) for pair in pairs for part in parts_of.get(table.pair_object[pair], ())]
    target = np.full(len(table.scores), -1)
    if not rows:
        return target
    pair = np.array([row[0] for row in rows])
    part_iou = _iou_of_pairs(table, table.pair_detection[pair], np.array([row[1] for row in rows]))
    is_part = part_iou > np.maximum(iou, table.pair_iou[pair])
    # written by rising overlap, so that the part that is overlapped most stays
    for index in np.flatnonzero(is_part)[np.argsort(part_iou[is_part], kind="stable")]:
        target[table.pair_detection[pair[index]]] = table.pair_object[pair[index]]
    return target


def _cut_parts(table: Overlaps, objects: np.ndarray, tiles: Tiles) -> dict[int, list[np.ndarray]]:
    """Return, per object that a tile cuts, its parts' corners in the image's pixels."""
    parts = {}
    boxes = upright_edges(table.corners)
    for number in objects.tolist():
        windows = tiles.get(table.image_names[table.object_image[number]], ())
        if not windows:
            continue
        touches, whole = _shown(boxes[number : number + 1], _edges(windows))
        parts[number] = [
            part.corners + (windows[index].x0, windows[index].y0)
            for index in np.flatnonzero(touches[0] & ~whole[0]).tolist()
            for part in clip_labels([DotaObject(table.corners[number], "")], windows[index])
        ]
    return parts


def _iou_of_pairs(table: Overlaps, detections: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the IoU (K,) of detections with one quadrilateral each, (K, 4, 2), by the task."""
    coordinates = table.coordinates[detections]
    if table.task == 1:
        from maskrcnn_benchmark.structures.oriented_boxes import oriented_iou_of_pairs

        return oriented_iou_of_pairs(coordinates.reshape(-1, 4, 2), corners)
    return upright_iou(coordinates, upright_edges(corners))


def _edges(tiles: Sequence[Window]) -> np.ndarray:
    """Return tiles as (T, 4) x1 y1 x2 y2."""
    return np.array(
        [(t.x0, t.y0, t.x0 + t.width, t.y0 + t.height) for t in tiles], dtype=np.float64
    ).reshape(-1, 4)


def _image_edges(tiles: np.ndarray) -> np.ndarray:
    """Return the image's x1 y1 x2 y2: the tiles cover it."""
    return np.concatenate([tiles[:, :2].min(axis=0), tiles[:, 2:].max(axis=0)])


def _shown(boxes: np.ndarray, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say (K, T) which tiles touch boxes (K, 4), and which show them whole within the image."""
    image = _image_edges(tiles)
    low = np.clip(boxes[:, None, :2], image[:2], image[2:])  # [K, 1, 2]
    high = np.clip(boxes[:, None, 2:], image[:2], image[2:])
    touches = ((low < tiles[:, 2:]) & (high > tiles[:, :2])).all(axis=2)
    whole = ((low >= tiles[:, :2]) & (high <= tiles[:, 2:])).all(axis=2)
    return touches, whole


def _to_borders(boxes: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    """Return how far boxes (K, 4) are from the nearest seam (K,); infinite without seams."""
    image = _image_edges(tiles)
    nearest = np.full(len(boxes), np.inf)
    for side in range(4):
        axis, other = side % 2, 1 - side % 2
        inner = tiles[tiles[:, side] != image[side]]
        if len(inner) == 0:
            continue
        line = inner[:, side]  # a border at this coordinate, from low to high in the other one
        low, high = inner[:, other], inner[:, 2 + other]
        across = np.maximum(line - boxes[:, None, 2 + axis], boxes[:, None, axis] - line)
        along = np.maximum(low - boxes[:, None, 2 + other], boxes[:, None, other] - high)
        distance = np.hypot(across.clip(min=0), along.clip(min=0))  # [K, T]
        nearest = np.minimum(nearest, distance.min(axis=1))
    return nearest
