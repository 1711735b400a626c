"""Every kind of error as often as a scene has it, and mending it by hand and by a plain loop."""

import numpy as np
import pytest
from made_data import class_results, rectangle

from maskrcnn_benchmark.dota.average_precision import evaluate_detections
from maskrcnn_benchmark.dota.errors import (
    CORRECTED,
    EVERY_FALSE,
    EVERY_UNFOUND,
    KINDS,
    MISSED,
    find_errors,
    mended_precisions,
    summarize_errors,
)
from maskrcnn_benchmark.dota.overlaps import assign, class_precisions, find_overlaps
from maskrcnn_benchmark.dota.tiles import Window

# x = 80 and x = 100 are the seams
TILES = {"A": [Window(0, 0, 100, 100), Window(80, 0, 100, 100)]}
OBJECTS = [
    rectangle(10, 10, 30, 20),  # found twice
    rectangle(10, 40, 30, 50),  # found as a plane
    rectangle(10, 60, 30, 70),  # found 10 px aside: 100 / 300
    rectangle(40, 30, 70, 36),  # found crosswise: 36 / 324
    rectangle(60, 60, 142, 70),  # its part in the first tile is found: 400 / 820
    rectangle(150, 60, 170, 80),  # found
    rectangle(110, 10, 130, 20, difficult=1),
    rectangle(150, 10, 170, 30, "plane"),  # missed
    rectangle(150, 85, 170, 95, "plane"),  # found
]


def row(name, score, *edges):
    return ("A", name, score, rectangle(*edges).corners)


ROWS = [
    row("ship", 0.95, 10, 10, 30, 20),
    row("ship", 0.90, 10, 10, 30, 20),  # duplicate
    row("ship", 0.80, 20, 60, 40, 70),  # localisation
    row("ship", 0.75, 52, 18, 58, 48),  # angle
    row("ship", 0.72, 150, 60, 170, 80),
    row("ship", 0.70, 60, 60, 100, 70),  # seam
    row("ship", 0.45, 110, 10, 130, 20),  # on the difficult object: counts for nothing
    row("plane", 0.85, 10, 40, 30, 50),  # class
    row("plane", 0.60, 120, 80, 130, 90),  # background
    row("plane", 0.50, 160, 60, 180, 80),  # both: 200 / 600 of a ship
    row("plane", 0.40, 150, 85, 170, 95),
]


def table_of(rows=ROWS, objects=OBJECTS, task=1):
    return find_overlaps({"A": objects}, class_results(rows, task), task)


def summary_of(table, iou, metric, tiles=None):
    assignment = assign(table, iou)
    errors = find_errors(table, assignment, iou, tiles)
    return summarize_errors(table, assignment, errors, metric)


def kinds_of(table, tiles=None, iou=0.5):
    """Return the kind of each detection by its class and score."""
    errors = find_errors(table, assign(table, iou), iou, tiles)
    return {
        (table.class_names[number], score): list(KINDS)[kind]
        for number, score, kind in zip(
            table.detection_class, table.scores, errors.kind, strict=True
        )
        if kind >= 0
    }


def test_every_kind_is_told_apart():
    table = table_of()
    assert kinds_of(table, TILES) == {
        ("ship", 0.90): "duplicate",
        ("plane", 0.85): "class",
        ("ship", 0.80): "localisation",
        ("ship", 0.75): "angle",
        ("ship", 0.70): "seam",
        ("plane", 0.60): "background",
        ("plane", 0.50): "both",
    }
    errors = find_errors(table, assign(table, 0.5), 0.5, TILES)
    assert np.flatnonzero(errors.missed).tolist() == [7]


def test_without_tiles_there_is_no_seam():
    assert kinds_of(table_of())[("ship", 0.70)] == "localisation"
    assert "seam" not in summary_of(table_of(), 0.5, "area")["kinds"]


def test_upright_boxes_have_no_angle():
    kinds = kinds_of(table_of(task=2), TILES)
    assert kinds[("ship", 0.75)] == "localisation"
    assert kinds[("ship", 0.70)] == "seam"


# By falling score the ships are T F F F T F of 6, the planes F F F T of 2.
# ship: 1/6 at precision 1, 1/6 at 2/5; plane: 1/2 at 1/4
BEFORE = {"ship": (1 + 2 / 5) / 6, "plane": 1 / 8}
AFTER = {
    "duplicate": (1, 0, {"ship": (1 + 2 / 4) / 6}),
    # the plane at 0.85 becomes a ship: T F T F F T, and the planes are F F T
    "class": (0, 1, {"ship": (1 + 2 / 3 + 3 / 6) / 6, "plane": 1 / 6}),
    "localisation": (1, 0, {"ship": (1 + 2 / 3 + 3 / 5) / 6}),  # T F T F T
    "angle": (1, 0, {"ship": (1 + 3 / 5 + 3 / 5) / 6}),  # T F F T T: 2/4, then 3/5
    "seam": (1, 0, {"ship": (1 + 3 / 6 + 3 / 6) / 6}),  # T F F F T T
    "both": (0, 1, {"plane": 1 / 6}),
    "background": (0, 1, {"plane": 1 / 6}),
    MISSED: (0, 1, {"plane": 1 / 4}),
    EVERY_FALSE: (4, 3, {"ship": 2 / 6, "plane": 1 / 2}),
    EVERY_UNFOUND: (4, 1, {"ship": (1 + 2 / 5) / 2, "plane": 1 / 4}),
}


def test_mending_brings_what_it_brings_by_hand():
    summary = summary_of(table_of(), 0.5, "area", TILES)
    assert summary["mAP"] == pytest.approx((BEFORE["ship"] + BEFORE["plane"]) / 2)
    assert set(summary["kinds"]) == set(AFTER)
    for kind, (ships, planes, values) in AFTER.items():
        entry = summary["kinds"][kind]
        gains = {name: (BEFORE | values)[name] - BEFORE[name] for name in BEFORE}
        assert entry["count"] == ships + planes
        assert entry["gain"] == pytest.approx(sum(gains.values()) / 2), kind
        for name, count in (("ship", ships), ("plane", planes)):
            expected = {"count": count, "gain": pytest.approx(gains[name])}
            assert entry["classes"][name] == expected, (kind, name)


@pytest.mark.parametrize(
    "objects, rows, kind",
    [
        pytest.param(
            # 60 of the object's 100 px, and the whole is found by a better one: a duplicate by
            # its IoU 0.6, but the tile's doing
            [rectangle(20, 10, 120, 20)],
            [row("ship", 0.9, 20, 10, 120, 20), row("ship", 0.8, 20, 10, 100, 20)],
            "seam",
            id="a part that exceeds the threshold",
        ),
        pytest.param(
            [rectangle(20, 10, 120, 20)],
            [row("ship", 0.9, 20, 10, 120, 20), row("ship", 0.8, 20, 10, 119, 20)],
            "duplicate",
            id="the whole of an object that a tile cuts",
        ),
        pytest.param(
            # it reaches over the image's border, which is no seam
            [rectangle(-40, 10, 20, 20)],
            [row("ship", 0.8, 0, 10, 20, 20)],
            "localisation",
            id="cut by the image's border",
        ),
        pytest.param(
            [rectangle(10, 10, 30, 20), rectangle(12, 14, 32, 24, "plane")],
            [row("ship", 0.8, 12, 14, 32, 24)],
            "class",
            id="class before localisation",
        ),
        pytest.param(
            [rectangle(10, 10, 30, 20), rectangle(10, 12, 30, 22, "plane")],
            [row("ship", 0.9, 10, 10, 30, 20), row("ship", 0.8, 10, 11, 30, 21)],
            "duplicate",
            id="duplicate before class",
        ),
        pytest.param(
            # turned it would have 20 x 6 of 40 x 6 in common: the size is wrong as well
            [rectangle(40, 30, 80, 36)],
            [row("ship", 0.8, 57, 23, 63, 43)],
            "localisation",
            id="wrong by more than the angle",
        ),
        pytest.param(
            [rectangle(10, 10, 30, 20)],
            [row("ship", 0.8, 28, 10, 48, 20)],  # 20 / 380
            "background",
            id="hardly touching",
        ),
        pytest.param([], [row("ship", 0.8, 28, 10, 48, 20)], "background", id="no object"),
    ],
)
def test_the_first_kind_that_holds_counts(objects, rows, kind):
    kinds = kinds_of(table_of(rows, objects), TILES)
    assert kinds == {("ship", 0.8): kind}


@pytest.mark.parametrize("score, expected", [(0.9, 1.0), (0.7, 1.0)])
def test_mended_twice_the_better_one_stays(score, expected):
    """Beside the one that is found, better or worse, a mended detection is no false positive."""
    objects = [rectangle(10, 10, 30, 20)]
    rows = [row("ship", 0.8, 10, 10, 30, 20), row("ship", score, 20, 10, 40, 20)]
    summary = summary_of(table_of(rows, objects), 0.5, "area")
    assert summary["kinds"]["localisation"]["count"] == 1
    assert summary["mAP"] + summary["kinds"]["localisation"]["gain"] == pytest.approx(expected)


def test_mended_to_a_difficult_object_it_counts_for_nothing():
    objects = [rectangle(10, 10, 30, 20), rectangle(50, 10, 70, 20, difficult=1)]
    rows = [row("ship", 0.9, 60, 10, 80, 20), row("ship", 0.8, 10, 10, 30, 20)]
    summary = summary_of(table_of(rows, objects), 0.5, "area")
    assert summary["mAP"] == 0.5
    assert summary["kinds"]["localisation"]["gain"] == 0.5


def test_classes_with_nothing_left_to_find():
    # planes: the only one is missed; cars: there are none, and one was detected
    objects = [rectangle(10, 10, 30, 20), rectangle(50, 10, 70, 20, "plane")]
    rows = [row("ship", 0.9, 10, 10, 30, 20), row("car", 0.8, 100, 80, 120, 90)]
    summary = summary_of(table_of(rows, objects), 0.5, "voc07")
    assert summary["mAP"] == pytest.approx(1 / 3)
    assert summary["kinds"][MISSED]["classes"]["plane"]["gain"] == 1.0
    assert summary["kinds"][EVERY_FALSE]["gain"] == 0.0
    summary = summary_of(table_of(rows, objects), 0.5, "area")
    assert summary["mAP"] == 0.5
    assert summary["kinds"]["background"]["classes"]["car"] == {"count": 1, "gain": None}


def crowd(rng):
    """Return labels and rows of a jittered crowd of two classes in two images, and its tiles."""
    labels, rows = {}, []
    for image in ("A", "B"):
        labels[image] = []
        for x, y in rng.uniform(5, 150, (40, 2)):
            name = str(rng.choice(["ship", "plane"]))
            width, height = rng.uniform(8, 40, 2)
            edges = np.array([x, y, x + width, y + height])
            labels[image].append(rectangle(*edges, name, int(rng.random() < 0.1)))
            for _ in range(rng.integers(0, 4)):
                found = name if rng.random() < 0.8 else "plane"
                low, high = (edges + rng.normal(0, 4, 4)).reshape(2, 2)
                if rng.random() < 0.1:  # crosswise
                    middle, half = (low + high) / 2, (high - low) / 2
                    low, high = middle - half[::-1], middle + half[::-1]
                low, high = np.minimum(low, high), np.maximum(low, high)
                if rng.random() < 0.3 and low[0] < 90:  # what the left tile shows
                    high[0] = min(high[0], 100)
                corners = rectangle(*low, *high).corners
                rows.append((image, found, float(rng.random()), corners))
    tiles = [Window(0, 0, 100, 200), Window(70, 0, 120, 200)]
    return labels, rows, {"A": tiles, "B": tiles}


@pytest.mark.parametrize("kind", CORRECTED)
@pytest.mark.parametrize("task", [1, 2])
def test_mending_is_what_placing_the_detections_gives(kind, task):
    """Against evaluating results whose detections were moved onto their objects."""
    labels, rows, tiles = crowd(np.random.default_rng(5))
    table = find_overlaps(labels, class_results(rows, task), task)
    assignment = assign(table, 0.5)
    errors = find_errors(table, assignment, 0.5, tiles)
    best = {}  # the first detection, true or mended, that has an object
    moved = []
    for number in range(len(table.scores)):
        is_moved = errors.kind[number] == list(KINDS).index(kind)
        item = errors.target[number] if is_moved else assignment.object[number]
        corners = table.detection_corners[number]
        name = table.class_names[table.detection_class[number]]
        if is_moved:
            corners, name = table.corners[item], table.class_names[table.object_class[item]]
        if is_moved or assignment.true_positive[number]:
            if table.difficult[item] or best.setdefault(item, number) != number:
                continue
        image = table.image_names[table.detection_image[number]]
        moved.append((image, name, table.scores[number], corners))
    expected = evaluate_detections(labels, class_results(moved, task), task, 0.5, "area")
    mended = mended_precisions(table, assignment, errors, kind, "area")
    values = [expected["classes"][name]["ap"] for name in table.class_names]
    assert mended == pytest.approx(values, abs=1e-12)
    if task == 1 or kind != "angle":
        assert errors.is_kind(kind).any()


@pytest.mark.parametrize("task", [1, 2])
@pytest.mark.parametrize("metric", ["voc07", "area"])
def test_the_table_gives_the_same_average_precision(task, metric):
    labels, rows, _ = crowd(np.random.default_rng(6))
    rows = [(image, name, round(score, 1), corners) for image, name, score, corners in rows]
    rows.append(("A", "car", 0.5, rows[0][3]))
    results = class_results(rows, task)
    table = find_overlaps(labels, results, task)
    for iou in (0.3, 0.5, 0.75):
        expected = evaluate_detections(labels, results, task, iou, metric)["classes"]
        assignment = assign(table, iou)
        values = class_precisions(
            table.detection_class,
            assignment.true_positive,
            assignment.false_positive,
            table.npos,
            metric,
        )
        assert table.class_names == list(expected)
        assert values == [entry["ap"] for entry in expected.values()]
        found = np.bincount(table.detection_class[assignment.true_positive], minlength=3)
        assert found.tolist() == [entry["tp"] for entry in expected.values()]


def test_thresholds_that_the_table_cannot_serve():
    for iou in (0.05, 1.0):
        with pytest.raises(ValueError, match="from 0.1 to below 1"):
            assign(table_of(), iou)
