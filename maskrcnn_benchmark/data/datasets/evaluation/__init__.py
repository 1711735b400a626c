"""Evaluate predictions by the rules of the data set that they were made on."""

from collections.abc import Sequence
from typing import Any

from maskrcnn_benchmark.data import datasets

from .cityscapes import abs_cityscapes_evaluation
from .coco import coco_evaluation
from .dota import dota_evaluation
from .voc import voc_evaluation

__all__ = [
    "abs_cityscapes_evaluation",
    "coco_evaluation",
    "dota_evaluation",
    "evaluate",
    "voc_evaluation",
]


def evaluate(dataset: Any, predictions: Sequence, output_folder: str | None, **kwargs: Any) -> Any:
    """Evaluate predictions.

    Args:
        dataset: what they were made on; its type decides the rules.
        predictions: one BoxList for each sample, in the order of the data set.
        output_folder: where result files go; None or "" writes none.
        **kwargs: box_only, iou_types, expected_results, expected_results_sigma_tol.

    Returns:
        what the evaluation of that kind of data set returns.

    Raises:
        NotImplementedError: there are no rules for that kind of data set.
    """
    rules = {
        datasets.COCODataset: coco_evaluation,
        datasets.DotaDataset: dota_evaluation,
        datasets.PascalVOCDataset: voc_evaluation,
        datasets.AbstractDataset: abs_cityscapes_evaluation,
    }
    for kind, evaluation in rules.items():
        if isinstance(dataset, kind):
            return evaluation(
                dataset=dataset, predictions=predictions, output_folder=output_folder, **kwargs
            )
    known = ", ".join(kind.__name__ for kind in rules)
    raise NotImplementedError(
        f"no evaluation for a {type(dataset).__name__}, only for {known}: evaluate other data sets "
        "with code of your own, make them an AbstractDataset, or convert their annotations to "
        "COCO's format"
    )
