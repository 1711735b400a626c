import json
import logging
import os
from collections.abc import Iterable
from typing import Any

from yacs.config import CfgNode

from .comm import is_main_process


def mkdir(path: str | os.PathLike) -> None:
    """Make a folder and those above it; one that exists is fine."""
    os.makedirs(path, exist_ok=True)


def save_labels(dataset_list: Iterable[Any], output_dir: str) -> None:
    """Write labels.json, {label: class name}, from the datasets' `categories` (rank 0 only)."""
    if not is_main_process():
        return
    logger = logging.getLogger(__name__)
    labels: dict[int, str] = {}
    for dataset in dataset_list:
        if not hasattr(dataset, "categories"):
            logger.warning("%s has no categories: none in labels.json", type(dataset).__name__)
            continue
        labels.update(dataset.categories)
    if labels:
        path = os.path.join(output_dir, "labels.json")
        with open(path, "w") as file:
            json.dump(labels, file, indent=2)
        logger.info("class names written to %s", path)


def save_config(cfg: CfgNode, path: str) -> None:
    """Write the whole configuration as YAML (rank 0 only)."""
    if is_main_process():
        with open(path, "w") as file:
            file.write(cfg.dump())
