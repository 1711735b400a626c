"""Evaluation by DOTA's rules: results of tiles become results of images.

Frames: a prediction is in the pixels of the resized sample; the data set's `reduce_prediction`
brings it to those of the image with which it is evaluated, where the tiles of an image are merged.
That image is the whole one, unless a folder holds tiles without tiles.json: then each tile counts
as an image.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.dota.annotations import DotaObject
from maskrcnn_benchmark.dota.average_precision import (
    COCO_IOUS,
    evaluate_matches,
    evaluate_over_thresholds,
    format_ap,
    match_detections,
)
from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.dota.image_files import ImageFile
from maskrcnn_benchmark.dota.merge import merge_tiles
from maskrcnn_benchmark.dota.report import write_report
from maskrcnn_benchmark.dota.seams import unscaled_window
from maskrcnn_benchmark.dota.submission import results_by_class, write_task_files
from maskrcnn_benchmark.dota.tiles import Window
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.atomic_write import write_text

# metric and IoU threshold of each figure in metrics.json
FIGURES = {
    "voc07@0.5": ("voc07", 0.5),
    "area@0.5": ("area", 0.5),
    "area@0.75": ("area", 0.75),
}
MEAN_FIGURE = "area@0.50:0.95"  # the mean over COCO_IOUS


def dota_evaluation(
    dataset: Any,
    predictions: Sequence[BoxList | Detections],
    output_folder: str | None,
    iou_types: Sequence[str] = ("bbox",),
    box_only: bool = False,
    **_: Any,
) -> dict:
    """Merge the tiles' results, write them as DOTA's result files, and evaluate them.

    Args:
        dataset: DotaDataset.
        predictions: a BoxList per sample, or what `reduce_prediction` made of it.
        output_folder: for Task2_<class>.txt (and Task1_), ap_table.txt, metrics.json, and
            report.html with report.json; None writes nothing.
        iou_types: with "segm", orientation is evaluated even if nothing was found.
        box_only: not possible here.

    Returns:
        {"task2": {"voc07@0.5": {"mAP": …, "classes": {…}}, …}}, with the keys of FIGURES and
        MEAN_FIGURE, and with "task1" where orientation is known; empty where the folder has no
        labels.
    """
    if box_only:
        raise ValueError(
            "expected detections, got proposals (MODEL.RPN_ONLY): evaluate them on a COCO-format "
            "data set"
        )
    logger = logging.getLogger("maskrcnn_benchmark.inference")
    detections = _merge_images(dataset, predictions, "segm" in iou_types)
    if output_folder:
        write_task_files(output_folder, detections, dataset.class_names)
    if not dataset.has_labels:
        logger.warning("%s has no labels: results are written, not evaluated", dataset.folder)
        return {}
    if dataset.has_loose_tiles:
        logger.warning(
            "%s holds tiles but no tiles.json: each tile is evaluated as an image. `tools/dota.py "
            "split` makes folders that are evaluated on whole images",
            dataset.folder,
        )
    truth = {image: dataset.read_truth(image) for image in detections}
    metrics = _evaluate(truth, detections, dataset.class_names)
    table = _format_metrics(metrics)
    logger.info("%s, %d images\n%s", dataset.folder, len(detections), table)
    if output_folder:
        folder = Path(output_folder)
        write_text(folder / "ap_table.txt", table + "\n")
        write_text(folder / "metrics.json", json.dumps(metrics, indent=1) + "\n")
        task = 1 if "task1" in metrics else 2
        results = results_by_class(detections, dataset.class_names, task)
        tiles, files = _tiles_and_files(dataset)
        write_report(folder / "report.html", truth, results, task, tiles=tiles, files=files)
    return metrics


def _tiles_and_files(dataset: Any) -> tuple[dict[str, list[Window]], dict[str, list[ImageFile]]]:
    """Return, per image that is evaluated, the windows that the network saw and the files."""
    tiles: dict[str, list[Window]] = defaultdict(list)
    sources = dataset.files.plan["sources"] if dataset.tiles_are_complete else {}
    for index, sample in enumerate(dataset.samples):
        image, rate, x, y = dataset.source_frame(index)
        window = Window(x, y, sample.width, sample.height)
        tiles[image].append(unscaled_window(window, rate, sources.get(image, {})))
    return dict(tiles), dataset.image_files()


def _merge_images(
    dataset: Any, predictions: Sequence[BoxList | Detections], is_oriented: bool
) -> dict[str, Detections]:
    """Return the detections per image that is evaluated, images without any included."""
    if len(predictions) != len(dataset):
        raise ValueError(
            f"expected a prediction for each of {len(dataset)} samples, got {len(predictions)}"
        )
    # an image where nothing is found has corners too, if the model knows orientation
    nothing = Detections.empty(with_corners=is_oriented)
    tiles: dict[str, list[Detections]] = defaultdict(lambda: [nothing])
    for index, prediction in enumerate(predictions):
        if isinstance(prediction, BoxList):
            prediction = dataset.reduce_prediction(index, prediction)
        tiles[dataset.source_frame(index)[0]].append(prediction)
    return {
        image: merge_tiles(parts, dataset.nms_hbb, dataset.nms_obb)
        for image, parts in tiles.items()
    }


def _evaluate(
    truth: dict[str, list[DotaObject]],
    detections: dict[str, Detections],
    class_names: Sequence[str],
) -> dict:
    """Compute every figure of every task that the detections can be evaluated on."""
    is_oriented = any(found.corners is not None for found in detections.values())
    metrics = {}
    for task in (2, 1) if is_oriented else (2,):
        results = results_by_class(detections, class_names, task)
        matches = match_detections(truth, results, task)
        metrics[f"task{task}"] = {
            name: evaluate_matches(matches, iou, metric) for name, (metric, iou) in FIGURES.items()
        }
        mean = evaluate_over_thresholds(matches, COCO_IOUS, "area")
        metrics[f"task{task}"][MEAN_FIGURE] = {key: mean[key] for key in ("mAP", "classes")}
    return metrics


def _format_metrics(metrics: dict) -> str:
    """Lay out the figures: per task a line per class and one for the mean."""
    lines = []
    for task, kind in (("task2", "upright boxes"), ("task1", "oriented boxes")):
        if task not in metrics:
            continue
        figures = list(metrics[task].values())
        width = max(len(name) for name in ["class", *figures[0]["classes"]])
        heads = "".join(f"{name:>15}" for name in metrics[task])
        lines += ["", f"{task}: AP of {kind}", f"{'class':{width}}{heads}   objects  detections"]
        for name, entry in figures[0]["classes"].items():
            values = "".join(f"{format_ap(f['classes'][name]['ap']):>15}" for f in figures)
            lines.append(f"{name:{width}}{values}{entry['npos']:10d}{entry['ndet']:12d}")
        lines.append(f"{'mAP':{width}}" + "".join(f"{format_ap(f['mAP']):>15}" for f in figures))
    return "\n".join(lines[1:])
