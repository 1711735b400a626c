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
    """Evaluate predictions on a COCODataset or an AbstractDataset; see do_coco_evaluation."""
    if isinstance(dataset, COCODataset):
        evaluate = do_orig_coco_evaluation
    elif isinstance(dataset, AbstractDataset):
        evaluate = do_wrapped_coco_evaluation
    else:
        raise NotImplementedError(
            "COCO's evaluation needs a COCODataset or an AbstractDataset, got a "
            f"{type(dataset).__name__}"
        )
    return evaluate(
        dataset,
        predictions,
        box_only,
        output_folder,
        iou_types,
        expected_results,
        expected_results_sigma_tol,
    )
