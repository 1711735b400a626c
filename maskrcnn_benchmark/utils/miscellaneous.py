"""Small files and folders of a run."""

import json
import logging
import os
from collections.abc import Iterable
from typing import Any

from yacs.config import CfgNode

from .atomic_write import write_text
from .comm import is_main_process


def mkdir(path: str | os.PathLike) -> None:
    """Make a folder and its parents, if they do not exist."""
    os.makedirs(path, exist_ok=True)


def save_labels(dataset_list: Iterable[Any], output_dir: str) -> None:
    """Write labels.json, {number: class name}, on rank 0.

    Args:
        dataset_list: data sets with the attribute `categories`, {number: class name}; the number
            is the label, except for COCO's sets, where it is the id in the JSON file.
        output_dir: folder of the file.
    """
    if not is_main_process():
        return
    logger = logging.getLogger(__name__)
    labels: dict[int, str] = {}
    for dataset in dataset_list:
        if not hasattr(dataset, "categories"):
            logger.warning(
                "%s has no attribute categories: labels.json lacks its classes",
                type(dataset).__name__,
            )
            continue
        labels.update(dataset.categories)
    if labels:
        path = os.path.join(output_dir, "labels.json")
        write_text(path, json.dumps(labels, indent=2))
        logger.info("class names written to %s", path)


def save_config(cfg: CfgNode, path: str) -> None:
    """Write the whole config as YAML, on rank 0."""
    if is_main_process():
        write_text(path, cfg.dump())
