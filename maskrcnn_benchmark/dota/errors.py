"""Errors told apart, and what mending each kind would bring, in the manner of TIDE.

After Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection
Errors" (ECCV 2020), with two kinds that aerial images add: tiles' seams and angles. KINDS says what
each kind is, MISSED_IS what a missed object is.

Mending a duplicate, both or background removes the detection. Mending the kinds seam, class, angle
and localisation gives the detection the class and place of its object. If several detections then
have that object, the best stays and the others are removed; a difficult object's detection is
removed. Mending missed takes the missed objects out of those to find. Each kind is mended alone, so
that the gains do not add up. Classes without objects keep their average precision.
"""

from dataclasses import dataclass

import numpy as np

from maskrcnn_benchmark.dota.overlaps import (
    Assignment,
    Overlaps,
    class_precisions,
    mean_precision,
)
from maskrcnn_benchmark.dota.seams import Tiles, objects_found_in_part

# The kinds of false positives; of several that hold, the first counts. t is the IoU threshold of a
# true positive, IoU that of DOTA's task.
KINDS = {
    "seam": "It is the part of an object that a tile shows: for a tile that cuts an object of its "
    "class, its IoU with the part inside exceeds t and its IoU with the whole object, which "
    "exceeds 0.1.",
    "duplicate": "It overlaps an object of its class by more than t, and a better detection has "
    "that object.",
    "class": "It overlaps an object of another class by more than t.",
    "angle": "Turned about its centre until its long side is parallel to that of the object of its "
    "class that it overlaps most, and by more than 0.1, it overlaps it by more than t.",
    "localisation": "It overlaps an object of its class by more than 0.1 and no more than t.",
    "both": "It overlaps an object of another class by more than 0.1 and no more than t, so that "
    "class and place are wrong.",
    "background": "It overlaps no object by more than 0.1.",
}
MISSED = "missed"
MISSED_IS = (
    "An object that has no true positive and that no false positive of the kinds seam, class, "
    "angle and localisation is about."
)
CORRECTED = ("seam", "class", "angle", "localisation")  # mended by placing, not by removing
EVERY_FALSE, EVERY_UNFOUND = "every false positive", "every object not found"


@dataclass
class Errors:
    """What is wrong with each detection and object.

    Attributes:
        kind: int (N,), an index into KINDS; -1 for what is no false positive.
        target: int (N,), the object that a false positive of the kinds CORRECTED is about; else -1.
        missed: bool (M,).
        seams_known: whether the kind "seam" could be told apart.
    """

    kind: np.ndarray
    target: np.ndarray
    missed: np.ndarray
    seams_known: bool

    def is_kind(self, name: str) -> np.ndarray:
        """Say which detections (N,) are errors of a kind."""
        return self.kind == list(KINDS).index(name)


def find_errors(
    table: Overlaps, assignment: Assignment, iou: float, tiles: Tiles | None = None
) -> Errors:
    """Tell errors apart as KINDS and MISSED_IS say.

    Args:
        table: objects, detections and which overlap.
        assignment: `assign`'s, at the same threshold.
        iou: the threshold t.
        tiles: per image; None: not known, so that there is no kind "seam".
    """
    own, over = table.pair_is_own_class, table.pair_iou > iou
    nothing = np.full(len(table.scores), -1)
    false = assignment.false_positive
    part = objects_found_in_part(table, false, tiles, iou) if tiles is not None else nothing
    own_best, other_over = table.best(own), table.best(~own & over)
    turned = _wrong_by_angle(table, false & (assignment.object < 0), own_best, iou)
    kinds = [
        (part >= 0, part),
        (assignment.object >= 0, nothing),
        (other_over >= 0, other_over),
        (turned, own_best),
        (own_best >= 0, own_best),
        (table.best(~own) >= 0, nothing),
        (np.ones(len(false), dtype=bool), nothing),
    ]
    holds = [condition for condition, _ in kinds]
    kind = np.where(false, np.argmax(holds, axis=0), -1)
    target = np.where(false, np.select(holds, [objects for _, objects in kinds]), -1)
    missed = ~assignment.found & ~table.difficult
    missed[target[target >= 0]] = False
    return Errors(kind, target, missed, tiles is not None)


def summarize_errors(table: Overlaps, assignment: Assignment, errors: Errors, metric: str) -> dict:
    """Count the errors of each kind, and compute what mending them would bring.

    Args:
        table, assignment, errors: as `find_errors` takes and gives them.
        metric: "voc07" or "area".

    Returns:
        {"mAP": …, "kinds": {kind: {"count": …, "gain": of mAP, "classes": {name: {"count": …,
        "gain": of AP}}}}}; kinds are KINDS, "missed", and all false positives and all objects not
        found taken together. Gains are None where there is no AP; "seam" is absent where seams
        are not known.
    """
    before = mended_precisions(table, assignment, errors, None, metric)
    kinds = [kind for kind in KINDS if errors.seams_known or kind != "seam"]
    summary = {}
    for kind in (*kinds, MISSED, EVERY_FALSE, EVERY_UNFOUND):
        after = mended_precisions(table, assignment, errors, kind, metric)
        counts = _count(table, assignment, errors, kind)
        summary[kind] = {
            "count": int(counts.sum()),
            "gain": _difference(mean_precision(after), mean_precision(before)),
            "classes": {
                name: {"count": int(count), "gain": _difference(new, old)}
                for name, count, new, old in zip(
                    table.class_names, counts, after, before, strict=True
                )
            },
        }
    return {"mAP": mean_precision(before), "kinds": summary}


def mended_precisions(
    table: Overlaps, assignment: Assignment, errors: Errors, kind: str | None, metric: str
) -> list[float | None]:
    """Compute each class's average precision with the errors of one kind mended.

    Args:
        table, assignment, errors: as `find_errors` takes and gives them.
        kind: of KINDS, MISSED, EVERY_FALSE or EVERY_UNFOUND; None mends nothing.
        metric: "voc07" or "area".
    """
    true, false = assignment.true_positive.copy(), assignment.false_positive.copy()
    classes, npos = table.detection_class.copy(), table.npos
    if kind in CORRECTED:
        chosen = errors.is_kind(kind)
        false[chosen] = False
        chosen[chosen] = ~table.difficult[errors.target[chosen]]
        objects = np.where(chosen, errors.target, assignment.object)
        classes[chosen] = table.object_class[errors.target[chosen]]
        claims = np.flatnonzero(true | chosen)
        _, first = np.unique(objects[claims], return_index=True)
        true[:] = False
        true[claims[first]] = True
    elif kind == EVERY_FALSE:
        false[:] = False
    elif kind in KINDS:
        false[errors.is_kind(kind)] = False
    elif kind is not None:
        npos = npos - _count(table, assignment, errors, kind)
    values = class_precisions(classes, true, false, npos, metric)
    for number, count in enumerate(npos):
        if count == 0 and table.npos[number]:  # all are mended that were to be found
            values[number] = 0.0 if false[classes == number].any() else 1.0
        elif count == 0:
            values[number] = _nothing_to_find(table, number, metric)
    return values


def _nothing_to_find(table: Overlaps, number: int, metric: str) -> float | None:
    """Return what a class without objects is given, mended or not: as in `class_precisions`."""
    return 0.0 if metric == "voc07" and (table.detection_class == number).any() else None


def _count(table: Overlaps, assignment: Assignment, errors: Errors, kind: str) -> np.ndarray:
    """Count errors of a kind per class (C,): the detection's class, or the object's."""
    size = len(table.class_names)
    if kind == EVERY_FALSE:
        return np.bincount(table.detection_class[assignment.false_positive], minlength=size)
    if kind == EVERY_UNFOUND:
        unfound = ~assignment.found & ~table.difficult
        return np.bincount(table.object_class[unfound], minlength=size)
    if kind == MISSED:
        return np.bincount(table.object_class[errors.missed], minlength=size)
    return np.bincount(table.detection_class[errors.is_kind(kind)], minlength=size)


def _difference(new: float | None, old: float | None) -> float | None:
    return None if new is None or old is None else new - old


def _wrong_by_angle(
    table: Overlaps, candidates: np.ndarray, target: np.ndarray, iou: float
) -> np.ndarray:
    """Say which candidates (N,) exceed the IoU, once turned to the angle of their target."""
    wrong = np.zeros(len(candidates), dtype=bool)
    chosen = np.flatnonzero(candidates & (target >= 0))
    if table.task != 1 or len(chosen) == 0:
        return wrong
    import torch  # here, so that nobody else waits for it

    from maskrcnn_benchmark.structures.oriented_boxes import oriented_iou_of_pairs
    from maskrcnn_benchmark.structures.rotated_boxes import corners_to_rotated, rotated_to_corners

    corners = table.corners[target[chosen]]
    boxes = corners_to_rotated(torch.from_numpy(table.coordinates[chosen].reshape(-1, 4, 2)))
    boxes[:, 4] = corners_to_rotated(torch.from_numpy(corners))[:, 4]
    wrong[chosen] = oriented_iou_of_pairs(rotated_to_corners(boxes).numpy(), corners) > iou
    return wrong
