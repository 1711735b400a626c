"""tools/dota.py as a user runs it: results, help, and one line for each trouble."""

import json
import os
import re
import subprocess
import sys

import pytest
from launching import ROOT
from made_data import make_dota_folder

from maskrcnn_benchmark.dota.classes import VERSIONS
from maskrcnn_benchmark.images.image_io import MAX_PIXELS, set_max_pixels

TOOL = ROOT / "tools" / "dota.py"


@pytest.fixture
def run(run_dota):
    return run_dota


def test_toy_split_evaluate(run, tmp_path):
    toy, tiles = tmp_path / "toy", tmp_path / "tiles"
    status, out, _ = run(
        "toy", toy, "--images", 2, "--size", "320x240", "--objects", 30, "--seed", 3
    )
    assert status == 0 and "2 images" in out
    (toy / "labelTxt" / "T0007.txt").write_text("")
    status, out, _ = run("split", toy, tiles, "--size", 200, "--overlap", 40)
    assert status == 0 and "1 of 3 label files have no image" in out
    # x 0 and 120, y 0 and 40: four tiles each; the summary, its classes counted over all tiles
    assert f"{tiles}: 2 images in 8 samples, " in out and "\n  classes: " in out
    (toy / "labelTxt" / "T0007.txt").unlink()
    assert json.loads((tiles / "tiles.json").read_text())["tile"] == 200

    results = tmp_path / "results"
    results.mkdir()
    for label in (toy / "labelTxt").iterdir():
        for line in label.read_text().splitlines():
            *corners, name, _ = line.split()
            with (results / f"Task1_{name}.txt").open("a") as stream:
                stream.write(f"{label.stem} 0.9 {' '.join(corners)}\n")
    arguments = ["--labels", toy / "labelTxt", "--detections", results, "--task", 1]
    figures = tmp_path / "new" / "figures.json"
    status, out, _ = run("evaluate", *arguments, "--metric", "area", "--json", figures)
    assert status == 0
    assert out.splitlines()[-1].split() == ["mAP", "1.0000"]
    result = json.loads(figures.read_text())
    assert result["mAP"] == 1.0
    assert sum(entry["npos"] for entry in result["classes"].values()) == 60
    assert set(result["classes"]["small-vehicle"]) == {"ap", "npos", "tp", "ndet"}

    (tmp_path / "list.txt").write_text("T0001\n")
    run("evaluate", *arguments, "--images", tmp_path / "list.txt", "--json", figures)
    entries = json.loads(figures.read_text())["classes"].values()
    assert sum(entry["npos"] for entry in entries) == sum(entry["ndet"] for entry in entries) == 30


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["split", "none", "out"], "none: expected a folder images/"),
        (["split", "none", "out", "--size", "80"], "overlap of 200 and a tile of 80"),
        (["toy", "out", "--images", "0"], "at least 1 image"),
        (["evaluate", "--labels", ".", "--detections", ".", "--task", "2"], "Task2_<class>.txt"),
        (
            ["evaluate", "--labels", ".", "--detections", ".", "--task", "2", "--images", "none"],
            "none: no such list",
        ),
    ],
)
def test_troubles_are_one_line_and_status_2(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert status == 2 and out == ""
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


@pytest.mark.parametrize("size", ["320", "320x", "axb", "-3x4"])
def test_malformed_size_is_refused(run, tmp_path, size):
    status, _, err = run("toy", tmp_path / "out", f"--size={size}")
    assert status == 2 and "expected WIDTHxHEIGHT" in err


@pytest.mark.slow
def test_as_a_program():
    def call(*arguments):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, TOOL, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    shown = call("--help")
    assert shown.returncode == 0
    for command in ("toy", "split", "evaluate"):
        assert command in shown.stdout
    missing = call("split", "none", "out")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("error: none: expected a folder images/ in it")
    assert missing.stderr.count("\n") == 1


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it is an error from now on
from maskrcnn_benchmark.commands import dota
folder = sys.argv[1]
for command in (
    *([name, "--help"] for name in dota.COMMANDS),
    f"toy {folder}/TOY --images 1 --size 320x240 --objects 9 --seed 3".split(),
    f"split {folder}/TOY {folder}/TILES --size 200 --overlap 40".split(),
    f"stats {folder}/TILES --plot {folder}/stats.png".split(),
    f"draw {folder}/TOY --out {folder}/drawn".split(),
    f"convert {folder}/TOY {folder}/COCO --from dota --to coco".split(),
    f"evaluate --labels {folder}/labels --detections {folder} --task 2".split(),
    f"report {folder} {folder}/r.html --labels {folder}/labels --task 2".split(),
    f"compare {folder} {folder} --labels {folder}/labels --task 2".split(),
    f"submit {folder} {folder}/out.zip --task 1 --images {folder}/list".split(),
    f"check {folder}/out.zip --images {folder}/list".split(),
):
    sys.argv = ["dota.py", *command]
    try:
        dota.run()
    except SystemExit as end:
        assert end.code in (0, 1, None), command  # 1: something to mend was found
"""


def test_fault_commands_waited_for_torch_that_need_none(tmp_path):
    """Only polygons that are compared need it: task 1 of evaluate, report and compare; merge."""
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "P1.txt").write_text("10 20 50 20 50 40 10 40 ship 0\n")
    for name in VERSIONS["1.0"]:
        (tmp_path / f"Task1_{name}.txt").write_text("P1 0.9 10 20 50 20 50 40 10 40\n")
    (tmp_path / "Task2_ship.txt").write_text("P1 0.9 10 20 50 40\n")
    (tmp_path / "list").write_text("P1 100 80\n")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    assert re.search(r"^mAP +1.0000$", done.stdout, re.MULTILINE)
    assert (tmp_path / "out.zip").is_file()


def test_real_results(run, shared_data, tmp_path):
    folder = shared_data / "eval_task1"
    expected = json.loads((folder / "expected.json").read_text())
    for key, figures in expected.items():
        _, iou, metric = key.split("|")
        status, _, _ = run(
            *("evaluate", "--labels", folder / "labelTxt", "--task", "1"),
            *("--detections", folder / "merged_dets", "--images", folder / "images.txt"),
            *("--metric", metric, "--iou", iou[3:], "--json", tmp_path / "out.json"),
        )
        assert status == 0
        result = json.loads((tmp_path / "out.json").read_text())
        defined = [c["ap"] for c in figures["classes"].values() if c["ap"] is not None]
        assert result["mAP"] == pytest.approx(sum(defined) / len(defined), abs=1e-4)
        for name, entry in figures["classes"].items():
            assert result["classes"][name]["ap"] == pytest.approx(entry["ap"], abs=1e-4)


@pytest.mark.parametrize(("limit", "status"), [(60 * 50, 0), (60 * 50 - 1, 2)])
def test_split_refuses_more_pixels_than_it_is_allowed(run, tmp_path, limit, status):
    make_dota_folder(tmp_path / "set", {"a": (60, 50, [])})
    end, _, err = run("split", tmp_path / "set", tmp_path / "tiles", "--max-pixels", limit)
    set_max_pixels(MAX_PIXELS)
    assert end == status and ("a.png: 60 x 50 pixels" in err) == (status != 0)


@pytest.mark.parametrize("value", ["nan", "-0.1", "1.5", "inf"])
def test_fault_impossible_overlaps_were_evaluated_at(run, value):
    status, _, err = run(
        *("evaluate", "--labels", "a", "--detections", "b", "--task", 1, "--iou", value)
    )
    assert status == 2 and f"--iou: expected a number from 0 to 1, got '{value}'" in err
    status, _, err = run("report", "b", "--labels", "a", "out.html", "--iou", value)
    assert status == 2 and f"--iou: expected a number from 0 to 1, got '{value}'" in err
