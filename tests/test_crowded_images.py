"""Whole-size models on crowded tiles, and images far larger than a tile, real and drawn."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_models import make_cfg

from maskrcnn_benchmark.data.collate_batch import BatchCollator
from maskrcnn_benchmark.data.datasets import DotaDataset
from maskrcnn_benchmark.data.transforms import build_transforms
from maskrcnn_benchmark.dota.classes import DOTA_V1_0
from maskrcnn_benchmark.dota.toy import write_toy_set
from maskrcnn_benchmark.modeling.detector import build_detection_model

ROOT = Path(__file__).resolve().parents[1]


def losses_on_the_most_crowded_tile(folder, config):
    """One training step: the number of objects on the tile, the losses, the gradients."""
    cfg = make_cfg()
    cfg.merge_from_file(str(ROOT / "configs/dota" / config))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHT", ""])
    transforms = build_transforms(cfg, is_train=True)
    data = DotaDataset(
        folder, DOTA_V1_0, with_masks=cfg.MODEL.MASK_ON, is_train=True, transforms=transforms
    )
    crowded = max(range(len(data)), key=lambda i: len(data.get_groundtruth(i)))
    images, targets, _ = BatchCollator(cfg.DATALOADER.SIZE_DIVISIBILITY)([data[crowded]])
    torch.manual_seed(0)
    model = build_detection_model(cfg)
    losses = model(images, list(targets))
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    return len(targets[0]), losses, gradients


def check_step(count, at_least, losses, gradients):
    assert count >= at_least
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "objects"), [("P0706.png", 350), ("P0020.jpg", 100)], ids=lambda v: str(v)
)
def test_training_step_on_real_tiles(shared_data, tmp_path, image, objects):
    for kind, name in (("images", image), ("labelTxt", f"{Path(image).stem}.txt")):
        (tmp_path / kind).mkdir()
        os.symlink(shared_data / "dota" / kind / name, tmp_path / kind / name)
    count, *result = losses_on_the_most_crowded_tile(tmp_path, "faster_rcnn_R_50_FPN_1x.yaml")
    check_step(count, objects, *result)


@pytest.mark.slow
def test_training_step_on_a_drawn_tile_with_masks(tmp_path):
    list(write_toy_set(tmp_path, images=1, width=1100, height=1040, objects=600, seed=3))
    count, *result = losses_on_the_most_crowded_tile(tmp_path, "mask_rcnn_R_50_FPN_1x.yaml")
    check_step(count, 300, *result)


PEAK = """
import sys
sys.path.insert(0, sys.argv[2])
import torch
from tiny_models import tiny_mask_rcnn, make_cfg
from maskrcnn_benchmark.images.image_io import read_image
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.utils.process_memory import peak_memory_mb
cfg = make_cfg("DOTA.TILE", 512, "DOTA.OVERLAP", 100, "INPUT.MIN_SIZE_TEST", 512,
               "INPUT.MAX_SIZE_TEST", 512, "MODEL.MASK_ON", True, "TEST.IMS_PER_BATCH", 2)
predictor = Predictor(cfg, tiny_mask_rcnn("MODEL.ROI_HEADS.SCORE_THRESH", 0.3))
image = read_image(sys.argv[1])
found = predictor.detect(image)
print(image.nbytes, int(peak_memory_mb() * 2**20), len(found))
"""


def peak_memory(image):
    """Predict in a process of its own; returns bytes of the decoded image and of the peak."""
    output = subprocess.run(
        [sys.executable, "-c", PEAK, str(image), str(ROOT / "tests")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    return int(output[0]), int(output[1])


def check_memory(folder, large):
    """Beyond the decoded image (held once more while it is read) 40 MB of difference is noise."""
    small = folder / "small.png"
    cv2.imwrite(str(small), np.full((700, 900, 3), 90, np.uint8))
    small_bytes, small_peak = peak_memory(small)
    large_bytes, large_peak = peak_memory(large)
    assert large_bytes > 20 * small_bytes
    assert large_peak - small_peak < 2 * (large_bytes - small_bytes) + 40e6


@pytest.mark.slow
def test_prediction_memory_on_a_whole_real_image(shared_data, tmp_path):
    check_memory(tmp_path, shared_data / "dota/images/P0020.jpg")


@pytest.mark.slow
def test_prediction_memory_on_a_large_drawn_image(tmp_path):
    large = tmp_path / "large.png"
    cv2.imwrite(str(large), np.random.default_rng(0).integers(0, 255, (4100, 5200, 3), np.uint8))
    check_memory(tmp_path, large)
