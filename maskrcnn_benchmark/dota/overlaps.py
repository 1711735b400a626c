"""Objects and detections of all images and classes in one table, and which of them overlap.

What asks why an average precision is what it is (errors, strata, confusions, comparison) works on
this table. `assign` applies DOTA's rule to it and gives the same true and false positives as
`average_precision.evaluate_detections`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maskrcnn_benchmark.dota.annotations import DotaObject, stack_corners
from maskrcnn_benchmark.dota.average_precision import (
    average_precision,
    result_iou,
    true_positives,
)
from maskrcnn_benchmark.dota.classes import in_order
from maskrcnn_benchmark.dota.submission import COORDINATES, ClassResults

LEAST_IOU = 0.1  # what overlaps less has nothing to do with each other (TIDE's t_b)
BLOCK = 256


@dataclass
class Overlaps:
    """M objects, N detections by falling score, and P pairs of one image with IoU > LEAST_IOU.

    Detections of equal score stand by class, then in the order of the file's lines.

    Attributes:
        task: 1 (oriented) or 2 (horizontal).
        class_names, image_names: what the numbers below count in.
        object_class, object_image: int (M,).
        difficult: bool (M,).
        corners: (M, 4, 2) pixels.
        detection_class, detection_image: int (N,).
        scores: (N,).
        coordinates: (N, 8) for task 1, (N, 4) for task 2; pixels.
        pair_detection, pair_object: int (P,), by detection, then falling IoU, then object; of
            whatever classes.
        pair_iou: (P,).
    """

    task: int
    class_names: list[str]
    image_names: list[str]
    object_class: np.ndarray
    object_image: np.ndarray
    difficult: np.ndarray
    corners: np.ndarray
    detection_class: np.ndarray
    detection_image: np.ndarray
    scores: np.ndarray
    coordinates: np.ndarray
    pair_detection: np.ndarray
    pair_object: np.ndarray
    pair_iou: np.ndarray

    @property
    def pair_is_own_class(self) -> np.ndarray:
        """Say which pairs (P,) are of one class."""
        return self.detection_class[self.pair_detection] == self.object_class[self.pair_object]

    @property
    def npos(self) -> np.ndarray:
        """Count the objects to find per class (C,)."""
        return np.bincount(self.object_class[~self.difficult], minlength=len(self.class_names))

    @property
    def detection_corners(self) -> np.ndarray:
        """Return the detections' corners (N, 4, 2), of boxes for task 2."""
        columns = slice(None) if self.task == 1 else [0, 1, 2, 1, 2, 3, 0, 3]
        return self.coordinates[:, columns].reshape(-1, 4, 2)

    def best(self, chosen: np.ndarray) -> np.ndarray:
        """Return the object (N,) that each detection overlaps most among chosen pairs (P,), or -1.

        The first object wins among equal overlaps.
        """
        pairs = np.flatnonzero(chosen)
        detections, first = np.unique(self.pair_detection[pairs], return_index=True)
        best = np.full(len(self.scores), -1)
        best[detections] = self.pair_object[pairs[first]]
        return best


@dataclass
class Assignment:
    """What became of each detection and object by DOTA's rule at one IoU threshold.

    Attributes:
        object: int (N,), the object of its class that a detection overlaps most, if by more than
            the threshold; else -1.
        true_positive, false_positive: bool (N,); neither where the object is difficult.
        found: bool (M,), which objects have a true positive.
    """

    object: np.ndarray
    true_positive: np.ndarray
    false_positive: np.ndarray
    found: np.ndarray


def find_overlaps(
    labels: Mapping[str, Sequence[DotaObject]], results: Mapping[str, ClassResults], task: int
) -> Overlaps:
    """Gather objects and detections, and find which of them overlap.

    Memory grows with the objects, the detections and the pairs that overlap.

    Args:
        labels: per image name, the whole image's objects.
        results: per class name; every image that they name must be in `labels`.
        task: 1 (oriented) or 2 (horizontal).
    """
    labelled = {item.name for objects in labels.values() for item in objects}
    class_names, image_names = in_order(labelled | set(results)), list(labels)
    number_of = {name: place for place, name in enumerate(image_names)}
    objects = [item for items in labels.values() for item in items]
    found = [results[name] for name in class_names if name in results]
    numbers = [place for place, name in enumerate(class_names) if name in results]
    scores = np.concatenate([np.zeros(0), *(part.scores for part in found)])
    order = np.argsort(-scores, kind="stable")
    images = [number_of[image] for part in found for image in part.image_names]
    coordinates = [np.zeros((0, COORDINATES[task])), *(part.coordinates for part in found)]
    table = Overlaps(
        task=task,
        class_names=class_names,
        image_names=image_names,
        object_class=np.array([class_names.index(item.name) for item in objects], dtype=int),
        object_image=np.repeat(np.arange(len(labels)), [len(items) for items in labels.values()]),
        difficult=np.array([item.difficult != 0 for item in objects], dtype=bool),
        corners=stack_corners(objects),
        detection_class=np.repeat(numbers, [len(part) for part in found]).astype(int)[order],
        detection_image=np.array(images, dtype=int)[order],
        scores=scores[order],
        coordinates=np.concatenate(coordinates)[order],
        pair_detection=np.zeros(0, dtype=int),
        pair_object=np.zeros(0, dtype=int),
        pair_iou=np.zeros(0),
    )
    _find_pairs(table)
    return table


def assign(table: Overlaps, iou: float) -> Assignment:
    """Apply DOTA's rule, as the docstring of dota/average_precision.py states it.

    Args:
        table: of `find_overlaps`.
        iou: the threshold that a true positive must exceed, LEAST_IOU at least.

    Raises:
        ValueError: a threshold below LEAST_IOU.
    """
    if not LEAST_IOU <= iou < 1:
        raise ValueError(f"the IoU threshold must be from {LEAST_IOU} to below 1, got {iou}")
    taken = table.best(table.pair_is_own_class & (table.pair_iou > iou))
    true_positive, ignored = true_positives(taken, table.difficult)
    found = np.zeros(len(table.corners), dtype=bool)
    found[taken[true_positive]] = True
    return Assignment(taken, true_positive, ~(true_positive | ignored), found)


def class_precisions(
    classes: np.ndarray,
    true_positive: np.ndarray,
    false_positive: np.ndarray,
    npos: np.ndarray,
    metric: str,
) -> list[float | None]:
    """Compute each class's average precision.

    Args:
        classes: int (N,), of the detections by falling score.
        true_positive, false_positive: bool (N,); what is neither counts for nothing.
        npos: (C,), the objects to find per class.
        metric: "voc07" or "area".

    Returns:
        C values; None where there is nothing to find (0 by voc07, if something was detected).
    """
    values: list[float | None] = []
    for number, count in enumerate(npos):
        own = classes == number
        value = average_precision(
            true_positive[own & (true_positive | false_positive)], int(count), metric
        )
        values.append(0.0 if value is None and metric == "voc07" and own.any() else value)
    return values


def mean_precision(values: Sequence[float | None]) -> float | None:
    """Return the mean over the classes that have a value; None if none has."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _find_pairs(table: Overlaps) -> None:
    """Set the pairs of a table."""
    rows, columns, ious = [], [], []
    objects_of: dict[int, list[int]] = defaultdict(list)
    detections_of: dict[int, list[int]] = defaultdict(list)
    for number, image in enumerate(table.object_image.tolist()):
        objects_of[image].append(number)
    for number, image in enumerate(table.detection_image.tolist()):
        detections_of[image].append(number)
    for image, members in detections_of.items():
        objects = np.array(objects_of[image], dtype=int)
        if len(objects) == 0:
            continue
        for start in range(0, len(members), BLOCK):
            block = np.array(members[start : start + BLOCK])
            iou = result_iou(table.coordinates[block], table.corners[objects], table.task)
            row, column = np.nonzero(iou > LEAST_IOU)
            rows.append(block[row])
            columns.append(objects[column])
            ious.append(iou[row, column])
    if not rows:
        return
    detection, item, iou = np.concatenate(rows), np.concatenate(columns), np.concatenate(ious)
    order = np.lexsort((item, -iou, detection))
    table.pair_detection, table.pair_object = detection[order], item[order]
    table.pair_iou = iou[order]
