import logging

import numpy as np
import pytest
import torch
from made_data import boxlist

from maskrcnn_benchmark.data.datasets import PascalVOCDataset
from maskrcnn_benchmark.data.datasets.evaluation import evaluate
from maskrcnn_benchmark.data.datasets.evaluation.voc.voc_eval import (
    calc_detection_voc_ap,
    calc_detection_voc_prec_rec,
    eval_detection_voc,
)

SIZE = (80, 60)


def truth(boxes, labels=None, difficult=None):
    return boxlist(
        boxes,
        SIZE,
        labels=torch.tensor([1] * len(boxes) if labels is None else labels, dtype=torch.int64),
        difficult=torch.tensor(difficult or [0] * len(boxes), dtype=torch.uint8),
    )


def found(boxes, scores, labels=None):
    return boxlist(
        boxes,
        SIZE,
        labels=torch.tensor([1] * len(boxes) if labels is None else labels, dtype=torch.int64),
        scores=torch.tensor(scores, dtype=torch.float32),
    )


def test_fault_plus_one_applied_twice():
    """Five pixels and five pixels share three: IoU 3 / 7.

    The original added 1 to x2 and y2 and let boxlist_iou add it again: 4 * 2 / (24 - 8) = 0.5.
    """
    objects, detections = [truth([[10, 5, 14, 5]])], [found([[12, 5, 16, 5]], [0.9])]
    assert eval_detection_voc(detections, objects, 0.45)["map"] == 0.0
    assert eval_detection_voc(detections, objects, 3 / 7 - 1e-6)["map"] == 1.0


def test_curves_by_hand():
    objects = [
        truth([[0, 0, 9, 9], [30, 20, 49, 39], [60, 0, 69, 9]], difficult=[0, 0, 1]),
        truth([[5, 5, 24, 24]]),
    ]
    detections = [
        # an object; the same again; the difficult one; the difficult one again
        found([[0, 0, 9, 9], [0, 0, 9, 8], [60, 0, 69, 9], [60, 0, 69, 8]], [0.9, 0.8, 0.95, 0.6]),
        # nothing there; an object
        found([[50, 30, 60, 40], [5, 5, 24, 24]], [0.85, 0.7]),
    ]
    prec, rec = calc_detection_voc_prec_rec(objects, detections)
    assert prec[0] is None and rec[0] is None
    # by falling score: ignored, true, false (empty place), false (again), true, ignored
    assert rec[1] == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert np.isnan(prec[1][0])
    assert prec[1][1:] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 2, 1 / 2])
    # area: 1/3 * 1 + 1/3 * 1/2; 2007: recalls 0 … 0.3 give 1, 0.4 … 0.6 give 1/2
    assert calc_detection_voc_ap(prec, rec)[1] == pytest.approx(1 / 2)
    assert calc_detection_voc_ap(prec, rec, True)[1] == pytest.approx((4 + 3 / 2) / 11)


def test_classes_are_evaluated_separately():
    objects = [truth([[0, 0, 9, 9], [30, 20, 49, 39]], labels=[1, 3])]
    detections = [found([[0, 0, 9, 9], [30, 20, 49, 39]], [0.9, 0.8], labels=[1, 2])]
    result = eval_detection_voc(detections, objects)
    # class 2 has no objects, class 3 no detection
    assert np.array_equal(result["ap"], [np.nan, 1.0, np.nan, 0.0], equal_nan=True)
    assert result["map"] == 0.5


def plain_ap(objects, detections, threshold, use_07):
    """One class, written as loops over the ranked detections."""
    ranked = sorted(
        (
            (-score, image, box)
            for image, boxes in enumerate(detections)
            for box, score in zip(
                boxes.bbox.tolist(), boxes.get_field("scores").tolist(), strict=True
            )
        ),
        key=lambda item: item[0],
    )
    positives = sum((boxes.get_field("difficult") == 0).sum().item() for boxes in objects)
    taken, true, false, curve = set(), 0, 0, []
    for _, image, box in ranked:
        best, which = 0.0, None
        for number, other in enumerate(objects[image].bbox.tolist()):
            wide = min(box[2], other[2]) - max(box[0], other[0]) + 1
            high = min(box[3], other[3]) - max(box[1], other[1]) + 1
            if wide <= 0 or high <= 0:
                continue
            areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
            overlap = wide * high / (sum(areas) - wide * high)
            if overlap > best:
                best, which = overlap, number
        if best >= threshold and objects[image].get_field("difficult")[which]:
            continue
        if best >= threshold and (image, which) not in taken:
            taken.add((image, which))
            true += 1
        else:
            false += 1
        curve.append((true / positives, true / (true + false)))
    if use_07:
        return sum(
            max((p for r, p in curve if r >= t), default=0) / 11 for t in np.arange(0, 1.1, 0.1)
        )
    area, last = 0.0, 0.0
    for place, (recall, _) in enumerate(curve):
        area += (recall - last) * max(p for _, p in curve[place:])
        last = recall
    return area


@pytest.mark.parametrize("use_07", [True, False])
@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_against_plain_loops(use_07, threshold):
    rng = np.random.default_rng(5)
    objects, detections = [], []
    for _ in range(6):
        corner = rng.integers(0, 40, (12, 2))
        boxes = np.concatenate([corner, corner + rng.integers(4, 20, (12, 2))], axis=1)
        objects.append(truth(boxes.tolist(), difficult=rng.integers(0, 2, 12).tolist()))
        near = np.repeat(boxes, 2, axis=0) + rng.integers(-2, 3, (24, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
        detections.append(found(near.tolist(), rng.permutation(24) / 24 + rng.random() / 100))
    result = eval_detection_voc(detections, objects, threshold, use_07)
    expected = plain_ap(objects, detections, threshold, use_07)
    assert 0.05 < expected < 0.95
    assert result["ap"][1] == pytest.approx(expected)


def test_no_detection_and_no_object():
    nothing = found([], [])
    assert eval_detection_voc([nothing], [truth([[0, 0, 9, 9]])])["map"] == 0.0
    assert np.isnan(eval_detection_voc([nothing], [truth([])])["map"])
    assert np.isnan(eval_detection_voc([], [])["map"])


def test_predictions_and_images_must_be_as_many():
    with pytest.raises(ValueError, match="got 0 and 1"):
        eval_detection_voc([], [truth([])])


class MadeVOC(PascalVOCDataset):
    """Two images held in memory."""

    def __init__(self):
        self.truths = [truth([[0, 0, 9, 9]], labels=[4]), truth([[5, 5, 24, 24]], labels=[4])]

    def __len__(self):
        return 2

    def get_img_info(self, index):
        return {"width": SIZE[0], "height": SIZE[1]}

    def get_groundtruth(self, index):
        return self.truths[index]


def test_a_whole_set(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    predictions = [
        found([[0, 0, 9, 9]], [0.9], labels=[4]).resize((160, 120)),
        found([], [], labels=[]),
    ]
    result = evaluate(MadeVOC(), predictions, str(tmp_path), box_only=True, iou_types=("bbox",))
    # one of two objects, nothing false: recalls 0 … 0.5 give 1
    assert result["map"] == pytest.approx(6 / 11)
    text = (tmp_path / "result.txt").read_text()
    assert text.startswith("mAP: 0.5455\n") and "boat            : 0.5455\n" in text
    assert "box_only has no effect" in caplog.text
