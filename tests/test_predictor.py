"""Whole images through windows, with a model that finds white blobs without a mistake."""

import json
import logging
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from launching import ROOT
from made_data import boxlist, rectangle
from PIL import Image
from second_device import SecondDevice
from tiny_models import FPN_BODY, FPN_MASK, NARROW, make_cfg, tiny_mask_rcnn
from torch import nn

from maskrcnn_benchmark.commands import predict as predict_command
from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.dota.annotations import write_labels
from maskrcnn_benchmark.dota.average_precision import evaluate_folders
from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.dota.merge import merge_tiles
from maskrcnn_benchmark.dota.submission import read_task_folder
from maskrcnn_benchmark.engine import prediction_results
from maskrcnn_benchmark.engine import predictor as predictor_module
from maskrcnn_benchmark.engine.predict_files import find_images, predict_files
from maskrcnn_benchmark.engine.prediction_results import PredictionResults
from maskrcnn_benchmark.engine.predictor import Predictor, read_class_names
from maskrcnn_benchmark.images import image_reader
from maskrcnn_benchmark.images.image_io import (
    MAX_PIXELS,
    read_image,
    set_max_pixels,
    write_image,
)
from maskrcnn_benchmark.images.open_image import open_image
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.mask_pasting import Masker
from maskrcnn_benchmark.utils import progress as progress_module

# (x1, y1, x2, y2), last pixels included: in a corner, across tiles' borders, near the end, long
BLOBS = [(3, 2, 22, 11), (100, 60, 139, 79), (250, 150, 279, 189), (180, 5, 197, 90)]


class BlobModel(nn.Module):
    """Find connected white pixels; label 1, score by size; keep the tensors that it saw."""

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


class FixedModel(nn.Module):
    """Find the same boxes with the same fields on every window."""

    def __init__(self, boxes_xyxy, **fields):
        super().__init__()
        self.boxes_xyxy, self.fields, self.with_masks = boxes_xyxy, fields, "mask" in fields

    def forward(self, images):
        return [
            boxlist(self.boxes_xyxy, (int(width), int(height)), **self.fields)
            for height, width in images.image_sizes
        ]


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


def test_fault_pasted_masks_gave_corners_of_another_size():
    boxes = [[200, 100, 239, 119]]  # on the image of twice the size: an object of 20 x 10
    found = boxlist(boxes, (600, 400))
    (pasted,) = Masker()([torch.ones(1, 1, 28, 28)], found)
    model = FixedModel(boxes, mask=pasted, scores=torch.ones(1), labels=torch.ones(1).long())
    predictor = make_predictor(model, **{"INPUT.MIN_SIZE_TEST": 400, "INPUT.MAX_SIZE_TEST": 600})
    with pytest.raises(ValueError, match="POSTPROCESS_MASKS to False"):
        predictor.predict(scene(), tile=0)


def test_proposals_are_refused():
    predictor = make_predictor(FixedModel([[3, 2, 9, 7]], objectness=torch.ones(1)))
    with pytest.raises(ValueError, match="boxes without scores.*RPN_ONLY"):
        predictor.predict(scene())


def test_retinanet_has_no_corners_though_the_settings_ask_for_masks():
    predictor = make_predictor(BlobModel(), **{"MODEL.RETINANET_ON": True, "MODEL.MASK_ON": True})
    found = predictor.predict(scene())
    assert len(found) > 0 and not found.has_field("corners")


def test_progress_is_told_per_batch_of_windows_and_nothing_else(capsys, caplog):
    told = []
    predictor = make_predictor(BlobModel(), **{"TEST.IMS_PER_BATCH": 4})
    predictor.predict(scene(), progress=lambda *counts: told.append(counts))
    assert told == [(4, 15), (8, 15), (12, 15), (15, 15)]
    assert capsys.readouterr() == ("", "") and not caplog.records


def test_nothing_found_is_an_empty_list_with_all_fields():
    for with_masks in (False, True):
        empty = make_predictor(BlobModel(with_masks)).predict(np.zeros((50, 260, 3), np.uint8))
        assert len(empty) == 0 and empty.has_field("corners") == with_masks
        assert empty.get_field("labels").dtype == torch.int64


@pytest.mark.parametrize("aug", [False, True], ids=["plain", "augmented"])
def test_a_second_device_gives_the_same(tmp_path, aug):
    torch.save({"model": tiny_mask_rcnn().state_dict()}, tmp_path / "weights.pth")
    classes = ["MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4]
    sizes = ["INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 128]
    tiles = ["DOTA.TILE", 128, "DOTA.OVERLAP", 32, "TEST.IMS_PER_BATCH", 2]
    options = [
        *FPN_BODY,
        *FPN_MASK,
        *NARROW,
        *classes,
        *sizes,
        *tiles,
        "TEST.BBOX_AUG.ENABLED",
        aug,
    ]
    image = np.random.default_rng(5).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    weights = str(tmp_path / "weights.pth")
    plain = Predictor.from_checkpoint(make_cfg(*options), weights).predict(image)
    with SecondDevice():
        cfg = make_cfg(*options, "MODEL.DEVICE", "fake")
        predictor = Predictor.from_checkpoint(cfg, weights)
        assert {p.device.type for p in predictor.model.parameters()} == {"fake"}
        found = predictor.predict(image)
    assert len(plain) > 20 and found.bbox == pytest.approx(plain.bbox, abs=1e-3)
    for field in ("scores", "corners"):
        assert found.get_field(field) == pytest.approx(plain.get_field(field), abs=1e-3)
    assert torch.equal(found.get_field("labels"), plain.get_field("labels"))


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
    for name in ("b.png", "a.jpg", "notes.txt", "other/a.png", "._b.png", ".c.png"):
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


def predict(predictor, images, out, score=0.05):
    return predict_files(predictor, images, out, ["blob"], score, about={"config": "c.yaml"})


@pytest.fixture
def two_scenes(tmp_path):
    for name in ("first", "second"):
        write_image(tmp_path / f"{name}.png", scene())
    return [tmp_path / "first.png", tmp_path / "second.png"]


def test_files_done_are_not_lost_when_one_fails(tmp_path, two_scenes):
    predictor = make_predictor(BlobModel(), **{"DOTA.TILE": 0})
    real_detect, calls = predictor.detect, []

    def failing_detect(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real_detect(*arguments, **options)

    predictor.detect = failing_detect
    out = tmp_path / "out" / "unfinished"
    with pytest.raises(KeyboardInterrupt):
        predict(predictor, two_scenes, out.parent)
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


def test_fault_json_did_not_say_which_corners_are_in_task1(tmp_path, two_scenes, monkeypatch):
    # squares of 40, shifted by 20: an IoU of 20 / 60, above NMS_OBB (0.1) and below NMS_HBB (0.5)
    boxes, scores = [[10, 30, 49, 69], [30, 30, 69, 69], [150, 30, 189, 69]], [0.9, 0.8, 0.7]
    fields = {"scores": torch.tensor(scores), "labels": torch.ones(3).long()}
    model = FixedModel(boxes, mask=torch.ones(3, 1, 28, 28), **fields)
    sizes = {"DOTA.TILE": 0, "INPUT.MIN_SIZE_TEST": 200, "INPUT.MAX_SIZE_TEST": 300}
    predictor = make_predictor(model, **sizes)
    monkeypatch.setattr(
        predictor_module,
        "merge_tiles",
        lambda tiles, *limits: merge_tiles(  # each as found in a tile of its own
            [part.select([index]) for part in tiles for index in range(len(part))], *limits
        ),
    )
    assert predict(predictor, two_scenes[:1], tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    items = found["images"]["first"]["detections"]
    assert [item["in_task1"] for item in items] == [True, False, True]
    task1 = (tmp_path / "out" / "Task1_blob.txt").read_text().splitlines()
    assert [float(line.split()[1]) for line in task1] == pytest.approx([0.9, 0.7])
    assert len((tmp_path / "out" / "Task2_blob.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("width", "height", "blob"),
    [
        pytest.param(66000, 30, (65500, 8, 65523, 23), id="wide"),
        pytest.param(30, 66000, (8, 65500, 23, 65523), id="tall"),
    ],
)
def test_fault_an_image_wider_than_a_jpeg_ended_the_run(
    tmp_path, two_scenes, caplog, width, height, blob
):
    write_image(tmp_path / "a_long.png", scene(width, height, [blob]))
    sizes = {"DOTA.TILE": 2000, "INPUT.MIN_SIZE_TEST": 30, "INPUT.MAX_SIZE_TEST": 2000}
    images = [tmp_path / "a_long.png", two_scenes[0]]
    with caplog.at_level(logging.INFO):
        assert predict(make_predictor(BlobModel(), **sizes), images, tmp_path / "out", 0.0) == 0
    found = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    assert list(found) == ["a_long", "first"] and len(found["first"]["detections"]) == 4
    (item,) = found["a_long"]["detections"]
    assert item["box"] == [blob[0], blob[1], blob[2] + 1, blob[3] + 1]  # the image's own pixels
    (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    # 65500 / 66000 of 30 is 29.8
    small = "65500 x 30" if width > height else "30 x 65500"
    assert "a_long_detections.jpg" in line and f"{width} x {height}" in line and small in line
    picture = read_image(tmp_path / "out" / "a_long_detections.jpg")
    if height > width:
        picture = picture.transpose(1, 0, 2)
    assert picture.shape == (30, 65500, 3)
    # the coloured outline begins where the blob does now: 65500 * 65500 / 66000 = 65003.8
    colored = np.flatnonzero(np.ptp(picture.astype(int), axis=2).max(axis=0)[1000:] > 100) + 1000
    assert abs(colored.min() - 65004) <= 3


def test_text_files_are_written_though_a_picture_cannot_be(tmp_path, two_scenes, caplog):
    out = tmp_path / "out"
    (out / "first_detections.jpg").mkdir(parents=True)
    assert predict(make_predictor(BlobModel()), two_scenes, out) == 1
    assert "no picture" in caplog.text and "first_detections.jpg" in caplog.text
    assert list(json.loads((out / "detections.json").read_text())["images"]) == ["first", "second"]
    assert (out / "second_detections.jpg").is_file()


def test_it_opens_with_a_summary_and_passes_over_what_is_no_image(tmp_path, two_scenes, caplog):
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = [*two_scenes, tmp_path / "broken.png"]
    with caplog.at_level(logging.INFO):
        assert predict(make_predictor(BlobModel()), images, tmp_path / "out") == 1
    summary = caplog.records[0].getMessage()
    assert "images: 3, in 30 windows" in summary and "tile: 96 pixels, overlap 40" in summary
    assert "classes: 1: blob" in summary and "config: c.yaml" in summary
    (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert line.startswith("skipped:") and "broken.png" in line
    assert "2 of 3 images done" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("on_terminal", [True, False], ids=["terminal", "log"])
def test_fault_silence_inside_one_image(
    tmp_path, two_scenes, monkeypatch, capsys, caplog, on_terminal
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: on_terminal)
    monkeypatch.setattr(progress_module, "LOG_PERIOD", 0)
    with caplog.at_level(logging.INFO):
        predict(make_predictor(BlobModel()), two_scenes, tmp_path / "out")
    bar, log = capsys.readouterr().err, caplog.text
    assert ("30/30" in bar, "window 15 of 30, about" in log) == (on_terminal, not on_terminal)
    if not on_terminal:  # three windows at a time, also inside the second image
        assert "window 3 of 30, about" in log and "window 27 of 30, about" in log


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--score", "30"], "from 0 to 1, got '30': write 0.3"),
        (["--score", "-0.1"], "from 0 to 1, got '-0.1': write 0.3"),
        (["--score", "nan"], "from 0 to 1, got 'nan': write 0.3"),
        (["--score", "0,3"], "from 0 to 1, got '0,3': write 0.3"),
        (["--tile", "100", "--overlap", "100"], "overlap must be smaller than the tile, got an"),
        (["--tile", "-5"], "DOTA.TILE must be a whole number of at least 0, got -5"),
        (["--out", "IMAGES"], "the results must not go where first.png is"),
    ],
)
def test_impossible_options_are_refused_before_the_work(
    tmp_path, two_scenes, monkeypatch, capsys, options, told
):
    (tmp_path / "settings.yaml").write_text("MODEL:\n  DEVICE: cpu\n")
    command = ["predict.py", "--config-file", str(tmp_path / "settings.yaml")]
    command += ["--weights", "nowhere.pth", "--out", str(tmp_path / "out"), str(two_scenes[0])]
    options = [str(tmp_path) if option == "IMAGES" else option for option in options]
    monkeypatch.setattr(sys, "argv", command + options)
    with pytest.raises(SystemExit) as end:
        predict_command.run()
    logging.getLogger("maskrcnn_benchmark").handlers.clear()
    assert end.value.code == 2 and told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_fault_a_refused_setting_emptied_earlier_results(tmp_path, two_scenes, caplog):
    out = tmp_path / "out"
    assert predict(make_predictor(BlobModel()), two_scenes, out) == 0
    earlier = contents(out)
    assert len(earlier) == 6 and all(earlier.values())
    bad = make_predictor(BlobModel())
    bad.overlap = bad.tile
    with pytest.raises(ValueError, match="overlap must be smaller than the tile"):
        predict(bad, two_scenes, out)
    assert contents(out) == earlier
    proposals = FixedModel([[3, 2, 9, 7]], objectness=torch.ones(1))
    assert predict(make_predictor(proposals), two_scenes, out) == 2  # all of them fail
    assert contents(out) == earlier and caplog.text.count("RPN_ONLY") == 2
    assert predict(make_predictor(BlobModel(), **{"DOTA.TILE": 0}), two_scenes[:1], out, 0.0) == 0
    images = json.loads((out / "detections.json").read_text())["images"]
    assert list(images) == ["first"] and len(images["first"]["detections"]) == 4


def test_fault_pictures_beside_the_images_were_replaced_and_read_again(
    tmp_path, two_scenes, caplog
):
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "link", tmp_path / "out" / ".."):
        with pytest.raises(ValueError, match="must not go where first.png is.*found'?$"):
            predict(make_predictor(BlobModel()), two_scenes, out)
    out = tmp_path / "found"
    predict(make_predictor(BlobModel()), two_scenes, out)
    with pytest.raises(FileNotFoundError, match="holds no image but drawings"):
        find_images([str(out)])
    write_image(out / "third.png", scene())
    assert find_images([str(out)]) == [out / "third.png"]
    assert "2 files NAME_detections.jpg beside a detections.json are passed over" in caplog.text
    drawing = out / "first_detections.jpg"
    assert find_images([str(drawing)]) == [drawing]  # named by itself, it is meant
    drawing = tmp_path / "mine_detections.jpg"  # where no prediction left results
    write_image(drawing, scene())
    assert drawing in find_images([str(tmp_path)])


def bad_item(kind, folder):
    """Make a file that cannot become a result with a picture."""
    name = {"long name": f"{'n' * 241}.png", "not UTF-8": os.fsdecode(b"caf\xe9.png")}
    path = folder / name.get(kind, "bad.png")
    if kind in ("AVIF", "DDS"):
        Image.fromarray(scene()).save(path, kind)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        cv2.imwrite(str(folder / "good.png"), scene())
        (folder / "good.png").rename(path)
    return path


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("AVIF", "bad.png: no image of a kind that is read"),
        ("DDS", "bad.png: no image of a kind that is read"),
        ("pipe", "bad.png: expected an image file, got a folder, a pipe"),
        ("not UTF-8", r"caf\udce9.png': the file's name is not UTF-8: rename it"),
        ("long name", "File name too long"),
        ("a detector's failure", "bad.png: out of everything"),
    ],
)
def test_fault_one_bad_item_ended_the_batch(tmp_path, two_scenes, caplog, kind, told):
    bad, predictor = bad_item(kind, tmp_path), make_predictor(BlobModel(), **{"DOTA.TILE": 0})
    if kind == "a detector's failure":
        predictor.detect = failing_first(predictor.detect, RuntimeError("out of everything"))
    images = [bad, *two_scenes]
    assert predict(predictor, images, tmp_path / "out") == 1
    (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert told in line
    found = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    good = {"first", "second"} | ({bad.stem} if kind == "long name" else set())
    assert set(found) == good and all(len(entry["detections"]) == 3 for entry in found.values())
    lines = (tmp_path / "out" / "Task2_blob.txt").read_text().splitlines()
    assert {line.split()[0] for line in lines} == good and len(lines) == 3 * len(good)
    assert (tmp_path / "out" / "second_detections.jpg").is_file()
    assert not (tmp_path / "out" / "unfinished").exists()


def failing_first(detect, error):
    errors = [error]

    def call(*arguments, **options):
        if errors:
            raise errors.pop()
        return detect(*arguments, **options)

    return call


def test_fault_a_slash_in_a_class_name_lost_all_results(tmp_path, two_scenes):
    names, out = ["car/van or 50%2F"], tmp_path / "out"
    assert predict_files(make_predictor(BlobModel()), two_scenes, out, names, 0.05, {}) == 0
    found = json.loads((out / "detections.json").read_text())
    assert found["classes"] == {names[0]: "car%2Fvan or 50%252F"}
    assert found["images"]["first"]["detections"][0]["class"] == names[0]
    assert list(read_task_folder(out, 2)) == names
    with pytest.raises(ValueError, match="class name 'xxx.* is too long for a file's name"):
        predict_files(make_predictor(BlobModel()), two_scenes, out, ["x" * 241], 0.05, {})


def test_fault_image_names_with_spaces_gave_lines_that_evaluate_refused(tmp_path):
    """The scene's own blobs as labels, evaluated on the written files: all found."""
    names = ["DJI 0001 (2)", "a%20b", "100%", "plain"]
    folder = tmp_path / "images"
    folder.mkdir()
    for name in names:
        write_image(folder / f"{name}.png", scene())
        write_labels(
            tmp_path / f"{name}.txt",
            [rectangle(x1, y1, x2 + 1, y2 + 1, "blob") for x1, y1, x2, y2 in BLOBS],
        )
    predictor = make_predictor(BlobModel(), **{"DOTA.TILE": 0})
    assert predict(predictor, find_images([str(folder)]), tmp_path / "out", 0.0) == 0
    lines = (tmp_path / "out" / "Task2_blob.txt").read_text().splitlines()
    fields = {line.split()[0] for line in lines}
    assert fields == {"DJI%200001%20(2)", "a%2520b", "100%", "plain"}
    assert set(json.loads((tmp_path / "out" / "detections.json").read_text())["images"]) == set(
        names
    )
    result = evaluate_folders(tmp_path, tmp_path / "out", 2, 0.5, "area")
    assert result["classes"]["blob"] == {"ap": 1.0, "npos": 16, "tp": 16, "ndet": 16}


@pytest.mark.parametrize("text", ["{", '["ship"]', '{"one": "ship"}', b"\xff\xfe\xff"])
def test_fault_damaged_class_names_did_not_name_their_file(tmp_path, text):
    (tmp_path / "labels.json").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError, match="labels.json: expected class names such as"):
        read_class_names(default_cfg.clone(), str(tmp_path / "model_final.pth"))


def test_a_predictor_follows_the_setting_of_the_greatest_size(tmp_path, two_scenes, caplog):
    predictor = make_predictor(BlobModel(), **{"INPUT.MAX_PIXELS": 300 * 200 - 1})
    assert predict(predictor, two_scenes, tmp_path / "out") == 2
    set_max_pixels(MAX_PIXELS)
    assert caplog.text.count("300 x 200 pixels by its header, more than INPUT.MAX_PIXELS") == 2
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_tiff_is_read_by_windows_and_windows_without_data_are_passed_over(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    path, bands = tmp_path / "scene.tif", scene().transpose(2, 0, 1)
    shape = {"count": 3, "height": 200, "width": 300, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", nodata=0, **shape) as file:
        file.write(bands)
    write_image(tmp_path / "whole.png", scene())
    whole, by_windows = BlobModel(), BlobModel()
    wanted = make_predictor(whole).predict(tmp_path / "whole.png")
    found = make_predictor(by_windows).predict(path)
    assert found.size == (300, 200) and torch.equal(found.bbox, wanted.bbox)
    assert torch.equal(found.get_field("scores"), wanted.get_field("scores"))
    # windows start at 0, 56, 112, 168, 204 and 0, 56, 104; white pixels are in 9 of these 15
    touched = sum(
        scene()[y : y + 96, x : x + 96].any() for x in (0, 56, 112, 168, 204) for y in (0, 56, 104)
    )
    assert touched < 15 and sum(map(len, by_windows.seen)) == touched


def test_an_image_without_any_data_has_no_detections(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    shape = {"count": 1, "height": 200, "width": 300, "dtype": "uint8", "nodata": 0}
    shape |= {"crs": "EPSG:32633", "transform": rasterio.Affine(2, 0, 9, 0, -2, 7)}
    with rasterio.open(tmp_path / "empty.tif", "w", driver="GTiff", **shape) as file:
        file.write(np.zeros((1, 200, 300), np.uint8))
    model = BlobModel(with_masks=True)
    assert predict(make_predictor(model), [tmp_path / "empty.tif"], tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]["empty"]
    assert found["detections"] == [] and not model.seen
    collection = json.loads((tmp_path / "out" / "detections.geojson").read_text())
    assert collection == {"type": "FeatureCollection", "features": []}
    assert found["crs"] == "EPSG:32633" and found["transform"] == [2, 0, 9, 0, -2, 7]


def test_a_picture_is_reduced_where_it_would_be_too_large_and_can_be_left_out(
    tmp_path, two_scenes, caplog, monkeypatch
):
    monkeypatch.setattr(prediction_results, "PICTURE_PIXELS", 150 * 100)
    predictor, out = make_predictor(BlobModel()), tmp_path / "out"
    assert predict(predictor, two_scenes[:1], out) == 0
    assert read_image(out / "first_detections.jpg").shape == (100, 150, 3)
    assert "the image of 300 x 200 pixels is reduced to 150 x 100" in caplog.text
    images, about = two_scenes[1:], {"config": "c.yaml"}
    out = tmp_path / "no pictures"
    assert predict_files(predictor, images, out, ["blob"], 0.05, about, draw=False) == 0
    names = ["Task2_blob.txt", "detections.json", "detections_pixels.geojson", "journal.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == names


def test_the_next_image_is_decoded_while_one_is_looked_at(tmp_path, monkeypatch):
    """The second one's decoding ends before the first one's detection goes on."""
    decoded = threading.Semaphore(0)
    read_image = image_reader.read_image

    def counted(path):
        try:
            return read_image(path)
        finally:
            decoded.release()

    monkeypatch.setattr(image_reader, "read_image", counted)
    images = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in images:
        write_image(path, scene())
    model = BlobModel()
    find, waited = model.forward, []

    def forward(images):
        if not waited:  # in the first image
            waited.extend(decoded.acquire(timeout=20) for _ in range(2))
        return find(images)

    model.forward = forward
    assert predict(make_predictor(model), images, tmp_path / "out") == 0
    assert waited == [True, True]
    # all is known and no pictures are wanted: nothing is decoded
    before = decoded._value
    arguments = (make_predictor(BlobModel()), images, tmp_path / "out", ["blob"], 0.2, {})
    assert predict_files(*arguments, draw=False) == 0
    assert decoded._value == before


def test_freed_memory_is_given_back_now_and_then(monkeypatch):
    calls = []
    monkeypatch.setattr(predictor_module, "give_back_freed_memory", lambda: calls.append(1))
    predictor = make_predictor(BlobModel(), **{"TEST.IMS_PER_BATCH": 1})
    # steps of 56 pixels: ceil((300 - 96) / 56) + 1 = 5 columns, ceil((200 - 96) / 56) + 1 = 3 rows
    for windows, expected in ((15, 0), (30, 1), (45, 2)):
        predictor.predict(scene())
        assert (windows, len(calls)) == (windows, expected)


@pytest.mark.slow  # a third of a minute of CPU time
def test_memory_does_not_grow_with_a_tiff(tmp_path):
    """A file of 900 MB decoded; what PyTorch and OpenCV take at rest is measured beside it."""
    pytest.importorskip("rasterio")
    worker = str(Path(__file__).parent / "large_image_worker.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}

    def peak(width, height):
        path = str(tmp_path / f"{width}.tif")
        peaks = []
        for arguments in (["write", path, str(width), str(height)], ["count", path]):
            command = [sys.executable, worker, *arguments]
            peaks = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            ).stdout.split()
        assert peaks[0] == "0"
        images = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
        assert len(images[str(width)]["detections"]) == (width // 1000) * (height // 1000)
        return int(peaks[1])

    # 900 MB more pixels; GDAL keeps 128 MB of them; measured: 170 to 220 MB
    assert peak(20000, 15000) < peak(1000, 1000) + 400


def test_fault_an_image_told_as_skipped_was_in_the_files_and_counted_as_done(
    tmp_path, two_scenes, monkeypatch, caplog
):
    """Its features cannot be made, after another process has drawn it."""

    def to_features(image, *_):
        if image == two_scenes[0].stem:
            raise ValueError("points beyond what EPSG:32633 covers")
        return []

    monkeypatch.setattr(prediction_results, "to_features", to_features)
    results = PredictionResults(tmp_path / "out", ["blob"], {})
    with results:
        for path in two_scenes:
            reader = open_image(path)
            results.draw(path, reader, Detections.empty())
            with suppress(ValueError):
                results.add(path, reader, Detections.empty())
    assert [results.is_whole(path, True) for path in two_scenes] == [False, True]
    assert list(json.loads((tmp_path / "out" / "detections.json").read_text())["images"]) == [
        two_scenes[1].stem
    ]
    assert len(list((tmp_path / "out").glob("*_detections.jpg"))) == 1
    assert not (tmp_path / "out" / "unfinished").exists()
    predictor = make_predictor(BlobModel())
    model_out = tmp_path / "found"
    assert (
        predict_files(predictor, two_scenes, model_out, ["blob"], score=0.05, about={}, draw=False)
        == 1
    )
