"""Cityscapes' evaluation; the reference is cityscapesscripts' own script."""

import json
import logging
import sys

import numpy as np
import pytest
import torch
from made_cityscapes import HEIGHT, WIDTH, make_cityscapes
from PIL import Image

from maskrcnn_benchmark.data.datasets import AbstractDataset, CityScapesDataset
from maskrcnn_benchmark.data.datasets.cityscapes import INSTANCE_CLASSES
from maskrcnn_benchmark.data.datasets.evaluation import evaluate
from maskrcnn_benchmark.data.datasets.evaluation.cityscapes import eval_instances
from maskrcnn_benchmark.structures.bounding_box import BoxList

OPTIONS = dict(box_only=False, expected_results=(), expected_results_sigma_tol=4)
CAR, PERSON, BICYCLE, RIDER = 3, 1, 10, 2
KINDS = ("bbox", "segm")


@pytest.fixture
def dataset(cityscapes_folders):
    return CityScapesDataset(*cityscapes_folders, "val")


def detections(*rows, size=(WIDTH, HEIGHT)):
    """Return predictions of (label, score, box xyxy), whose masks fill their boxes."""
    boxes = torch.tensor([list(row[2:]) for row in rows], dtype=torch.float32).reshape(-1, 4)
    found = BoxList(boxes, size)
    found.add_field("labels", torch.tensor([row[0] for row in rows], dtype=torch.int64))
    found.add_field("scores", torch.tensor([row[1] for row in rows], dtype=torch.float64))
    masks = torch.zeros(len(rows), 1, size[1], size[0])
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[0, y1 : y2 + 1, x1 : x2 + 1] = 1
    found.add_field("mask", masks)
    return found


def truth_as_predictions(dataset):
    """Return the visible objects as predictions."""
    predictions = []
    for index in range(len(dataset)):
        target = dataset.get_groundtruth(index)
        found = target.copy_with_fields(["labels"])
        found.add_field("scores", torch.linspace(0.9, 0.5, len(found)))
        masks = target.get_field("masks").convert("mask").instances.masks
        found.add_field("mask", masks[:, None].to(torch.uint8))
        predictions.append(found)
    return predictions


@pytest.fixture(autouse=True, scope="module")
def _official():
    return pytest.importorskip("cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling")


@pytest.mark.parametrize("mode", ["mask", "poly"])
def test_truth_given_back_scores_1(cityscapes_folders, mode):
    dataset = CityScapesDataset(*cityscapes_folders, "val", mode=mode)
    predictions = truth_as_predictions(CityScapesDataset(*cityscapes_folders, "val", mode="mask"))
    results = evaluate(dataset, predictions, None, iou_types=KINDS, **OPTIONS)
    for kind in KINDS:
        assert [results[kind][key] for key in ("AP", "AP50", "AP75")] == [1.0, 1.0, 1.0]
        found = {name for name, own in results[kind]["classes"].items() if own["AP"] == 1.0}
        assert found == {"car", "person", "bicycle"}
        assert len(results[kind]["classes"]) == 8


def test_a_false_box_above_the_true_one_and_a_miss(dataset):
    """The average precision of cars is 1/8, computed by hand.

    Scores are 0.8 (hits) and 0.9 (false), and one car is missed. By rising threshold, (precision,
    recall) is (1/2, 1/2), (0, 0), and (1, 0), which the script appends. The weight of each
    precision is half the difference of its neighbours' recalls:
    (1/2 - 0) / 2, (1/2 - 0) / 2, 0. So AP is 1/2 * 1/4 + 0 * 1/4 + 1 * 0 = 1/8.
    """
    found = detections((CAR, 0.8, 25, 20, 54, 44), (CAR, 0.9, 5, 40, 24, 69))
    empty = detections()
    results = evaluate(dataset, [found, empty, empty], None, iou_types=KINDS, **OPTIONS)
    for kind in KINDS:
        assert results[kind]["classes"]["car"] == {"AP": 0.125, "AP50": 0.125, "AP75": 0.125}
        assert results[kind]["classes"]["person"]["AP"] == 0  # there is one, nothing was found
        assert np.isnan(results[kind]["classes"]["bus"]["AP"])  # there is none
        assert results[kind]["AP"] == pytest.approx((0.125 + 0 + 0) / 3)


def test_overlap_counts_pixels(dataset):
    """The front car is 30 x 25; a box shifted by 4 columns shares 26 x 25, IoU 26 / 34 = 0.765.

    So it is found at 6 of 10 overlaps, 0.5 to 0.75. The other car is missed, so the recall there
    is 1/2 at precision 1, which gives an AP of 1/2.
    """
    found = detections((CAR, 0.9, 29, 20, 58, 44))
    empty = detections()
    results = evaluate(dataset, [found, empty, empty], None, iou_types=KINDS, **OPTIONS)
    for kind in KINDS:
        car = results[kind]["classes"]["car"]
        assert car == {"AP": pytest.approx(0.3), "AP50": 0.5, "AP75": 0.5}


def test_fault_cityscapes_matches_across_classes(dataset):
    """The original let a rider on the person's pixels find the person."""
    found = detections((RIDER, 0.9, 70, 8, 81, 47))
    match = eval_instances.matchGtWithPred(dataset, [found], 0)
    assert [gt["matchedPred"] for gt in match["groundTruth"]["person"]] == [[], []]
    empty = detections()
    results = evaluate(dataset, [found, empty, empty], None, iou_types=KINDS, **OPTIONS)
    assert [results[kind]["classes"]["person"]["AP"] for kind in KINDS] == [0, 0]


@pytest.mark.parametrize(
    ("false_one", "ignored"),
    [
        ((CAR, 0.95, 65, 56, 89, 73), True),  # on the group of cars
        ((PERSON, 0.95, 65, 56, 84, 73), False),  # of another class
        ((CAR, 0.95, 5, 75, 24, 79), True),  # out of the region of interest
        ((PERSON, 0.95, 88, 8, 99, 19), True),  # around a person of 8 x 10 = 80, of 144 pixels
        ((PERSON, 0.95, 60, 5, 69, 24), False),  # on background
    ],
)
def test_what_lies_on_groups_void_and_small_objects_is_no_fault(dataset, false_one, ignored):
    found = truth_as_predictions(dataset)
    rows = list(
        zip(*(found[0].get_field(key).tolist() for key in ("labels", "scores")), strict=True)
    )
    kept = [(*row, *box) for row, box in zip(rows, found[0].bbox.tolist(), strict=True)]
    found[0] = detections(*kept[:1], *kept[3:], false_one)  # without the small and the hidden one
    results = evaluate(dataset, found, None, iou_types=KINDS, **OPTIONS)
    others = [
        evaluate(
            dataset,
            [detections(*kept[:1], *kept[3:]), *found[1:]],
            None,
            iou_types=KINDS,
            **OPTIONS,
        )
    ]
    for kind in KINDS:
        # the 144 pixels lie to 80 / 144 = 0.56 on the small person: ignored up to overlap 0.55
        key = "AP50"
        assert (results[kind][key] == others[0][kind][key]) is ignored


def _run_official(script, dataset, predictions, folder, monkeypatch):
    """Write predictions as the official script reads them, and run it."""
    (folder / "results").mkdir()
    monkeypatch.chdir(folder)  # it writes matches.json here
    ids = {label: number for number, label in dataset.cityscapesID_to_ind.items()}
    lists = []
    for index, found in enumerate(predictions):
        lines = []
        masks = found.get_field("mask")[:, 0].numpy().astype(np.uint8)
        for k, mask in enumerate(masks):
            Image.fromarray(mask * 255).save(folder / "results" / f"{index}_{k}.png")
            label, score = found.get_field("labels")[k].item(), found.get_field("scores")[k].item()
            lines.append(f"{index}_{k}.png {ids[label]} {score!r}\n")
        lists.append(str(folder / "results" / f"pred_{index}.txt"))
        (folder / "results" / f"pred_{index}.txt").write_text("".join(lines))
    # what keeps the script from running with numpy 2.4
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    monkeypatch.setattr(script, "writeDict2JSON", lambda *_: None)
    settings = script.args
    monkeypatch.setattr(settings, "gtInstancesFile", str(folder / "gt.json"))
    monkeypatch.setattr(settings, "predictionPath", str(folder / "results"))
    monkeypatch.setattr(settings, "JSONOutput", False)
    monkeypatch.setattr(settings, "quiet", True)
    truths = [dataset.instance_ids_path(index) for index in range(len(dataset))]
    return script.evaluateImgLists(lists, truths, settings)


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_the_official_script(tmp_path, monkeypatch, _official, seed):
    """Random scenes and predictions, also of ignored classes, with masks unlike their boxes."""
    rng = np.random.default_rng(seed)
    names = [*INSTANCE_CLASSES, "cargroup", "persongroup"]
    scenes = {}
    for number in range(4):
        rows = []
        for _ in range(12):
            x1, y1 = rng.integers(0, 90), rng.integers(0, 60)
            x2, y2 = x1 + rng.integers(5, 30), y1 + rng.integers(5, 20)
            label = names[rng.integers(len(names))] if rng.random() < 0.3 else "car"
            rows.append((label, *(int(v) for v in (x1, y1, x2, y2))))
        scenes[f"ulm/ulm_{number:06}_000019"] = rows
    dataset = CityScapesDataset(*make_cityscapes(tmp_path / "set", "val", scenes), "val")
    predictions = []
    for rows in scenes.values():
        found = []
        for label, *box in rows:
            for _ in range(2):
                moved = np.clip(np.array(box) + rng.integers(-3, 4, 4), 0, [118, 78, 119, 79])
                moved[2:] = np.maximum(moved[2:], moved[:2])
                kind = label if label in INSTANCE_CLASSES and rng.random() < 0.8 else "car"
                score = rng.integers(1, 40) / 40  # some are equal
                found.append((dataset.name_to_id[kind], float(score), *moved.tolist()))
        predictions.append(detections(*found))
        holes = torch.from_numpy(rng.random((len(found), 1, HEIGHT, WIDTH)) < 0.1)
        predictions[-1].get_field("mask")[holes] = 0
    expected = _run_official(_official, dataset, predictions, tmp_path, monkeypatch)["averages"]
    results = evaluate(dataset, predictions, None, iou_types=("segm",), **OPTIONS)["segm"]
    assert 0.05 < expected["allAp"] < 0.95
    assert results["AP"] == pytest.approx(expected["allAp"], rel=1e-12)
    assert results["AP50"] == pytest.approx(expected["allAp50%"], rel=1e-12)
    for name, figures in expected["classes"].items():
        np.testing.assert_equal(results["classes"][name]["AP"], figures["ap"])
        np.testing.assert_equal(results["classes"][name]["AP50"], figures["ap50%"])


def test_predictions_of_the_resized_image_and_small_masks(dataset):
    scaled = []
    for found in truth_as_predictions(dataset):
        larger = found.copy_with_fields(["labels", "scores"]).resize((WIDTH * 3, HEIGHT * 3))
        larger.add_field("mask", torch.ones(len(found), 1, 28, 28))
        scaled.append(larger)
    found, masks = eval_instances.preparePredImage(dataset, scaled, 2)
    bicycle, mask = found[1], masks[1]
    assert bicycle["box"] == pytest.approx((11, 40, 40, 69))
    assert mask.shape == (HEIGHT, WIDTH)
    inside = mask[40:70, 11:41]
    assert inside.mean() > 0.95 and bicycle["pixelCount"] < 1.1 * 30 * 30
    results = evaluate(dataset, scaled, None, iou_types=KINDS, **OPTIONS)
    assert results["segm"]["classes"]["bicycle"]["AP50"] == 1.0


class _Squares(AbstractDataset):
    """Two images of 50 x 30, one with two objects, the other empty; no masks."""

    CLASSES = ("__background__", "ship", "plane")

    def __init__(self):
        super().__init__()
        self.initMaps()

    def __len__(self):
        return 2

    def get_img_info(self, index):
        return {"width": 50, "height": 30}

    def __getitem__(self, idx):
        boxes = [[5, 5, 24, 24], [20, 2, 44, 21]] if idx == 0 else []
        target = BoxList(torch.tensor(boxes).reshape(-1, 4), (50, 30)).resize((100, 60))
        target.add_field("labels", torch.tensor([2, 1][: len(boxes)]))
        return None, target, idx


def test_any_abstract_dataset_is_evaluated():
    found = detections((1, 0.9, 20, 2, 44, 21), (2, 0.8, 5, 5, 24, 24), size=(50, 30))
    empty = detections(size=(50, 30))
    results = evaluate(_Squares(), [found, empty], None, iou_types=("bbox",), **OPTIONS)
    assert results["bbox"]["AP"] == 1.0 and set(results["bbox"]["classes"]) == {"ship", "plane"}


def test_results_are_written_logged_and_checked(dataset, tmp_path, caplog):
    expected = [["segm", "AP", [1.0, 0.01]], ["bbox", "AP50", [0.2, 0.01]]]
    options = OPTIONS | {"expected_results": expected}
    with caplog.at_level(logging.INFO):
        evaluate(dataset, truth_as_predictions(dataset), str(tmp_path), iou_types=KINDS, **options)
    assert "PASS: segm > AP" in caplog.text and "FAIL: bbox > AP50" in caplog.text
    assert "car                 1.000     1.000     1.000" in caplog.text
    folder = tmp_path / "evaluationResults"
    assert sorted(p.name for p in folder.iterdir()) == [
        "boxResult.json",
        "maskResult.json",
        "matches.json",
    ]
    assert json.loads((folder / "maskResult.json").read_text())["averages"]["allAp"] == 1.0
    assert len(json.loads((folder / "matches.json").read_text())) == 3


def test_what_these_rules_do_not_evaluate_is_refused(dataset):
    with pytest.raises(NotImplementedError, match="not keypoints; COCO's do"):
        evaluate(dataset, [], None, iou_types=("bbox", "keypoints"), **OPTIONS)
    with pytest.raises(NotImplementedError, match="not proposals"):
        evaluate(dataset, [], None, **(OPTIONS | {"box_only": True}))
    with pytest.raises(ValueError, match="expected predictions of 3 images, got 1"):
        evaluate(dataset, [detections()], None, iou_types=KINDS, **OPTIONS)


def test_without_cityscapesscripts_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "cityscapesscripts.evaluation", None)
    found = [detections(size=(50, 30))] * 2
    with pytest.raises(ImportError, match="pip install cityscapesscripts.*COCO's rules"):
        evaluate(_Squares(), found, None, iou_types=("bbox",), **OPTIONS)


def test_boxes_share_pixels():
    """10 x 5 and 10 x 5 pixels; columns 8..12 and rows 6..8 are in both: 5 x 3."""
    a, b = (3, 4, 12, 8), (8, 6, 17, 10)
    assert eval_instances.getIntersectionBox(a, b) == (8, 6, 12, 8)
    assert eval_instances.getUnionBox(a, b) == (3, 4, 17, 10)
    assert eval_instances.computeBoxIntersection({"box": a}, {"box": b}) == 15
    assert eval_instances.isOverlapping(a, (12, 8, 20, 20))  # one pixel
    assert not eval_instances.isOverlapping(a, (13, 4, 20, 8))
    assert eval_instances.computeBoxIntersection({"box": a}, {"box": (14, 10, 20, 20)}) == 0
