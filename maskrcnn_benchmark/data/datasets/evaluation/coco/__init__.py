"""COCO's evaluation."""

from collections.abc import Sequence
from typing import Any

from maskrcnn_benchmark.data.datasets import AbstractDataset, COCODataset

from .coco_eval import do_coco_evaluation as do_orig_coco_evaluation
from .coco_eval_wrapper import do_coco_evaluation as do_wrapped_coco_evaluation

__all__ = ["coco_evaluation", "do_orig_coco_evaluation", "do_wrapped_coco_evaluation"]


def coco_evaluation(
    dataset: Any,
    predictions: Sequence,
    output_folder: str | None,
    box_only: bool = False,
    iou_types: Sequence[str] = ("bbox",),
    expected_results: Sequence = (),
    expected_results_sigma_tol: float = 4,
) -> tuple:
    """Judge predictions on a COCODataset or any AbstractDataset; see do_coco_evaluation."""
    rules = {
        COCODataset: do_orig_coco_evaluation,
        AbstractDataset: do_wrapped_coco_evaluation,
    }
    for kind, judge in rules.items():
        if isinstance(dataset, kind):
            return judge(
                dataset,
                predictions,
                box_only,
                output_folder,
                iou_types,
                expected_results,
                expected_results_sigma_tol,
            )
    raise NotImplementedError(
        "COCO's evaluation needs a COCODataset or an AbstractDataset, got a "
        f"{type(dataset).__name__}"
    )
