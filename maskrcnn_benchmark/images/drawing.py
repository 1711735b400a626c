"""Pictures for people, drawn with OpenCV: detections on an image, a grid, a curve.

Images are BGR uint8 (H, W, 3) and are drawn on in place; boxes are given as corners (N, 4, 2) in
float pixels, so that upright and oriented ones are drawn alike.
"""

import colorsys
from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (128, 128, 128)
SUBPIXEL_BITS = 4  # OpenCV draws at coordinates in 1/16 pixel
SIDE_PER_STROKE = 30  # pixels of an object's short side that bear one of its outline
TEXT_SCALE = 0.4  # of scores, per pixel of outline: "0.99" is then 24 to 30 pixels wide


def class_color(label: int) -> tuple[int, int, int]:
    """Return a bright BGR colour for a class, far from those of its neighbours.

    Args:
        label: 1 for the first class. Hues are the golden ratio apart.
    """
    red, green, blue = colorsys.hsv_to_rgb((label * 0.618034) % 1, 0.85, 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)


def draw_detections(
    bgr: np.ndarray,
    corners: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Outline objects in their class's colour and add a legend with the number per class.

    Outlines grow with the objects, a pixel for every 30 of the short side, up to what the image
    bears, a pixel for every 900 of its own; they are never thinner than one.

    Args:
        bgr: drawn on in place; memory beyond it does not depend on its size.
        corners: (N, 4, 2) pixels.
        labels: (N,), 1 for the first class.
        class_names: class 1 first.
        scores: (N,), written at the objects whose short sides are as long as the text.

    Returns:
        the same array.
    """
    corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4, 2)
    short_sides = _short_sides(corners)
    strokes = _strokes(bgr, short_sides)
    points = _to_subpixels(corners)
    pairs = set(zip(np.asarray(labels).tolist(), strokes.tolist(), strict=True))
    for label, stroke in sorted(pairs):
        outlines = list(points[(labels == label) & (strokes == stroke)])
        cv2.polylines(bgr, outlines, True, class_color(label), stroke, cv2.LINE_AA, SUBPIXEL_BITS)
    if scores is not None:
        _write_scores(bgr, corners, labels, scores, strokes, short_sides)
    _draw_legend(bgr, labels, class_names)
    return bgr


def mark_first_corners(bgr: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Show the order of corners: a white dot on corner 1, a white line from there to corner 2.

    Args:
        bgr: drawn on in place, after `draw_detections`.
        corners: (N, 4, 2) pixels.

    Returns:
        the same array.
    """
    corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4, 2)
    strokes = _strokes(bgr, _short_sides(corners))
    for points, stroke in zip(_to_subpixels(corners), strokes.tolist(), strict=True):
        cv2.polylines(bgr, [points[:2]], False, WHITE, stroke, cv2.LINE_AA, SUBPIXEL_BITS)
        for radius, color in ((stroke + 2, BLACK), (stroke + 1, WHITE)):
            center = (int(points[0, 0]), int(points[0, 1]))
            cv2.circle(bgr, center, radius << SUBPIXEL_BITS, color, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    return bgr


def draw_rings(bgr: np.ndarray, corners: np.ndarray, radius: float) -> np.ndarray:
    """Draw a white ring around each object, so that small ones are seen.

    Args:
        bgr: drawn on in place.
        corners: (N, 4, 2) pixels.
        radius: the least, pixels; it grows with the object.

    Returns:
        the same array.
    """
    corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4, 2)
    middles = corners.mean(axis=1)  # [N, 2]
    reach = np.linalg.norm(corners - middles[:, None], axis=2).max(axis=1) + radius / 2
    for middle, own in zip(_to_subpixels(middles), np.maximum(reach, radius), strict=True):
        for stroke, color in ((3, BLACK), (1, WHITE)):
            size = round(own * 2**SUBPIXEL_BITS)
            cv2.circle(bgr, middle.tolist(), size, color, stroke, cv2.LINE_AA, SUBPIXEL_BITS)
    return bgr


def picture_grid(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str]) -> np.ndarray:
    """Put pictures side by side under column titles.

    Args:
        rows: pictures of any sizes; each is shrunk to its cell and never enlarged.
        titles: one per column.

    Returns:
        A new image with cells of 480x480 pixels at most.
    """
    cell, gap, head = 480, 8, 36
    fitted = [[_shrink(picture, cell) for picture in row] for row in rows]
    heights = [max(picture.shape[0] for picture in row) for row in fitted]
    width = max(picture.shape[1] for row in fitted for picture in row)
    columns = max(len(titles), *(len(row) for row in rows))
    canvas = np.full(
        (head + sum(heights) + gap * len(heights), columns * (width + gap) + gap, 3), 255, np.uint8
    )
    for column, title in enumerate(titles):
        _write(canvas, title, (gap + column * (width + gap), head - 12), 0.7, BLACK)
    top = head
    for row, height in zip(fitted, heights, strict=True):
        for column, picture in enumerate(row):
            left = gap + column * (width + gap)
            canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        top += height + gap
    return canvas


def draw_curve(values_x: Sequence[float], values_y: Sequence[float], title: str) -> np.ndarray:
    """Draw y over x with a running mean over a twentieth of the points.

    Args:
        values_x: rising, at least one.
        values_y: as many; from 0 up.
        title: above the axes.

    Returns:
        A new image of 800x480 pixels.
    """
    x, y = np.asarray(values_x, float), np.asarray(values_y, float)
    canvas = np.full((480, 800, 3), 255, np.uint8)
    left, right, top, bottom = 70, 780, 40, 430
    # the first few losses may be so high that they would flatten all others
    highest = max(float(np.percentile(y, 99)) * 1.1, 1e-6)
    span = max(x[-1] - x[0], 1e-6)

    def to_pixels(ys: np.ndarray) -> np.ndarray:
        columns = left + (x - x[0]) / span * (right - left)
        rows = bottom - np.clip(ys / highest, 0, 1) * (bottom - top)
        return np.stack([columns, rows], axis=1).round().astype(np.int32)

    for share in (0, 0.25, 0.5, 0.75, 1):
        row = round(bottom - share * (bottom - top))
        cv2.line(canvas, (left, row), (right, row), (225, 225, 225), 1)
        _write(canvas, f"{share * highest:.3g}", (8, row + 5), 0.45, BLACK)
        column = round(left + share * (right - left))
        _write(canvas, f"{x[0] + share * span:.0f}", (column - 15, bottom + 22), 0.45, BLACK)
    window = max(len(y) // 20, 1)
    padded = np.pad(y, (window // 2, window - 1 - window // 2), mode="edge")
    mean = np.convolve(padded, np.ones(window) / window, mode="valid")
    cv2.polylines(canvas, [to_pixels(y)], False, (235, 190, 140), 1, cv2.LINE_AA)
    cv2.polylines(canvas, [to_pixels(mean)], False, (180, 80, 20), 2, cv2.LINE_AA)
    _write(canvas, title, (left, 26), 0.6, BLACK)
    return canvas


def _write(bgr: np.ndarray, text: str, origin: tuple[int, int], scale: float, color) -> None:
    cv2.putText(bgr, text, origin, FONT, scale, color, 1, cv2.LINE_AA)


def _shrink(picture: np.ndarray, side: int) -> np.ndarray:
    factor = min(side / max(picture.shape[:2]), 1.0)
    size = (max(round(picture.shape[1] * factor), 1), max(round(picture.shape[0] * factor), 1))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _strokes(bgr: np.ndarray, short_sides: np.ndarray) -> np.ndarray:
    """Return how thick objects (N,) are outlined, pixels."""
    thickest = max(1, round(min(bgr.shape[:2]) / 900))
    return np.clip(short_sides // SIDE_PER_STROKE, 1, thickest).astype(int)


def _to_subpixels(corners: np.ndarray) -> np.ndarray:
    """Return points (..., 2) as OpenCV draws them."""
    return np.round(corners * 2**SUBPIXEL_BITS).astype(np.int32)


def _short_sides(corners: np.ndarray) -> np.ndarray:
    """Return the shorter side (N,) of corners (N, 4, 2), opposite ones taken together."""
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)  # [N, 4]
    return np.minimum(sides[:, 0] + sides[:, 2], sides[:, 1] + sides[:, 3]) / 2


def _write_scores(
    bgr: np.ndarray,
    corners: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    strokes: np.ndarray,
    short_sides: np.ndarray,
) -> None:
    """Write scores at the boxes' top left corners, where they are no longer than the short side."""
    low = np.round(corners.min(axis=1)).astype(int)  # [N, 2]
    for (x, y), label, score, stroke, side in zip(
        low.tolist(), labels, scores, strokes.tolist(), short_sides, strict=True
    ):
        text, scale = f"{score:.2f}", TEXT_SCALE * stroke
        (text_width, text_height), _ = cv2.getTextSize(text, FONT, scale, stroke)
        if text_width > side:
            continue
        y = max(y - 2, text_height)
        rim = (stroke + 1) // 2
        for origin in product((x - rim, x + rim), (y - rim, y + rim)):
            cv2.putText(bgr, text, origin, FONT, scale, BLACK, stroke, cv2.LINE_AA)
        cv2.putText(bgr, text, (x, y), FONT, scale, class_color(int(label)), stroke, cv2.LINE_AA)


def _draw_legend(bgr: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Name the classes that occur and their numbers in the top left corner, if there is room."""
    height, width = bgr.shape[:2]
    scale = max(min(height, width) / 1500, 0.4)
    line = round(36 * scale)
    found, counts = np.unique(labels, return_counts=True)
    texts = [f"{class_names[k - 1]}: {n}" for k, n in zip(found, counts, strict=True)]
    if not texts:
        return
    text_width = max(cv2.getTextSize(text, FONT, scale, 1)[0][0] for text in texts)
    panel_hw = (line * len(texts) + line // 2, text_width + 2 * line)
    if panel_hw[0] > height * 0.6 or panel_hw[1] > width * 0.6:
        return
    bgr[: panel_hw[0], : panel_hw[1]] //= 3  # darkened, so that the text is readable on anything
    stroke = max(1, round(scale))
    for row, (label, text) in enumerate(zip(found, texts, strict=True)):
        base = line * (row + 1)
        color = class_color(int(label))
        cv2.rectangle(bgr, (line // 3, base - line // 2), (line, base), color, -1)
        cv2.putText(bgr, text, (line + line // 3, base), FONT, scale, WHITE, stroke, cv2.LINE_AA)
