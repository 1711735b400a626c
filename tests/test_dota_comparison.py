"""The bootstrap against a loop that really copies the images drawn; what is noise and what not."""

from dataclasses import asdict

import numpy as np
import pytest
from made_data import class_results, rectangle

from maskrcnn_benchmark.dota.average_precision import evaluate_detections
from maskrcnn_benchmark.dota.comparison import Difference, compare
from maskrcnn_benchmark.dota.overlaps import find_overlaps


def scenes(rng, images=6, blur=3.0, found=3):
    """Return labels and rows of two classes, the second of which only some images have."""
    labels, rows = {}, []
    for number in range(images):
        image = f"P{number}"
        labels[image] = []
        for place in range(4):
            name = "plane" if place == 0 and number % 3 == 0 else "ship"
            edges = np.array([30 * place, 5, 30 * place + 12, 15])
            labels[image].append(rectangle(*edges, name, int(rng.random() < 0.1)))
            for _ in range(found):
                moved = edges + np.tile(rng.normal(0, blur, 2), 2)
                rows.append((image, name, float(rng.random()), rectangle(*moved).corners))
    return labels, rows


def copied(labels, rows, counts):
    """Return labels and results of images that are there so often; copies follow each other."""
    copies = dict(zip(labels, counts, strict=True))
    new_labels = {
        f"{image}-{copy}": items for image, items in labels.items() for copy in range(copies[image])
    }
    new_rows = [
        (f"{image}-{copy}", *rest) for image, *rest in rows for copy in range(copies[image])
    ]
    return new_labels, class_results(new_rows, 2)


@pytest.mark.parametrize("metric", ["voc07", "area"])
def test_interval_is_that_of_copied_images(metric):
    labels, rows_a = scenes(np.random.default_rng(1))
    _, rows_b = scenes(np.random.default_rng(2), blur=2.0)
    tables = [find_overlaps(labels, class_results(rows, 2), 2) for rows in (rows_a, rows_b)]
    compared = compare(*tables, 0.5, metric, resamples=20, seed=4)
    draws = np.random.default_rng(4).multinomial(6, np.full(6, 1 / 6), 20)
    assert not draws[:, [0, 3]].any(axis=1).all()  # some sets are without planes
    changes = {"plane": [], "ship": [], "mAP": []}
    for counts in draws:
        pair = []
        for rows in (rows_a, rows_b):
            evaluation = evaluate_detections(*copied(labels, rows, counts), 2, 0.5, metric)
            with_objects = {n: e["ap"] for n, e in evaluation["classes"].items() if e["npos"]}
            pair.append(with_objects | {"mAP": np.mean(list(with_objects.values()))})
        for name in pair[0]:
            changes[name].append(pair[1][name] - pair[0][name])
    assert len(changes["plane"]) < 20
    for name, difference in compared.items():
        low, high = np.quantile(changes[name], [0.025, 0.975])
        assert (difference.low, difference.high) == pytest.approx((low, high), abs=1e-12)
    for letter, rows in zip("ab", (rows_a, rows_b), strict=True):
        whole = evaluate_detections(labels, class_results(rows, 2), 2, 0.5, metric)
        assert getattr(compared["mAP"], letter) == pytest.approx(whole["mAP"], abs=1e-12)


def test_what_every_image_shows_is_no_noise():
    labels, rows = scenes(np.random.default_rng(1), blur=0.0, found=1)
    worse = [row for row in rows if row[1] != "ship"]
    tables = [find_overlaps(labels, class_results(part), 1) for part in (rows, worse)]
    compared = compare(*tables, 0.5, "area", resamples=50, seed=0)
    assert compared["ship"] == Difference(1.0, 0.0, -1.0, -1.0, images=6)
    assert compared["ship"].verdict == "A is better"
    assert compare(*tables[::-1], 0.5, "area", 50, 0)["ship"].verdict == "B is better"
    assert compared["plane"] == Difference(1.0, 1.0, 0.0, 0.0, images=2)
    assert compared["plane"].verdict == "noise"


def test_fault_a_class_of_four_images_was_said_to_be_better():
    labels, rows = scenes(np.random.default_rng(1), blur=0.0, found=1)
    kept = dict(list(labels.items())[:4])
    rows = [row for row in rows if row[0] in kept]
    worse = [row for row in rows if row[1] != "ship"]
    tables = [find_overlaps(kept, class_results(part), 1) for part in (rows, worse)]
    ship = compare(*tables, 0.5, "area", resamples=50, seed=0)["ship"]
    assert (ship.images, ship.low, ship.high, ship.verdict) == (4, -1.0, -1.0, "too few images")


def test_one_image_that_differs_is_noise():
    labels, rows = scenes(np.random.default_rng(1), blur=0.0, found=1)
    worse = [row for row in rows if row[0] != "P1"]
    tables = [find_overlaps(labels, class_results(part), 1) for part in (rows, worse)]
    difference = compare(*tables, 0.5, "area", resamples=200, seed=0)["ship"]
    # the image is not drawn in (5/6)^6 = 33 % of the sets, which then do not differ
    assert difference.b < difference.a and difference.high == 0.0
    assert difference.verdict == "noise"


def test_classes_without_objects_have_no_figures():
    labels, rows = scenes(np.random.default_rng(1))
    table = find_overlaps(labels, class_results([*rows, ("P0", "car", 0.9, rows[0][3])]), 1)
    assert list(compare(table, table, 0.5, "voc07", 5, 0)) == ["plane", "ship", "mAP"]
    empty = find_overlaps({"P0": []}, class_results([("P0", "car", 0.9, rows[0][3])]), 1)
    difference = compare(empty, empty, 0.5, "voc07", 5, 0)["mAP"]
    assert difference == Difference(None, None, None, None, images=1)
    assert difference.verdict == "not known"


@pytest.mark.parametrize("block", [1, 50])
def test_sets_are_computed_in_parts(monkeypatch, block):
    labels, rows = scenes(np.random.default_rng(1))
    tables = [find_overlaps(labels, class_results(part), 1) for part in (rows, rows[::2])]
    expected = compare(*tables, 0.5, "area", 7, 0)
    monkeypatch.setattr("maskrcnn_benchmark.dota.comparison.BLOCK", block)
    for name, difference in compare(*tables, 0.5, "area", 7, 0).items():
        assert asdict(difference) == pytest.approx(asdict(expected[name]), abs=1e-12)


def test_nothing_to_compare_is_refused():
    table = find_overlaps({}, {}, 1)
    with pytest.raises(ValueError, match="at least 1 image and 1 resample, got 0 and 5"):
        compare(table, table, 0.5, "area", 5, 0)
