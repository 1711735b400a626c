"""The tile grid, the tiles' names, and the rule that clips labels."""

import cv2
import numpy as np
import pytest

from maskrcnn_benchmark.dota.annotations import DotaObject, read_labels, stack_corners
from maskrcnn_benchmark.dota.tiles import (
    Window,
    clip_labels,
    parse_tile_name,
    tile_grid,
    tile_name,
)
from maskrcnn_benchmark.images.image_io import read_image_size


def rectangle(x1, y1, x2, y2):
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float64)


def clip_one(corners, window, difficult=0):
    clipped = clip_labels([DotaObject(np.asarray(corners, float), "ship", difficult)], window)
    return clipped[0] if clipped else None


def test_grid_pulls_the_last_window_back():
    # x: 0, 824, then 2425 - 1024 = 1401; y: 0, then 1689 - 1024 = 665
    windows = tile_grid(2425, 1689, 1024, 200)
    places = [(window.x0, window.y0) for window in windows]
    assert places == [(0, 0), (0, 665), (824, 0), (824, 665), (1401, 0), (1401, 665)]
    assert {(window.width, window.height) for window in windows} == {(1024, 1024)}


@pytest.mark.parametrize(
    "length, tile, overlap, starts",
    [
        (1024, 1024, 200, [0]),
        (1025, 1024, 200, [0, 1]),
        (1848, 1024, 200, [0, 824]),
        (1849, 1024, 200, [0, 824, 825]),
        (300, 1024, 200, [0]),
        (30, 10, 0, [0, 10, 20]),
    ],
)
def test_grid_along_one_side(length, tile, overlap, starts):
    assert [window.x0 for window in tile_grid(length, 7, tile, overlap)] == starts
    assert [window.y0 for window in tile_grid(7, length, tile, overlap)] == starts


def test_small_image_is_one_window_of_its_size():
    assert tile_grid(300, 200, 1024, 200) == [Window(0, 0, 300, 200)]
    assert tile_grid(3000, 200, 1024, 200)[1] == Window(824, 0, 1024, 200)
    assert tile_grid(3000, 2000, 0, 200) == [Window(0, 0, 3000, 2000)]


@pytest.mark.parametrize("width, height, tile, overlap", [(517, 300, 100, 33), (99, 640, 64, 63)])
def test_grid_covers_every_pixel_and_overlaps_enough(width, height, tile, overlap):
    seen = np.zeros((height, width), bool)
    windows = tile_grid(width, height, tile, overlap)
    for window in windows:
        assert window.x0 + window.width <= width and window.y0 + window.height <= height
        seen[window.y0 : window.y0 + window.height, window.x0 : window.x0 + window.width] = True
    assert seen.all()
    assert np.diff(sorted({window.x0 for window in windows})).max(initial=0) <= tile - overlap


@pytest.mark.parametrize("tile, overlap", [(800, 900), (800, 800), (-1, 0), (100, -1)])
def test_impossible_grid_is_refused(tile, overlap):
    with pytest.raises(ValueError, match=f"{overlap}"):
        tile_grid(2000, 1000, tile, overlap)


def test_names_there_and_back():
    assert tile_name("P0706", 1, Window(824, 0, 1024, 1024)) == "P0706__1__824___0"
    assert tile_name("P0706", 0.5, Window(0, 12, 9, 9)) == "P0706__0.5__0___12"
    assert parse_tile_name("P0706__1__824___0") == ("P0706", 1.0, 824, 0)
    assert parse_tile_name("a__b__0.5__0___12") == ("a__b", 0.5, 0, 12)
    # the tile's side where the rate should be, as another tool writes it
    assert parse_tile_name("P0861__1024__0___1648") == ("P0861", 1.0, 0, 1648)
    for name in ("P0706", "P0706__1__824", "P0706__1__824__0", "__1__0___0", "P1__1__2___3.png"):
        assert parse_tile_name(name) is None, name


def test_inside_object_moves_unchanged():
    window = Window(100, 50, 40, 30)
    corners = [[110, 55], [120, 50], [125, 60], [115, 80]]
    item = clip_one(corners, window, difficult=1)
    assert item.corners.tolist() == [[10, 5], [20, 0], [25, 10], [15, 30]]
    assert (item.name, item.difficult) == ("ship", 1)


@pytest.mark.parametrize(
    "left, difficult_before, difficult_after",
    [
        (1016, 0, 0),  # 8 of 10 columns inside: 0.8 > 0.7
        (1016, 1, 1),
        (1017, 0, 2),  # 0.7 is not more than 0.7
        (1019, 0, 2),  # the docstring's 0.5
        (1019, 1, 2),
    ],
)
def test_clipped_object_keeps_its_flag_above_seven_tenths(left, difficult_before, difficult_after):
    window = Window(2000, 300, 1024, 1024)
    moved = rectangle(left, 100, left + 10, 110) + [2000, 300]
    item = clip_one(moved, window, difficult_before)
    assert item.difficult == difficult_after
    np.testing.assert_allclose(item.corners, rectangle(left, 100, 1024, 110), atol=1e-9)


def test_outside_and_touching_objects_are_left_out():
    window = Window(100, 100, 50, 40)
    for corners in (
        rectangle(150, 110, 160, 120),  # shares the right edge
        rectangle(90, 90, 100, 100),  # shares the corner
        rectangle(500, 110, 510, 120),
        rectangle(110, 120, 130, 120),  # no area
        rectangle(115, 115, 115, 115),
        # a diamond left of the window: its bounding box reaches in, its area does not
        [[95, 60], [120, 95], [95, 130], [70, 95]],
    ):
        assert clip_one(corners, window) is None, corners


def test_triangle_is_left_out():
    # only the corner x + y < 10 of this diamond is in the window
    assert clip_one([[-10, 0], [0, -10], [5, 0], [0, 5]], Window(0, 0, 99, 99)) is None


def test_five_corners_become_four():
    # x > 50 cuts the point off a shape that ends in a point on the right
    corners = [[10, 0], [40, 0], [60, 20], [40, 40]]
    item = clip_one(corners, Window(0, 0, 50, 60))
    # inside: (10,0) (40,0) (50,10) (50,30) (40,40); shortest edges are (40,0)-(50,10) and
    # (50,30)-(40,40), both sqrt(200); the first shrinks to (45, 5)
    assert item.corners.tolist() == [[10, 0], [45, 5], [50, 30], [40, 40]]


def test_clipped_label_is_near_the_true_part():
    """Against pixels: the quadrilateral covers most of what a drawn mask shows of the object."""
    rng = np.random.default_rng(5)
    window = Window(64, 32, 128, 96)
    checked = 0
    for _ in range(200):
        center = rng.uniform((40, 20), (220, 150))
        box = cv2.boxPoints((tuple(center), tuple(rng.uniform(15, 60, 2)), rng.uniform(0, 90)))
        mask = np.zeros((200, 260), np.uint8)
        cv2.fillPoly(mask, [np.round(box * 16).astype(np.int32)], 1, shift=4)
        inside = mask[32 : 32 + 96, 64 : 64 + 128].sum()
        item = clip_one(box, window)
        if item is None:
            assert inside < 0.5 * mask.sum() + 40
            continue
        assert item.corners.min() >= 0 and (item.corners <= [128, 96]).all()
        share = inside / mask.sum()
        if abs(share - 0.7) > 0.1:
            assert item.difficult == (0 if share > 0.7 else 2)
        if share > 0.5:
            drawn = np.zeros((96, 128), np.uint8)
            cv2.fillPoly(drawn, [np.round(item.corners * 16).astype(np.int32)], 1, shift=4)
            both = (drawn & mask[32:128, 64:192]).sum()
            assert both > 0.6 * max(inside, drawn.sum())
            checked += 1
    assert checked > 60


def test_hull_of_a_polygon_drawn_crosswise_decides():
    crossed = [[10, 10], [30, 30], [30, 10], [10, 30]]  # its signed area is 0
    assert clip_one(crossed, Window(0, 0, 100, 90)).difficult == 0
    assert clip_one(crossed, Window(25, 0, 100, 90)).difficult == 2  # 5 of 20 columns


def test_no_objects():
    assert clip_labels([], Window(0, 0, 10, 20)) == []


def test_real_tiles_as_the_devkit_cut_them(shared_data):
    folder = shared_data / "tiles_P0032"
    whole = read_labels(folder / "P0032_full.txt")
    size = read_image_size(shared_data / "dota" / "images" / "P0032.png")
    windows = {tile_name("P0032", 1, window): window for window in tile_grid(*size, 1024, 200)}
    assert sorted(windows) == sorted(path.stem for path in (folder / "images").iterdir())
    for name, window in windows.items():
        ours = clip_labels(whole, window)
        theirs = read_labels(folder / "labelTxt" / f"{name}.txt")
        assert [(item.name, item.difficult) for item in ours] == [
            (item.name, item.difficult) for item in theirs
        ]
        # the devkit cuts coordinates to whole numbers between 1 and 1024
        np.testing.assert_allclose(stack_corners(ours), stack_corners(theirs), atol=1.01)
