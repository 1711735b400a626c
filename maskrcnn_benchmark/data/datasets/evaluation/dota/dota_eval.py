"""Results of tiles become results of images and are judged by DOTA's rules.

Frames: a prediction is in the pixels of the resized sample; `to_source_frame` brings it to those of
the image that is judged, where the tiles of an image are merged. That image is the whole one,
unless a folder holds tiles without tiles.json: then each tile is judged as an image.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from maskrcnn_benchmark.dota.annotations import DotaObject, read_labels
from maskrcnn_benchmark.dota.average_precision import evaluate_matches, match_detections
from maskrcnn_benchmark.dota.merge import Detections, merge_tiles
from maskrcnn_benchmark.dota.submission import results_by_class, write_task_files
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.oriented_boxes import masks_to_corners
from maskrcnn_benchmark.utils.atomic_write import write_text

# metric and IoU threshold of each figure in metrics.json
FIGURES = {
    "voc07@0.5": ("voc07", 0.5),
    "area@0.5": ("area", 0.5),
    "area@0.75": ("area", 0.75),
}


def to_source_frame(dataset: Any, index: int, prediction: BoxList) -> Detections:
    """Bring a prediction to the pixels of the image that is judged; small masks become corners.

    What is returned is small, so that masks need not be kept for a whole data set.

    Args:
        dataset: DotaDataset.
        index: Number of the sample.
        prediction: In any size of the sample, on the CPU, with the fields scores, labels and, where
            the model knows orientation, mask (N, 1, M, M): probabilities within each box.
    """
    if not prediction.has_field("scores"):
        raise ValueError(
            "a dota: data set judges detections, got boxes without scores: MODEL.RPN_ONLY can be "
            "evaluated on a COCO-format data set only"
        )
    sample = dataset.samples[index]
    boxes_xyxy = prediction.resize((sample.width, sample.height)).convert("xyxy").bbox.numpy()
    corners = None
    if prediction.has_field("mask"):
        masks = prediction.get_field("mask")
        if masks.dtype == torch.bool:
            raise ValueError(
                "masks pasted into the image cannot be turned into corners: set "
                "MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS to False"
            )
        corners = masks_to_corners(masks[:, 0].float().numpy(), boxes_xyxy)
    scores = prediction.get_field("scores").float().numpy()
    labels = prediction.get_field("labels").numpy()
    _, x, y = dataset.source_frame(index)
    return Detections(boxes_xyxy, scores, labels, corners).moved(x, y)


def dota_evaluation(
    dataset: Any,
    predictions: Sequence[BoxList | Detections],
    output_folder: str | None,
    iou_types: Sequence[str] = ("bbox",),
    box_only: bool = False,
    **_: Any,
) -> dict:
    """Merge the tiles' results, write them as DOTA's result files, and judge them.

    Args:
        dataset: DotaDataset.
        predictions: For each sample a BoxList, or what to_source_frame made of it.
        output_folder: For Task2_<class>.txt (and Task1_), ap_table.txt and metrics.json; None
            writes nothing.
        iou_types: With "segm", orientation is judged even if nothing was found.
        box_only: Not possible here.

    Returns:
        {"task2": {"voc07@0.5": {"mAP": …, "classes": {…}}, "area@0.5": …, "area@0.75": …}}, with
        "task1" where orientation is known; empty where the folder has no labels.
    """
    if box_only:
        raise ValueError("a dota: data set cannot judge proposals (MODEL.RPN_ONLY)")
    logger = logging.getLogger("maskrcnn_benchmark.inference")
    detections = _merge_images(dataset, predictions, "segm" in iou_types)
    if output_folder:
        write_task_files(output_folder, detections, dataset.class_names)
    if not dataset.has_labels:
        logger.warning("%s has no labels: results are written, not judged", dataset.folder)
        return {}
    if dataset.has_loose_tiles:
        logger.warning(
            "%s holds tiles but no tiles.json: each tile is judged as an image. `tools/dota.py "
            "split` makes folders that are judged on whole images",
            dataset.folder,
        )
    metrics = _judge(_read_truth(dataset, detections), detections, dataset.class_names)
    table = _format_metrics(metrics)
    logger.info("%s, %d images\n%s", dataset.folder, len(detections), table)
    if output_folder:
        folder = Path(output_folder)
        write_text(folder / "ap_table.txt", table + "\n")
        write_text(folder / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    return metrics


def _merge_images(
    dataset: Any, predictions: Sequence[BoxList | Detections], is_oriented: bool
) -> dict[str, Detections]:
    """Return the detections of each image that is judged, images without any included."""
    if len(predictions) != len(dataset):
        raise ValueError(
            f"expected a prediction for each of {len(dataset)} samples, got {len(predictions)}"
        )
    tiles: dict[str, list[Detections]] = defaultdict(list)
    for index, prediction in enumerate(predictions):
        if isinstance(prediction, BoxList):
            prediction = to_source_frame(dataset, index, prediction)
        tiles[dataset.source_frame(index)[0]].append(prediction)
    is_oriented |= any(len(tile) and tile.corners is not None for t in tiles.values() for tile in t)
    nothing = Detections.empty(with_corners=is_oriented)
    return {
        # a tile without detections may lack the corners that the others have
        image: merge_tiles(
            [tile if len(tile) else nothing for tile in parts], dataset.nms_hbb, dataset.nms_obb
        )
        for image, parts in tiles.items()
    }


def _read_truth(dataset: Any, images: Sequence[str]) -> dict[str, list[DotaObject]]:
    """Read the labels of the images that are judged."""
    folder = dataset.folder / ("labelTxt-original" if dataset.tiles_are_complete else "labelTxt")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder} with the labels of the whole images: run `tools/dota.py split` "
            "again, or delete tiles.json to judge each tile as an image"
        )
    files = {image: folder / f"{image}.txt" for image in images}
    return {
        image: read_labels(file, dataset.class_names) if file.is_file() else []
        for image, file in files.items()
    }


def _judge(
    truth: dict[str, list[DotaObject]],
    detections: dict[str, Detections],
    class_names: Sequence[str],
) -> dict:
    is_oriented = any(found.corners is not None for found in detections.values())
    metrics = {}
    for task in (2, 1) if is_oriented else (2,):
        results = results_by_class(detections, class_names, task)
        matches = match_detections(truth, results, task)
        metrics[f"task{task}"] = {
            name: evaluate_matches(matches, iou, metric) for name, (metric, iou) in FIGURES.items()
        }
    return metrics


def _format_metrics(metrics: dict) -> str:
    """Lay out the figures: for each task a line for each class and one for the mean."""
    lines = []
    for task, kind in (("task2", "upright boxes"), ("task1", "oriented boxes")):
        if task not in metrics:
            continue
        figures = list(metrics[task].values())
        width = max(len(name) for name in ["class", *figures[0]["classes"]])
        heads = "".join(f"{name:>11}" for name in metrics[task])
        lines += ["", f"{task}: AP of {kind}", f"{'class':{width}}{heads}   objects  detections"]
        for name, entry in figures[0]["classes"].items():
            values = "".join(_format_ap(figure["classes"][name]["ap"]) for figure in figures)
            lines.append(f"{name:{width}}{values}{entry['npos']:10d}{entry['ndet']:12d}")
        lines.append(f"{'mAP':{width}}" + "".join(_format_ap(f["mAP"]) for f in figures))
    return "\n".join(lines[1:])


def _format_ap(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.4f'):>11}"
