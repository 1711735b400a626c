"""Cityscapes' evaluation of objects."""

from collections.abc import Sequence
from typing import Any

from .cityscapes_eval import do_cityscapes_evaluation

__all__ = ["abs_cityscapes_evaluation", "do_cityscapes_evaluation"]


def abs_cityscapes_evaluation(
    dataset: Any,
    predictions: Sequence,
    box_only: bool = False,
    output_folder: str | None = None,
    iou_types: Sequence[str] = ("bbox",),
    expected_results: Sequence = (),
    expected_results_sigma_tol: float = 4,
) -> dict:
    """Judge predictions on any AbstractDataset; see do_cityscapes_evaluation."""
    return do_cityscapes_evaluation(
        dataset,
        predictions,
        box_only,
        output_folder,
        iou_types,
        expected_results,
        expected_results_sigma_tol,
    )
