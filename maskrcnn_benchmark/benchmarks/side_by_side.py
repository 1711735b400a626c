"""Time of steps of this package and of the original, measured alternately in one run."""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from maskrcnn_benchmark.config import cfg
from maskrcnn_benchmark.config.settings import configs_folder
from maskrcnn_benchmark.modeling.detector import build_detection_model

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("side_by_side_worker.py")
CASES = (  # name, task, config file
    ("Faster R-CNN, training step", "train", "e2e_faster_rcnn_R_50_FPN_1x.yaml"),
    ("Faster R-CNN, inference", "test", "e2e_faster_rcnn_R_50_FPN_1x.yaml"),
    ("Mask R-CNN, training step", "train", "e2e_mask_rcnn_R_50_FPN_1x.yaml"),
    ("Mask R-CNN, inference", "test", "e2e_mask_rcnn_R_50_FPN_1x.yaml"),
    ("pasting 100 masks into 4000 x 4000", "paste", "e2e_mask_rcnn_R_50_FPN_1x.yaml"),
)


class Worker:
    """A process that runs one task with the package of one checkout, step by step.

    Args:
        checkout: folder that holds maskrcnn_benchmark.
        task, config, weights, opts: see side_by_side_worker.

    Attributes:
        result: checksum of the task's first step, which is not timed.
    """

    def __init__(self, checkout: Path, task: str, config: Path, weights: Path, opts: Sequence[str]):
        paths = [str(checkout), os.environ.get("PYTHONPATH")]
        command = [sys.executable, "-c", WORKER.read_text(encoding="utf-8")]
        self._process = subprocess.Popen(
            [*command, task, str(config), str(weights), *opts],
            cwd=weights.parent,  # no checkout, so that PYTHONPATH alone decides which package
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._checkout = checkout
        self.result = self._read()

    def step(self) -> float:
        """Run one step and return its CPU seconds."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> float:
        line = self._process.stdout.readline()
        if not line:
            raise ValueError(
                f"{self._checkout} does not run (its error is above). The original needs our patch "
                f"for a current PyTorch: python tools/apply_patches.py {self._checkout} --only 6"
            )
        return float(line)


def compare(original: Path, repeats: int, opts: Sequence[str] = ()) -> Iterator[str]:
    """Measure each of CASES on both packages, on the CPU.

    Args:
        original: a checkout of the original that runs on this PyTorch (see patches/README.md).
        repeats: timed steps of each package; one step before them is not timed.
        opts: KEY value ..., settings of ours alone, which may change the last bits.

    Yields:
        the lines of a table: best CPU seconds of each, the ratio of the best, and of the medians.

    Raises:
        ValueError: the checkout does not run.
    """
    if not (original / "maskrcnn_benchmark").is_dir():
        raise ValueError(f"{original} is no checkout: it has no folder maskrcnn_benchmark")
    yield f"{torch.get_num_threads()} threads, {repeats} steps of each in turn; best CPU seconds"
    yield f"{'':36} {'original':>9} {'ours':>8} {'ratio':>6} {'of medians':>10}  same result"
    for name, task, config in CASES:
        ours, theirs, same = _measure(
            original.resolve(), task, configs_folder() / config, repeats, opts
        )
        best = min(ours) / min(theirs)
        median = statistics.median(ours) / statistics.median(theirs)
        yield (
            f"{name:36} {min(theirs):9.3f} {min(ours):8.3f} {best:6.2f} {median:10.2f}  "
            f"{'yes' if same else 'NO'}"
        )


def _measure(
    original: Path, task: str, config: Path, repeats: int, opts: Sequence[str]
) -> tuple[list[float], list[float], bool]:
    """Return our and the original's CPU seconds per step, and whether first results are equal."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights.pth")
        if task != "paste":
            _save_weights(config, weights)
        workers = [
            Worker(original, task, config, weights, ()),
            Worker(ROOT, task, config, weights, opts),
        ]
        theirs, ours = zip(*([w.step() for w in workers] for _ in range(repeats)), strict=True)
        for worker in workers:
            worker.close()
    return list(ours), list(theirs), workers[0].result == workers[1].result


def _save_weights(config: Path, path: Path) -> None:
    """Save random weights with which a model detects about as many objects as a trained one."""
    settings = cfg.clone()
    settings.merge_from_file(str(config))
    torch.manual_seed(0)
    state = build_detection_model(settings).state_dict()
    state["roi_heads.box.predictor.cls_score.weight"] *= 30  # so that scores reach 0.05
    torch.save(state, path)
