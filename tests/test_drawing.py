"""Pictures: where ink goes and where it does not."""

import numpy as np
import pytest

from maskrcnn_benchmark.images.drawing import (
    class_color,
    draw_curve,
    draw_detections,
    picture_grid,
)

CORNERS = np.array([[[60, 30], [160, 30], [160, 90], [60, 90]]], float)


def test_outline_has_the_class_color_on_the_edge_and_leaves_the_inside():
    image = np.zeros((120, 200, 3), np.uint8)
    drawn = draw_detections(image, CORNERS, np.array([2]), ["ship", "plane"], np.array([0.5]))
    assert drawn is image  # in place
    for row, column in ((60, 60), (90, 110)):  # left and bottom edge, antialiased
        assert image[row, column] == pytest.approx(class_color(2), abs=24)
    assert not image[50:80, 80:150].any()  # inside
    assert not image[95:, :].any()  # below


def test_oriented_outline_follows_the_corners():
    image = np.zeros((100, 160, 3), np.uint8)
    diamond = np.array([[[80, 10], [140, 50], [80, 90], [20, 50]]], float)
    draw_detections(image, diamond, np.array([1]), ["a class name as wide as the picture itself"])
    assert image[50, 140].any() and image[10, 80].any()
    assert image[30, 110].any()  # middle of (80, 10)-(140, 50)
    assert not image[11, 20:60].any()  # an upright box would have its edge here


def framed(height, width, box, scores=None, name="ship"):
    """Return a black image with one object drawn, upright from edge to edge."""
    x1, y1, x2, y2 = box
    corners = np.array([[[x1, y1], [x2, y1], [x2, y2], [x1, y2]]], float)
    image = np.zeros((height, width, 3), np.uint8)
    return draw_detections(image, corners, np.array([1]), [name], scores)


@pytest.mark.parametrize(
    ("height", "width", "side", "stroke"),
    [
        # an image of 3,600 may have lines of 4 pixels, an object one for every 30 of its own
        pytest.param(3600, 3700, 12, 1, id="small object in a large image"),
        pytest.param(3600, 3700, 60, 2, id="middling object in a large image"),
        pytest.param(3600, 3700, 600, 4, id="large object in a large image"),
        pytest.param(700, 900, 300, 1, id="large object in a small image"),
    ],
)
def test_fault_outlines_were_thicker_than_small_objects_bear(height, width, side, stroke):
    x, y = width - side - 90, height - 2 * side - 90
    image = framed(height, width, (x, y, x + side, y + 2 * side))
    row, column = image[y + side], image[:, x + side // 2]  # across the upright and level sides
    for line, start, end in ((row, x, x + side), (column, y, y + 2 * side)):
        inked = np.flatnonzero(line.max(axis=1) > 127)
        assert 2 * stroke <= len(inked) <= 2 * (stroke + 1)  # antialiased ones take a pixel more
        assert inked.min() >= start - stroke and inked.max() <= end + stroke
    inner = stroke + 1
    assert not image[y + inner : y + 2 * side - inner, x + inner : x + side - inner].any()


@pytest.mark.parametrize(
    ("box", "stroke"),
    [
        pytest.param((3000, 3000, 3060, 3012), None, id="long and thin"),
        pytest.param((3000, 3000, 3018, 3060), None, id="shorter than the text"),
        pytest.param((3000, 3000, 3030, 3040), 1, id="just as wide as the text"),
        pytest.param((3000, 3000, 3070, 3060), 2, id="larger"),
    ],
)
def test_scores_are_no_wider_than_the_objects_bear(box, stroke):
    bare, written = framed(3600, 3700, box), framed(3600, 3700, box, np.array([0.5]))
    rows, columns = np.nonzero((bare != written).any(axis=2))  # of the text
    if stroke is None:
        assert not len(rows)
        return
    x1, y1, x2, _ = box
    assert x1 - stroke - 1 <= columns.min() and columns.max() <= x2 + stroke
    assert 15 * stroke < np.ptp(columns) and 6 * stroke < np.ptp(rows) < 15 * stroke
    assert rows.max() <= y1 + stroke  # above the object
    text = written[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(int)
    assert np.abs(text - class_color(1)).max(axis=2).min() < 60


def test_score_has_a_dark_rim():
    bright = np.full((120, 200, 3), 240, np.uint8)
    draw_detections(bright, CORNERS, np.array([1]), ["ship" * 40], np.array([0.5]))
    colored = np.abs(bright[:28].astype(int) - class_color(1)).max(axis=2) < 80
    starts = np.argwhere(colored & ~np.roll(colored, 1, axis=1))
    assert len(starts) > 5
    for row, column in starts:  # left of each stroke of a digit
        assert bright[row, column - 3 : column].max(axis=1).min() < 160


def test_nothing_found_draws_nothing():
    image = np.full((50, 80, 3), 7, np.uint8)
    empty = np.zeros((0, 4, 2))
    draw_detections(image, empty, np.zeros(0, int), ["ship"], np.zeros(0))
    assert (image == 7).all()


def test_legend_darkens_the_corner_and_names_a_class():
    image = np.full((400, 600, 3), 210, np.uint8)
    draw_detections(image, CORNERS + 200, np.array([1]), ["ship"])
    assert (image[2, 2] == 70).all()  # 210 // 3
    assert (image[:40, :100] > 220).all(axis=2).any()  # white letters
    assert (image[-5:, -5:] == 210).all()


def test_class_colors_differ():
    colors = np.array([class_color(label) for label in range(1, 19)], int)
    distances = np.abs(colors[:, None] - colors[None]).sum(axis=2)
    assert distances[~np.eye(18, dtype=bool)].min() > 25


def test_picture_grid_places_cells_and_shrinks_only():
    red, blue = np.zeros((960, 480, 3), np.uint8), np.zeros((100, 200, 3), np.uint8)
    red[..., 2], blue[..., 0] = 255, 255
    grid = picture_grid([[red, blue]], ["found", "labelled"])
    # the red one becomes 240 x 480; columns are 240 wide with 8 between; head 36
    assert grid.shape == (36 + 480 + 8, 2 * (240 + 8) + 8, 3)
    assert tuple(grid[40, 10]) == (0, 0, 255) and tuple(grid[500, 240]) == (0, 0, 255)
    assert tuple(grid[40, 260]) == (255, 0, 0) and tuple(grid[140, 260]) == (255, 255, 255)
    assert (grid[:36] < 128).any()  # titles


@pytest.mark.parametrize("count", [1, 2, 300])
def test_curve_falls_where_values_fall(count):
    steps = np.arange(count) + 1
    canvas = draw_curve(steps, 4.0 / steps, "loss")
    assert canvas.shape == (480, 800, 3)
    dark_blue = (canvas[..., 0] > 150) & (canvas[..., 2] < 60)
    if count == 300:
        rows_left = np.flatnonzero(dark_blue[:, 70:100].any(axis=1))
        rows_right = np.flatnonzero(dark_blue[:, 700:780].any(axis=1))
        assert rows_left.min() < rows_right.min() and rows_right.max() <= 431
