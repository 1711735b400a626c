"""COCO's evaluation."""

from collections.abc import Sequence
from typing import Any

from maskrcnn_benchmark.data.datasets import COCODataset

from .coco_eval import do_coco_evaluation as do_orig_coco_evaluation

__all__ = ["coco_evaluation", "do_orig_coco_evaluation"]


def coco_evaluation(
    dataset: Any,
    predictions: Sequence,
    output_folder: str | None,
    box_only: bool = False,
    iou_types: Sequence[str] = ("bbox",),
    expected_results: Sequence = (),
    expected_results_sigma_tol: float = 4,
) -> tuple:
    """Judge predictions on a COCODataset; see do_coco_evaluation."""
    if not isinstance(dataset, COCODataset):
        raise NotImplementedError(
            f"COCO's evaluation needs a COCODataset, got a {type(dataset).__name__}"
        )
    return do_orig_coco_evaluation(
        dataset,
        predictions,
        box_only,
        output_folder,
        iou_types,
        expected_results,
        expected_results_sigma_tol,
    )
