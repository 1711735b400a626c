"""A detector in onnxruntime beside itself in PyTorch, tile by tile in turn."""

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from yacs.config import CfgNode

from maskrcnn_benchmark.engine.predictor import Predictor, read_class_names
from maskrcnn_benchmark.export.files import export_detector
from maskrcnn_benchmark.export.onnx_detector import OnnxDetector
from maskrcnn_benchmark.images.image_io import read_image_size
from maskrcnn_benchmark.images.image_reader import Window
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.checkpoint import load_trained


def exported_table(cfg: CfgNode, weights: str, images: Sequence[Path]) -> Iterator[str]:
    """Export a detector, and detect with both on the middle of each image, a tile of DOTA.TILE.

    Args:
        cfg: settings of the detector, on the CPU.
        weights: a .pth or .pkl file.
        images: one or more.

    Yields:
        the lines of a table, one per tile, and the medians.
    """
    model = build_detection_model(cfg)
    load_trained(cfg, model, weights, use_latest=False)
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "detector.onnx"))
        export_detector(cfg, model, read_class_names(cfg, weights), path)
        exported = OnnxDetector(path)
    predictors = (Predictor(cfg, model), Predictor(exported.cfg, exported))
    yield f"{torch.get_num_threads()} threads, one step of each in turn; CPU seconds"
    heads = f"{'PyTorch':>8} {'onnx':>6} {'objects':>8} {'onnx':>5} {'pixels':>8} {'score':>8}"
    yield f"{'tile':32} {heads}"
    seconds = []
    for number, image in enumerate([images[0], *images]):
        tile = middle(*read_image_size(image), cfg.DOTA.TILE)
        times, found = zip(*(_timed(each, (image, tile)) for each in predictors), strict=True)
        if number == 0:
            continue  # memory is taken for the first time
        seconds.append(times)
        counts = [len(boxes) for boxes in found]
        text = "      no partners"
        if counts[0] == counts[1]:
            pixels, score = largest_difference(*found)
            text = f"{pixels:8.5f} {score:8.6f}"
        yield (
            f"{image.name:32} {times[0]:8.3f} {times[1]:6.3f} {counts[0]:8} {counts[1]:5} {text}"
        )
    ours, onnx = (statistics.median(times) for times in zip(*seconds, strict=True))
    yield f"{'median':32} {ours:8.3f} {onnx:6.3f}  onnxruntime / PyTorch {onnx / ours:.2f}"


def middle(width: int, height: int, side: int) -> Window:
    """Return the part in the middle of an image of at most `side` pixels a side."""
    shown_width, shown_height = min(width, side or width), min(height, side or height)
    x0, y0 = (width - shown_width) // 2, (height - shown_height) // 2
    return Window(x0, y0, shown_width, shown_height)


def largest_difference(found: BoxList, expected: BoxList) -> tuple[float, float]:
    """Return the largest difference of sides of boxes, pixels, and of scores, of partners.

    Equal scores have no order: the partners are the nearest boxes of the same class. They differ by
    infinity if two boxes have the same one, as where a box is there twice.
    """
    if len(found) == 0:
        return 0.0, 0.0
    distance = torch.cdist(found.bbox, expected.bbox, p=torch.inf)
    distance[found.get_field("labels")[:, None] != expected.get_field("labels")] = torch.inf
    nearest, partner = distance.min(dim=1)
    if len(partner.unique()) < len(found):
        return float("inf"), float("inf")
    scores = found.get_field("scores") - expected.get_field("scores")[partner]
    return float(nearest.max()), float(scores.abs().max())


def _timed(predictor: Predictor, image: tuple[Path, Window]) -> tuple[float, BoxList]:
    start = time.process_time()
    found = predictor.predict(image)
    return time.process_time() - start, found
