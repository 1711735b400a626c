"""Average precision of DOTA results, by the rule of DOTA's development kit.

Within a class, detections are taken by falling score, equal ones in the order of the file's lines
(the kit's own sort is not stable, so that its figure depends on the processor). Each takes the
object of its image that it overlaps most. If that IoU is greater than the threshold, a difficult
object (any flag but 0) makes the detection count for nothing, an object taken before makes it a
false positive, any other a true positive. If not, it is a false positive.

Task 1 compares polygons. Task 2 compares boxes, with the kit's `+1`: the boxes (0, 0, 9, 9) and
(5, 0, 14, 9) share 5 of 15 columns, IoU 50 / 150.

"voc07" averages the best precision at the recalls 0, 0.1, ..., 1; "area" is the area under the
precision curve made monotone. A class without objects has no area (None, and not in the mean); by
"voc07" it is 0, if something was detected, as the kit has it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskrcnn_benchmark.dota.annotations import (
    DotaObject,
    read_labels,
    stack_corners,
    upright_edges,
)
from maskrcnn_benchmark.dota.classes import in_order
from maskrcnn_benchmark.dota.submission import ClassResults, read_task_folder
from maskrcnn_benchmark.dota.tiles import parse_tile_name

METRICS = ("voc07", "area")
BLOCK = 256
# Not np.linspace: the kit's third level is 0.30000000000000004, which a recall of 3 / 10 misses.
VOC07_RECALLS = np.arange(11) * 0.1
COCO_IOUS = tuple(np.arange(50, 100, 5) / 100)  # 0.50, 0.55, ..., 0.95


@dataclass
class ClassMatches:
    """What a class's detections overlap most, whatever the IoU threshold.

    Attributes:
        best_iou: (N,), by falling score; 0 where the image has no such object.
        best_object: int (N,), an index into `difficult`.
        difficult: bool (M,), per labelled object of the class.
    """

    best_iou: np.ndarray
    best_object: np.ndarray
    difficult: np.ndarray


def evaluate_detections(
    labels: Mapping[str, Sequence[DotaObject]],
    results: Mapping[str, ClassResults],
    task: int,
    iou: float,
    metric: str,
) -> dict:
    """Evaluate results with labels.

    Args:
        labels: per image name, the whole image's objects; these images are evaluated.
        results: per class name (`results_by_class` or `read_task_folder`).
        task: 1 (oriented) or 2 (horizontal).
        iou: the threshold that a true positive must exceed.
        metric: "voc07" or "area".

    Returns:
        {"mAP": float | None, "classes": {name: {"ap": float | None, "npos": int, "tp": int,
        "ndet": int}}}, for the classes that occur in the labels or in the results.

    Raises:
        ValueError: a result names an image that has no labels, or an unknown task or metric.
    """
    return evaluate_matches(match_detections(labels, results, task), iou, metric)


def match_detections(
    labels: Mapping[str, Sequence[DotaObject]], results: Mapping[str, ClassResults], task: int
) -> dict[str, ClassMatches]:
    """Do the part of `evaluate_detections` that serves all thresholds and metrics at once."""
    if task not in (1, 2):
        raise ValueError(f"task must be 1 (oriented) or 2 (horizontal), got {task!r}")
    nothing = ClassResults([], np.zeros(0), np.zeros((0, 8 if task == 1 else 4)))
    labelled = {item.name for objects in labels.values() for item in objects}
    matches = {}
    for name in in_order(labelled | set(results)):
        class_results = results.get(name, nothing)
        _check_images(name, class_results, labels)
        objects = {
            image: [item for item in items if item.name == name] for image, items in labels.items()
        }
        matches[name] = _match_class(objects, class_results, task)
    return matches


def evaluate_matches(matches: Mapping[str, ClassMatches], iou: float, metric: str) -> dict:
    """Compute `evaluate_detections`' result at one threshold from `match_detections`' result."""
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    classes = {name: _evaluate_class(match, iou, metric) for name, match in matches.items()}
    return {"mAP": _mean_ap(classes), "classes": classes}


def evaluate_over_thresholds(
    matches: Mapping[str, ClassMatches], ious: Sequence[float], metric: str
) -> dict:
    """Average the evaluations at several IoU thresholds, as COCO's AP does over COCO_IOUS.

    Args:
        matches: of `match_detections`.
        ious: the thresholds.
        metric: as in `evaluate_detections`.

    Returns:
        {"mAP": float | None, "classes": {name: {"ap": float | None, "npos": int, "ndet": int}},
        "thresholds": {"0.50": the evaluation at this one, ...}}; AP is the mean over the
        thresholds.
    """
    at = {f"{iou:.2f}": evaluate_matches(matches, iou, metric) for iou in ious}
    classes = {}
    for name in matches:
        entries = [evaluation["classes"][name] for evaluation in at.values()]
        ap = [entry["ap"] for entry in entries if entry["ap"] is not None]
        counts = {key: entries[0][key] for key in ("npos", "ndet")}
        classes[name] = {"ap": float(np.mean(ap)) if ap else None, **counts}
    return {"mAP": _mean_ap(classes), "classes": classes, "thresholds": at}


def _mean_ap(classes: Mapping[str, dict]) -> float | None:
    defined = [entry["ap"] for entry in classes.values() if entry["ap"] is not None]
    return float(np.mean(defined)) if defined else None


def average_precision(true_positive: np.ndarray, npos: int, metric: str) -> float | None:
    """Average the precision over the recall.

    Args:
        true_positive: bool (N,), by falling score, true or false positives only.
        npos: how many objects there are to find.
        metric: "voc07" or "area".

    Returns:
        in 0 ... 1; None where there is nothing to find.
    """
    if npos == 0:
        return None
    found = np.cumsum(true_positive)
    recall = found / npos
    precision = found / np.arange(1, len(found) + 1)
    return curve_average(recall, precision, metric)


def curve_average(recall: np.ndarray, precision: np.ndarray, metric: str) -> float:
    """Average a precision curve over the recall.

    Args:
        recall: (N,), not falling.
        precision: (N,), at these recalls.
        metric: "voc07" or "area".
    """
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or more
    if metric == "voc07":
        places = np.searchsorted(recall, VOC07_RECALLS)
        return float(np.append(best_from_here, 0.0)[places].mean())
    return float((np.diff(recall, prepend=0.0) * best_from_here).sum())


def evaluate_folders(
    label_folder: str | Path,
    result_folder: str | Path,
    task: int,
    iou: float,
    metric: str,
    image_names: Iterable[str] | None = None,
) -> dict:
    """Evaluate a folder of result files with a folder of label files.

    Args:
        label_folder, result_folder, task, image_names: as in `read_folders`.
        iou, metric: as in `evaluate_detections`.
    """
    labels, results = read_folders(label_folder, result_folder, task, image_names)
    return evaluate_detections(labels, results, task, iou, metric)


def read_folders(
    label_folder: str | Path,
    result_folder: str | Path,
    task: int,
    image_names: Iterable[str] | None = None,
    report: Callable[[str], object] | None = None,
) -> tuple[dict[str, list[DotaObject]], dict[str, ClassResults]]:
    """Read what `evaluate_detections` takes: labels per image, and results per class.

    Args:
        label_folder: `<image>.txt` files.
        result_folder: `Task1_<class>.txt` or `Task2_<class>.txt` files.
        task: 1 (oriented) or 2 (horizontal).
        image_names: the images to evaluate, results of others being left out; None: all that have
            a label file.
        report: told of what does not fit together, a line each: classes without a result file or
            without objects, and results of images that have no labels, which are left out. None:
            the latter are an error.

    Raises:
        FileNotFoundError: there are no label files or no result files.
        ValueError: "path:line: ..." for a malformed line; a result names a tile of a labelled
            image or, without `report`, an image that has no labels.
    """
    results = read_task_folder(result_folder, task)
    if image_names is None:
        image_names = sorted(path.stem for path in Path(label_folder).glob("*.txt"))
        if not image_names:
            raise FileNotFoundError(f"{label_folder}: expected label files <image>.txt, found none")
    else:
        image_names = list(image_names)
        results = _only_images(results, set(image_names))
    labels = {name: read_labels(Path(label_folder) / f"{name}.txt") for name in image_names}
    if report is not None:
        results = _told_misfits(labels, results, task, report)
    for name, class_results in results.items():
        _check_images(name, class_results, labels)
    return labels, results


def _told_misfits(
    labels: Mapping[str, Sequence[DotaObject]],
    results: Mapping[str, ClassResults],
    task: int,
    report: Callable[[str], object],
) -> dict[str, ClassResults]:
    """Tell what does not fit together; return the results of labelled images and of their tiles."""
    labelled = {item.name for objects in labels.values() for item in objects}
    for name in in_order(labelled - set(results)):
        report(f"no file Task{task}_{name}.txt: all objects of {name} count as missed")
    for name in in_order(set(results) - labelled):
        report(f"{name}: there are results, but no object is labelled so")
    unknown = {
        image
        for found in results.values()
        for image in found.image_names
        if image not in labels and (parse_tile_name(image) or ("",))[0] not in labels
    }
    if not unknown:
        return dict(results)
    some = ", ".join(sorted(unknown)[:3]) + (", ..." if len(unknown) > 3 else "")
    report(f"results of {len(unknown)} images without labels are left out: {some}")
    known = {image for found in results.values() for image in found.image_names} - unknown
    return _only_images(results, known)


def format_table(evaluation: dict) -> str:
    """Lay out an evaluation at one threshold as text, a line per class and one for the mean."""
    width = max(map(len, [*evaluation["classes"], "class"]))
    lines = [f"{'class':{width}}      AP   npos     tp   ndet"]
    for name, entry in evaluation["classes"].items():
        counts = f"{entry['npos']:6d} {entry['tp']:6d} {entry['ndet']:6d}"
        lines.append(f"{name:{width}} {format_ap(entry['ap'])} {counts}")
    lines.append(f"{'mAP':{width}} {format_ap(evaluation['mAP'])}")
    return "\n".join(lines)


def format_threshold_table(evaluation: dict) -> str:
    """Lay out `evaluate_over_thresholds`' result: the mean AP, and that at each threshold."""
    width = max(map(len, [*evaluation["classes"], "class"]))
    at = evaluation["thresholds"]
    lines = [f"{'class':{width}}    mean " + " ".join(f"{f'@{iou}':>7}" for iou in at)]
    for name, entry in evaluation["classes"].items():
        each = [format_ap(one["classes"][name]["ap"]) for one in at.values()]
        lines.append(" ".join([f"{name:{width}}", format_ap(entry["ap"]), *each]))
    each = [format_ap(one["mAP"]) for one in at.values()]
    lines.append(" ".join([f"{'mAP':{width}}", format_ap(evaluation["mAP"]), *each]))
    return "\n".join(lines)


def format_ap(value: float | None) -> str:
    """Write an average precision in 7 characters; "-" where there is nothing to find."""
    return "      -" if value is None else f"{value:7.4f}"


def _only_images(
    results: Mapping[str, ClassResults], image_names: set[str]
) -> dict[str, ClassResults]:
    chosen = {}
    for name, found in results.items():
        keep = [index for index, image in enumerate(found.image_names) if image in image_names]
        chosen[name] = ClassResults(
            [found.image_names[index] for index in keep],
            found.scores[keep],
            found.coordinates[keep],
        )
    return chosen


def _check_images(class_name: str, results: ClassResults, labels: Mapping) -> None:
    for image in results.image_names:
        if image in labels:
            continue
        tile = parse_tile_name(image)
        if tile is not None and tile[0] in labels:
            advice = f"it looks like a tile of {tile[0]}: merge the tiles' results first"
        else:
            advice = "name the images to evaluate, or add its label file (which may be empty)"
        raise ValueError(
            f"results of {class_name} name image {image}, which has no labels; {advice}"
        )


def _match_class(
    objects: Mapping[str, list[DotaObject]], results: ClassResults, task: int
) -> ClassMatches:
    starts: dict[str, int] = {}
    difficult: list[bool] = []
    for image, items in objects.items():
        starts[image] = len(difficult)
        difficult.extend(item.difficult != 0 for item in items)
    order = np.argsort(-results.scores, kind="stable")
    members = defaultdict(list)  # places in falling order, by image
    for place, index in enumerate(order):
        members[results.image_names[index]].append(place)
    coordinates = results.coordinates[order]
    best_iou = np.zeros(len(order))
    best_object = np.zeros(len(order), dtype=np.int64)
    for image, places in members.items():
        corners = stack_corners(objects[image])
        if len(corners) == 0:
            continue
        best_iou[places], index = _best_overlaps(coordinates[places], corners, task)
        best_object[places] = starts[image] + index
    return ClassMatches(best_iou, best_object, np.array(difficult, dtype=bool))


def _best_overlaps(
    coordinates: np.ndarray, corners: np.ndarray, task: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the greatest IoU (N,) of each result with objects (M, 4, 2), and the first such."""
    if task == 1:
        # here, so that nobody else waits for PyTorch
        from maskrcnn_benchmark.structures.oriented_boxes import best_oriented_overlap

        return best_oriented_overlap(coordinates.reshape(-1, 4, 2), corners)
    best_iou = np.zeros(len(coordinates))
    best_object = np.zeros(len(coordinates), dtype=np.int64)
    for start in range(0, len(coordinates), BLOCK):  # memory grows with M only
        block = slice(start, start + BLOCK)
        overlaps = result_iou(coordinates[block], corners, task)  # [block, M]
        best_iou[block], best_object[block] = overlaps.max(axis=1), overlaps.argmax(axis=1)
    return best_iou, best_object


def result_iou(coordinates: np.ndarray, corners: np.ndarray, task: int) -> np.ndarray:
    """Return the IoU (N, M) of results (N, 8 or 4) with objects (M, 4, 2), as the task compares."""
    if task == 1:
        from maskrcnn_benchmark.structures.oriented_boxes import oriented_iou

        return oriented_iou(coordinates.reshape(-1, 4, 2), corners)
    return upright_iou(coordinates[:, None], upright_edges(corners))


def upright_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the IoU (...) of boxes (..., 4) with the kit's `+1`; shapes are broadcast."""
    low = np.maximum(boxes[..., :2], others[..., :2])
    high = np.minimum(boxes[..., 2:], others[..., 2:])
    shared = np.maximum(high - low + 1, 0).prod(axis=-1)
    areas = (boxes[..., 2:] - boxes[..., :2] + 1).prod(axis=-1)
    other_areas = (others[..., 2:] - others[..., :2] + 1).prod(axis=-1)
    return shared / (areas + other_areas - shared)


def true_positives(taken: np.ndarray, difficult: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Apply the rule above to what detections overlap most.

    Args:
        taken: int (N,), by falling score: the object that a detection overlaps most, -1 where that
            does not exceed the threshold.
        difficult: bool (M,), per object.

    Returns:
        bool (N,) twice: the true positives, and what counts for nothing.
    """
    ignored = taken >= 0
    ignored[ignored] = difficult[taken[ignored]]
    candidates = np.flatnonzero((taken >= 0) & ~ignored)
    _, first = np.unique(taken[candidates], return_index=True)
    is_true = np.zeros(len(taken), dtype=bool)
    is_true[candidates[first]] = True
    return is_true, ignored


def _evaluate_class(match: ClassMatches, iou: float, metric: str) -> dict:
    taken = np.where(match.best_iou > iou, match.best_object, -1)
    true_positive, ignored = true_positives(taken, match.difficult)
    npos = int((~match.difficult).sum())
    ap = average_precision(true_positive[~ignored], npos, metric)
    if ap is None and metric == "voc07" and len(taken):
        ap = 0.0
    return {
        "ap": ap,
        "npos": npos,
        "tp": int(true_positive.sum()),
        "ndet": len(taken),
    }
