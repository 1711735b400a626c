"""Cityscapes' average precision of masks and of boxes."""

import copy
import json
import logging
import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from maskrcnn_benchmark.data.datasets.cityscapes import NOT_EVALUATED, CityScapesDataset
from maskrcnn_benchmark.data.datasets.evaluation.coco.coco_eval import check_expected_results

from . import eval_instances


def do_cityscapes_evaluation(
    dataset: Any,
    predictions: Sequence,
    box_only: bool = False,
    output_folder: str | None = None,
    iou_types: Sequence[str] = ("bbox",),
    expected_results: Sequence = (),
    expected_results_sigma_tol: float = 4,
) -> dict[str, dict]:
    """Evaluate predictions on an AbstractDataset by Cityscapes' rules, and log a table.

    Args:
        dataset: CityScapesDataset, or another AbstractDataset.
        predictions: one BoxList per image, with the fields scores, labels and, for "segm", mask.
        box_only: must be False, since proposals have no labels.
        output_folder: boxResult.json, maskResult.json and matches.json are written to its folder
            evaluationResults; None: no files.
        iou_types: some of "bbox" and "segm".
        expected_results, expected_results_sigma_tol: see check_expected_results.

    Returns:
        for each of `iou_types` a dict of AP, AP50, AP75 and classes (the same per class).

    Raises:
        NotImplementedError: proposals, or another of `iou_types`.
    """
    _check_task(box_only, iou_types)
    logger = logging.getLogger("maskrcnn_benchmark.inference")
    args = _make_args(dataset, output_folder)
    matches = eval_instances.matchGtsWithPreds(dataset, predictions)
    results = {}
    for iou_type in iou_types:
        if iou_type == "bbox":
            aps, path = eval_instances.evaluateBoxMatches(matches, args), args.exportBoxFile
        else:
            aps, path = eval_instances.evaluateMaskMatches(matches, args), args.exportMaskFile
        averages = eval_instances.computeAverages(aps, args)
        logger.info("Cityscapes' %s\n%s", iou_type, eval_instances.printResults(averages, args))
        results[iou_type] = _short_names(averages)
        if output_folder:
            _write(path, eval_instances.prepareJSONDataForResults(averages, aps, args))
    if output_folder:
        _write(os.path.join(os.path.dirname(args.exportBoxFile), "matches.json"), matches)
    check_expected_results(
        SimpleNamespace(results=results), expected_results, expected_results_sigma_tol
    )
    return results


def _check_task(box_only: bool, iou_types: Sequence[str]) -> None:
    unknown = set(iou_types) - {"bbox", "segm"}
    if box_only or unknown:
        raise NotImplementedError(
            "Cityscapes' rules evaluate labelled boxes and masks, not "
            f"{'proposals' if box_only else ', '.join(sorted(unknown))}; COCO's do: see "
            "maskrcnn_benchmark.data.datasets.evaluation.coco.coco_evaluation"
        )


def _make_args(dataset: Any, output_folder: str | None) -> eval_instances.CArgs:
    args = copy.deepcopy(eval_instances.defaultArgs)
    folder = os.path.join(output_folder or "", "evaluationResults")
    args.exportBoxFile = os.path.join(folder, os.path.basename(args.exportBoxFile))
    args.exportMaskFile = os.path.join(folder, os.path.basename(args.exportMaskFile))
    left_out = NOT_EVALUATED if isinstance(dataset, CityScapesDataset) else ()
    args.instLabels = [name for name in dataset.CLASSES[1:] if name not in left_out]
    return args


def _short_names(averages: dict) -> dict:
    """Return the figures of `computeAverages` under the names that COCO's evaluation uses."""
    figures = {"AP": averages["allAp"], "AP50": averages["allAp50%"], "AP75": averages["allAp75%"]}
    classes = {
        name: {"AP": own["ap"], "AP50": own["ap50%"], "AP75": own["ap75%"]}
        for name, own in averages["classes"].items()
    }
    return {**figures, "classes": classes}


def _write(path: str, content: Any) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)
