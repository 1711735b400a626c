"""tools/dota.py compare as a user runs it."""

import json

import numpy as np
import pytest
from made_data import rectangle

from maskrcnn_benchmark.dota.annotations import write_labels
from maskrcnn_benchmark.dota.average_precision import evaluate_folders

SQUARES = [rectangle(30 * k, 5, 30 * k + 12, 15) for k in range(4)]


@pytest.fixture
def folders(tmp_path):
    """Labels of 4 images, results that find all, and results that find none in one image."""
    for name in ("labels", "a", "b"):
        (tmp_path / name).mkdir()
    for number in range(4):
        write_labels(tmp_path / "labels" / f"P{number}.txt", SQUARES)
    for name, images in (("a", range(4)), ("b", range(3))):
        lines = [
            f"P{number} 0.{place + 1} " + " ".join(map(str, square.corners.ravel())) + "\n"
            for number in images
            for place, square in enumerate(SQUARES)
        ]
        (tmp_path / name / "Task1_ship.txt").write_text("".join(lines))
    return tmp_path


def test_table_and_figures(run_dota, folders):
    arguments = ("compare", folders / "a", folders / "b", "--labels", folders / "labels")
    figures = folders / "new" / "figures.json"
    (folders / "b" / "Task1_plane.txt").write_text("P0 0.5 1 1 9 1 9 9 1 9\n")
    status, out, _ = run_dota(*arguments, "--metric", "area", "--seed", 3, "--json", figures)
    assert status == 0
    lines = out.splitlines()
    assert lines[1].split()[:4] == ["ship", "1.0000", "0.7500", "-0.2500"]
    # P3 is in 1 - (3/4)^4 = 68 % of the sets, from 0 to 3 times in 95 % of them
    assert lines[1].split()[4:] == ["-0.7500", "…", "+0.0000", "noise"]
    assert "4 images; 1000 sets of them drawn with seed 3" in out and "too narrow" in out
    assert "Without objects, and so not in the mean: plane\n" in out
    written = json.loads(figures.read_text())
    expected = {"a": 1.0, "b": 0.75, "low": -0.75, "high": 0.0, "verdict": "noise"}
    assert written["mAP"] == written["classes"]["ship"] == expected | {"images": 4}
    assert (written["resamples"], written["seed"], written["images"]) == (1000, 3, 4)


def test_a_choice_of_images(run_dota, folders):
    (folders / "list.txt").write_text("P3\n")
    arguments = ("compare", folders / "a", folders / "b", "--labels", folders / "labels")
    status, out, _ = run_dota(*arguments, "--images", folders / "list.txt", "--resamples", 5)
    assert status == 0
    ship, mean = (line.split("  ")[-1] for line in out.splitlines()[1:3])
    assert (ship, mean) == ("too few images", "too few images")


def test_troubles_are_one_line(run_dota, folders):
    arguments = ("compare", folders / "a", folders / "b", "--labels", folders / "labels")
    for more, message in (
        (("--task", 2), "Task2_<class>.txt, found only Task1_"),
        (("--resamples", 0), "at least 1 image and 1 resample"),
        (("--iou", 0.05), "the IoU threshold must be from 0.1"),
    ):
        status, out, err = run_dota(*arguments, *more)
        assert status == 2 and out == "" and message in err and err.count("\n") == 1


def test_real_results(run_dota, shared_data, tmp_path):
    """Beside themselves with each score doubled in error: figures as `evaluate` gives them."""
    folder, changed = shared_data / "eval_task1", tmp_path / "changed"
    changed.mkdir()
    rng = np.random.default_rng(0)
    for path in (folder / "merged_dets").glob("Task1_*.txt"):
        lines = path.read_text().splitlines(keepends=True)
        (changed / path.name).write_text("".join(line for line in lines if rng.random() < 0.9))
    status, out, _ = run_dota(
        *("compare", folder / "merged_dets", changed, "--labels", folder / "labelTxt"),
        *("--metric", "area", "--resamples", 100, "--json", tmp_path / "figures.json"),
    )
    assert status == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    for key, results in (("a", folder / "merged_dets"), ("b", changed)):
        expected = evaluate_folders(folder / "labelTxt", results, 1, 0.5, "area")
        assert figures["mAP"][key] == pytest.approx(expected["mAP"], abs=1e-12)
    assert figures["mAP"]["low"] < figures["mAP"]["high"]
    assert figures["images"] == 9 and len(figures["classes"]) == 14
