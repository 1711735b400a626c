"""What training will meet in a DOTA-format folder under a config's settings."""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from yacs.config import CfgNode

from maskrcnn_benchmark.dota.annotations import DotaObject, stack_corners, upright_edges
from maskrcnn_benchmark.dota.audit import FAULTS, Finding, label_faults, split_losses
from maskrcnn_benchmark.dota.seams import Tiles, planned_tiles
from maskrcnn_benchmark.dota.tiles import CUT_AWAY, tile_grid
from maskrcnn_benchmark.images.image_io import read_image_size

from .anchor_audit import (
    DENSE_BYTES,
    AnchorSettings,
    anchor_settings,
    best_anchor_iou,
    count_anchors,
    grid_sizes,
    resized_in_training,
)
from .datasets import DotaDataset
from .num_classes import dota_classes

MOST_CROWDED = 5
SIZES = (16, 32, 96)  # limits of the rows by size, pixels of the resized image
LOST_SHARE = 0.01  # of a set's objects that may be lost by the split
POOR_SHARE = 0.05  # of a class's objects that may fit no anchor
DIFFICULT_SHARE = 0.5


def audit_folder(
    cfg: CfgNode, folder: Path, memory_gb: float
) -> tuple[dict[str, Any], list[Finding], DotaDataset]:
    """Look a labelled folder through.

    Args:
        cfg: DOTA, INPUT, MODEL and DATALOADER are read.
        folder: raw or split.
        memory_gb: what matching may take where the crowd path is off.

    Returns:
        figures; what will hurt; and the folder's data set.

    Raises:
        FileNotFoundError, ValueError: as DotaDataset does; or there are no labels.
    """
    dataset = DotaDataset(
        str(folder),
        dota_classes(cfg),
        tile=cfg.DOTA.TILE,
        overlap=cfg.DOTA.OVERLAP,
        ignore_other_classes=cfg.DOTA.IGNORE_OTHER_CLASSES,
    )
    if not dataset.has_labels:
        raise FileNotFoundError(f"{folder}: has no labelTxt, so there is nothing to audit")
    labels, findings = _audit_labels(cfg, dataset)
    samples, more = _audit_samples(cfg, dataset, memory_gb)
    return labels | samples, findings + more, dataset


def _whole_images(
    cfg: CfgNode, dataset: DotaDataset
) -> Iterator[tuple[str, int, int, list[DotaObject], Tiles]]:
    """Yield each labelled image's name, width, height, objects and tiles."""
    plan = dataset.files.plan
    if plan is not None:
        tiles = planned_tiles(plan)
        for name, entry in plan["sources"].items():
            if dataset.files.truth_file(name).is_file():
                yield name, entry["width"], entry["height"], dataset.read_truth(name), tiles
        return
    for name in dataset.files.label_files:
        width, height = read_image_size(dataset.files.images[name])
        windows = tile_grid(width, height, cfg.DOTA.TILE, cfg.DOTA.OVERLAP)
        yield name, width, height, dataset.read_truth(name), {name: windows}


def _audit_labels(cfg: CfgNode, dataset: DotaDataset) -> tuple[dict[str, Any], list[Finding]]:
    """Look through the labels of the whole images."""
    faults = {rule: Finding(*text) for rule, text in FAULTS.items()}
    lost = Finding("objects lost by the split", "")
    places: dict[str, list[tuple[str, int]]] = {rule: [] for rule in (*FAULTS, "lost")}
    images = objects_seen = difficult = cut_count = longest = 0
    for name, width, height, objects, tiles in tqdm(
        _whole_images(cfg, dataset), "labels", unit="image", disable=None
    ):
        images += 1
        objects_seen += len(objects)
        difficult += sum(item.difficult != 0 for item in objects)
        found = label_faults(objects, width, height)
        for rule, rows in found.items():
            for number in np.flatnonzero(rows):
                faults[rule].add(f"{name}:{number + 1}")
                places[rule].append((name, int(number) + 1))
        cut, gone = split_losses(objects, tiles[name])
        sound = ~(found["outside"] | found["degenerate"])
        cut_count += int((cut & sound).sum())
        edges = upright_edges(stack_corners(objects))
        for number in np.flatnonzero(gone & sound):
            lost.add(f"{name}:{number + 1}")
            places["lost"].append((name, int(number) + 1))
            longest = max(longest, int(np.ceil((edges[number, 2:] - edges[number, :2]).max())))
    lost.advice = (
        f"give split an overlap of at least {longest} (their longest side), a larger --size, or a "
        "--rates below 1 besides"
    )
    figures = {
        "images": images,
        "objects": objects_seen,
        "difficult": difficult,
        "faults": {rule: finding.count for rule, finding in faults.items()},
        "cut": cut_count,
        "lost": lost.count,
        "places": places,
    }
    findings = [finding for finding in faults.values() if finding.count]
    if lost.count > LOST_SHARE * objects_seen:
        findings.append(lost)
    if difficult > DIFFICULT_SHARE * objects_seen:
        advice = "evaluation does not count them: is the flag meant, and in its column?"
        findings.append(Finding(f"of {objects_seen:,} objects are difficult", advice, difficult))
    return figures, findings


def _audit_samples(
    cfg: CfgNode, dataset: DotaDataset, memory_gb: float
) -> tuple[dict[str, Any], list[Finding]]:
    """Look through the tiles as training shows them: crowds, and how well anchors fit."""
    settings = anchor_settings(cfg)
    crowded: list[tuple[int, int, str]] = []  # a heap: (bytes, objects, sample)
    labels, best, sizes = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0)], [torch.zeros(0)]
    for index, sample in enumerate(tqdm(dataset.samples, "tiles", unit="tile", disable=None)):
        target = dataset.get_groundtruth(index)
        target = target[torch.nonzero(target.get_field("difficult") != CUT_AWAY)[:, 0]]
        target = resized_in_training(cfg, target.clip_to_image(remove_empty=True))
        grids = grid_sizes(settings.generator, target.size, cfg.DATALOADER.SIZE_DIVISIBILITY)
        cost = len(target) * count_anchors(settings.generator, grids) * DENSE_BYTES
        entry = (cost, len(target), sample.title)
        (heapq.heappush if len(crowded) < MOST_CROWDED else heapq.heappushpop)(crowded, entry)
        labels.append(target.get_field("labels"))
        best.append(best_anchor_iou(settings.generator, grids, target.bbox, target.size).float())
        sizes.append(target.area().sqrt())
    label, iou, size = (torch.cat(parts).numpy() for parts in (labels, best, sizes))
    fit = _fit_of_groups(dataset, settings, label, iou, size)
    figures = {
        "samples": len(dataset),
        "crowded": [
            {"sample": name, "objects": count, "matching_bytes": cost}
            for cost, count, name in sorted(crowded, reverse=True)
        ],
        "anchors": {"high": settings.high, "low": settings.low} | fit,
    }
    findings = _poor_classes(settings, fit["classes"])
    heavy = [name for cost, _, name in sorted(crowded, reverse=True) if cost > memory_gb * 1e9]
    if heavy and cfg.MODEL.CROWD.MODE == "off":
        what = f"tiles or more whose matching takes over {memory_gb:g} GB"
        findings.append(Finding(what, "set MODEL.CROWD.MODE stream", len(heavy), heavy))
    return figures, findings


def _fit_of_groups(
    dataset: DotaDataset,
    settings: AnchorSettings,
    label: np.ndarray,
    iou: np.ndarray,
    size: np.ndarray,
) -> dict[str, dict]:
    """Sum up how well anchors fit the objects of each class, each size, and each of both."""
    low, middle, high = SIZES
    titles = (
        f"below {low} px",
        f"{low} to {middle} px",
        f"{middle} to {high} px",
        f"from {high} px",
    )
    group = np.digitize(size, SIZES)
    groups = {
        "classes": {name: label == number for number, name in dataset.categories.items()},
        "sizes": {title: group == number for number, title in enumerate(titles)},
    }

    def fits(members: dict[str, np.ndarray]) -> dict[str, dict]:
        return {
            name: _fit(iou[own], size[own], settings) for name, own in members.items() if own.any()
        }

    crossed = {
        name: fits({title: own & sized for title, sized in groups["sizes"].items()})
        for name, own in groups["classes"].items()
        if own.any()
    }
    return {kind: fits(members) for kind, members in groups.items()} | {"classes_by_size": crossed}


def _poor_classes(settings: AnchorSettings, classes: dict[str, dict]) -> list[Finding]:
    """Return the classes of which too many objects fit no anchor."""
    advice = (
        "they learn from their best anchor alone, if at all: add their size to "
        f"{settings.keys}.ANCHOR_SIZES (of slim ones, their shape to {settings.keys}."
        "ASPECT_RATIOS), or enlarge the tiles (split --rates)"
    )
    return [
        Finding(
            f"of {entry['objects']:,} objects of {name} with less than {settings.low:g} IoU with "
            f"any anchor, of a median of {entry['poor_size']:.1f} px where training sees them",
            advice,
            round(entry["poor"] * entry["objects"]),
        )
        for name, entry in classes.items()
        if entry["poor"] > POOR_SHARE
    ]


def _fit(iou: np.ndarray, size: np.ndarray, settings: AnchorSettings) -> dict[str, float]:
    """Sum up how well anchors fit some objects, at least one."""
    poor = iou < settings.low
    return {
        "objects": len(iou),
        "median": float(np.median(iou)),
        "matched": float((iou >= settings.high).mean()),
        "poor": float(poor.mean()),
        "poor_size": float(np.median(size[poor])) if poor.any() else 0.0,
    }
