"""Pictures of what an audit found: the most crowded tiles, faulty labels, how well anchors fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskrcnn_benchmark.dota.annotations import stack_corners
from maskrcnn_benchmark.dota.fault_pictures import draw_fault
from maskrcnn_benchmark.dota.tiles import CUT_AWAY
from maskrcnn_benchmark.images.charts import draw_bars, stack_charts
from maskrcnn_benchmark.images.drawing import draw_detections, picture_grid
from maskrcnn_benchmark.images.image_io import write_image

from .datasets import DotaDataset

FAULTS_DRAWN = 5  # of each rule
TITLE = 36  # characters that have room above a picture


def draw_audit(folder: Path, figures: Mapping[str, Any], dataset: DotaDataset) -> list[Path]:
    """Write the pictures of an audited set.

    Args:
        folder: made if it does not exist.
        figures: of `audit_folder`.
        dataset: which was audited.

    Returns:
        the files: crowded_1.jpg … in the order of the figures, faults_RULE.jpg, anchors.png.
    """
    pictures = {}
    numbers = {sample.title: index for index, sample in enumerate(dataset.samples)}
    for rank, entry in enumerate(figures["crowded"], start=1):
        if entry["objects"]:
            picture = _draw_sample(dataset, numbers[entry["sample"]])
            pictures[f"crowded_{rank}.jpg"] = picture
    files = dataset.image_files()
    for rule, places in figures["places"].items():
        shown = [place for place in places if place[0] in files][:FAULTS_DRAWN]
        row = []
        for name, number in shown:
            corners = stack_corners(dataset.read_truth(name))
            row.append(draw_fault(corners, number - 1, rule, files[name]))
        if row:
            titles = [f"{name}:{number}"[-TITLE:] for name, number in shown]
            pictures[f"faults_{rule.replace(' ', '_')}.jpg"] = picture_grid([row], titles)
    pictures["anchors.png"] = _draw_fit(figures["anchors"])
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        write_image(folder / name, picture)
    return [folder / name for name in pictures]


def _draw_sample(dataset: DotaDataset, index: int) -> np.ndarray:
    """Draw a sample's pixels and the objects that training sees in it."""
    pixels = dataset[index][0].copy()
    target = dataset.get_groundtruth(index)
    target = target[torch.nonzero(target.get_field("difficult") != CUT_AWAY)[:, 0]]
    corners = target.get_field("corners").points.numpy()
    return draw_detections(pixels, corners, target.get_field("labels").numpy(), dataset.class_names)


def _draw_fit(anchors: Mapping[str, Any]) -> np.ndarray:
    """Draw which share of the objects of each class and size has a good anchor, and any."""
    charts = []
    for kind in ("classes", "sizes"):
        rows = anchors[kind]
        good = [(name, round(100 * row["matched"], 1)) for name, row in rows.items()]
        some = [(name, round(100 * (1 - row["poor"]), 1)) for name, row in rows.items()]
        charts.append(
            draw_bars(f"% of objects, IoU >= {anchors['high']:g} with an anchor", good, 100)
        )
        charts.append(
            draw_bars(f"% of objects, IoU >= {anchors['low']:g} with an anchor", some, 100)
        )
    return stack_charts(charts)
