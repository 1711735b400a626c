"""COCO's average precision, computed by pycocotools, and the recall of proposals."""

import contextlib
import copy
import io
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.structures.mask_pasting import Masker
from maskrcnn_benchmark.utils.atomic_write import written_whole

# least and greatest area of an object, square pixels, both included
AREA_RANGES = {
    "all": (0, 1e5**2),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e5**2),
    "96-128": (96**2, 128**2),
    "128-256": (128**2, 256**2),
    "256-512": (256**2, 512**2),
    "512-inf": (512**2, 1e5**2),
}
PASTED_AT_ONCE = 32  # masks of the image's size that are in memory at a time


def do_coco_evaluation(
    dataset: Any,
    predictions: Sequence[BoxList],
    box_only: bool,
    output_folder: str | None,
    iou_types: Sequence[str],
    expected_results: Sequence,
    expected_results_sigma_tol: float,
) -> tuple["COCOResults", dict[str, list[dict]]]:
    """Evaluate predictions by COCO's rules and write COCO's result files.

    Args:
        dataset: COCODataset.
        predictions: one BoxList per image, for any size of the image, with the fields scores,
            labels and those of `iou_types` (mask, keypoints); for proposals, objectness.
        box_only: evaluate the recall of proposals.
        output_folder: folder for the results in COCO's format (bbox.json, segm.json,
            keypoints.json) and the figures (coco_results.pth); None: no files.
        iou_types: some of "bbox", "segm" and "keypoints".
        expected_results, expected_results_sigma_tol: see check_expected_results.

    Returns:
        (COCOResults, dict from each of `iou_types` to the list of results in COCO's format).
    """
    logger = logging.getLogger("maskrcnn_benchmark.inference")
    coco_results: dict[str, list[dict]] = {}
    if box_only:
        results, file_name = _evaluate_proposals(predictions, dataset), "box_proposals.pth"
    else:
        results, file_name = COCOResults(*iou_types), "coco_results.pth"
        for iou_type in iou_types:
            coco_results[iou_type] = _PREPARE[iou_type](predictions, dataset)
            result_file = os.path.join(output_folder, f"{iou_type}.json") if output_folder else None
            results.update(
                evaluate_predictions_on_coco(
                    dataset.coco, coco_results[iou_type], result_file, iou_type
                )
            )
    logger.info(results)
    check_expected_results(results, expected_results, expected_results_sigma_tol)
    if output_folder:
        with written_whole(os.path.join(output_folder, file_name)) as part:
            torch.save(results, part)
    return results, coco_results


def _evaluate_proposals(predictions: Sequence[BoxList], dataset: Any) -> "COCOResults":
    results = COCOResults("box_proposal")
    for limit in (100, 1000):
        for area, suffix in (("all", ""), ("small", "s"), ("medium", "m"), ("large", "l")):
            recall = evaluate_box_proposals(predictions, dataset, area=area, limit=limit)["ar"]
            results.results["box_proposal"][f"AR{suffix}@{limit}"] = recall.item()
    return results


def _in_image_frame(
    predictions: Sequence[BoxList], dataset: Any
) -> Iterator[tuple[int, tuple[int, int], BoxList]]:
    """Yield (image id in the JSON, (width, height), prediction in the image's pixels)."""
    for index, prediction in enumerate(predictions):
        info = dataset.get_img_info(index)
        size = (info["width"], info["height"])
        yield dataset.id_to_img_map[index], size, prediction.resize(size)


def _result_rows(
    dataset: Any, image_id: int, prediction: BoxList, key: str, values: Sequence
) -> list[dict]:
    to_json_id = dataset.contiguous_category_id_to_json_id
    labels = prediction.get_field("labels").tolist()
    scores = prediction.get_field("scores").tolist()
    return [
        {"image_id": image_id, "category_id": to_json_id[label], key: value, "score": score}
        for label, value, score in zip(labels, values, scores, strict=True)
    ]


def prepare_for_coco_detection(predictions: Sequence[BoxList], dataset: Any) -> list[dict]:
    """Convert boxes to COCO's results, with "bbox" as x, y, width, height in image pixels."""
    rows = []
    for image_id, _, prediction in _in_image_frame(predictions, dataset):
        if len(prediction):
            boxes_xywh = prediction.convert("xywh").bbox.tolist()
            rows += _result_rows(dataset, image_id, prediction, "bbox", boxes_xywh)
    return rows


def prepare_for_coco_segmentation(predictions: Sequence[BoxList], dataset: Any) -> list[dict]:
    """Convert masks to COCO's results, with "segmentation" as a run-length code of the image."""
    rows = []
    for image_id, size, prediction in _in_image_frame(predictions, dataset):
        if len(prediction):
            codes = _encode_masks(prediction, size)
            rows += _result_rows(dataset, image_id, prediction, "segmentation", codes)
    return rows


def _encode_masks(prediction: BoxList, size: tuple[int, int]) -> list[dict]:
    masks = prediction.get_field("mask")  # [N, 1, M, M], or [N, 1, H, W] if they are pasted
    is_pasted = tuple(masks.shape[-2:]) == (size[1], size[0])
    if masks.dtype == torch.bool and not is_pasted:
        raise ValueError(
            f"masks pasted into an image of {masks.shape[-1]} x {masks.shape[-2]} pixels cannot be "
            f"evaluated on one of {size[0]} x {size[1]}: set "
            "MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS to False"
        )
    masker = Masker(threshold=0.5, padding=1)
    codes = []
    for start in range(0, len(prediction), PASTED_AT_ONCE):
        chosen = torch.arange(start, min(start + PASTED_AT_ONCE, len(prediction)))
        part = masks[chosen]
        pasted = part if is_pasted else masker([part], [prediction[chosen]])[0]
        # pycocotools needs (H, W, N) in column-major order
        stacked = np.asfortranarray(pasted[:, 0].permute(1, 2, 0).numpy().astype(np.uint8))
        codes += mask_util.encode(stacked)
    return [{**code, "counts": code["counts"].decode("ascii")} for code in codes]


def prepare_for_coco_keypoint(predictions: Sequence[BoxList], dataset: Any) -> list[dict]:
    """Convert keypoints to COCO's results, with "keypoints" as x, y, v of each in image pixels."""
    rows = []
    for image_id, _, prediction in _in_image_frame(predictions, dataset):
        if len(prediction):
            points = prediction.get_field("keypoints").keypoints  # [N, K, 3]
            values = points.flatten(start_dim=1).tolist()
            rows += _result_rows(dataset, image_id, prediction, "keypoints", values)
    return rows


_PREPARE = {
    "bbox": prepare_for_coco_detection,
    "segm": prepare_for_coco_segmentation,
    "keypoints": prepare_for_coco_keypoint,
}


def evaluate_box_proposals(
    predictions: Sequence[BoxList],
    dataset: Any,
    thresholds: torch.Tensor | None = None,
    area: str = "all",
    limit: int | None = None,
) -> dict[str, Any]:
    """Measure the fraction of the objects that proposals cover (their recall).

    Proposals and objects are paired greedily, the pair with the greatest IoU first.

    Args:
        predictions: one BoxList per image, with the field objectness.
        dataset: COCODataset.
        thresholds: least IoUs at which an object is covered; None: 0.5, 0.55 … 0.95.
        area: key of AREA_RANGES, which objects to count.
        limit: number of proposals per image to count, best first; None: all.

    Returns:
        dict with ar (mean recall), recalls (one per threshold), thresholds, gt_overlaps (IoU of
        each object, sorted) and num_pos (number of objects).

    Raises:
        ValueError: `area` is no key of AREA_RANGES.
    """
    if area not in AREA_RANGES:
        raise ValueError(f"area must be one of {', '.join(AREA_RANGES)}, got {area!r}")
    covers = [torch.zeros(0)]
    for image_id, size, prediction in _in_image_frame(predictions, dataset):
        best_first = prediction.get_field("objectness").argsort(descending=True)
        objects = _objects_of_area(dataset.coco, image_id, size, AREA_RANGES[area])
        iou = boxlist_iou(objects, prediction[best_first[:limit]])
        covers.append(_pair_greedily(iou))
    gt_overlaps = torch.cat(covers).sort().values
    if thresholds is None:
        thresholds = torch.arange(0.5, 0.95 + 1e-5, 0.05, dtype=torch.float32)
    covered = gt_overlaps[None, :] >= thresholds[:, None]  # [T, G]
    recalls = covered.sum(dim=1).float() / len(gt_overlaps)
    return {
        "ar": recalls.mean(),
        "recalls": recalls,
        "thresholds": thresholds,
        "gt_overlaps": gt_overlaps,
        "num_pos": len(gt_overlaps),
    }


def _objects_of_area(
    coco: COCO, image_id: int, size: tuple[int, int], area_range: tuple[float, float]
) -> BoxList:
    low, high = area_range
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=image_id))
    objects = [obj for obj in annotations if not obj.get("iscrowd", 0)]
    boxes = [obj["bbox"] for obj in objects if low <= obj["area"] <= high]
    boxes_xywh = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return BoxList(boxes_xywh, size, mode="xywh").convert("xyxy")


def _pair_greedily(iou: torch.Tensor) -> torch.Tensor:
    """Return the IoU (G,) of each object with its proposal, 0 without one, from all IoUs [G, P]."""
    covers = torch.zeros(iou.shape[0])
    iou = iou.clone()
    for pair in range(min(iou.shape)):
        covers[pair] = iou.max()
        obj, proposal = divmod(int(iou.argmax()), iou.shape[1])
        iou[obj, :] = -1
        iou[:, proposal] = -1
    return covers


def evaluate_predictions_on_coco(
    coco_gt: COCO, coco_results: list[dict], json_result_file: str | None, iou_type: str = "bbox"
) -> COCOeval:
    """Run pycocotools' evaluation and log its summary.

    Args:
        coco_gt: the annotations.
        coco_results: results in COCO's format; an empty list gives an AP of 0.
        json_result_file: path of a file for the results; None: no file.
        iou_type: "bbox", "segm" or "keypoints".

    Returns:
        pycocotools' evaluation, with the figures in `stats`.
    """
    if json_result_file:
        with written_whole(json_result_file) as part, open(part, "w") as file:
            json.dump(coco_results, file)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        # loadRes adds keys to its argument, and cannot load an empty list
        coco_dt = coco_gt.loadRes(copy.deepcopy(coco_results)) if coco_results else COCO()
        coco_eval = COCOeval(coco_gt, coco_dt, iou_type)
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    summary = [line for line in output.getvalue().splitlines() if line.startswith(" Average")]
    logging.getLogger("maskrcnn_benchmark.inference").info("%s\n%s", iou_type, "\n".join(summary))
    return coco_eval


class COCOResults:
    """Figures per task and metric: `results["bbox"]["AP50"]`, -1 before `update`.

    Args:
        *iou_types: some of "bbox", "segm", "keypoints" and "box_proposal".
    """

    METRICS = {
        "bbox": ["AP", "AP50", "AP75", "APs", "APm", "APl"],
        "segm": ["AP", "AP50", "AP75", "APs", "APm", "APl"],
        "box_proposal": [f"AR{a}@{limit}" for limit in (100, 1000) for a in ("", "s", "m", "l")],
        "keypoints": ["AP", "AP50", "AP75", "APm", "APl"],
    }

    def __init__(self, *iou_types: str):
        unknown = set(iou_types) - set(self.METRICS)
        if unknown:
            raise ValueError(f"expected some of {', '.join(self.METRICS)}, got {sorted(unknown)}")
        self.results = OrderedDict(
            (iou_type, OrderedDict.fromkeys(self.METRICS[iou_type], -1)) for iou_type in iou_types
        )

    def update(self, coco_eval: COCOeval | None) -> None:
        """Copy the figures of an evaluation."""
        if coco_eval is not None:
            iou_type = coco_eval.params.iouType
            figures = map(float, coco_eval.stats)
            self.results[iou_type].update(zip(self.METRICS[iou_type], figures, strict=False))

    def __repr__(self) -> str:
        text = ""
        for task, figures in self.results.items():
            values = ", ".join(f"{value:.4f}" for value in figures.values())
            text += f"\nTask: {task}\n{', '.join(figures)}\n{values}"
        return text + "\n"


def check_expected_results(
    results: COCOResults, expected_results: Sequence, sigma_tol: float
) -> None:
    """Log, per expected figure, whether the result is near it (PASS) or not (FAIL, an error).

    Args:
        results: the figures.
        expected_results: rows [task, metric, [mean, standard deviation]].
        sigma_tol: greatest allowed distance from the mean, in standard deviations.
    """
    logger = logging.getLogger("maskrcnn_benchmark.inference")
    for task, metric, (mean, std) in expected_results:
        value = results.results.get(task, {}).get(metric)
        if value is None:
            logger.error("FAIL: %s > %s was expected but not evaluated", task, metric)
            continue
        passes = abs(value - mean) < sigma_tol * std
        logger.log(
            logging.INFO if passes else logging.ERROR,
            "%s: %s > %s is %.4f, expected %.4f within %g x %.4g",
            *("PASS" if passes else "FAIL", task, metric, value, mean, sigma_tol, std),
        )
