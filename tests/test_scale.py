"""At which scale tiles are seen in training, evaluation and prediction, and what is told of it."""

import json
import logging
import re
import sys

import cv2
import numpy as np
import pytest
from made_data import make_dota_folder, rectangle

from maskrcnn_benchmark.commands import predict
from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.data.datasets import DotaDataset
from maskrcnn_benchmark.data.scale import (
    describe_scale,
    report_prediction_scale,
    report_scale,
    scale_range,
)


def config(train=(64,), test=64, tile=64, greatest=1333):
    cfg = default_cfg.clone()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = train, greatest
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = test, greatest
    cfg.DOTA.TILE, cfg.DOTA.OVERLAP = tile, 16
    return cfg


def dataset(folder, size=(130, 90), tile=64, plan=None):
    ship = [rectangle(10, 5, 20, 15)]
    make_dota_folder(folder, {"A": (*size, ship)})
    if plan is not None:
        (folder / "tiles.json").write_text(json.dumps(plan))
        make_dota_folder(folder, {"A": (*size, ship)}, "labelTxt-original")
    return DotaDataset(str(folder), ("ship",), tile=tile, overlap=16)


def told(cfg, data, is_train=True):
    reports = []
    report_scale(cfg, "dota:set", data, is_train, reports.append)
    return reports


def test_scales_of_samples():
    # short side 800: 800 / 1024; 1000x500 becomes 1600x800, so that the long side's 1333 decides
    cfg = config(train=(800, 1024), test=800)
    assert scale_range(cfg, [(1024, 1024)], is_train=True) == (800 / 1024, 1.0)
    assert scale_range(cfg, [(1024, 1024)], is_train=False) == (800 / 1024, 800 / 1024)
    low, high = scale_range(cfg, [(1000, 500), (400, 600)], is_train=False)
    assert (low, high) == (pytest.approx(1333 / 1000, abs=0.002), 800 / 400)


def test_the_summarys_line(tmp_path):
    data = dataset(tmp_path, size=(60, 40), tile=64)
    assert describe_scale(config(test=80), data, is_train=False) == "scale: 2.00"
    assert describe_scale(config(train=(40, 60)), data, is_train=True) == "scale: 1.00 to 1.50"


def test_tiles_at_their_own_scale_are_not_told(tmp_path):
    for is_train in (True, False):
        assert told(config(), dataset(tmp_path), is_train) == []
        assert told(config(train=(48, 64, 80)), dataset(tmp_path), is_train) == []


def test_fault_tiles_are_trained_at_another_scale_than_they_are_cut(tmp_path):
    """As with a COCO config's 800 pixels and tiles of 1024: the objects shrink, silently."""
    cfg = config(train=(50,), test=50)
    (report,) = told(cfg, dataset(tmp_path))
    assert (
        "tiles of 64 pixels are trained at scale 0.78, not at the one at which they are" in report
    )
    assert "INPUT.MIN_SIZE_TRAIN (64,), MAX_SIZE_TRAIN 64, MIN_SIZE_TEST 64" in report
    assert told(cfg, dataset(tmp_path), is_train=False) == []  # as it was trained


@pytest.mark.parametrize("is_train", [True, False])
def test_evaluation_at_another_scale_than_training_is_told(tmp_path, is_train):
    (report,) = told(config(test=80), dataset(tmp_path), is_train)
    assert "tiles of 64 pixels are trained at scale 1.00 and evaluated at 1.25" in report
    assert told(config(test=66), dataset(tmp_path), is_train) == []  # 3 %


def test_whole_images_have_no_scale_of_their_own(tmp_path):
    data = dataset(tmp_path, size=(60, 40), tile=64)
    assert told(config(train=(80,), test=80), data) == []
    (report,) = told(config(train=(80,), test=40), data)
    assert "images of 60 pixels are trained at scale 1.33 and evaluated at 0.67" in report


@pytest.mark.parametrize(
    "tile, expected",
    [
        (64, []),
        (48, ["64 pixels are cut again by DOTA.TILE 48"]),
        (96, ["not what prediction cuts"]),
    ],
)
def test_tiles_of_another_side_than_the_settings(tmp_path, tile, expected):
    plan = {"tile": 64, "overlap": 24}
    cfg = config(tile=tile, train=(48, 64), test=min(tile, 64))
    reports = told(cfg, dataset(tmp_path, size=(64, 64), tile=tile, plan=plan))
    assert len(reports) == len(expected)
    for report, part in zip(reports, expected, strict=True):
        assert part in report and "set DOTA.TILE 64 and DOTA.OVERLAP 24" in report


@pytest.mark.parametrize(
    "tile, expected",
    [
        (64, None),
        (128, "windows of 128 pixels are seen at scale 0.50, .* tiles of 64 at 1.00: .* 128"),
        (0, "whole images are resized to INPUT.MIN_SIZE_TEST 64, .* on tiles of 64 pixels"),
    ],
)
def test_prediction_on_windows_of_another_side(tile, expected):
    reports = []
    report_prediction_scale(config(tile=tile), 64, reports.append)
    assert len(reports) == (expected is not None)
    for report in reports:
        assert re.search(expected, report)


def test_prediction_at_the_scale_of_training_is_not_told():
    reports = []
    report_prediction_scale(config(tile=128, test=128), 64, reports.append)
    report_prediction_scale(config(tile=128), 0, reports.append)  # trained on whole images
    assert reports == []


def test_predict_tells_of_its_windows_and_of_dark_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite(str(tmp_path / "scene.png"), np.full((30, 40, 3), 4095, np.uint16))
    (tmp_path / "settings.yaml").write_text(
        "DOTA: {TILE: 64, OVERLAP: 16}\nINPUT: {MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64}\n"
        "MODEL: {DEVICE: cpu}\n"
    )

    def stop(*_):
        raise InterruptedError

    monkeypatch.setattr(predict.Predictor, "from_checkpoint", stop)
    arguments = ["--config-file", "settings.yaml", "--weights", "w.pth", "--out", "out"]
    monkeypatch.setattr(sys, "argv", ["predict.py", *arguments, "--tile", "128", "scene.png"])
    with pytest.raises(InterruptedError):
        predict.main()
    logging.getLogger("maskrcnn_benchmark").handlers.clear()
    told = capsys.readouterr().out
    assert told.count("windows of 128 pixels are seen at scale 0.50") == 1
    assert told.count("1 of 1 images looked at store 16 bits but hold no value above 4095") == 1
