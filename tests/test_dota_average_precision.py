"""The development kit's rule, by hand, against a plain loop, and on real results."""

import json
import time

import numpy as np
import pytest

from maskrcnn_benchmark.dota.annotations import DotaObject, write_labels
from maskrcnn_benchmark.dota.average_precision import (
    COCO_IOUS,
    average_precision,
    evaluate_detections,
    evaluate_folders,
    evaluate_matches,
    evaluate_over_thresholds,
    format_table,
    format_threshold_table,
    match_detections,
    read_folders,
)
from maskrcnn_benchmark.dota.submission import ClassResults
from maskrcnn_benchmark.structures.oriented_boxes import oriented_iou


def square(x, y, side=10):
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], dtype=float)


def ship(x, y, difficult=0, side=10):
    return DotaObject(square(x, y, side), "ship", difficult)


def results(*rows, task=1):
    """Rows (image, score, x, y): squares of side 10."""
    shapes = [square(x, y).ravel() if task == 1 else [x, y, x + 10, y + 10] for *_, x, y in rows]
    return ClassResults(
        [row[0] for row in rows],
        np.array([row[1] for row in rows], dtype=float),
        np.array(shapes, dtype=float).reshape(-1, 8 if task == 1 else 4),
    )


def entry_of(labels, found, iou=0.5, metric="area", task=1):
    return evaluate_detections(labels, {"ship": found}, task, iou, metric)["classes"]["ship"]


def test_second_detection_of_an_object_is_false():
    labels = {"P1": [ship(20, 30), ship(60, 30)]}
    found = results(("P1", 0.9, 20, 30), ("P1", 0.8, 21, 30), ("P1", 0.7, 60, 31))
    # true, false, true; recall 1/2 at precision 1, recall 1 at precision 2/3
    entry = entry_of(labels, found)
    assert entry == {"ap": pytest.approx(0.5 + 0.5 * 2 / 3), "npos": 2, "tp": 2, "ndet": 3}
    # voc07: precision 1 at the 6 recalls 0 ... 0.5, 2/3 at the 5 above
    assert entry_of(labels, found, metric="voc07")["ap"] == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_detection_takes_what_it_overlaps_most_even_if_taken():
    # the second detection overlaps A (IoU 90/110) more than B (60/140), and A is taken: false,
    # although B is free and over the threshold
    labels = {"P1": [ship(20, 30), ship(25, 30)]}
    found = results(("P1", 0.9, 20, 30), ("P1", 0.8, 21, 30))
    entry = entry_of(labels, found, iou=0.4)
    assert (entry["tp"], entry["npos"], entry["ap"]) == (1, 2, 0.5)


@pytest.mark.parametrize("difficult", [1, 2])
def test_difficult_objects_neither_count_nor_hurt(difficult):
    labels = {"P1": [ship(20, 30), ship(60, 30, difficult)]}
    found = results(("P1", 0.9, 60, 30), ("P1", 0.8, 60, 31), ("P1", 0.7, 20, 30))
    assert entry_of(labels, found) == {"ap": 1.0, "npos": 1, "tp": 1, "ndet": 3}


def test_iou_must_exceed_the_threshold():
    labels = {"P1": [ship(20, 30)]}
    found = results(("P1", 0.9, 25, 30))  # 50 of 150
    assert entry_of(labels, found, iou=50 / 150)["tp"] == 0
    assert entry_of(labels, found, iou=0.333)["tp"] == 1


def test_task_2_has_the_plus_one():
    # 11 and 11 columns, 6 shared: 6 / 16 = 0.375; without +1 it would be 0.333
    labels = {"P1": [ship(20, 30)]}
    found = results(("P1", 0.9, 25, 30), task=2)
    assert entry_of(labels, found, iou=0.374, task=2)["tp"] == 1
    assert entry_of(labels, found, iou=0.376, task=2)["tp"] == 0


def test_detection_on_another_image_is_false():
    labels = {"P1": [ship(20, 30)], "P2": []}
    entry = entry_of(labels, results(("P2", 0.9, 20, 30), ("P1", 0.5, 20, 30)))
    assert entry == {"ap": 0.5, "npos": 1, "tp": 1, "ndet": 2}


def test_recall_levels_are_the_kits():
    # 3 of 10 objects: 3 / 10 is less than the kit's third level 0.30000000000000004
    assert average_precision(np.ones(3, bool), 10, "voc07") == pytest.approx(3 / 11)
    assert average_precision(np.ones(4, bool), 10, "voc07") == pytest.approx(5 / 11)


@pytest.mark.parametrize(
    "difficult, rows, voc07, area",
    [
        ([], [("P1", 0.9, 20, 30)], 0.0, None),  # no objects, something found
        ([1], [("P1", 0.9, 20, 30)], 0.0, None),  # difficult objects only
        ([1], [], None, None),
        ([0], [], 0.0, 0.0),
        ([0, 1], [("P1", 0.9, 60, 30)], 0.0, 0.0),  # only a difficult one found
    ],
)
def test_classes_without_objects_or_detections(difficult, rows, voc07, area):
    objects = [ship(20 + 40 * place, 30, flag) for place, flag in enumerate(difficult)]
    labels = {"P1": objects}
    for metric, expected in (("voc07", voc07), ("area", area)):
        assert entry_of(labels, results(*rows), metric=metric)["ap"] == expected


def test_mean_is_over_defined_classes_in_dotas_order():
    plane = DotaObject(square(5, 5), "plane")
    tree = DotaObject(square(50, 5), "tree")
    found = {
        "ship": results(("P1", 0.9, 5, 5)),
        "plane": results(("P1", 0.9, 5, 5)),
        "harbor": results(),
    }
    result = evaluate_detections({"P1": [plane, tree]}, found, 1, 0.5, "area")
    assert list(result["classes"]) == ["plane", "ship", "harbor", "tree"]
    assert [entry["ap"] for entry in result["classes"].values()] == [1.0, None, None, 0.0]
    assert result["mAP"] == 0.5
    assert json.loads(json.dumps(result)) == result
    table = format_table(result).splitlines()
    assert table[1].split() == ["plane", "1.0000", "1", "1", "1"]
    assert table[2].split() == ["ship", "-", "0", "0", "1"]
    assert table[-1].split() == ["mAP", "0.5000"]


def test_nothing_at_all():
    assert evaluate_detections({"P1": []}, {}, 1, 0.5, "voc07") == {"mAP": None, "classes": {}}


def plain_evaluation(labels, found, task, iou):
    """The rule as one loop; returns the flags of true and false positives, and npos."""
    taken, flags = set(), []
    for index in np.argsort(-found.scores, kind="stable"):
        image, row = found.image_names[index], found.coordinates[index]
        best, best_place = -1.0, None
        for place, item in enumerate(labels[image]):
            if task == 1:
                overlap = oriented_iou(row.reshape(1, 4, 2), item.corners[None])[0, 0]
            else:
                low, high = item.corners.min(axis=0), item.corners.max(axis=0)
                wide, high_ = np.minimum(row[2:], high) - np.maximum(row[:2], low) + 1
                both = max(wide, 0) * max(high_, 0)
                area = np.prod(row[2:] - row[:2] + 1) + np.prod(high - low + 1)
                overlap = both / (area - both)
            if overlap > best:
                best, best_place = overlap, place
        if best <= iou:
            flags.append(False)
        elif not labels[image][best_place].difficult:
            flags.append((image, best_place) not in taken)
            taken.add((image, best_place))
    return flags, sum(not item.difficult for items in labels.values() for item in items)


def plain_area(flags, npos):
    recall, precision, found = [0.0], [], 0
    for count, flag in enumerate(flags, start=1):
        found += flag
        recall.append(found / npos)
        precision.append(found / count)
    return sum((recall[i + 1] - recall[i]) * max(precision[i:]) for i in range(len(precision)))


@pytest.mark.parametrize("task", [1, 2])
@pytest.mark.parametrize("iou", [0.3, 0.6])
def test_against_a_plain_loop(task, iou):
    rng = np.random.default_rng(7)
    labels, rows = {}, []
    for name in ("P1", "P2"):
        places = rng.uniform(20, 100, (14, 2))
        labels[name] = [ship(x, y, int(rng.random() < 0.2)) for x, y in places]
        jittered = np.repeat(places, 3, axis=0) + rng.normal(0, 3, (42, 2))
        rows += [(name, 0.0, x, y) for x, y in jittered]
    scores = rng.permutation(len(rows)) / len(rows)
    found = results(
        *[(name, score, x, y) for (name, _, x, y), score in zip(rows, scores, strict=True)],
        task=task,
    )
    entry = entry_of(labels, found, iou=iou, task=task)
    flags, npos = plain_evaluation(labels, found, task, iou)
    assert 10 < sum(flags) < len(flags)
    assert (entry["tp"], entry["npos"], entry["ndet"]) == (sum(flags), npos, 84)
    assert entry["ap"] == pytest.approx(plain_area(flags, npos), abs=1e-12)


def test_many_detections_of_one_image():
    """More than a block of them, so that blocks are put together rightly."""
    labels = {"P1": [ship(20 * i, 5) for i in range(40)]}
    rows = [("P1", 1 - 0.001 * i, 20 * (i % 40), 5) for i in range(700)]
    entry = entry_of(labels, results(*rows))
    assert entry == {"ap": 1.0, "npos": 40, "tp": 40, "ndet": 700}


def test_equal_scores_are_taken_in_the_order_of_the_lines():
    """Of two equal scores the first line's counts first: precision 1 where it is the hit."""
    labels = {"P1": [ship(20, 30)]}
    hit, miss = ("P1", 0.5, 20, 30), ("P1", 0.5, 200, 30)
    others = [("P1", 0.5, 300 + 20 * k, 30) for k in range(600)]  # many: sorts differ from 17 on
    assert entry_of(labels, results(hit, miss, *others))["ap"] == 1.0
    assert entry_of(labels, results(miss, hit, *others))["ap"] == 0.5
    entry = entry_of(labels, results(*others[:299], hit, *others[299:]))
    assert entry["ap"] == pytest.approx(1 / 300)


def test_one_matching_serves_all_thresholds():
    labels = {"P1": [ship(20, 30)]}
    found = {"ship": results(("P1", 0.9, 22, 30))}  # 80 / 120
    matches = match_detections(labels, found, 1)
    for iou, metric in ((0.5, "voc07"), (0.75, "area")):
        expected = evaluate_detections(labels, found, 1, iou, metric)
        assert evaluate_matches(matches, iou, metric) == expected


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="task must be 1"):
        match_detections({}, {}, 3)
    with pytest.raises(ValueError, match="voc07, area, got 'coco'"):
        evaluate_matches({}, 0.5, "coco")


def write_folders(folder):
    (folder / "labels").mkdir()
    (folder / "results").mkdir()
    write_labels(folder / "labels" / "P1.txt", [ship(20, 30)])
    write_labels(folder / "labels" / "P2.txt", [])
    lines = "P1 0.9 20 30 30 30 30 40 20 40\nP2 0.95 20 30 30 30 30 40 20 40\n"
    (folder / "results" / "Task1_ship.txt").write_text(lines)
    return folder / "labels", folder / "results"


def test_folders_and_a_choice_of_images(tmp_path):
    labels, found = write_folders(tmp_path)
    entry = evaluate_folders(labels, found, 1, 0.5, "area")["classes"]["ship"]
    assert entry == {"ap": 0.5, "npos": 1, "tp": 1, "ndet": 2}
    entry = evaluate_folders(labels, found, 1, 0.5, "area", ["P1"])["classes"]["ship"]
    assert entry == {"ap": 1.0, "npos": 1, "tp": 1, "ndet": 1}


def test_images_without_labels_are_named(tmp_path):
    labels, found = write_folders(tmp_path)
    with pytest.raises(FileNotFoundError, match="P3.txt"):
        evaluate_folders(labels, found, 1, 0.5, "area", ["P1", "P3"])
    with (found / "Task1_ship.txt").open("a") as stream:
        stream.write("P1__1__0___824 0.9 20 30 30 30 30 40 20 40\n")
    with pytest.raises(ValueError, match="P1__1__0___824.*a tile of P1: merge"):
        evaluate_folders(labels, found, 1, 0.5, "area")
    with pytest.raises(FileNotFoundError, match="expected label files"):
        evaluate_folders(found / "none", found, 1, 0.5, "area")


def test_the_mean_over_thresholds_by_hand():
    # IoU 80/120 = 0.67: true at 0.50, 0.55, 0.60, 0.65; false at the six above
    labels = {"P1": [ship(20, 30)], "P2": [DotaObject(square(5, 5), "plane", 0)]}
    found = {"ship": results(("P1", 0.9, 22, 30)), "harbor": results(("P1", 0.9, 22, 30))}
    result = evaluate_over_thresholds(match_detections(labels, found, 1), COCO_IOUS, "area")
    assert list(result["thresholds"]) == [f"0.{n}" for n in range(50, 100, 5)]
    assert result["classes"]["ship"] == {"ap": pytest.approx(0.4), "npos": 1, "ndet": 1}
    assert result["classes"]["plane"]["ap"] == 0 and result["classes"]["harbor"]["ap"] is None
    assert result["mAP"] == pytest.approx(0.2)
    assert result["thresholds"]["0.65"]["classes"]["ship"]["tp"] == 1
    head, *rows, mean = format_threshold_table(result).splitlines()
    assert head.split()[:3] == ["class", "mean", "@0.50"] and len(rows) == 3
    assert mean.split()[:2] == ["mAP", "0.2000"]


def test_what_does_not_fit_together_is_told_and_survives(tmp_path):
    labels, found = write_folders(tmp_path)
    write_labels(labels / "P2.txt", [DotaObject(square(5, 5), "plane", 0)])
    line = "{} 0.9 20 30 30 30 30 40 20 40\n"
    (found / "Task1_ship.txt").write_text("".join(map(line.format, ["P1", "P8", "P9"])))
    (found / "Task1_harbor.txt").write_text(line.format("P1"))
    told = []
    truth, read = read_folders(labels, found, 1, report=told.append)
    assert told == [
        "no file Task1_plane.txt: all objects of plane count as missed",
        "harbor: there are results, but no object is labelled so",
        "results of 2 images without labels are left out: P8, P9",
    ]
    classes = evaluate_detections(truth, read, 1, 0.5, "area")["classes"]
    assert classes["ship"] == {"ap": 1.0, "npos": 1, "tp": 1, "ndet": 1}
    assert classes["plane"] == {"ap": 0.0, "npos": 1, "tp": 0, "ndet": 0}
    assert classes["harbor"]["ap"] is None


@pytest.mark.slow
def test_seconds_of_a_crowd():
    """20 images of 4,000 objects and 8,000 detections; a sixth of the limit is usual."""
    random = np.random.default_rng(0)
    labels, names, rows = {}, [], []
    for number in range(20):
        corners = random.uniform(0, 4000, (4000, 1, 2)) + square(0, 0, 20) * random.uniform(
            0.5, 1, (4000, 1, 2)
        )
        labels[f"P{number}"] = [DotaObject(shape, "ship") for shape in corners]
        rows.append(np.repeat(corners, 2, axis=0).reshape(-1, 8) + random.normal(0, 1, (8000, 8)))
        names += [f"P{number}"] * 8000
    found = ClassResults(names, random.random(160_000), np.concatenate(rows))
    start = time.process_time()
    entry = entry_of(labels, found)
    assert time.process_time() - start < 9
    assert entry["npos"] == 80_000 and 70_000 < entry["tp"] <= 80_000


def test_real_results_as_the_devkit_evaluates_them(shared_data):
    folder = shared_data / "eval_task1"
    names = (folder / "images.txt").read_text().split()
    compared = 0
    for key, expected in json.loads((folder / "expected.json").read_text()).items():
        _, iou, metric = key.split("|")
        result = evaluate_folders(
            folder / "labelTxt", folder / "merged_dets", 1, float(iou[3:]), metric, names
        )
        defined = [c["ap"] for c in expected["classes"].values() if c["ap"] is not None]
        assert result["mAP"] == pytest.approx(np.mean(defined), abs=1e-6)
        for name, figures in expected["classes"].items():
            entry = result["classes"][name]
            if figures["ap"] is None:
                assert entry["ap"] is None
            else:
                assert entry["ap"] == pytest.approx(figures["ap"], abs=1e-6), (key, name)
            assert [entry[field] for field in ("npos", "tp", "ndet")] == [
                figures[field] for field in ("npos", "tp", "ndet")
            ]
            compared += 1
    assert compared == 60
