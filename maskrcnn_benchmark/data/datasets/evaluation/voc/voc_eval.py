"""Average precision by Pascal VOC's rules.

A detection is compared with the object of its class that it overlaps most. If their IoU is at least
the threshold, the object is found; a second detection of the same object is false. Objects marked
as difficult and their detections are not counted. Boxes are in BoxList's convention, whose +1 is
applied once, by boxlist_iou.
"""

import logging
import os
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from maskrcnn_benchmark.dota.average_precision import curve_average
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.utils.atomic_write import write_text

FOUND, FALSE, IGNORED = 1, 0, -1


def do_voc_evaluation(
    dataset: Any, predictions: Sequence[BoxList], output_folder: str | None, logger: logging.Logger
) -> dict:
    """Evaluate predictions on a VOC set at IoU 0.5 with the metric of 2007.

    Args:
        dataset: PascalVOCDataset.
        predictions: one BoxList per image, for any size of the image, with scores and labels.
        output_folder: folder for result.txt; None: no file.
        logger: the table of results is logged here.

    Returns:
        dict with ap, an array indexed by label, and map, the mean.
    """
    resized, truth = [], []
    for index, prediction in enumerate(predictions):
        info = dataset.get_img_info(index)
        resized.append(prediction.resize((info["width"], info["height"])))
        truth.append(dataset.get_groundtruth(index))
    result = eval_detection_voc(resized, truth, iou_thresh=0.5, use_07_metric=True)
    lines = [f"mAP: {result['map']:.4f}"]
    for label, ap in enumerate(result["ap"][1:], start=1):
        lines.append(f"{dataset.map_class_id_to_class_name(label):<16}: {ap:.4f}")
    table = "\n".join(lines) + "\n"
    logger.info(table)
    if output_folder:
        write_text(os.path.join(output_folder, "result.txt"), table)
    return result


def eval_detection_voc(
    pred_boxlists: Sequence[BoxList],
    gt_boxlists: Sequence[BoxList],
    iou_thresh: float = 0.5,
    use_07_metric: bool = False,
) -> dict:
    """Compute the average precision of each class and their mean.

    Args:
        pred_boxlists: one per image, with the fields labels and scores.
        gt_boxlists: one per image, with the fields labels and difficult.
        iou_thresh: least IoU at which an object is found.
        use_07_metric: True: the mean of the precision at 11 recalls, VOC's metric of 2007; False:
            the area under the curve.

    Returns:
        dict with ap, an array indexed by label (NaN for a class without objects), and map, the
        mean.

    Raises:
        ValueError: the numbers of images differ.
    """
    if len(gt_boxlists) != len(pred_boxlists):
        raise ValueError(
            "expected as many predictions as images, "
            f"got {len(pred_boxlists)} and {len(gt_boxlists)}"
        )
    prec, rec = calc_detection_voc_prec_rec(gt_boxlists, pred_boxlists, iou_thresh)
    ap = calc_detection_voc_ap(prec, rec, use_07_metric)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no class is NaN
        return {"ap": ap, "map": float(np.nanmean(ap))}


def calc_detection_voc_prec_rec(
    gt_boxlists: Sequence[BoxList], pred_boxlists: Sequence[BoxList], iou_thresh: float = 0.5
) -> tuple[list[np.ndarray | None], list[np.ndarray | None]]:
    """Compute precision and recall after each detection, by falling score.

    Args:
        gt_boxlists, pred_boxlists, iou_thresh: see eval_detection_voc.

    Returns:
        precisions and recalls, two lists indexed by label, with an array per class. Both are None
        for a label that does not occur; the recall is None also for a class without objects.
    """
    counts: dict[int, int] = defaultdict(int)
    outcomes: dict[int, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for truth, prediction in zip(gt_boxlists, pred_boxlists, strict=True):
        for label in _labels_of(truth, prediction):
            objects = truth[truth.get_field("labels") == label]
            found = prediction[prediction.get_field("labels") == label]
            found = found[found.get_field("scores").argsort(descending=True, stable=True)]
            difficult = objects.get_field("difficult").numpy().astype(bool)
            counts[label] += int((~difficult).sum())
            outcome = _match_image(found, objects, difficult, iou_thresh)
            outcomes[label].append((found.get_field("scores").numpy(), outcome))
    class_count = max(outcomes, default=0) + 1
    prec: list[np.ndarray | None] = [None] * class_count
    rec: list[np.ndarray | None] = [None] * class_count
    for label, parts in outcomes.items():
        scores, outcome = (np.concatenate(column) for column in zip(*parts, strict=True))
        outcome = outcome[np.argsort(-scores, kind="stable")]
        true, false = (np.cumsum(outcome == kind) for kind in (FOUND, FALSE))
        # before the first detection that is counted the precision is 0 / 0, NaN
        with np.errstate(invalid="ignore"):
            prec[label] = true / (true + false)
        if counts[label]:
            rec[label] = true / counts[label]
    return prec, rec


def _labels_of(*boxlists: BoxList) -> list[int]:
    return torch.cat([boxes.get_field("labels").long() for boxes in boxlists]).unique().tolist()


def _match_image(
    found: BoxList, objects: BoxList, difficult: np.ndarray, iou_thresh: float
) -> np.ndarray:
    """Return FOUND, FALSE or IGNORED for each detection of one class in one image.

    Args:
        found: detections by falling score.
        objects: the objects of that class.
        difficult: bool, per object.
        iou_thresh: least IoU at which an object is found.
    """
    outcome = np.full(len(found), FALSE, dtype=np.int8)
    if not len(found) or not len(objects):
        return outcome
    best_iou, best_object = boxlist_iou(found, objects).max(dim=1)
    is_taken = np.zeros(len(objects), dtype=bool)
    for place in np.flatnonzero(best_iou.numpy() >= iou_thresh):
        obj = int(best_object[place])
        if difficult[obj]:
            outcome[place] = IGNORED
        elif not is_taken[obj]:
            outcome[place] = FOUND
            is_taken[obj] = True
    return outcome


def calc_detection_voc_ap(
    prec: Sequence[np.ndarray | None], rec: Sequence[np.ndarray | None], use_07_metric: bool = False
) -> np.ndarray:
    """Compute average precisions from curves.

    Args:
        prec, rec: lists indexed by label, as calc_detection_voc_prec_rec returns them.
        use_07_metric: see eval_detection_voc.

    Returns:
        an array indexed by label, NaN where a curve is None.
    """
    metric = "voc07" if use_07_metric else "area"
    return np.array(
        [
            np.nan if p is None or r is None else curve_average(r, np.nan_to_num(p), metric)
            for p, r in zip(prec, rec, strict=True)
        ]
    )
