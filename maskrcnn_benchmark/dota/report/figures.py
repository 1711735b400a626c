"""Every figure of a report, as plain lists, dicts and numbers: what report.json holds."""

from dataclasses import dataclass

import numpy as np

from maskrcnn_benchmark.dota.confusion import confusion_matrix
from maskrcnn_benchmark.dota.errors import KINDS, Errors, summarize_errors
from maskrcnn_benchmark.dota.overlaps import (
    Assignment,
    Overlaps,
    assign,
    class_precisions,
    mean_precision,
)
from maskrcnn_benchmark.dota.seams import Tiles
from maskrcnn_benchmark.dota.strata import (
    crowd_strata,
    precisions_by_stratum,
    seam_strata,
    size_strata,
)

CURVE_POINTS = 200
COLUMNS = {"voc07@0.5": ("voc07", 0.5), "area@0.5": ("area", 0.5), "area@0.75": ("area", 0.75)}
MEAN_COLUMN = "area@0.50:0.95"
MEAN_IOUS = np.arange(50, 100, 5) / 100


@dataclass(frozen=True)
class Rule:
    """By what a report counts.

    Attributes:
        iou: the threshold that a true positive must exceed.
        metric: "voc07" or "area".
        score: the least score of detections in the confusion matrix and in pictures.
    """

    iou: float = 0.5
    metric: str = "voc07"
    score: float = 0.3


def report_figures(
    table: Overlaps, assignment: Assignment, errors: Errors, rule: Rule, tiles: Tiles | None
) -> dict:
    """Compute all figures of a report.

    Args:
        table, assignment, errors: what was found, and what of it is wrong.
        rule: by what to count; assignment and errors are at its threshold.
        tiles: per image, as far as they are known; None: then there is nothing about seams.

    Returns:
        "task", "iou", "metric", "score", "images", "images_without_tiles" (so far as they are not
        known), "objects" (to find), "difficult",
        "detections", "mAP"; "ap": per column, "mAP" and "classes"; "classes": counts and best
        score per class; "curves", "confusion", "errors", "strata", "worst_images".
    """
    curves = {
        name: precision_curve(table, assignment, number)
        for number, name in enumerate(table.class_names)
        if table.npos[number]
    }
    summary = summarize_errors(table, assignment, errors, rule.metric)
    strata = {"size": size_strata(table), "crowd": crowd_strata(table)}
    if tiles is not None:
        strata["seam"] = seam_strata(table, tiles)
    return {
        "task": table.task,
        "iou": rule.iou,
        "metric": rule.metric,
        "score": rule.score,
        "images": len(table.image_names),
        "images_without_tiles": sum(not (tiles or {}).get(name) for name in table.image_names),
        "objects": int(table.npos.sum()),
        "difficult": int(table.difficult.sum()),
        "detections": len(table.scores),
        "mAP": summary["mAP"],
        "ap": _precisions(table, rule),
        "classes": _counts(table, assignment),
        "curves": curves,
        "confusion": {
            "classes": [*table.class_names, "background"],
            "matrix": confusion_matrix(table, rule.iou, rule.score).tolist(),
        },
        "errors": summary["kinds"],
        "strata": {
            name: precisions_by_stratum(table, assignment, division, rule.metric)
            for name, division in strata.items()
        },
        "worst_images": worst_images(table, assignment, errors, rule.score),
    }


def precision_curve(table: Overlaps, assignment: Assignment, number: int) -> dict:
    """Return a class's precision over its recall, and the score at which F1 is best.

    Args:
        table, assignment: what was found, and what of it is true.
        number: of the class, which has objects.

    Returns:
        {"recall": […], "precision": […], "score": […], "best": {"score", "precision", "recall",
        "f1"} or None}, at CURVE_POINTS true positives at most, by falling score.
    """
    counted = assignment.true_positive | assignment.false_positive
    own = np.flatnonzero(counted & (table.detection_class == number))
    true = assignment.true_positive[own]
    places = np.flatnonzero(true)  # recall rises at true positives only
    if len(places) == 0:
        return {"recall": [], "precision": [], "score": [], "best": None}
    found = np.arange(1, len(places) + 1)
    recall, precision = found / table.npos[number], found / (places + 1)
    score = table.scores[own[places]]
    f1 = 2 * precision * recall / (precision + recall)
    top = int(f1.argmax())
    shown = np.unique(np.linspace(0, len(places) - 1, CURVE_POINTS).round().astype(int))
    return {
        "recall": recall[shown].tolist(),
        "precision": precision[shown].tolist(),
        "score": score[shown].tolist(),
        "best": {
            "score": float(score[top]),
            "precision": float(precision[top]),
            "recall": float(recall[top]),
            "f1": float(f1[top]),
        },
    }


def worst_images(
    table: Overlaps, assignment: Assignment, errors: Errors, score: float
) -> list[dict]:
    """Count each image's errors at a score, most errors first.

    Args:
        table, assignment, errors: what was found, and what of it is wrong.
        score: the least score of the detections that count.

    Returns:
        per image {"name", "errors" (false positives and objects not found), "true", "unfound",
        "kinds": {kind: false positives}}.
    """
    images = len(table.image_names)
    shown = table.scores >= score

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(table.detection_image[chosen & shown], minlength=images)

    unfound = np.bincount(
        table.object_image[unfound_objects(table, assignment, score)], minlength=images
    )
    true = count(assignment.true_positive)
    kinds = {kind: count(errors.is_kind(kind)) for kind in KINDS}
    wrong = unfound + sum(kinds.values())
    return [
        {
            "name": table.image_names[image],
            "errors": int(wrong[image]),
            "true": int(true[image]),
            "unfound": int(unfound[image]),
            "kinds": {kind: int(counts[image]) for kind, counts in kinds.items()},
        }
        for image in np.argsort(-wrong, kind="stable")
    ]


def unfound_objects(table: Overlaps, assignment: Assignment, score: float) -> np.ndarray:
    """Say which objects (M,), difficult ones apart, have no true positive of that score."""
    unfound = ~table.difficult
    unfound[assignment.object[assignment.true_positive & (table.scores >= score)]] = False
    return unfound


def _precisions(table: Overlaps, rule: Rule) -> dict:
    """Return per column {"mAP": …, "classes": {name: AP}}."""

    def values(metric: str, iou: float) -> list[float | None]:
        found = assign(table, iou)
        return class_precisions(
            table.detection_class, found.true_positive, found.false_positive, table.npos, metric
        )

    wanted = COLUMNS | {f"{rule.metric}@{rule.iou:g}": (rule.metric, rule.iou)}
    columns = {name: values(*column) for name, column in wanted.items()}
    at_ious = zip(*(values("area", iou) for iou in MEAN_IOUS), strict=True)
    columns[MEAN_COLUMN] = [mean_precision(per_class) for per_class in at_ious]
    return {
        name: {
            "mAP": mean_precision(column),
            "classes": dict(zip(table.class_names, column, strict=True)),
        }
        for name, column in columns.items()
    }


def _counts(table: Overlaps, assignment: Assignment) -> dict:
    """Return per class the objects to find, those found at any score, and the detections."""
    size = len(table.class_names)
    found = np.bincount(table.detection_class[assignment.true_positive], minlength=size)
    detected = np.bincount(table.detection_class, minlength=size)
    return {
        name: {"npos": int(n), "tp": int(tp), "ndet": int(ndet)}
        for name, n, tp, ndet in zip(table.class_names, table.npos, found, detected, strict=True)
    }
