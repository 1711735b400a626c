"""Whole images through windows, with a model that finds white blobs without a mistake."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.engine.predict_files import find_images, predict_files
from maskrcnn_benchmark.engine.predictor import Predictor, read_class_names
from maskrcnn_benchmark.images.image_io import write_image
from maskrcnn_benchmark.structures.bounding_box import BoxList

# (x1, y1, x2, y2), last pixels included: in a corner, across tiles' borders, near the end, long
BLOBS = [(3, 2, 22, 11), (100, 60, 139, 79), (250, 150, 279, 189), (180, 5, 197, 90)]


class BlobModel(nn.Module):
    """Finds connected white pixels; label 1, score by size; keeps the tensors that it saw."""

    def __init__(self, with_masks=False):
        super().__init__()
        self.with_masks, self.seen = with_masks, []

    def forward(self, images):
        self.seen.append(images.tensors)
        return [
            self.find(image[:, :height, :width], width, height)
            for image, (height, width) in zip(images.tensors, images.image_sizes, strict=True)
        ]

    def find(self, image, width, height):
        white = (image.min(dim=0).values > 128).numpy().astype(np.uint8)
        _, components, stats, _ = cv2.connectedComponentsWithStats(white)
        left, top, wide, high, area = stats[1:].T
        boxes = np.stack([left, top, left + wide - 1, top + high - 1], axis=1).astype(np.float32)
        found = BoxList(torch.from_numpy(boxes), (width, height))
        found.add_field("scores", torch.from_numpy(area / 10000.0).float())
        found.add_field("labels", torch.ones(len(boxes), dtype=torch.int64))
        if self.with_masks:
            masks = [
                cv2.resize((components[y : y + h, x : x + w] == k).astype(np.float32), (28, 28))
                for k, (x, y, w, h) in enumerate(stats[1:, :4], start=1)
            ]
            masks = torch.tensor(np.array(masks, np.float32)).reshape(-1, 1, 28, 28)
            found.add_field("mask", masks)
        return found


def make_predictor(model, **settings):
    cfg = default_cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.MASK_ON = getattr(model, "with_masks", False)
    cfg.INPUT.PIXEL_MEAN = [0.0, 0.0, 0.0]
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 192, 400
    cfg.DOTA.TILE, cfg.DOTA.OVERLAP = 96, 40
    cfg.TEST.IMS_PER_BATCH = 3
    cfg.DATALOADER.SIZE_DIVISIBILITY = 32
    cfg.merge_from_list([part for pair in settings.items() for part in pair])
    return Predictor(cfg, model)


def scene(width=300, height=200, blobs=BLOBS):
    image = np.zeros((height, width, 3), np.uint8)
    for x1, y1, x2, y2 in blobs:
        image[y1 : y2 + 1, x1 : x2 + 1] = 255
    return image


def test_every_blob_is_found_once_where_it_lies():
    model = BlobModel()
    found = make_predictor(model).predict(scene())
    assert found.size == (300, 200)
    # 300 -> windows at 0, 56, 112, 168, 204; 200 -> 0, 56, 104: 15 windows, three at a time
    assert [len(batch) for batch in model.seen] == [3] * 5
    # enlarged to twice 96
    assert {tuple(batch.shape[2:]) for batch in model.seen} == {(192, 192)}
    boxes = [tuple(np.round(box).astype(int)) for box in found.bbox.numpy()]
    near = {  # the enlarged edge is not to the pixel: 2 x (x + 1) - 1 falls to x + 0.5
        blob for blob in BLOBS for box in boxes if np.abs(np.subtract(blob, box)).max() <= 1
    }
    assert near == set(BLOBS)
    assert found.get_field("labels").tolist() == [1] * len(found)
    scores = found.get_field("scores").tolist()
    assert scores == sorted(scores, reverse=True)


def test_without_tiles_and_with_other_tiles():
    model = BlobModel()
    predictor = make_predictor(model)
    uncut = predictor.predict(scene(), tile=0)
    assert len(uncut) == 4 and [len(batch) for batch in model.seen] == [1]
    model.seen.clear()
    predictor.predict(scene(), tile=200, overlap=50)
    assert sum(len(batch) for batch in model.seen) == 2
    with pytest.raises(ValueError, match="overlap must be smaller"):
        predictor.predict(scene(), tile=100, overlap=100)


def test_one_red_image_in_every_form_becomes_one_tensor(tmp_path):
    rng = np.random.default_rng(3)
    bgr = np.zeros((70, 110, 3), np.uint8)
    bgr[..., 2] = rng.integers(100, 255, (70, 110))
    write_image(tmp_path / "red.png", bgr)
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    forms = [
        ((tmp_path / "red.png",), {}),
        ((str(tmp_path / "red.png"),), {}),
        ((Image.fromarray(rgb),), {}),
        ((bgr,), {}),
        ((rgb,), {"channel_order": "RGB"}),
    ]
    for tile in (0, 64):  # uncut, and in windows
        seen = []
        for arguments, options in forms:
            model = BlobModel()
            make_predictor(model).predict(*arguments, **options, tile=tile)
            seen.append(torch.cat([t.reshape(-1) for t in model.seen]))
            (first, *_) = model.seen
            # channel 2 of BGR is red, the others are black
            assert first[0, :2].max() == 0 and first[0, 2, :50, :50].min() > 90
        assert all(torch.equal(seen[0], other) for other in seen[1:])


def test_masks_become_oriented_corners():
    canvas = np.zeros((160, 240, 3), np.uint8)
    # a bar of 80 x 20 around (120, 80), turned by 30 degrees
    bar = cv2.boxPoints(((120, 80), (80, 20), 30))
    cv2.fillPoly(canvas, [np.round(bar).astype(np.int32)], (255, 255, 255))
    found = make_predictor(BlobModel(with_masks=True)).predict(canvas, tile=0)
    (corners,) = found.get_field("corners").numpy()
    assert found.get_field("in_task1").tolist() == [True]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    assert sorted(sides.round()) == pytest.approx([20, 20, 80, 80], abs=5)
    assert corners.mean(axis=0) == pytest.approx([120, 80], abs=2)


def test_nothing_found_is_an_empty_list_with_all_fields():
    for with_masks in (False, True):
        empty = make_predictor(BlobModel(with_masks)).predict(np.zeros((50, 260, 3), np.uint8))
        assert len(empty) == 0 and empty.has_field("corners") == with_masks
        assert empty.get_field("labels").dtype == torch.int64


def test_class_names(tmp_path):
    cfg = default_cfg.clone()
    weights = str(tmp_path / "model_final.pth")
    cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES = 16
    assert read_class_names(cfg, weights)[6] == "ship"
    cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES = 3
    assert read_class_names(cfg, weights) == ["class-1", "class-2"]
    cfg.DOTA.CLASSES = ("boat", "car")
    assert read_class_names(cfg, weights) == ["boat", "car"]
    # what training left, with COCO's gaps between ids, not in order
    (tmp_path / "labels.json").write_text('{"90": "toothbrush", "2": "bicycle"}')
    assert read_class_names(cfg, weights) == ["bicycle", "toothbrush"]


def test_class_names_of_retinanet(tmp_path):
    cfg = default_cfg.clone()
    cfg.MODEL.RETINANET_ON = True
    cfg.MODEL.RETINANET.NUM_CLASSES = 3  # not the 81 of ROI_BOX_HEAD
    (tmp_path / "labels.json").write_text('{"1": "boat", "2": "car"}')
    assert read_class_names(cfg, str(tmp_path / "model_final.pth")) == ["boat", "car"]


def test_files_found_and_refused(tmp_path):
    for name in ("b.png", "a.jpg", "notes.txt", "other/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    images = find_images([str(tmp_path), str(tmp_path / "b.png")])
    assert [path.name for path in images] == ["a.jpg", "b.png"]
    with pytest.raises(ValueError, match="same name"):
        find_images([str(tmp_path), str(tmp_path / "other" / "a.png")])
    with pytest.raises(FileNotFoundError, match="no such image or folder"):
        find_images([str(tmp_path / "nothing")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no image"):
        find_images([str(tmp_path / "empty")])


def test_files_done_are_not_lost_when_one_fails(tmp_path):
    write_image(tmp_path / "first.png", scene())
    write_image(tmp_path / "second.png", scene())
    predictor = make_predictor(BlobModel())
    real_detect, calls = predictor.detect, []

    def failing_detect(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real_detect(*arguments, **options)

    predictor.detect = failing_detect
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_files(
            *(predictor, [tmp_path / "first.png", tmp_path / "second.png"], out, ["blob"]),
            **{"score": 0.05, "tile": 0, "overlap": None, "about": {"config": "c.yaml"}},
        )
    found = json.loads((out / "detections.json").read_text())
    assert found["config"] == "c.yaml" and list(found["images"]) == ["first"]
    # blobs of 800, 1200 and 1548 pixels pass 0.05 (of 10000, enlarged); the one of 200 is dropped
    boxes = sorted(item["box"] for item in found["images"]["first"]["detections"])
    assert len(boxes) == 3
    # edges: the last pixel 139 ends at 140
    assert boxes[0] == pytest.approx([100, 60, 140, 80], abs=1)
    lines = (out / "Task2_blob.txt").read_text().splitlines()
    assert len(lines) == 3 and all(line.startswith("first ") for line in lines)
    assert (out / "first_detections.jpg").exists() and not (out / "second_detections.jpg").exists()
