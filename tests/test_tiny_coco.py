"""COCO's evaluation as a whole: annotations that are returned as detections score 1.

It runs on 50 real images per split, and on a made set with the same difficulties: crowd regions,
people without a labelled point, images without an object.
"""

import logging

import numpy as np
import pytest
import torch
from made_data import make_coco_folder
from pycocotools import mask as mask_util

from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.datasets.evaluation import evaluate
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist

ALL_KINDS = ("bbox", "segm", "keypoints")
PERFECT = [[kind, "AP", [1.0, 1e-9]] for kind in ALL_KINDS]


def ap_of(dataset, predictions, kinds, expected=()):
    results, _ = evaluate(
        *(dataset, predictions, None),
        iou_types=kinds,
        box_only=False,
        expected_results=expected,
        expected_results_sigma_tol=4,
    )
    return {kind: results.results[kind]["AP"] for kind in kinds}


def truth_given_back(dataset, scale=1.5):
    """Return the objects of each image as detections on an enlarged image.

    The points of people without a labelled point are placed in the middle of the box, with a lower
    score.
    """
    predictions = []
    for index, image_id in enumerate(dataset.ids):
        _, target, _ = dataset[index]
        annotations = [a for a in dataset.coco.imgToAnns[image_id] if not a["iscrowd"]]
        assert len(annotations) == len(target)
        found = target.copy_with_fields("labels")
        masks = target.get_field("masks").convert("mask").instances.masks
        width, height = target.size
        found.add_field("mask", masks[:, None] if len(masks) else torch.zeros(0, 1, 28, 28))
        scores = torch.linspace(0.9, 0.6, len(found))
        if target.has_field("keypoints"):
            keypoints = target.get_field("keypoints")[:]
            unseen = keypoints.keypoints[..., 2].sum(dim=1) == 0
            middle = (target.bbox[:, None, :2] + target.bbox[:, None, 2:]) / 2
            keypoints.keypoints[..., :2] += unseen[:, None, None] * middle
            found.add_field("keypoints", keypoints)
            scores -= 0.5 * unseen
        found.add_field("scores", scores)
        predictions.append(found.resize((int(width * scale), int(height * scale))))
    return predictions


def body(box, labelled=17):
    """Return points spread over a box, of which the first ones are labelled."""
    x, y, width, height = box
    places = [(x + (k * 7) % width, y + (k * 5) % height) for k in range(17)]
    return [
        v for k, (a, b) in enumerate(places) for v in ((a, b, 2) if k < labelled else (0, 0, 0))
    ]


def outline(box):
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


# image id -> (width, height); objects: image, category, x y width height, labelled points
SIZES = {4: (60, 40), 8: (50, 70), 15: (40, 30)}
OBJECTS = [
    *((4, 1, [5, 6, 20, 10], 17), (4, 1, [30, 20, 24, 16], 12), (4, 7, [2, 30, 11, 8], 0)),
    *((8, 1, [11, 30, 30, 35], 17), (8, 1, [40, 2, 9, 25], 0)),
]
CROWD = (8, 1, [0, 0, 20, 28])


@pytest.fixture
def dataset(tmp_path):
    annotations = [
        {
            **dict(image_id=image_id, category_id=category, bbox=box, segmentation=outline(box)),
            **dict(keypoints=body(box, labelled), num_keypoints=labelled),
        }
        for image_id, category, box, labelled in OBJECTS
    ]
    image_id, category, (x, y, width, height) = CROWD
    region = np.zeros(SIZES[image_id][::-1], np.uint8, order="F")
    region[y : y + height, x : x + width] = 1
    code = mask_util.encode(region)
    run_lengths = {"size": code["size"], "counts": code["counts"].decode()}
    annotations.insert(
        2,  # not the last, so that it would shift the others if it were taken for an object
        {
            **dict(image_id=image_id, category_id=category, bbox=CROWD[2], iscrowd=1),
            **dict(segmentation=run_lengths, keypoints=[0] * 51, num_keypoints=0),
        },
    )
    files = make_coco_folder(tmp_path / "coco", SIZES, {1: "person", 7: "bag"}, annotations)
    return COCODataset(*map(str, files), False)


def test_truth_given_back_is_perfect_in_every_kind(dataset, caplog):
    caplog.set_level(logging.INFO)
    predictions = truth_given_back(dataset)
    assert [len(found) for found in predictions] == [3, 2, 0]
    assert ap_of(dataset, predictions, ALL_KINDS, PERFECT) == dict.fromkeys(ALL_KINDS, 1.0)
    assert sum(r.message.startswith("PASS: ") for r in caplog.records) == 3


def test_a_crowd_region_forgives_what_is_found_in_it(dataset):
    """A detection of high score is left out inside the crowd region, and false elsewhere."""
    found = {}
    for place, box in {"crowd": [2.0, 3, 17, 22], "nothing": [22.0, 3, 37, 22]}.items():
        predictions = truth_given_back(dataset, scale=1)
        one = predictions[1][:1]
        extra = BoxList(torch.tensor([box]), one.size)
        extra.add_field("labels", one.get_field("labels"))
        extra.add_field("scores", torch.tensor([0.99]))
        boxes = predictions[1].copy_with_fields(extra.fields())
        predictions[1] = cat_boxlist([boxes, extra])
        found[place] = ap_of(dataset, predictions, ("bbox",))["bbox"]
    assert found["crowd"] == 1.0 and 0.5 < found["nothing"] < 1.0


def test_images_without_detections(dataset, caplog):
    """Half the people are missed with the second image, the bag is not: AP (51 / 101 + 1) / 2."""
    caplog.set_level(logging.INFO)
    predictions = truth_given_back(dataset)
    predictions[1] = BoxList(torch.zeros(0, 4), (75, 105))
    figures = ap_of(dataset, predictions, ALL_KINDS, PERFECT)
    assert figures["bbox"] == figures["segm"] == pytest.approx((51 / 101 + 1) / 2)
    # of three people with labelled points two are found: 67 of 101 recalls are at most 2 / 3; no
    # bag has any, so people are the only class
    assert figures["keypoints"] == pytest.approx(67 / 101)
    assert sum(r.message.startswith("FAIL: ") for r in caplog.records) == 3
    nothing = [BoxList(torch.zeros(0, 4), size) for size in SIZES.values()]
    assert ap_of(dataset, nothing, ALL_KINDS) == dict.fromkeys(ALL_KINDS, 0.0)


@pytest.mark.parametrize(
    "split, name, objects",
    [
        ("val2017", "person_keypoints", 123),
        pytest.param("val2017", "instances", 377, marks=pytest.mark.slow),
        pytest.param("train2017", "person_keypoints", 96, marks=pytest.mark.slow),
        pytest.param("train2017", "instances", 465, marks=pytest.mark.slow),
    ],
)
def test_real_truth_given_back_is_perfect(shared_data, split, name, objects):
    folder = shared_data / "tiny_coco"
    dataset = COCODataset(
        str(folder / "annotations" / f"{name}_{split}.json"), str(folder / split), False
    )
    predictions = truth_given_back(dataset)
    assert sum(map(len, predictions)) == objects
    kinds = ALL_KINDS if name == "person_keypoints" else ALL_KINDS[:2]
    assert ap_of(dataset, predictions, kinds) == dict.fromkeys(kinds, 1.0)
    nothing = [BoxList(torch.zeros(0, 4), found.size) for found in predictions]
    assert ap_of(dataset, nothing, kinds) == dict.fromkeys(kinds, 0.0)
    some = [nothing[k] if k % 2 else found for k, found in enumerate(predictions)]
    assert all(0.1 < value < 0.9 for value in ap_of(dataset, some, kinds).values())


def test_real_people_have_their_points(shared_data):
    folder = shared_data / "tiny_coco"
    file = folder / "annotations" / "person_keypoints_val2017.json"
    dataset = COCODataset(
        str(file), str(folder / "val2017"), remove_images_without_annotations=True
    )
    assert 0 < len(dataset) < 50  # the others show nobody with ten labelled points
    for index, image_id in enumerate(dataset.ids):
        _, target, _ = dataset[index]
        points = target.get_field("keypoints").keypoints
        annotations = [a for a in dataset.coco.imgToAnns[image_id] if not a["iscrowd"]]
        assert points.shape == (len(annotations), 17, 3)
        labelled = (points[..., 2] > 0).sum(dim=1).tolist()
        assert labelled == [a["num_keypoints"] for a in annotations]
