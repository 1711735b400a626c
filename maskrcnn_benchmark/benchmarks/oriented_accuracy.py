"""Accuracy of Oriented R-CNN beside Mask R-CNN after the same CPU minutes, on drawn scenes."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from maskrcnn_benchmark.dota.split import split_folder
from maskrcnn_benchmark.dota.toy import write_toy_set

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "configs/quickstart.yaml"
SCENES = {"train": (60, 1), "val": (12, 2)}  # part -> scenes, seed: those of `make demo`
SIZE, OBJECTS, TILE, OVERLAP = (512, 384), 24, 256, 64
MODELS = {  # settings that differ from CONFIG's
    "Oriented R-CNN": (),
    "Mask R-CNN": (
        *("MODEL.ORIENTED.METHOD", "", "MODEL.RPN.RPN_HEAD", "SingleConvRPNHead"),
        *("MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR", "FPN2MLPFeatureExtractor"),
        *("MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNPredictor"),
        *("MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", "2"),
        *("MODEL.RPN.NMS_THRESH", "0.7", "MODEL.ROI_HEADS.NMS", "0.5", "MODEL.MASK_ON", "True"),
        *("MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR", "MaskRCNNFPNFeatureExtractor"),
        *("MODEL.ROI_MASK_HEAD.PREDICTOR", "MaskRCNNC4Predictor"),
        *("MODEL.ROI_MASK_HEAD.POOLER_SCALES", "(0.25, 0.125, 0.0625, 0.03125)"),
        *("MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", "14", "MODEL.ROI_MASK_HEAD.RESOLUTION", "28"),
        *("MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO", "2", "MODEL.ROI_MASK_HEAD.USE_GN", "True"),
        *("MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR", "False"),
        *("MODEL.ROI_MASK_HEAD.CONV_LAYERS", "(64, 64, 64, 64)"),
    ),
}
FIRST = 100  # iterations after which the length of the whole training is settled: the warm-up
STEPS = (0.72, 0.9)  # of the iterations: where the learning rate falls, as in CONFIG
FIGURES = ("voc07@0.5", "area@0.5", "area@0.75")


def accuracy_table(minutes: float, folder: Path) -> Iterator[str]:
    """Draw scenes, then train and evaluate each model of MODELS by the tools, on one thread.

    Args:
        minutes: of CPU time for each model's training, the tool's start included.
        folder: a new one; data and results go there.

    Yields:
        the lines of a table: iterations, CPU minutes that they took, and the figures of both tasks.

    Raises:
        ValueError: the folder is there already.
        subprocess.CalledProcessError: a tool failed; its output is above.
    """
    _draw_data(folder)
    yield f"{minutes:g} CPU minutes of training for each model, one thread"
    heads = [f"{task} {figure}" for task in ("task1", "task2") for figure in FIGURES]
    yield f"{'':16} {'iterations':>10} {'minutes':>8} " + " ".join(f"{h:>16}" for h in heads)
    for name, settings in MODELS.items():
        run = folder / name.replace(" ", "_")
        iterations, spent = _train(run, minutes, settings)
        _run_tool("tools/test_net.py", run, settings)
        (metrics,) = run.glob("inference/*/metrics.json")
        found = json.loads(metrics.read_text(encoding="utf-8"))
        values = [found[task][figure]["mAP"] for task in ("task1", "task2") for figure in FIGURES]
        row = " ".join(f"{value:16.3f}" for value in values)
        yield f"{name:16} {iterations:10d} {spent:8.2f} {row}"


def _draw_data(folder: Path) -> None:
    if folder.exists():
        raise ValueError(f"{folder} is there already: remove it, or name another with --out")
    for part, (scenes, seed) in SCENES.items():
        for _ in write_toy_set(folder / part, scenes, *SIZE, OBJECTS, seed):
            pass
        split_folder(folder / part, folder / f"{part}_tiles", TILE, OVERLAP)


def _train(run: Path, minutes: float, settings: tuple[str, ...]) -> tuple[int, float]:
    """Train for so many CPU minutes; the first iterations tell how many those are.

    Returns:
        the iterations, and the CPU minutes that they took.
    """
    tool = ("tools/train_net.py", run)
    first = ("SOLVER.MAX_ITER", str(FIRST), "SOLVER.STEPS", "()")
    seconds = _run_tool(*tool, (*settings, *first), "--skip-test")
    iterations = max(FIRST, int(FIRST * 60 * minutes / seconds))
    steps = tuple(int(share * iterations) for share in STEPS)
    whole = ("SOLVER.MAX_ITER", str(iterations), "SOLVER.STEPS", str(steps))
    seconds += _run_tool(*tool, (*settings, *whole), "--skip-test")  # resumes
    return iterations, seconds / 60


def _run_tool(tool: str, run: Path, settings: tuple[str, ...], *options: str) -> float:
    """Run one of the tools in one process of one thread, and return its CPU seconds."""
    data = run.resolve().parent
    command = [sys.executable, tool, "--config-file", CONFIG, *options]
    command += ["DATASETS.TRAIN", str((f"dota:{data / 'train_tiles'}",))]
    command += ["DATASETS.TEST", str((f"dota:{data / 'val_tiles'}",))]
    command += ["DATALOADER.NUM_WORKERS", "0", "OUTPUT_DIR", str(run.resolve()), *settings]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
