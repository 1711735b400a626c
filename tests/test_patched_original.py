"""The patches on the original: MASKRCNN_ORIGINAL is the path of a clone that has 57eec25.

MASKRCNN_ORIGINAL=/path/to/clone pytest -m "slow or not slow" tests/test_patched_original.py
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import patch_series
import pytest
from made_data import make_coco_folder

from maskrcnn_benchmark.images.image_io import write_image

WORKER = Path(__file__).parent / "patched_original_worker.py"
SERIES = patch_series.series()
GIGABYTE = 10**9


def work(folder, *arguments):
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(WORKER), *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("patch", SERIES, ids=[path.name[:4] for path in SERIES])
def test_each_patch_applies_alone_by_git_am(checkout_with, tmp_path, patch):
    folder = tmp_path / "alone"
    patch_series.git(tmp_path, "clone", "-q", "--shared", str(checkout_with()), str(folder))
    patch_series.git(folder, "am", "-q", str(patch))
    by_am = patch_series.contents(folder)
    patch_series.git(folder, "reset", "-q", "--hard", patch_series.ORIGINAL_COMMIT)
    patch_series.git(folder, "apply", str(patch))
    assert patch_series.contents(folder) == by_am
    changed = [file.path for file in patch_series.parse(patch)]
    for path in changed:
        if path.endswith(".py"):
            compile(by_am[path], path, "exec")
    patch_series.git(folder, "apply", "--reverse", str(patch))
    assert patch_series.contents(folder) == patch_series.contents(checkout_with())


def test_all_apply_in_order_by_git_am_and_by_the_tool(checkout_with, tmp_path):
    folders = tmp_path / "am", tmp_path / "tool"
    for folder in folders:
        patch_series.git(tmp_path, "clone", "-q", "--shared", str(checkout_with()), str(folder))
    patch_series.git(folders[0], "am", "-q", *[str(path) for path in SERIES])
    tool = patch_series.PATCHES.parent / "tools" / "apply_patches.py"
    subprocess.run([sys.executable, tool, folders[1]], check=True, capture_output=True)
    by_am, by_tool = map(patch_series.contents, folders)
    assert by_am == by_tool and len(by_am) > len(patch_series.contents(checkout_with()))
    subprocess.run([sys.executable, tool, folders[1], "--reverse"], check=True, capture_output=True)
    assert not patch_series.git(folders[1], "status", "--short")


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [(1,), (2,), (1, 2), (1, 2, 3)], ids=str)
def test_patches_1_to_3_change_no_result_to_the_last_bit(checkout_with, numbers):
    expected = work(checkout_with(), "match", "")
    modes = ("stream", "cpu", "off") if 3 in numbers else ("",)
    for mode in modes:
        assert work(checkout_with(*numbers), "match", mode) == expected, mode


@pytest.mark.slow
def test_a_thousand_boxes_against_all_anchors_stay_below_1_2_gigabytes(checkout_with):
    some = work(checkout_with(1, 2), "memory", "1000")
    every = work(checkout_with(1, 2, 3, 4, 5, 6), "memory", "1000")
    print(some, every)
    assert 1.04 * GIGABYTE < some["bytes"] < 1.2 * GIGABYTE  # the matrix alone is 1.05 GB
    assert 1.04 * GIGABYTE < every["bytes"] < 1.2 * GIGABYTE
    assert some["matches"] == every["matches"]
    few = work(checkout_with(), "memory", "200")  # the original's 1,000 would take 9.4 GB
    assert few["bytes"] > 1.6 * GIGABYTE
    assert few["matches"] == work(checkout_with(1, 2), "memory", "200")["matches"]


CONFIGS = {
    "faster": "configs/e2e_faster_rcnn_R_50_FPN_1x.yaml",
    "faster-c4": "configs/e2e_faster_rcnn_R_50_C4_1x.yaml",
    "mask": "configs/e2e_mask_rcnn_R_50_FPN_1x.yaml",
    "keypoint": "configs/e2e_keypoint_rcnn_R_50_FPN_1x.yaml",
    "retinanet": "configs/retinanet/retinanet_R-50-FPN_1x.yaml",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "numbers"),
    [*((kind, (5, 6)) for kind in CONFIGS), ("mask", (1, 2, 3, 4, 5, 6))],
    ids=str,
)
def test_images_without_ground_truth_train(checkout_with, kind, numbers):
    losses = work(checkout_with(*numbers), "train", CONFIGS[kind])
    for name, found in losses.items():
        for key, value in found.items():
            assert abs(value) < 1e9, (name, key, value)  # neither NaN nor infinite
        assert found["grad"] > 0
    # no boxes and no masks to learn from, but background
    for name in ("empty", "unusable"):
        for key, value in losses[name].items():
            about_boxes = any(word in key for word in ("reg", "mask", "kp"))
            assert (value == 0) == about_boxes, (name, key, value)
    assert losses["unusable"] == losses["empty"]
    assert losses["mixed"] != losses["empty"] and losses["mixed"] != losses["full"]


@pytest.mark.slow
def test_patch_5_changes_nothing_for_sound_ground_truth(checkout_with):
    config = CONFIGS["mask"]
    patched = work(checkout_with(5, 6), "train", config)["full"]
    plain = work(checkout_with(6, 1), "train", config, "full")["full"]
    assert plain == patched


@pytest.mark.slow
@pytest.mark.parametrize("to_bgr255", ["True", "False"])
def test_patch_4_brings_every_form_of_a_picture_to_the_network_alike(
    checkout_with, tmp_path, to_bgr255
):
    path = tmp_path / "picture.png"
    bgr = np.zeros((60, 90, 3), np.uint8)
    bgr[..., 0] = np.linspace(0, 200, 90)
    bgr[..., 2] = np.linspace(50, 250, 60)[:, None]
    write_image(path, bgr)
    before = work(checkout_with(6), "channels", to_bgr255, str(path), "BGR")
    forms = ("BGR", "RGB", "PIL", "path")
    after = work(checkout_with(1, 2, 3, 4, 5, 6), "channels", to_bgr255, str(path), *forms)
    assert after["BGR"] == before["BGR"]  # input that is BGR gives the same as before
    assert after["data set"] == before["data set"]
    assert {after[form] for form in forms} == {after["data set"]}


@pytest.mark.slow
def test_the_original_s_own_tests_pass_with_all_patches(checkout_with, tmp_path):
    folder = tmp_path / "all"
    shutil.copytree(checkout_with(1, 2, 3, 4, 5, 6), folder)
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    command.append("tests/checkpoint.py")  # its name keeps it from being found
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    last = done.stdout.strip().splitlines()[-1]
    print(last)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in last and "failed" not in last and "error" not in last


CATALOG = """
class DatasetCatalog(object):
    @staticmethod
    def get(name):
        arguments = dict(root={images!r}, ann_file={annotations!r})
        return dict(factory="COCODataset", args=arguments)


class ModelCatalog(object):
    pass
"""
SMALL = """
MODEL.DEVICE cpu MODEL.WEIGHT  DATALOADER.NUM_WORKERS 0 SOLVER.IMS_PER_BATCH 2 SOLVER.MAX_ITER 2
INPUT.MIN_SIZE_TRAIN (128,) INPUT.MAX_SIZE_TRAIN 160 INPUT.MIN_SIZE_TEST 128
INPUT.MAX_SIZE_TEST 160 SOLVER.BASE_LR 0.00001 TEST.IMS_PER_BATCH 2
MODEL.RPN.BATCH_SIZE_PER_IMAGE 32
MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN 50 MODEL.RPN.FPN_POST_NMS_TOP_N_TEST 30
MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE 16 MODEL.ROI_BOX_HEAD.NUM_CLASSES 3
MODEL.ROI_HEADS.SCORE_THRESH 0.0 MODEL.ROI_HEADS.DETECTIONS_PER_IMG 10
DATASETS.TRAIN ("made",) DATASETS.TEST ("made",)
"""


@pytest.mark.slow
def test_train_net_and_test_net_run_on_a_small_coco_set(checkout_with, tmp_path):
    things = [(1, 1, (20, 30, 60, 40)), (1, 2, (90, 50, 40, 50)), (2, 1, (10, 20, 50, 70))]
    annotations = [
        {
            "image_id": image,
            "category_id": category,
            "bbox": [x, y, w, h],
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for image, category, (x, y, w, h) in things
    ]
    sizes, classes = {1: (150, 110), 2: (110, 150)}, {1: "red", 2: "blue"}
    file, root = make_coco_folder(tmp_path / "coco", sizes, classes, annotations)
    catalog = tmp_path / "paths_catalog.py"
    catalog.write_text(CATALOG.format(images=str(root), annotations=str(file)))
    folder = checkout_with(1, 2, 3, 4, 5, 6)
    out = tmp_path / "out"
    options = [word for line in SMALL.strip().splitlines() for word in line.split(" ")]
    options += ["PATHS_CATALOG", str(catalog), "OUTPUT_DIR", str(out)]
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    for tool in ("tools/train_net.py", "tools/test_net.py"):
        command = [sys.executable, tool, "--config-file", CONFIGS["mask"], *options]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
        words = done.stdout + done.stderr
        assert ("iter: 2 " if "train" in tool else "Task: segm") in words
        assert "loss: nan" not in words
    assert (out / "model_final.pth").is_file()
    assert (out / "inference" / "made" / "coco_results.pth").is_file()
