"""Matches of objects and predictions, and Cityscapes' average precision of these matches.

This module computes which objects and predictions overlap; cityscapesscripts computes the precision
from that, so that the figures are those of the official script. Boxes follow BoxList (x2 = x1 +
width - 1). Names and the structure of `matches` are those of the original's eval_instances.py.
"""

import os
import warnings
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from maskrcnn_benchmark.data.datasets.cityscapes import (
    mask_bounds,
    numbers_in,
    read_instance_ids,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.mask_pasting import Masker

Box = Sequence[float]
Mask = np.ndarray  # bool (H, W); NumPy counts its pixels 10 times as fast as PyTorch


class CArgs:
    """Settings of the evaluation.

    Attributes:
        exportBoxFile, exportMaskFile: paths of the files with the figures.
        overlaps: IoUs above which a prediction finds an object.
        minRegionSizes: pixels; objects that are smaller are not counted.
        csv: print the table as comma-separated values.
        instLabels: the classes to evaluate.
    """

    exportBoxFile: str
    exportMaskFile: str
    overlaps: np.ndarray
    minRegionSizes: np.ndarray
    csv: bool
    instLabels: list[str]

    def __repr__(self) -> str:
        width = max(map(len, vars(self)), default=0)
        return "\n".join(f"{key:>{width}} : {value}" for key, value in vars(self).items())


defaultArgs = CArgs()
defaultArgs.exportBoxFile = os.path.join("evaluationResults", "boxResult.json")
defaultArgs.exportMaskFile = os.path.join("evaluationResults", "maskResult.json")
defaultArgs.overlaps = np.arange(0.5, 1.0, 0.05)
defaultArgs.minRegionSizes = np.array([100])
defaultArgs.csv = False
defaultArgs.instLabels = []


def matchGtsWithPreds(dataset: Any, predictions: Sequence[BoxList]) -> list[dict]:
    """Return `matchGtWithPred` of every image."""
    if len(dataset) != len(predictions):
        raise ValueError(f"expected predictions of {len(dataset)} images, got {len(predictions)}")
    return [matchGtWithPred(dataset, predictions, idx) for idx in range(len(dataset))]


def matchGtWithPred(dataset: Any, predictions: Sequence[BoxList], idx: int) -> dict:
    """Find which objects and predictions of the same class share pixels in an image.

    Returns:
        {"groundTruth": {class: objects}, "prediction": {class: predictions}}. The "matchedPred" of
        an object and the "matchedGt" of a prediction are lists of the others' entries, with their
        "boxIntersection" and "maskIntersection" in pixels. The "boxVoid" and "maskVoid" of a
        prediction are the numbers of its pixels that belong to no evaluated class.
    """
    objects, object_masks = prepareGtImage(dataset, idx)
    found, found_masks = preparePredImage(dataset, predictions, idx)
    void = _void_pixels(dataset, idx)
    for pred, pred_mask in zip(found, found_masks, strict=True):
        pred["boxVoid"] = 0 if void is None else _count(void[_window(pred["box"])])
        pred["maskVoid"] = 0
        if void is not None and pred_mask is not None:
            pred["maskVoid"] = _count(void & pred_mask)
        for gt, gt_mask in zip(objects, object_masks, strict=True):
            if gt["labelID"] == pred["labelID"]:
                _link(gt, gt_mask, pred, pred_mask)
    return {
        "groundTruth": _by_class(dataset, objects),
        "prediction": _by_class(dataset, found),
    }


def _link(gt: dict, gt_mask: Mask | None, pred: dict, pred_mask: Mask | None) -> None:
    """Add an object and a prediction to each other's list if they share pixels."""
    if gt["instID"] < 1000:  # the box of a group covers much else: count the group's own pixels
        in_box = _count(gt_mask[_window(pred["box"])])
    else:
        in_box = computeBoxIntersection(gt, pred)
    shared = {
        "boxIntersection": in_box,
        "maskIntersection": computeMaskIntersection(gt, gt_mask, pred, pred_mask),
    }
    if any(shared.values()):
        own = {key: value for key, value in pred.items() if key != "matchedGt"}
        gt["matchedPred"].append(own | shared)
        own = {key: value for key, value in gt.items() if key != "matchedPred"}
        pred["matchedGt"].append(own | shared)


def _by_class(dataset: Any, instances: Sequence[dict]) -> dict[str, list[dict]]:
    groups: dict[str, list[dict]] = {name: [] for name in dataset.CLASSES}
    for instance in instances:
        groups[dataset.id_to_name[instance["labelID"]]].append(instance)
    return groups


def isOverlapping(box1: Box, box2: Box) -> bool:
    """Return whether boxes xyxy share a pixel."""
    x1, y1, x2, y2 = getIntersectionBox(box1, box2)
    return x1 <= x2 and y1 <= y2


def getUnionBox(box1: Box, box2: Box) -> tuple:
    """Return the smallest box xyxy around two boxes."""
    corners = list(zip(box1, box2, strict=True))
    return (*map(min, corners[:2]), *map(max, corners[2:]))


def getIntersectionBox(box1: Box, box2: Box) -> tuple:
    """Return the box xyxy that two boxes share; x1 > x2 or y1 > y2 if they share none."""
    corners = list(zip(box1, box2, strict=True))
    return (*map(max, corners[:2]), *map(min, corners[2:]))


def computeBoxIntersection(gt: dict, pred: dict) -> float:
    """Return the area that the boxes of an object and a prediction share, square pixels."""
    return _area(getIntersectionBox(gt["box"], pred["box"]))


def _area(box: Box) -> float:
    x1, y1, x2, y2 = box
    return max(x2 - x1 + 1, 0) * max(y2 - y1 + 1, 0)


def _window(box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of a box's pixels."""
    x1, y1, x2, y2 = (max(round(end), 0) for end in box)
    return slice(y1, y2 + 1), slice(x1, x2 + 1)


def computeMaskIntersection(
    gt: dict, gtMask: Mask | None, pred: dict, predMask: Mask | None
) -> int:
    """Return the number of pixels that the (H, W) masks of an object and a prediction share."""
    if gtMask is None or predMask is None:
        return 0
    window = _window(getIntersectionBox(gt["maskBox"], pred["maskBox"]))
    return _count(np.logical_and(gtMask[window], predMask[window]))


def _count(mask: Mask) -> int:
    return int(np.count_nonzero(mask))


def prepareGtImage(dataset: Any, idx: int) -> tuple[list[dict], list[Mask | None]]:
    """Return the objects of an image and their masks, bool (H, W), or None.

    A CityScapesDataset's objects are read from *_instanceIds.png, if that file exists, and include
    groups ("instID" < 1000), which are not evaluated. Otherwise they are the dataset's
    `get_groundtruth(idx)`.
    """
    path = _instance_ids_path(dataset, idx)
    if path is not None:
        return _objects_of_png(dataset, read_instance_ids(path))
    target = dataset.get_groundtruth(idx).convert("xyxy")
    masks: list[Mask | None] = [None] * len(target)
    if target.has_field("masks"):
        masks = list(target.get_field("masks").convert("mask").instances.masks.bool().numpy())
    labels = target.get_field("labels").tolist()
    objects = [
        {**_describe(label, box, mask), "instID": label * 1000 + number, "matchedPred": []}
        for number, (label, box, mask) in enumerate(
            zip(labels, target.bbox.tolist(), masks, strict=True)
        )
    ]
    return objects, masks


def _instance_ids_path(dataset: Any, idx: int) -> str | None:
    return dataset.instance_ids_path(idx) if hasattr(dataset, "instance_ids_path") else None


def _objects_of_png(dataset: Any, pixels: np.ndarray) -> tuple[list[dict], list[Mask | None]]:
    objects, masks = [], []
    for number in numbers_in(pixels):
        label = dataset.cityscapesID_to_ind.get(number // 1000 if number >= 1000 else number)
        if label is not None:
            mask = pixels == number
            described = _describe(label, mask_bounds(mask), mask)
            objects.append({**described, "instID": number, "matchedPred": []})
            masks.append(mask)
    return objects, masks


def _void_pixels(dataset: Any, idx: int) -> Mask | None:
    """Return the pixels that the official evaluation ignores, bool (H, W).

    None for a data set without *_instanceIds.png.
    """
    path = _instance_ids_path(dataset, idx)
    if path is None:
        return None
    labels = _official_script().labels
    ignored = [label.id for label in labels if label.ignoreInEval]
    return np.isin(read_instance_ids(path), ignored)


def preparePredImage(
    dataset: Any, predictions: Sequence[BoxList], idx: int
) -> tuple[list[dict], list[Mask | None]]:
    """Return the predictions of an image, in its pixels, and their masks, bool (H, W), or None."""
    info = dataset.get_img_info(idx)
    size = (info["width"], info["height"])
    prediction = predictions[idx].resize(size).convert("xyxy")
    masks: list[Mask | None] = [None] * len(prediction)
    if prediction.has_field("mask") and len(prediction):
        field = prediction.get_field("mask")  # [N, 1, M, M], or [N, 1, H, W] if they are pasted
        if tuple(field.shape[-2:]) != size[::-1]:
            field = Masker(threshold=0.5, padding=1).forward_single_image(field, prediction)
        masks = list((field[:, 0] if field.dtype == torch.bool else field[:, 0] > 0.5).numpy())
    rows = zip(
        prediction.get_field("labels").tolist(),
        prediction.get_field("scores").tolist(),
        prediction.bbox.tolist(),
        masks,
        strict=True,
    )
    found = [
        {
            **_describe(label, box, mask),
            "imgName": idx,
            "predID": number,
            "confidence": score,
            "matchedGt": [],
        }
        for number, (label, score, box, mask) in enumerate(rows)
    ]
    return found, masks


def _describe(label: int, box: Box, mask: Mask | None) -> dict:
    return {
        "labelID": label,
        "box": tuple(box),
        "boxArea": _area(box),
        "pixelCount": 0 if mask is None else _count(mask),
        "maskBox": (0, 0, -1, -1) if mask is None else mask_bounds(mask),
    }


def evaluateBoxMatches(matches: Sequence[dict], args: CArgs) -> np.ndarray:
    """Return the average precision of boxes, [region size, class, overlap]; NaN without objects."""
    return _evaluate(matches, args, "boxArea", "boxIntersection", "boxVoid")


def evaluateMaskMatches(matches: Sequence[dict], args: CArgs) -> np.ndarray:
    """Return the average precision of masks, [region size, class, overlap]; NaN without objects."""
    return _evaluate(matches, args, "pixelCount", "maskIntersection", "maskVoid")


def _evaluate(
    matches: Sequence[dict], args: CArgs, area: str, shared: str, void: str
) -> np.ndarray:
    """Evaluate matches with the official script.

    The script's form of matches has one area per entry and one intersection per match; the keys
    `area`, `shared` and `void` select those of boxes or of masks.
    """

    def translate(entry: dict, links: str) -> dict:
        new = {"pixelCount": entry[area], "intersection": entry.get(shared, 0)}
        if "confidence" in entry:
            new |= {"confidence": entry["confidence"], "voidIntersection": entry[void]}
        else:
            new |= {"instID": entry["instID"], "medDist": 0.0, "distConf": 0.0}
        linked = (translate(other, links) for other in entry.get(links, ()))
        return new | {links: [other for other in linked if other["intersection"] > 0]}

    def objects_and_predictions(match: dict) -> dict:
        sides = {"groundTruth": "matchedPred", "prediction": "matchedGt"}
        return {
            side: {
                label: [translate(entry, links) for entry in match[side][label] if entry[area] > 0]
                for label in args.instLabels
            }
            for side, links in sides.items()
        }

    # the script needs a limit of the distance per region size; infinity excludes no object
    no_limit = np.full(len(args.minRegionSizes), np.inf)
    settings = SimpleNamespace(
        overlaps=args.overlaps,
        minRegionSizes=args.minRegionSizes,
        distanceThs=no_limit,
        distanceConfs=-no_limit,
        distanceAvailable=True,
        instLabels=args.instLabels,
    )
    translated = {number: objects_and_predictions(match) for number, match in enumerate(matches)}
    return _official_script().evaluateMatches(translated, settings)


def _official_script() -> ModuleType:
    try:
        from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling
    except ImportError as error:
        raise ImportError(
            "Cityscapes' evaluation needs cityscapesscripts: pip install cityscapesscripts. An "
            "AbstractDataset can be evaluated by COCO's rules without it: "
            "maskrcnn_benchmark.data.datasets.evaluation.coco.coco_evaluation"
        ) from error
    return evalInstanceLevelSemanticLabeling


def computeAverages(aps: np.ndarray, args: CArgs) -> dict:
    """Return means of the average precisions over the overlaps, at the smallest region size.

    Args:
        aps: [region size, class, overlap].

    Returns:
        {"allAp", "allAp50%", "allAp75%": mean over the classes that have objects; "classes":
        {class: {"ap", "ap50%", "ap75%"}}}.
    """
    chosen = aps[np.argmin(args.minRegionSizes)]  # [class, overlap]
    columns = {
        "": np.full(len(args.overlaps), True),
        "50%": np.isclose(args.overlaps, 0.5),
        "75%": np.isclose(args.overlaps, 0.75),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN where no class has an object
        averages: dict[str, Any] = {
            f"allAp{name}": float(np.nanmean(chosen[:, column])) for name, column in columns.items()
        }
        averages["classes"] = {
            label: {f"ap{name}": float(own[column].mean()) for name, column in columns.items()}
            for label, own in zip(args.instLabels, chosen, strict=True)
        }
    return averages


def printResults(avgDict: dict, args: CArgs) -> str:
    """Return a table of the figures of `computeAverages`."""
    keys = ("", "50%", "75%")
    rows = [("what", "AP", "AP_50%", "AP_75%")]
    figures = [(name, [own[f"ap{k}"] for k in keys]) for name, own in avgDict["classes"].items()]
    figures.append(("average", [avgDict[f"allAp{k}"] for k in keys]))
    rows += [(name, *(f"{value:.3f}" for value in values)) for name, values in figures]
    if args.csv:
        return "\n".join(",".join(row) for row in rows)
    return "\n".join(f"{row[0]:<15}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)


def prepareJSONDataForResults(avgDict: dict, aps: np.ndarray, args: CArgs) -> dict:
    """Return the figures and the settings of the evaluation, as JSON can hold them.

    Args:
        avgDict: from `computeAverages`.
        aps: [region size, class, overlap].
    """
    return {
        "averages": avgDict,
        "overlaps": args.overlaps.tolist(),
        "minRegionSizes": args.minRegionSizes.tolist(),
        "instLabels": args.instLabels,
        "resultApMatrix": aps.tolist(),
    }
