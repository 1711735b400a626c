"""Go the whole way once, on drawn data: toy, split, train, test, predict, pictures.

python tools/demo.py        (`make demo` installs what it needs first)

It makes output/demo anew, in 9 to 10 minutes on 2 CPU cores.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.dota.annotations import read_labels, stack_corners
from maskrcnn_benchmark.images.drawing import draw_curve, draw_detections, picture_grid
from maskrcnn_benchmark.images.image_io import read_image, write_image
from maskrcnn_benchmark.utils.training_log import read_metrics

REPOSITORY = Path(__file__).resolve().parent.parent
DEMO = Path("output/demo")
CONFIG = "configs/quickstart.yaml"
PICTURES = 4


def step(title: str, *arguments: str) -> None:
    """Run one of the tools, shown as a user would type it."""
    print(f"\n=== {title}\n$ python {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, *arguments], check=True)


def draw_results(class_names: list[str]) -> None:
    """Write grid.png, loss.png and a copy of ap_table.txt into the demo's folder."""
    found = json.loads((DEMO / "predictions" / "detections.json").read_text())
    rows = []
    for name, entry in list(found["images"].items())[:PICTURES]:
        truth = read_labels(DEMO / "data" / "val" / "labelTxt" / f"{name}.txt")
        labels = np.array([class_names.index(item.name) + 1 for item in truth], int)
        labelled = read_image(entry["file"])
        draw_detections(labelled, stack_corners(truth), labels, class_names)
        detected = read_image(DEMO / "predictions" / f"{name}_detections.jpg")
        rows.append([detected, labelled])
    write_image(DEMO / "grid.png", picture_grid(rows, ["detected", "labelled"]))
    training = [row for row in read_metrics(DEMO / "run" / "metrics.jsonl") if "loss" in row]
    curve = draw_curve(
        [row["iteration"] for row in training], [row["loss"] for row in training], "training loss"
    )
    write_image(DEMO / "loss.png", curve)
    (table,) = (DEMO / "run" / "inference").glob("*/ap_table.txt")
    shutil.copy(table, DEMO / "ap_table.txt")


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    os.chdir(REPOSITORY)
    shutil.rmtree(DEMO, ignore_errors=True)
    data = DEMO / "data"
    toy, split = ["tools/dota.py", "toy"], ["tools/dota.py", "split"]
    look = ["--size", "512x384", "--objects", "24"]
    step("draw scenes to train on", *toy, f"{data}/train", "--images", "60", *look, "--seed", "1")
    step("draw others to evaluate on", *toy, f"{data}/val", "--images", "12", *look, "--seed", "2")
    for part in ("train", "val"):
        folders = [f"{data}/{part}", f"{data}/{part}_tiles"]
        step(f"cut {part}", *split, *folders, "--size", "256", "--overlap", "64")
    step("train", "tools/train_net.py", "--config-file", CONFIG, "--skip-test")
    step("evaluate", "tools/test_net.py", "--config-file", CONFIG)
    weights = ["--weights", f"{DEMO}/run/model_final.pth"]
    out = ["--out", f"{DEMO}/predictions", "--score", "0.5"]
    scenes = f"{data}/val/images"
    step("predict", "tools/predict.py", "--config-file", CONFIG, *weights, *out, scenes)
    draw_results(list(load_config(CONFIG, []).DOTA.CLASSES))
    print("\n" + (DEMO / "ap_table.txt").read_text())
    print(f"Done. Look into {DEMO.resolve()}: grid.png, loss.png, ap_table.txt")


if __name__ == "__main__":
    main()
