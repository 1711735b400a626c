"""How many classes a model needs: taken from its data sets, or checked against them."""

import logging
import os
from collections.abc import Collection, Sequence
from typing import Any

from yacs.config import CfgNode

from maskrcnn_benchmark.config.dataset_names import find_entry
from maskrcnn_benchmark.dota.classes import class_names as dota_class_names
from maskrcnn_benchmark.utils.imports import import_file
from maskrcnn_benchmark.utils.told_once import tell_once

from . import datasets as D
from .datasets.cityscapes import INSTANCE_CLASSES
from .datasets.coco_file import count_categories

NamedDatasets = Sequence[tuple[str, Any]]

_logger = logging.getLogger(__name__)


def dota_classes(cfg: CfgNode) -> tuple[str, ...]:
    """Return the classes of "dota:" sets, label 1 first: DOTA.CLASSES, or those of DOTA.VERSION."""
    return tuple(cfg.DOTA.CLASSES) or dota_class_names(cfg.DOTA.VERSION)


def settle_num_classes(cfg: CfgNode, given: Collection[str]) -> CfgNode:
    """Let NUM_CLASSES follow the data set where neither the config file nor an option sets it.

    Args:
        cfg: the run's settings, before the model is built.
        given: the keys that the file and the options set (config.settings.given_keys).

    Returns:
        cfg, or a frozen copy with the number of classes of the first set of DATASETS.TRAIN, then
        TEST, whose classes can be known, and the background.
    """
    section = _section(cfg)
    key = f"MODEL.{section}.NUM_CLASSES"
    if section is None or key in given:
        return cfg
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        classes = _count_classes(cfg, name)
        if classes is None:
            continue
        if cfg.MODEL[section].NUM_CLASSES != classes + 1:
            cfg = cfg.clone()
            cfg.defrost()
            cfg.MODEL[section].NUM_CLASSES = classes + 1
            cfg.freeze()
            _logger.info(
                "%s is set to %d: the %d classes of %s, and the background",
                *(key, classes + 1, classes, name),
            )
        break
    return cfg


def check_num_classes(cfg: CfgNode, datasets: NamedDatasets, has_losses: bool) -> None:
    """Refuse data sets whose labels the model cannot have.

    Args:
        cfg: the model's settings.
        datasets: (name, data set) pairs.
        has_losses: whether losses are computed on them, in which every label must occur; else
            objects of further classes are never found, which is told.

    Raises:
        ValueError: more classes than the model has, or other than as many in a "dota:" set.
    """
    section = _section(cfg)
    if section is None:
        return
    configured = cfg.MODEL[section].NUM_CLASSES
    for name, dataset in datasets:
        names = class_names_of(dataset)
        if names is None or len(names) + 1 == configured:
            continue
        is_dota = isinstance(dataset, D.DotaDataset)
        if not is_dota and len(names) + 1 < configured:
            continue
        origin = f"{name} has {len(names)} classes"
        if is_dota:
            origin += (
                " (DOTA.CLASSES)" if cfg.DOTA.CLASSES else f" (DOTA.VERSION {cfg.DOTA.VERSION})"
            )
        message = f"MODEL.{section}.NUM_CLASSES is {configured}, but {origin}"
        if is_dota or has_losses:
            raise ValueError(
                f"{message}: set it to {len(names) + 1} (the classes and the background)"
            )
        tell_once(_logger, f"{message}: objects of the last ones are never found")


def check_same_classes(datasets: NamedDatasets) -> None:
    """Refuse sets to be trained on as one that give the same label to different classes."""
    known = [(name, class_names_of(dataset) or ()) for name, dataset in datasets]
    first, expected = next(((name, names) for name, names in known if names), ("", ()))
    for name, names in known:
        for label, (one, other) in enumerate(zip(expected, names, strict=False), start=1):
            if one != other:
                raise ValueError(
                    f'label {label} is "{one}" in {first} and "{other}" in {name}: sets that are '
                    "trained on together need the same classes in the same order"
                )


def class_names_of(dataset: Any) -> tuple[str, ...] | None:
    """Name a data set's classes, label 1 first; None where it does not say."""
    if isinstance(dataset, D.DotaDataset):
        return dataset.class_names
    if isinstance(dataset, D.COCODataset):
        ids = dataset.contiguous_category_id_to_json_id.values()
        return tuple(dataset.categories[json_id] for json_id in ids)
    if isinstance(dataset, D.PascalVOCDataset | D.AbstractDataset):
        return tuple(dataset.CLASSES[1:])
    return None


def _section(cfg: CfgNode) -> str | None:
    """Name the section of MODEL whose NUM_CLASSES counts; None for a model of proposals."""
    if cfg.MODEL.RETINANET_ON:
        return "RETINANET"
    return None if cfg.MODEL.RPN_ONLY else "ROI_BOX_HEAD"


def _count_classes(cfg: CfgNode, name: str) -> int | None:
    """Count a data set's classes before it is read; None where that cannot be known."""
    catalog = import_file("maskrcnn_benchmark.config.paths_catalog", cfg.PATHS_CATALOG, True)
    entry = find_entry(name, catalog.DatasetCatalog)
    factory, args = entry["factory"], entry["args"]
    if factory in ("DotaDataset", D.DotaDataset):
        return len(args.get("class_names", dota_classes(cfg)))
    if factory in ("COCODataset", D.COCODataset) and os.path.isfile(args["ann_file"]):
        return count_categories(args["ann_file"])
    fixed = {
        "PascalVOCDataset": D.PascalVOCDataset.CLASSES[1:],
        "CityScapesDataset": INSTANCE_CLASSES,
    }
    return len(fixed[factory]) if factory in fixed else None
