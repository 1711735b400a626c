"""Time and memory of matching a crowd, compared with the computation on the whole IoU matrix.

Each case runs in a new process, so that memory left by one case does not serve the next.
"""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from maskrcnn_benchmark.modeling.crowd_matching import match_boxes
from maskrcnn_benchmark.modeling.rpn.anchor_generator import AnchorGenerator
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.process_memory import forget_peak, memory_mb, peak_memory_mb

HIGH, LOW = 0.7, 0.3  # thresholds of the RPN
STRIDES, SIZES, RATIOS = (4, 8, 16, 32, 64), (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)
DENSE_BYTES = 36  # peak memory per pair of the computation on the whole matrix
MAX_REPEATS, ENOUGH_S = 5, 2.0  # repeat until one of them is reached


@dataclass
class Case:
    """One measurement.

    Attributes:
        seconds: best time of a run.
        extra_mb: peak memory above that before the first run, MB.
        matches: (M,) int64: per anchor the index of its ground truth, -1 or -2.
    """

    seconds: float
    extra_mb: float
    matches: torch.Tensor


def make_anchors(width: int, height: int) -> BoxList:
    """Return the anchors of an FPN on an image: 261,888 on 1024 x 1024 pixels."""
    grids = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in STRIDES]
    anchors = AnchorGenerator(SIZES, RATIOS, STRIDES).grid_anchors(grids)
    return BoxList(torch.cat(anchors), (width, height))


def make_crowd(count: int, width: int, height: int, seed: int) -> BoxList:
    """Return random ground truth like a crowded tile's.

    Sides are log-normal with a median of 25 pixels, and at least 6 pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    limits = torch.tensor([width, height])
    sides = torch.exp(torch.randn(count, 2, generator=generator) * 0.7 + 3.2).clamp(min=6)
    sides = torch.minimum(sides, limits - 1.0)
    corner = torch.rand(count, 2, generator=generator) * (limits - sides)
    return BoxList(torch.cat([corner, corner + sides - 1], dim=1), (width, height))


def match_dense(gt: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Match by the whole IoU matrix, with intermediate results of [N, M, 2].

    Args:
        gt: (N, 4) xyxy.
        anchors: (M, 4) xyxy.

    Returns:
        (M,) int64: per anchor the index of its ground truth, -1 for background, -2 for between
        the thresholds.
    """
    top_left = torch.max(gt[:, None, :2], anchors[None, :, :2])  # [N, M, 2]
    bottom_right = torch.min(gt[:, None, 2:], anchors[None, :, 2:])
    sides = (bottom_right - top_left + 1).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    iou = shared / (_areas(gt)[:, None] + _areas(anchors) - shared)
    value, index = iou.max(dim=0)
    result = torch.where(value < LOW, -1, torch.where(value < HIGH, -2, index))
    best_of_gt = iou.max(dim=1).values
    anchor = torch.nonzero(iou == best_of_gt[:, None])[:, 1]
    result[anchor] = index[anchor]
    return result


def match_by_rows(gt: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Match as match_dense, one ground truth at a time: slower, but memory does not grow with N."""
    value, index = torch.full((len(anchors),), -1.0), torch.zeros(len(anchors), dtype=torch.int64)
    forced = torch.zeros(len(anchors), dtype=torch.bool)
    areas = _areas(anchors)
    for number, box in enumerate(gt):
        top_left = torch.max(box[:2], anchors[:, :2])
        sides = (torch.min(box[2:], anchors[:, 2:]) - top_left + 1).clamp(min=0)
        shared = sides[:, 0] * sides[:, 1]
        iou = shared / (_areas(box[None]) + areas - shared)
        forced |= iou == iou.max()
        index[iou > value] = number
        value = torch.max(value, iou)
    chosen = forced | (value >= HIGH)
    return torch.where(chosen, index, torch.where(value < LOW, -1, -2))


def _areas(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)


def match_streamed(gt: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Match by the package's own function."""
    return match_boxes(gt, anchors, HIGH, LOW, allow_low_quality=True)


METHODS = {"ours": match_streamed, "dense": match_dense, "rows": match_by_rows}


def run_case(method: str, count: int, width: int, height: int, seed: int, repeat: bool) -> Case:
    """Measure one method in this process.

    Args:
        method: one of METHODS.
        count: number of ground truths.
        width, height: size of the image.
        seed: of the ground truth.
        repeat: repeat the run up to MAX_REPEATS times, while all took less than ENOUGH_S seconds.
    """
    match = METHODS[method]
    anchors = make_anchors(width, height).bbox
    gt = make_crowd(count, width, height, seed).bbox
    match(gt[:2], anchors[:1000])  # a first call loads libraries; it is not measured
    forget_peak()
    before = memory_mb()
    times: list[float] = []
    while not times or (repeat and len(times) < MAX_REPEATS and sum(times) < ENOUGH_S):
        start = time.perf_counter()
        matches = match(gt, anchors)
        times.append(time.perf_counter() - start)
        if len(times) == 1:
            extra_mb = peak_memory_mb() - before
    return Case(min(times), extra_mb, matches)


def measure(method: str, count: int, width: int, height: int, seed: int, repeat: bool) -> Case:
    """Measure one method in a new process (see run_case)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.pt")
        values = (method, count, width, height, seed, int(repeat), path)
        command = [sys.executable, "-m", __name__, *map(str, values)]
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        subprocess.run(command, check=True, env=environment)
        return Case(**torch.load(path, weights_only=True))


def available_bytes() -> int:
    """Return the bytes of memory that the machine has available."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo has no line MemAvailable: this benchmark needs Linux")


def crowd_table(counts: list[int], width: int, height: int, seed: int) -> Iterator[str]:
    """Compare match_streamed with match_dense for several numbers of ground truths.

    Where match_dense does not fit into memory it is not run, and the indices are compared with
    those of match_by_rows.

    Args:
        counts: numbers of ground truths.
        width, height: size of the image, pixels.
        seed: of the ground truth.

    Yields:
        the lines of a table.
    """
    number = len(make_anchors(width, height))
    yield f"{number} anchors on {width} x {height}, {torch.get_num_threads()} threads"
    yield (
        f"{'ground truth':>12} {'dense s':>9} {'ours s':>8} {'ratio':>7} "
        f"{'dense MB':>9} {'ours MB':>8}  same indices"
    )
    for count in counts:
        ours = measure("ours", count, width, height, seed, repeat=True)
        needed = DENSE_BYTES * count * number
        fits = needed < 0.9 * available_bytes()
        other = measure("dense" if fits else "rows", count, width, height, seed, repeat=fits)
        seconds, ratio, extra_mb, note = "not run", "-", needed / 2**20, " (dense: no room)"
        if fits:
            seconds, ratio = f"{other.seconds:.2f}", f"{other.seconds / ours.seconds:.1f}"
            extra_mb, note = other.extra_mb, ""
        same = "yes" if torch.equal(ours.matches, other.matches) else "NO"
        yield (
            f"{count:12} {seconds:>9} {ours.seconds:8.3f} {ratio:>7} "
            f"{extra_mb:9.0f} {ours.extra_mb:8.1f}  {same}{note}"
        )


def _main(arguments: list[str]) -> None:
    """Run one case and write it to a file: method count width height seed repeat path."""
    method, *numbers, path = arguments
    count, width, height, seed, repeat = map(int, numbers)
    torch.save(vars(run_case(method, count, width, height, seed, bool(repeat))), path)


if __name__ == "__main__":
    _main(sys.argv[1:])
