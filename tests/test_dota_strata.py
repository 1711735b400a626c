"""Average precision by size, crowd and seams on scenes of known strata; the confusion matrix."""

import numpy as np
import pytest
from made_data import class_results, rectangle

from maskrcnn_benchmark.dota.confusion import confusion_matrix
from maskrcnn_benchmark.dota.overlaps import assign, find_overlaps
from maskrcnn_benchmark.dota.seams import CUT, NOWHERE_WHOLE, planned_tiles, seam_distance
from maskrcnn_benchmark.dota.strata import (
    crowd_strata,
    precisions_by_stratum,
    seam_strata,
    size_strata,
)
from maskrcnn_benchmark.dota.tiles import Window, tile_grid


def row(name, score, *edges):
    return ("A", name, score, rectangle(*edges).corners)


def table_of(objects, rows, task=1):
    return find_overlaps({"A": objects}, class_results(rows, task), task)


def entries_of(table, strata, metric="area"):
    entries = precisions_by_stratum(table, assign(table, 0.5), strata, metric)
    return [(entry["objects"], entry["found"], entry["mAP"]) for entry in entries]


def test_sizes():
    objects = [
        rectangle(10, 10, 18, 42),  # 8 x 32 = 16 * 16: the second stratum
        rectangle(10, 60, 25, 75),  # 15 x 15
        rectangle(100, 10, 200, 110),  # 100 x 100
        rectangle(300, 10, 310, 20, difficult=1),
    ]
    rows = [
        row("ship", 0.9, 300, 60, 310, 70),  # false, of the first stratum's size
        row("ship", 0.8, 10, 10, 18, 42),
        row("ship", 0.7, 10, 11, 18, 43),  # duplicate: counts where its object does
        row("ship", 0.6, 10, 60, 25, 75),
        row("ship", 0.5, 300, 10, 310, 20),
    ]
    table = table_of(objects, rows)
    strata = size_strata(table)
    assert strata.titles[1] == "16 to 32 px"
    assert strata.objects.tolist() == [1, 0, 3, 0]
    # the false one before the only true one; alone; no object; not found
    expected = [(1, 1, 0.5), (1, 1, 1.0), (0, 0, None), (1, 0, 0.0)]
    assert entries_of(table, strata) == expected
    duplicate_first = table_of(objects, [row("ship", 0.8, 10, 10, 18, 42), *rows[2:3], *rows])
    assert entries_of(duplicate_first, size_strata(duplicate_first))[1] == (1, 1, 1.0)


def test_sizes_of_oriented_objects_are_those_of_their_polygons():
    diamond = rectangle(0, 0, 1, 1)
    diamond.corners = np.array([[50.0, 30], [70, 50], [50, 70], [30, 50]])  # 800, box 1600
    rows = [("A", "ship", 0.9, diamond.corners)]
    assert size_strata(table_of([diamond], rows)).objects.tolist() == [1]
    upright = size_strata(table_of([diamond], rows, task=2))
    assert upright.objects.tolist() == upright.detections.tolist() == [2]


def test_crowds():
    # a row of 5 at every 10 px, one 100 px from the first centre, one farther; another image
    objects = [rectangle(10 * k, 20, 10 * k + 6, 26) for k in range(5)]
    objects += [rectangle(0, 120, 6, 126, "plane"), rectangle(0, 400, 6, 406)]
    labels = {"A": objects, "B": [rectangle(0, 20, 6, 26)]}
    rows = [("A", "ship", 0.9, rectangle(0, 121, 6, 127).corners)]
    table = find_overlaps(labels, class_results(rows), 1)
    strata = crowd_strata(table)
    # the plane is a neighbour of the first ship only
    assert strata.objects.tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    # the ship found at the plane's place has the plane near it, and no ship within 100 px
    assert strata.detections.tolist() == [0]
    assert entries_of(table, strata)[:2] == [(3, 0, 0.0), (5, 0, 0.0)]


def test_crowds_of_many_objects_against_a_plain_loop():
    rng = np.random.default_rng(0)
    places = rng.integers(0, 800, (600, 2)) * 1.0
    objects = [rectangle(x, y, x + 6, y + 6) for x, y in places]
    away = np.linalg.norm(places[:, None] - places, axis=2)
    neighbours = (away <= 100).sum(axis=1) - 1
    strata = crowd_strata(table_of(objects, [row("ship", 0.9, 0, 0, 6, 6)]))
    assert strata.objects.tolist() == [sum(n >= k for k in (3, 10, 30)) for n in neighbours]


TILES = tile_grid(180, 100, 100, 20)  # x 0 … 100 and 80 … 180


@pytest.mark.parametrize(
    "box, expected",
    [
        pytest.param([10, 10, 30, 20], 50.0, id="to x = 80"),
        pytest.param([130, 10, 150, 20], 30.0, id="to x = 100"),
        pytest.param([84, 10, 90, 20], 4.0, id="between both"),
        pytest.param([70, 10, 85, 20], CUT, id="cut by the second, whole in the first"),
        pytest.param([70, 10, 110, 20], NOWHERE_WHOLE, id="cut by both"),
        pytest.param([-20, -5, 30, 20], 50.0, id="over the image's border"),
        pytest.param([60, 10, 80, 20], 0.0, id="touching a seam"),
    ],
)
def test_distance_to_a_seam(box, expected):
    assert seam_distance(np.array([box], dtype=float), TILES).tolist() == [expected]


def test_seams_end_where_their_tiles_end():
    # the upper tiles part at x = 50, the lower tile does not
    tiles = [Window(0, 0, 50, 40), Window(50, 0, 50, 40), Window(0, 40, 100, 60)]
    box = np.array([[53.0, 44, 60, 50]])  # 3 right of x = 50, 4 below its end and below y = 40
    assert seam_distance(box, tiles).tolist() == [4.0]
    assert seam_distance(np.array([[53.0, 20, 60, 30]]), tiles).tolist() == [3.0]


def test_an_image_of_one_tile_has_no_seam():
    assert seam_distance(np.array([[5.0, 5, 20, 20]]), [Window(0, 0, 90, 70)]).tolist() == [np.inf]
    assert seam_distance(np.zeros((0, 4)), TILES).shape == (0,)


def test_strata_of_seams():
    objects = [
        rectangle(70, 10, 110, 20),
        rectangle(70, 40, 85, 50),
        rectangle(40, 40, 50, 50),
        rectangle(10, 40, 20, 50),
    ]
    rows = [row("ship", 0.9, 70, 40, 85, 50), row("ship", 0.8, 10, 70, 20, 80)]
    table = table_of(objects, rows)
    strata = seam_strata(table, {"A": TILES})
    assert strata.objects.tolist() == [0, 1, 2, 3]
    assert strata.detections.tolist() == [1, 3]
    assert entries_of(table, strata) == [(1, 0, 0.0), (1, 1, 1.0), (1, 0, 0.0), (1, 0, 0.0)]


def test_tiles_of_a_plan():
    plan = {
        "tile": 100,
        "overlap": 20,
        "sources": {
            "A": {"width": 180, "height": 70, "tiles": ["A__1__0___0", "A__1__80___0"]},
            "B": {"width": 70, "height": 40, "tiles": ["B__2__0___0", "B__2__40___0"]},
        },
    }
    tiles = planned_tiles(plan)
    assert tiles["A"] == tile_grid(180, 70, 100, 20)
    assert tiles["B"] == [Window(0, 0, 50, 40), Window(20, 0, 50, 40)]  # cut at twice the size
    plan["sources"]["A"]["tiles"] = ["A_0_0"]
    with pytest.raises(ValueError, match="'A_0_0' of A is no tile's name"):
        planned_tiles(plan)


def test_confusions():
    objects = [
        rectangle(10, 10, 30, 20),  # found, then found as a plane: background
        rectangle(50, 10, 70, 20),  # taken for a plane
        rectangle(90, 10, 110, 20, "plane"),  # found at a low score only
        rectangle(130, 10, 150, 20, difficult=1),
    ]
    rows = [
        row("ship", 0.9, 10, 10, 30, 20),
        row("plane", 0.8, 10, 10, 30, 20),
        row("plane", 0.7, 50, 10, 70, 20),
        row("plane", 0.2, 90, 10, 110, 20),
        row("plane", 0.6, 130, 10, 150, 20),  # on the difficult one: not counted
        row("ship", 0.5, 10, 60, 30, 70),  # on nothing
    ]
    table = table_of(objects, rows)
    assert table.class_names == ["plane", "ship"]
    # rows: plane, ship, background; columns: plane, ship, not found
    assert confusion_matrix(table, 0.5, 0.3).tolist() == [[0, 0, 1], [1, 1, 0], [1, 1, 0]]
    assert confusion_matrix(table, 0.5, 0.2).tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 0]]


def test_a_confused_detection_takes_what_is_left():
    """The better one has the object; the other takes the neighbour that it overlaps less."""
    objects = [rectangle(10, 10, 30, 20), rectangle(10, 13, 30, 23, "plane")]
    rows = [row("ship", 0.9, 10, 10, 30, 20), row("ship", 0.8, 10, 11, 30, 21)]
    table = table_of(objects, rows)
    assert confusion_matrix(table, 0.5, 0.0).tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]
