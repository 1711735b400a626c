"""Pictures of faulty labels where they lie: on the image, at its border or off it."""

from collections.abc import Sequence

import cv2
import numpy as np

from maskrcnn_benchmark.dota.annotations import upright_edges
from maskrcnn_benchmark.dota.image_files import ImageFile, file_around, least_scaled
from maskrcnn_benchmark.dota.tiles import Window
from maskrcnn_benchmark.images.drawing import GREY, draw_detections, draw_rings
from maskrcnn_benchmark.images.open_image import open_image

SIDE = 480  # of a picture, pixels
MARGIN = 1.25  # of a picture's side to what must be seen
RING = 20  # radius around small faults, pixels of the picture


def draw_fault(
    corners: np.ndarray, number: int, title: str, files: Sequence[ImageFile]
) -> np.ndarray:
    """Draw an object in a ring, the others around it, and the image's nearest part or all of it.

    Args:
        corners: (N, 4, 2), all objects of an image, in its pixels.
        number: of the object, from 0.
        title: what is wrong with it, for the legend.
        files: of the image, at least one; the picture shows a part of one of them.

    Returns:
        BGR (SIDE, SIDE, 3), grey where the file shows nothing; shrunk where the object is large or
        far off.

    Raises:
        FileNotFoundError, ValueError: a file cannot be read.
    """
    files = least_scaled(files)
    corners = corners * files[0].rate
    ends = upright_edges(corners[number : number + 1]).reshape(2, 2)  # least and greatest x, y
    file, width, height = file_around(ends.mean(axis=0), files)
    start = np.array([file.x0, file.y0])
    borders = np.array([start, start + (width, height)])
    nearest = ends.clip(*borders)
    is_far = np.abs(ends - nearest).max() > SIDE
    both = np.concatenate([ends, borders if is_far else nearest])
    side = max(SIDE, MARGIN * float(np.ptp(both, axis=0).max()))
    origin = (both.min(axis=0) + both.max(axis=0) - side) / 2
    canvas = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    _paste(canvas, file, origin - start, SIDE / side)
    corners = (corners - origin) * SIDE / side
    boxes = upright_edges(corners)
    seen = ((boxes[:, 2:] >= 0) & (boxes[:, :2] <= SIDE)).all(axis=1)
    labels = np.where(np.arange(len(corners)) == number, 2, 1)[seen]
    draw_detections(canvas, corners[seen], labels, ("other objects", title))
    return draw_rings(canvas, corners[number : number + 1], RING)


def _paste(canvas: np.ndarray, file: ImageFile, origin: np.ndarray, scale: float) -> None:
    """Draw what a window, from an origin in the file's pixels on, shows of the file."""
    with open_image(file.path) as reader:
        size = np.array(reader.size)
        low = np.floor(origin).astype(int).clip(0, size)
        high = np.ceil(origin + SIDE / scale).astype(int).clip(0, size)
        if (high <= low).any():
            return
        pixels = reader.read(Window(*low.tolist(), *(high - low).tolist()))
        x0, y0 = ((low - origin) * scale).round().astype(int).clip(0, SIDE - 1)
        x1, y1 = ((high - origin) * scale).round().astype(int).clip(1, SIDE)
        shrunk = cv2.resize(
            pixels, (max(x1 - x0, 1), max(y1 - y0, 1)), interpolation=cv2.INTER_AREA
        )
    canvas[y0 : y0 + len(shrunk), x0 : x0 + shrunk.shape[1]] = shrunk
