"""Pictures of the places with the most errors, truth beside detections."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maskrcnn_benchmark.dota.annotations import upright_edges
from maskrcnn_benchmark.dota.errors import KINDS, Errors
from maskrcnn_benchmark.dota.image_files import ImageFile, file_around, least_scaled
from maskrcnn_benchmark.dota.overlaps import Assignment, Overlaps
from maskrcnn_benchmark.dota.report.figures import unfound_objects
from maskrcnn_benchmark.dota.seams import unscaled_window
from maskrcnn_benchmark.dota.tiles import Window
from maskrcnn_benchmark.images.drawing import draw_detections
from maskrcnn_benchmark.images.image_io import read_image

SIDE = 640  # of a picture, pixels of the image
TRUE, UNFOUND, DIFFICULT = "true", "not found", "difficult"
# The place says the colour (`drawing.class_color`): the seventh is green, the eighth red.
STATES = (*list(KINDS)[:6], TRUE, UNFOUND, *list(KINDS)[6:], DIFFICULT)


@dataclass(frozen=True)
class Picture:
    """A window of an image, drawn on twice; BGR.

    Attributes:
        window: its place in the image.
        truth: with the labelled objects.
        found: with the detections.
    """

    window: Window
    truth: np.ndarray
    found: np.ndarray


def draw_worst(
    table: Overlaps,
    assignment: Assignment,
    errors: Errors,
    score: float,
    image_name: str,
    files: Sequence[ImageFile],
) -> Picture | None:
    """Draw the place of an image that has the most errors.

    Args:
        table, assignment, errors: what was found, and what of it is wrong.
        score: the least score of the detections that count and are drawn.
        image_name: one of the table's.
        files: of the image; the picture is a part of one of them, of the rate nearest to 1.

    Returns:
        None where no file can be read, which the log says.
    """
    image = table.image_names.index(image_name)
    objects = table.object_image == image
    detections = (table.detection_image == image) & (table.scores >= score)
    unfound = unfound_objects(table, assignment, score)
    wrong = np.concatenate(
        [
            table.corners[objects & unfound],
            table.detection_corners[detections & assignment.false_positive],
        ]
    )
    try:
        files = least_scaled(files)
        rate = files[0].rate
        file, window = _window_around(_busiest_place(wrong * rate), files)
        pixels = read_image(file.path)
    except (OSError, ValueError) as error:
        logging.getLogger(__name__).warning("%s", error)
        return None
    rows = slice(window.y0 - file.y0, window.y0 - file.y0 + window.height)
    columns = slice(window.x0 - file.x0, window.x0 - file.x0 + window.width)
    pixels = pixels[rows, columns]
    object_states = _labels(len(table.corners), {TRUE: ~unfound, UNFOUND: unfound})
    object_states[table.difficult] = STATES.index(DIFFICULT) + 1
    states = {TRUE: assignment.true_positive} | {kind: errors.is_kind(kind) for kind in KINDS}
    detection_states = _labels(len(table.scores), {DIFFICULT: ~assignment.true_positive} | states)
    return Picture(
        unscaled_window(window, rate, {}),
        _draw(pixels, window, table.corners[objects] * rate, object_states[objects]),
        _draw(
            pixels,
            window,
            table.detection_corners[detections] * rate,
            detection_states[detections],
            table.scores[detections],
        ),
    )


def _labels(count: int, members: Mapping[str, np.ndarray]) -> np.ndarray:
    """Number states for `draw_detections`; of several that hold, the last counts."""
    labels = np.zeros(count, dtype=int)
    for state, chosen in members.items():
        labels[chosen] = STATES.index(state) + 1
    return labels


def _draw(
    pixels: np.ndarray,
    window: Window,
    corners: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Draw on a copy of a window what touches it, so that the legend counts what is seen."""
    corners = corners - (window.x0, window.y0)
    boxes = upright_edges(corners)
    size = (window.width, window.height)
    seen = ((boxes[:, 2:] > 0) & (boxes[:, :2] < size)).all(axis=1)
    scores = None if scores is None else scores[seen]
    return draw_detections(pixels.copy(), corners[seen], labels[seen], STATES, scores)


def _busiest_place(corners: np.ndarray) -> np.ndarray:
    """Return the centre (2,) that has most others within half a picture; (0, 0) of none."""
    centers = (corners.min(axis=1) + corners.max(axis=1)) / 2
    best, most = np.zeros(2), 0
    for center in centers:
        near = int((np.abs(centers - center).max(axis=1) <= SIDE / 2).sum())
        if near > most:
            best, most = center, near
    return best


def _window_around(center: np.ndarray, files: Sequence[ImageFile]) -> tuple[ImageFile, Window]:
    """Return the file that shows a place, and a window of it, as large as a picture, around it."""
    file, *size = file_around(center, files)
    width, height = (min(SIDE, length) for length in size)
    x0 = int(np.clip(center[0] - width / 2, file.x0, file.x0 + size[0] - width))
    y0 = int(np.clip(center[1] - height / 2, file.y0, file.y0 + size[1] - height))
    return file, Window(x0, y0, width, height)
