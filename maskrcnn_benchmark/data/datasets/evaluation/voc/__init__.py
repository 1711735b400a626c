"""Pascal VOC's evaluation."""

import logging
from collections.abc import Sequence
from typing import Any

from .voc_eval import do_voc_evaluation

__all__ = ["do_voc_evaluation", "voc_evaluation"]


def voc_evaluation(
    dataset: Any,
    predictions: Sequence,
    output_folder: str | None,
    box_only: bool = False,
    **_: Any,
) -> dict:
    """Evaluate boxes on a PascalVOCDataset; see do_voc_evaluation."""
    logger = logging.getLogger("maskrcnn_benchmark.inference")
    if box_only:
        logger.warning("Pascal VOC's rules evaluate detections: box_only has no effect")
    return do_voc_evaluation(dataset, predictions, output_folder, logger)
