"""What training and evaluation say of their data before they begin."""

import logging
from collections.abc import Sequence
from typing import Any

from yacs.config import CfgNode

from maskrcnn_benchmark.utils.told_once import tell_once

from .datasets import DotaDataset
from .scale import describe_scale, report_scale

_logger = logging.getLogger(__name__)


def tell_of_data(cfg: CfgNode, datasets: Sequence[tuple[str, Any]], is_train: bool) -> None:
    """Log a summary per data set, what of its scale does not fit, and the epochs of training.

    No image is decoded for it; the same lines are logged once, however often a set is evaluated.

    Args:
        cfg: the run's settings.
        datasets: (name, data set) pairs; sets without a `summary` are counted only.
        is_train: whether they are trained on, as one, or evaluated.
    """
    use = "training" if is_train else "evaluation"
    for name, dataset in datasets:
        if not hasattr(dataset, "summary"):
            tell_once(_logger, f"{name} ({use}): {len(dataset):,} images", logging.INFO)
            continue
        more = []
        if isinstance(dataset, DotaDataset):
            more.append(describe_scale(cfg, dataset, is_train))
            report_scale(cfg, name, dataset, is_train, lambda message: tell_once(_logger, message))
        summary = dataset.summary().describe(f"{name} ({use})", more)
        tell_once(_logger, summary, logging.INFO)
    if is_train:
        samples = sum(len(dataset) for _, dataset in datasets)
        solver = cfg.SOLVER
        epochs = solver.MAX_ITER * solver.IMS_PER_BATCH / max(samples, 1)
        tell_once(
            _logger,
            f"training lasts {epochs:.1f} epochs: {solver.MAX_ITER:,} iterations of "
            f"{solver.IMS_PER_BATCH} of {samples:,} samples",
            logging.INFO,
        )
