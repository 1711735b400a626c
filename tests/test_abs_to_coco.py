"""Evaluation of an AbstractDataset by COCO's rules."""

import json

import cv2
import pycocotools.mask as mask_util
import pytest
import torch

from maskrcnn_benchmark.data.datasets import AbstractDataset
from maskrcnn_benchmark.data.datasets.evaluation.coco import (
    coco_evaluation,
    do_wrapped_coco_evaluation,
)
from maskrcnn_benchmark.data.datasets.evaluation.coco.abs_to_coco import (
    convert_abstract_to_coco,
    masks_to_rles,
    process_single_image,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

OPTIONS = dict(box_only=False, expected_results=(), expected_results_sigma_tol=4)
# the second image has no objects; ids fall, so that their order is not that of the data set
IMAGES = [
    (70, {"width": 60, "height": 40}, [(2, 5, 6, 24, 15), (1, 30, 20, 53, 35)]),
    (50, {"width": 50, "height": 70}, []),
    (20, {"width": 64, "height": 48}, [(1, 11, 10, 40, 44)]),
]


class _Rectangles(AbstractDataset):
    """Data set of objects that fill boxes (label, x1, y1, x2, y2), at twice the image's size."""

    transforms = staticmethod(lambda target: target.resize([2 * side for side in target.size]))

    CLASSES = ("__background__", "ship", "plane")

    def __init__(self, mode="mask", crowd=False, keypoints=False, ids=True):
        super().__init__()
        self.initMaps()
        self.mode, self.crowd, self.keypoints, self.ids = mode, crowd, keypoints, ids

    def __len__(self):
        return len(IMAGES)

    def get_img_info(self, index):
        number, size, _ = IMAGES[index]
        return {**size, "file_name": f"{number}.png"} | ({"id": number} if self.ids else {})

    def __getitem__(self, idx):
        _, info, rows = IMAGES[idx]
        size = (info["width"], info["height"])
        boxes = torch.tensor([row[1:] for row in rows], dtype=torch.float32).reshape(-1, 4)
        target = BoxList(boxes, size)
        target.add_field("labels", torch.tensor([row[0] for row in rows], dtype=torch.int64))
        if self.mode == "mask":
            masks = torch.zeros((len(rows), size[1], size[0]), dtype=torch.uint8)
            for mask, (_, x1, y1, x2, y2) in zip(masks, rows, strict=True):
                mask[y1 : y2 + 1, x1 : x2 + 1] = 1
            target.add_field("masks", SegmentationMask(masks, size, mode="mask"))
        elif self.mode == "poly":
            outlines = [
                [[x1, y1, x2 + 1, y1, x2 + 1, y2 + 1, x1, y2 + 1]] for _, x1, y1, x2, y2 in rows
            ]
            target.add_field("masks", SegmentationMask(outlines, size, mode="poly"))
        if self.crowd:
            target.add_field("iscrowd", torch.arange(len(rows)) == 0)
        if self.keypoints:
            points = torch.ones(len(rows), 17, 3)
            points[..., :2] = boxes[:, None, :2] + torch.arange(17)[:, None] % 11
            points[:, 3:5, 2] = 0
            target.add_field("keypoints", PersonKeypoints(points, size))
        return None, self.transforms(target) if self.transforms else target, idx


def _as_predictions(dataset):
    predictions = []
    for index in range(len(dataset)):
        target = dataset.get_groundtruth(index)
        found = target.copy_with_fields(["labels"])
        found.add_field("scores", torch.linspace(0.9, 0.5, len(found)))
        if target.has_field("masks"):
            masks = target.get_field("masks").convert("mask").instances.masks
            found.add_field("mask", masks[:, None])
        if target.has_field("keypoints"):
            found.add_field("keypoints", target.get_field("keypoints"))
        predictions.append(found)
    return predictions


@pytest.mark.parametrize("mode", ["mask", "poly"])
@pytest.mark.parametrize("ids", [True, False], ids=["own ids", "no ids"])
def test_truth_given_back_scores_1(mode, ids):
    dataset, kinds = _Rectangles(mode, ids=ids), ("bbox", "segm")
    results, rows = coco_evaluation(
        dataset, _as_predictions(dataset), None, iou_types=kinds, **OPTIONS
    )
    assert {kind: results.results[kind]["AP"] for kind in kinds} == dict.fromkeys(kinds, 1.0)
    expected = [70, 70, 20] if ids else [1, 1, 3]
    assert [row["image_id"] for row in rows["segm"]] == expected


def test_keypoints_are_evaluated_too():
    dataset, kinds = _Rectangles(keypoints=True), ["keypoints"]
    results, _ = coco_evaluation(
        dataset, _as_predictions(dataset), None, iou_types=kinds, **OPTIONS
    )
    assert results.results["keypoints"]["AP"] == pytest.approx(1.0)


def test_boxes_alone_and_no_predictions():
    dataset = _Rectangles(mode=None)
    results, _ = coco_evaluation(dataset, _as_predictions(dataset), None, **OPTIONS)
    assert results.results["bbox"]["AP"] == 1.0
    nothing = [found[:0] for found in _as_predictions(dataset)]
    results, _ = coco_evaluation(dataset, nothing, None, **OPTIONS)
    assert results.results["bbox"]["AP"] == 0.0


def test_a_wrong_label_is_wrong():
    """Of two classes, plane (one of one) is right and ship (both of two) is called plane."""
    dataset = _Rectangles()
    predictions = _as_predictions(dataset)
    for found in predictions:
        found.get_field("labels")[:] = 2
    results, _ = coco_evaluation(dataset, predictions, None, iou_types=("bbox",), **OPTIONS)
    # plane: scores 0.9 (true, image 70), 0.5 and 0.9 (false): precision 1 or 1/2 by the ties' order
    assert results.results["bbox"]["AP"] in (pytest.approx(0.5), pytest.approx(0.25))


def test_the_truth_is_not_what_transforms_make_of_it(monkeypatch):
    dataset = _Rectangles()
    target = dataset.get_groundtruth(0)
    assert target.size == (60, 40) and dataset[0][1].size == [120, 80]
    assert target.get_field("masks").get_mask_tensor().sum(dim=(1, 2)).tolist() == [200, 384]
    enlarge = dataset.transforms
    monkeypatch.delattr(_Rectangles, "transforms")  # under another name
    monkeypatch.setattr(_Rectangles, "__getitem__", lambda self, idx: (None, enlarge(target), idx))
    assert torch.equal(dataset.get_groundtruth(0).bbox, target.bbox)


@pytest.mark.parametrize("mode", ["mask", "poly", None])
def test_entries(mode):
    image, rows = process_single_image((_Rectangles(mode), 0))
    assert image == {"id": 70, "width": 60, "height": 40, "file_name": "70.png"}
    assert [row["category_id"] for row in rows] == [2, 1]
    assert [row["bbox"] for row in rows] == [[5, 6, 20, 10], [30, 20, 24, 16]]
    assert [row["area"] for row in rows] == [200, 384]
    assert [row["iscrowd"] for row in rows] == [0, 0]
    assert all(("segmentation" in row) is bool(mode) for row in rows)
    if mode:
        mask = mask_util.decode(rows[1]["segmentation"])
        assert mask.shape == (40, 60) and mask.sum() == 384 and mask[20, 30] and mask[35, 53]


def test_crowds_are_not_evaluated():
    dataset = _Rectangles(crowd=True)
    content = convert_abstract_to_coco(dataset)
    assert [entry["iscrowd"] for entry in content["annotations"]] == [1, 0, 1]
    found = _as_predictions(dataset)
    # one object is evaluated; detections in the crowd of its class are left out, not false
    results, _ = coco_evaluation(dataset, found, None, iou_types=("bbox", "segm"), **OPTIONS)
    aps = [results.results[kind]["AP"] for kind in ("bbox", "segm")]
    assert aps == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("workers", [None, 2])
def test_the_whole_file(workers):
    threads = cv2.getNumThreads()
    cv2.setNumThreads(3)
    content = convert_abstract_to_coco(_Rectangles(ids=False), num_workers=workers, chunksize=2)
    assert cv2.getNumThreads() == 3
    cv2.setNumThreads(threads)
    assert json.loads(json.dumps(content)) == content
    assert [image["id"] for image in content["images"]] == [1, 2, 3]
    assert [entry["id"] for entry in content["annotations"]] == [1, 2, 3]
    assert [entry["image_id"] for entry in content["annotations"]] == [1, 1, 3]
    assert content["categories"] == [{"id": 1, "name": "ship"}, {"id": 2, "name": "plane"}]


def test_codes_of_no_masks():
    assert masks_to_rles(torch.zeros(0, 4, 5)) == []


def test_results_are_written_and_expectations_checked(tmp_path, caplog):
    dataset, expected = _Rectangles(), [["bbox", "AP", [0.5, 0.1]]]
    do_wrapped_coco_evaluation(
        dataset, _as_predictions(dataset), False, str(tmp_path), ("bbox",), expected, 4
    )
    assert "FAIL: bbox > AP is 1.0000, expected 0.5000 within 4 x 0.1" in caplog.text
    assert {p.name for p in tmp_path.iterdir()} == {
        "_Rectangles.json",
        "bbox.json",
        "coco_results.pth",
    }


def test_other_data_sets_are_refused():
    with pytest.raises(NotImplementedError, match="COCODataset or an AbstractDataset, got a list"):
        coco_evaluation([], [], None, **OPTIONS)
    with pytest.raises(ValueError, match="expected an AbstractDataset, got a list"):
        convert_abstract_to_coco([])
