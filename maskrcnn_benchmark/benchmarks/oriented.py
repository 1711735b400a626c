"""CPU time of the oriented parts, each beside its upright counterpart, a call of each in turn."""

import math
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from maskrcnn_benchmark.benchmarks.crowd import make_crowd
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.layers.nms import nms_per_group
from maskrcnn_benchmark.layers.roi_align_rotated import ROIAlignRotated
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.poolers import Pooler
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.corners import Corners
from maskrcnn_benchmark.structures.oriented_boxes import best_oriented_overlap, oriented_nms
from maskrcnn_benchmark.structures.rotated_boxes import (
    corners_to_edges,
    edges_to_boxlist,
    rotated_to_corners,
)

SIDE, CHANNELS, ROIS, CLASSES = 1024, 256, 512, 15
SCALES = (0.25, 0.125, 0.0625, 0.03125)
PROPOSALS, TRUTHS, DETECTIONS, OBJECTS = 2000, 5000, 2000, 24
CONFIGS = {
    "oriented": "dota/oriented_rcnn_R_50_FPN_1x.yaml",
    "upright": "dota/faster_rcnn_R_50_FPN_1x.yaml",
}


def oriented_table(repeats: int) -> Iterator[str]:
    """Measure rotated RoIAlign, target assignment, suppression and whole steps.

    Args:
        repeats: timed calls of each; one more before them is not timed.

    Yields:
        the lines of a table: medians of this process's CPU seconds, oriented and upright.
    """
    yield f"{torch.get_num_threads()} threads, {repeats} calls of each in turn, median CPU seconds"
    yield f"{'':52} {'oriented':>9} {'upright':>8} {'ratio':>6}"
    for name, cases in (
        (f"RoIAlign, {ROIS} RoIs x {CHANNELS} channels, forward", _pooling(backward=False)),
        ("the same, forward and backward", _pooling(backward=True)),
        (f"target assignment, {PROPOSALS:,} proposals, {TRUTHS:,} objects", _assignment()),
        (f"suppression, {DETECTIONS:,} boxes of {CLASSES} classes", _suppression()),
        (f"R-50-FPN, {SIDE} pixels, {OBJECTS} objects: inference", _steps(training=False)),
        ("the same, training step", _steps(training=True)),
    ):
        oriented, upright = _medians(cases, repeats)
        yield f"{name:52} {oriented:9.3f} {upright:8.3f} {oriented / upright:6.2f}"


def _medians(cases: tuple[Callable, Callable], repeats: int) -> list[float]:
    seconds: list[list[float]] = [[], []]
    for _ in range(repeats + 1):
        for case, times in zip(cases, seconds, strict=True):
            start = time.process_time()
            case()
            times.append(time.process_time() - start)
    return [statistics.median(times[1:]) for times in seconds]


def _rotated(count: int, seed: int) -> Tensor:
    """Return rotated boxes (N, 5) of a crowd's sizes, at all angles."""
    upright = make_crowd(count, SIDE, SIDE, seed).bbox
    center, sides = (upright[:, :2] + upright[:, 2:]) / 2, upright[:, 2:] - upright[:, :2] + 1
    sides = sides.sort(dim=1, descending=True).values
    generator = torch.Generator().manual_seed(seed)
    angle = (torch.rand(count, 1, generator=generator) - 0.5) * math.pi
    return torch.cat([center, sides, angle], dim=1)


def _pooling(backward: bool) -> tuple[Callable, Callable]:
    sizes = [round(SIDE * scale) for scale in SCALES]
    features = [torch.randn(1, CHANNELS, size, size, requires_grad=backward) for size in sizes]
    rotated = _rotated(ROIS, seed=0)
    upright = [BoxList(corners_to_edges(rotated_to_corners(rotated)), (SIDE, SIDE))]
    poolers = (ROIAlignRotated(7, SCALES), Pooler((7, 7), SCALES, sampling_ratio=2))

    def run(pooler, boxes):
        pooled = pooler(features, boxes)
        if backward:
            pooled.sum().backward()

    return lambda: run(poolers[0], [rotated]), lambda: run(poolers[1], upright)


def _assignment() -> tuple[Callable, Callable]:
    boxes, truth = (rotated_to_corners(_rotated(n, n)) for n in (PROPOSALS, TRUTHS))
    upright = [BoxList(corners_to_edges(corners), (SIDE, SIDE)) for corners in (boxes, truth)]
    matcher = Matcher(0.5, 0.5)
    return (
        lambda: best_oriented_overlap(boxes, truth),
        lambda: matcher.match(upright[1], upright[0]),
    )


def _suppression() -> tuple[Callable, Callable]:
    corners = rotated_to_corners(_rotated(DETECTIONS, seed=1))
    edges, scores = corners_to_edges(corners), torch.rand(DETECTIONS)
    labels = torch.arange(DETECTIONS) % CLASSES
    return (
        lambda: oriented_nms(corners, scores, 0.1, groups=labels),
        lambda: nms_per_group(edges, scores, labels, 0.5),
    )


def _steps(training: bool) -> tuple[Callable, Callable]:
    image = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    corners = rotated_to_corners(_rotated(OBJECTS, seed=3))
    target = BoxList(edges_to_boxlist(corners_to_edges(corners)), (SIDE, SIDE))
    target.add_field("labels", torch.arange(OBJECTS) % CLASSES + 1)
    target.add_field("corners", Corners(corners, (SIDE, SIDE)))

    def step(model):
        if training:
            sum(model([image], [target]).values()).backward()
            model.zero_grad()
        else:
            with torch.no_grad():
                model([image])

    models = []
    for name in ("oriented", "upright"):
        torch.manual_seed(0)
        options = ["MODEL.DEVICE", "cpu", "MODEL.ROI_BOX_HEAD.NUM_CLASSES", str(CLASSES + 1)]
        cfg = load_config(CONFIGS[name], options)
        models.append(build_detection_model(cfg).train(training))
    return lambda: step(models[0]), lambda: step(models[1])
