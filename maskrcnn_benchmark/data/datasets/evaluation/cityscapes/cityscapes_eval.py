"""Average precision as Cityscapes defines it, of masks and of boxes."""

import copy
import json
import logging
import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from maskrcnn_benchmark.data.datasets.cityscapes import UNJUDGED_CLASSES, CityScapesDataset
from maskrcnn_benchmark.data.datasets.evaluation.coco.coco_eval import check_expected_results

from . import eval_instances


def do_cityscapes_evaluation(
    dataset: Any,
    predictions: Sequence,
    box_only: bool,
    output_folder: str | None,
    iou_types: Sequence[str],
    expected_results: Sequence,
    expected_results_sigma_tol: float,
) -> dict[str, dict]:
    """Judge predictions on an AbstractDataset by Cityscapes' rules, and log a table.

    Args:
        dataset: CityScapesDataset, or another AbstractDataset.
        predictions: One BoxList for each image, with the fields scores, labels and, for "segm",
            mask.
        box_only: Must be false: proposals have no labels.
        output_folder: boxResult.json, maskResult.json and matches.json go to its evaluationResults;
            None writes nothing.
        iou_types: Of "bbox" and "segm".
        expected_results, expected_results_sigma_tol: See check_expected_results.

    Returns:
        For each of `iou_types` a dict of AP, AP50, AP75 and classes (the same for each class).
    """
    unknown = set(iou_types) - {"bbox", "segm"}
    if box_only or unknown:
        raise NotImplementedError(
            "Cityscapes' rules judge labelled boxes and masks, not "
            f"{'proposals' if box_only else ', '.join(sorted(unknown))}; COCO's do: see "
            "maskrcnn_benchmark.data.datasets.evaluation.coco.coco_evaluation"
        )
    logger = logging.getLogger("maskrcnn_benchmark.inference")
    args = _make_args(dataset, output_folder)
    matches = eval_instances.matchGtsWithPreds(dataset, predictions)
    judges = {
        "bbox": (eval_instances.evaluateBoxMatches, args.exportBoxFile),
        "segm": (eval_instances.evaluateMaskMatches, args.exportMaskFile),
    }
    results = {}
    for iou_type in iou_types:
        judge, path = judges[iou_type]
        aps = judge(matches, args)
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


def _make_args(dataset: Any, output_folder: str | None) -> eval_instances.CArgs:
    args = copy.deepcopy(eval_instances.defaultArgs)
    folder = os.path.join(output_folder or "", "evaluationResults")
    args.exportBoxFile = os.path.join(folder, os.path.basename(args.exportBoxFile))
    args.exportMaskFile = os.path.join(folder, os.path.basename(args.exportMaskFile))
    unjudged = UNJUDGED_CLASSES if isinstance(dataset, CityScapesDataset) else ()
    args.instLabels = [name for name in dataset.CLASSES[1:] if name not in unjudged]
    return args


def _short_names(averages: dict) -> dict:
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
