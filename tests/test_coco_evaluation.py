import json
import logging

import pytest
import torch
from made_data import boxlist, make_coco_folder

from maskrcnn_benchmark.data.datasets import COCODataset, ConcatDataset
from maskrcnn_benchmark.data.datasets.evaluation import evaluate
from maskrcnn_benchmark.data.datasets.evaluation.coco import coco_eval
from maskrcnn_benchmark.data.datasets.evaluation.coco.coco_eval import (
    COCOResults,
    check_expected_results,
    evaluate_box_proposals,
    prepare_for_coco_detection,
    prepare_for_coco_segmentation,
)

OPTIONS = dict(box_only=False, expected_results=(), expected_results_sigma_tol=4)
SIZES = {4: (60, 40), 8: (50, 70)}
BOXES = {4: [[5, 6, 20, 10], [30, 20, 24, 16]], 8: [[11, 30, 30, 35]]}  # x, y, width, height


def outline(box):
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def body(box):
    return [v for k in range(17) for v in (box[0] + k % box[2], box[1] + k % box[3], 2)]


@pytest.fixture
def dataset(tmp_path):
    annotations = [
        {
            "image_id": image_id,
            "category_id": 7 if place == 0 else 3,
            "bbox": box,
            "segmentation": outline(box),
            "keypoints": body(box),
            "num_keypoints": 17,
        }
        for image_id, boxes in BOXES.items()
        for place, box in enumerate(boxes)
    ]
    categories = {7: "ship", 3: "plane"}
    folder = make_coco_folder(tmp_path / "coco", SIZES, categories, annotations)
    return COCODataset(*map(str, folder), False)


def truth_as_predictions(dataset, scale=1):
    """Return each image's objects as detections on the image scaled by `scale`."""
    predictions = []
    for index in range(len(dataset)):
        _, target, _ = dataset[index]
        size = tuple(length * scale for length in target.size)
        found = target.copy_with_fields(["labels"]).resize(size)
        found.add_field("scores", torch.linspace(0.9, 0.5, len(found)))
        if target.has_field("masks"):
            masks = target.get_field("masks").convert("mask").instances.masks  # [N, H, W]
            found.add_field("mask", masks[:, None].to(torch.uint8))
        if target.has_field("keypoints"):
            points = target.get_field("keypoints")
            found.add_field("keypoints", points.resize(size))
            # COCO leaves out people without a labelled point, whose points are all at 0, 0
            found = found[(points.keypoints[..., 2] > 0).any(dim=1)]
        predictions.append(found)
    return predictions


@pytest.mark.parametrize("scale", [1, 3])
def test_truth_given_back_scores_1(dataset, scale):
    kinds = ("bbox", "segm", "keypoints")
    predictions = truth_as_predictions(dataset, scale)
    results, rows = evaluate(dataset, predictions, None, iou_types=kinds, **OPTIONS)
    assert {kind: results.results[kind]["AP"] for kind in kinds} == dict.fromkeys(kinds, 1.0)
    assert {kind: len(rows[kind]) for kind in kinds} == dict.fromkeys(kinds, 3)


def test_results_are_in_image_pixels_and_json_categories(dataset):
    rows = prepare_for_coco_detection(truth_as_predictions(dataset, 2), dataset)
    assert [(r["image_id"], r["category_id"]) for r in rows] == [(4, 7), (4, 3), (8, 7)]
    assert rows[0]["score"] == pytest.approx(0.9)
    # 5 … 24 of 60 pixels is 10 … 48 of 120 and back
    assert rows[0]["bbox"] == pytest.approx([5, 6, 20, 10])


def test_average_precision_by_hand(dataset):
    """Of two ships one is found, and one false ship with a lower score: recall 1/2, precision 1.

    COCO takes the precision at 101 recalls: 51 of them are at most 0.5, so AP is 51 / 101.
    """
    labels, scores = torch.tensor([1, 1]), torch.tensor([0.9, 0.6])
    first = boxlist([[5, 6, 24, 15], [40, 0, 50, 9]], (60, 40), labels=labels, scores=scores)
    nothing = boxlist([], (50, 70), labels=labels[:0], scores=scores[:0])
    results, _ = evaluate(dataset, [first, nothing], None, iou_types=("bbox",), **OPTIONS)
    # the plane is not found at all: the mean over two classes
    assert results.results["bbox"]["AP"] == pytest.approx(51 / 101 / 2, abs=1e-6)


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_no_detection_at_all_scores_0(dataset, kind, tmp_path):
    fields = dict(labels=torch.zeros(0, dtype=torch.int64), scores=torch.zeros(0))
    predictions = [boxlist([], size, **fields) for size in SIZES.values()]
    results, rows = evaluate(dataset, predictions, str(tmp_path), iou_types=(kind,), **OPTIONS)
    assert results.results[kind]["AP"] == 0.0 and rows[kind] == []
    assert json.loads((tmp_path / f"{kind}.json").read_text()) == []


def test_files(dataset, tmp_path):
    predictions = truth_as_predictions(dataset)
    _, rows = evaluate(dataset, predictions, str(tmp_path), iou_types=("bbox", "segm"), **OPTIONS)
    assert json.loads((tmp_path / "bbox.json").read_text()) == rows["bbox"]
    assert json.loads((tmp_path / "segm.json").read_text()) == rows["segm"]
    loaded = torch.load(tmp_path / "coco_results.pth", weights_only=False)
    assert loaded.results["segm"]["AP"] == 1.0


def test_small_masks_are_pasted_part_by_part(dataset, monkeypatch):
    """A full mask is pasted onto about its box, for any number of masks that are pasted at once."""
    rows = {}
    for at_once in (1, 32):
        monkeypatch.setattr(coco_eval, "PASTED_AT_ONCE", at_once)
        predictions = truth_as_predictions(dataset)
        for found in predictions:
            found.add_field("mask", torch.ones(len(found), 1, 28, 28))
        rows[at_once] = prepare_for_coco_segmentation(predictions, dataset)
    assert rows[1] == rows[32]
    areas = coco_eval.mask_util.area([row["segmentation"] for row in rows[1]])
    assert areas.tolist() == pytest.approx([20 * 10, 24 * 16, 30 * 35], rel=0.15)


def test_masks_pasted_at_another_size_are_refused(dataset):
    """The original pastes them once more, each into its box."""
    predictions = truth_as_predictions(dataset)
    predictions[0].add_field("mask", torch.ones(2, 1, 80, 120, dtype=torch.bool))
    with pytest.raises(ValueError, match="120 x 80 .* 60 x 40: set .*POSTPROCESS_MASKS to False"):
        prepare_for_coco_segmentation(predictions, dataset)


# two objects in the first image, one in the second; IoU of a proposal by hand:
# (5, 6, 24, 15) is the first object; (5, 6, 24, 10) is its upper half, 100 / 200;
# (30, 20, 53, 31) is 12 of the second's 16 rows, 0.75
PROPOSALS = [[5, 6, 24, 10], [30, 20, 53, 31], [0, 0, 3, 3]]


@pytest.mark.parametrize(
    "limit, thresholds, overlaps, recalls",
    [
        (None, [0.5, 0.7, 0.8], [0, 0.5, 0.75], [2 / 3, 1 / 3, 0]),
        (1, [0.5, 0.7], [0, 0, 0.5], [1 / 3, 0]),
    ],
)
def test_recall_of_proposals(dataset, limit, thresholds, overlaps, recalls):
    objectness = torch.tensor([0.9, 0.5, 0.7])
    predictions = [
        boxlist(PROPOSALS, (60, 40), objectness=objectness),
        boxlist([], (50, 70), objectness=objectness[:0]),
    ]
    stats = evaluate_box_proposals(
        predictions, dataset, thresholds=torch.tensor(thresholds), limit=limit
    )
    assert stats["gt_overlaps"].tolist() == pytest.approx(overlaps)
    assert stats["recalls"].tolist() == pytest.approx(recalls)
    assert stats["num_pos"] == 3
    assert stats["ar"].item() == pytest.approx(sum(recalls) / len(recalls))


def test_each_proposal_covers_one_object(dataset):
    # the best pair is taken first: the proposal that is the first object itself
    iou = torch.tensor([[0.6, 1.0], [0.9, 0.8]])
    assert coco_eval._pair_greedily(iou).tolist() == pytest.approx([1.0, 0.9])
    iou = torch.tensor([[0.6, 1.0], [0.0, 0.8]])
    assert coco_eval._pair_greedily(iou).tolist() == pytest.approx([1.0, 0.0])


def test_area_of_objects(dataset):
    predictions = [boxlist([], size, objectness=torch.zeros(0)) for size in SIZES.values()]
    # 20 * 10 and 24 * 16 are small, 30 * 35 = 1050 is between 32 * 32 and 96 * 96
    counts = {
        area: evaluate_box_proposals(predictions, dataset, area=area)["num_pos"]
        for area in ("all", "small", "medium", "large")
    }
    assert counts == {"all": 3, "small": 2, "medium": 1, "large": 0}
    with pytest.raises(ValueError, match="area must be one of all, small"):
        evaluate_box_proposals(predictions, dataset, area="huge")


def test_proposals_only(dataset, tmp_path):
    predictions = truth_as_predictions(dataset)
    for found in predictions:
        found.add_field("objectness", found.get_field("scores"))
    options = {**OPTIONS, "box_only": True}
    results, _ = evaluate(dataset, predictions, str(tmp_path), iou_types=("bbox",), **options)
    assert results.results["box_proposal"]["AR@100"] == pytest.approx(1.0)
    assert results.results["box_proposal"]["ARs@1000"] == pytest.approx(1.0)
    assert (tmp_path / "box_proposals.pth").is_file()


def test_expected_results_are_checked(caplog):
    results = COCOResults("bbox")
    results.results["bbox"]["AP"] = 0.41
    caplog.set_level(logging.INFO)
    # 0.41 is within 4 x 0.01 of 0.38, not within 2 x 0.01
    check_expected_results(results, [["bbox", "AP", [0.38, 0.01]]], 4)
    check_expected_results(results, [["bbox", "AP", [0.38, 0.01]]], 2)
    check_expected_results(results, [["segm", "AP", [0.38, 0.01]]], 2)
    assert [(r.levelname, r.message[:4]) for r in caplog.records] == [
        ("INFO", "PASS"),
        ("ERROR", "FAIL"),
        ("ERROR", "FAIL"),
    ]
    assert "segm > AP was expected but not evaluated" in caplog.text


def test_figures_begin_at_minus_one():
    results = COCOResults("bbox", "keypoints")
    assert list(results.results["keypoints"].items())[0] == ("AP", -1)
    results.update(None)
    assert "Task: bbox\nAP, AP50, AP75, APs, APm, APl\n-1.0000" in repr(results)
    assert COCOResults.METRICS["box_proposal"][:5] == [
        "AR@100",
        "ARs@100",
        "ARm@100",
        "ARl@100",
        "AR@1000",
    ]
    with pytest.raises(ValueError, match="box_proposal.*'masks'"):
        COCOResults("masks")


def test_data_sets_without_rules(dataset):
    with pytest.raises(NotImplementedError, match="ConcatDataset"):
        evaluate(ConcatDataset([dataset]), [], None, **OPTIONS)
