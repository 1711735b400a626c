"""COCO's evaluation of data sets that are not in COCO's format."""

import json
import os
import tempfile
from collections.abc import Sequence
from typing import Any

from maskrcnn_benchmark.data.datasets.coco import COCODataset

from .abs_to_coco import convert_abstract_to_coco
from .coco_eval import do_coco_evaluation as evaluate_coco_dataset


def do_coco_evaluation(
    dataset: Any,
    predictions: Sequence,
    box_only: bool,
    output_folder: str | None,
    iou_types: Sequence[str],
    expected_results: Sequence,
    expected_results_sigma_tol: float,
) -> tuple:
    """Evaluate predictions on an AbstractDataset by COCO's rules.

    The annotations in COCO's format are written to CLASSNAME.json in `output_folder`, if that is
    not None. Arguments and result are those of coco_eval.do_coco_evaluation.
    """
    content = convert_abstract_to_coco(dataset)
    with tempfile.TemporaryDirectory() as temporary:
        folder = output_folder or temporary
        path = os.path.join(folder, f"{type(dataset).__name__}.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file)
        coco_dataset = COCODataset(path, folder)
    # COCODataset sorts images by id; predictions have the order of the data set
    coco_dataset.ids = [image["id"] for image in content["images"]]
    coco_dataset.id_to_img_map = dict(enumerate(coco_dataset.ids))
    return evaluate_coco_dataset(
        coco_dataset,
        predictions,
        box_only,
        output_folder,
        iou_types,
        expected_results,
        expected_results_sigma_tol,
    )
