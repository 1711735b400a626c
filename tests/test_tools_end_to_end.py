"""From drawn scenes to predictions through the tools, as a user types them; a tiny Mask R-CNN."""

import json
import logging
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from launching import launch

from maskrcnn_benchmark.commands import test_net, train_net
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.dota.submission import read_task_folder
from maskrcnn_benchmark.engine.inference import run_test
from maskrcnn_benchmark.images.image_io import read_image
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.utils.checkpoint import load_trained
from maskrcnn_benchmark.utils.command_line import run_tool
from maskrcnn_benchmark.utils.random_state import seed_everything
from maskrcnn_benchmark.utils.training_log import read_metrics

SETTINGS = """
MODEL:
  META_ARCHITECTURE: "GeneralizedRCNN"
  DEVICE: "{device}"
  MASK_ON: True
  BACKBONE:
    CONV_BODY: "R-50-FPN"
    FREEZE_CONV_BODY_AT: 0
  RESNETS:
    STEM_FUNC: "StemWithGN"
    TRANS_FUNC: "BottleneckWithGN"
    STEM_OUT_CHANNELS: 8
    WIDTH_PER_GROUP: 8
    RES2_OUT_CHANNELS: 16
    BACKBONE_OUT_CHANNELS: 16
  GROUP_NORM:
    NUM_GROUPS: 4
  RPN:
    USE_FPN: True
    ANCHOR_SIZES: (8, 16, 32, 64, 128)
    ANCHOR_STRIDE: (4, 8, 16, 32, 64)
    PRE_NMS_TOP_N_TRAIN: 200
    PRE_NMS_TOP_N_TEST: 100
    POST_NMS_TOP_N_TEST: 50
    FPN_POST_NMS_TOP_N_TRAIN: 100
    FPN_POST_NMS_TOP_N_TEST: 50
  ROI_HEADS:
    USE_FPN: True
    BATCH_SIZE_PER_IMAGE: 32
    SCORE_THRESH: 0.0
    DETECTIONS_PER_IMG: 20
  ROI_BOX_HEAD:
    NUM_CLASSES: 16
    MLP_HEAD_DIM: 32
    POOLER_RESOLUTION: 7
    POOLER_SCALES: (0.25, 0.125, 0.0625, 0.03125)
    POOLER_SAMPLING_RATIO: 2
    FEATURE_EXTRACTOR: "FPN2MLPFeatureExtractor"
    PREDICTOR: "FPNPredictor"
  ROI_MASK_HEAD:
    POOLER_SCALES: (0.25, 0.125, 0.0625, 0.03125)
    FEATURE_EXTRACTOR: "MaskRCNNFPNFeatureExtractor"
    PREDICTOR: "MaskRCNNC4Predictor"
    CONV_LAYERS: (16, 16)
    POOLER_RESOLUTION: 14
    POOLER_SAMPLING_RATIO: 2
    RESOLUTION: 28
    SHARE_BOX_FEATURE_EXTRACTOR: False
INPUT:
  MIN_SIZE_TRAIN: (96,)
  MAX_SIZE_TRAIN: 128
  MIN_SIZE_TEST: 96
  MAX_SIZE_TEST: 128
DATASETS:
  TRAIN: ("dota:{data}/scenes",)
  TEST: ("dota:{data}/tiles",)
DATALOADER:
  SIZE_DIVISIBILITY: 32
  NUM_WORKERS: 0
DOTA:
  TILE: 112
  OVERLAP: 32
SOLVER:
  BASE_LR: 0.01
  MAX_ITER: 2
  IMS_PER_BATCH: 2
  CHECKPOINT_PERIOD: 100
TEST:
  IMS_PER_BATCH: 1
OUTPUT_DIR: "{data}/run"
"""


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread: more do not speed up networks this small, and slow down a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Make a folder with scenes/ (three drawn), tiles/ (nine of them) and settings.yaml."""
    folder = tmp_path_factory.mktemp("toy")
    look = ["--images", "3", "--size", "240x100", "--objects", "12", "--seed", "1"]
    done = launch("tools/dota.py", "toy", folder / "scenes", *look)
    assert done.returncode == 0, done.stderr
    folders = [folder / "scenes", folder / "tiles"]
    done = launch("tools/dota.py", "split", *folders, "--size", "112", "--overlap", "32")
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "tiles" / "images").iterdir())) == 9
    (folder / "settings.yaml").write_text(SETTINGS.format(device="cpu", data=folder))
    return folder


@pytest.fixture(scope="module")
def trained(data):
    """Return the folder of a run of two iterations by two processes, and train_net's output."""
    (data / "cuda.yaml").write_text(SETTINGS.format(device="cuda", data=data))
    done = launch(
        *("tools/train_net.py", "--config-file", data / "cuda.yaml"),
        *("SOLVER.TEST_PERIOD", "2", "TEST.IMS_PER_BATCH", "2"),
        processes=2,
        CUDA_VISIBLE_DEVICES="",
    )
    assert done.returncode == 0, done.stderr
    return data / "run", done.stdout


@pytest.fixture(scope="module")
def tested(data, trained):
    """Return the folder of results of test_net, one process."""
    done = launch(
        *("tools/test_net.py", "--config-file", data / "settings.yaml"),
        *("--ckpt", trained[0] / "model_final.pth", "OUTPUT_DIR", data / "tested"),
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (data / "tested" / "inference").glob("[!.]*")  # not .lock
    return folder


def train_here(data, output_dir, *opts, seed=None):
    """Run train_net's train() in this process; return the model."""
    cfg = load_config(str(data / "settings.yaml"), ["OUTPUT_DIR", str(output_dir), *opts])
    Path(output_dir).mkdir(exist_ok=True)
    seed_everything(cfg.SOLVER.SEED if seed is None else seed)
    return train_net.train(cfg, False)


def same_weights(a, b):
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(name == other and torch.equal(x, y) for (name, x), (other, y) in pairs)


def test_training_leaves_everything(trained):
    run, printed = trained
    names = {path.name for path in run.iterdir()}
    assert names >= {
        *("log.txt", "metrics.jsonl", "config.yml", "labels.json"),
        *("model_final.pth", "last_checkpoint"),
    }
    assert json.loads((run / "labels.json").read_text())["7"] == "ship"
    assert printed.count("MODEL.DEVICE is 'cuda' but there is no GPU: running on the CPU") == 1
    assert "eta: 0:00:00  iter: 2" in printed and "max mem:" in printed
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["iteration"] for row in rows] == [1, 2, 2]
    losses = {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
    assert losses <= rows[0].keys()
    # TEST_PERIOD 2: figures of the test set and losses on it
    assert "val/loss_mask" in rows[2]
    assert any(name.endswith("task2/voc07@0.5/mAP") for name in rows[2])


def test_test_net_writes_results_of_full_images(data, tested):
    metrics = json.loads((tested / "metrics.json").read_text())
    assert set(metrics) == {"task1", "task2"}
    assert set(metrics["task2"]) == {"voc07@0.5", "area@0.5", "area@0.75", "area@0.50:0.95"}
    labels = (data / "scenes" / "labelTxt").iterdir()
    labelled = sum(len(path.read_text().splitlines()) for path in labels)
    classes = metrics["task2"]["voc07@0.5"]["classes"]
    assert 0 < sum(entry["npos"] for entry in classes.values()) <= labelled
    assert sum(entry["ndet"] for entry in classes.values()) > 0
    names = {name for result in read_task_folder(tested, 2).values() for name in result.image_names}
    assert names <= {path.stem for path in (data / "scenes" / "images").iterdir()}  # no tiles
    assert "mAP" in (tested / "ap_table.txt").read_text()


def test_two_processes_with_uneven_shares_evaluate_as_one_does(trained, tested):
    (folder,) = (trained[0] / "inference").glob("[!.]*")  # five and four of the nine tiles
    assert folder.name == tested.name
    names = sorted(path.name for path in tested.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names and len(names) == 2 * 15 + 5
    assert [
        name for name in names if (folder / name).read_text() != (tested / name).read_text()
    ] == ["evaluated.json"]
    about, told = (json.loads((f / "evaluated.json").read_text()) for f in (folder, tested))
    assert about["weights"] == "as trained" and about["DTYPE"] == told["DTYPE"] == "float32"
    assert told["weights"] == str(trained[0] / "model_final.pth")


def test_predict_whole_images(data, trained, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for path in (data / "scenes" / "images").iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    (images / "broken.png").write_bytes(b"no image")
    out = tmp_path / "found"
    done = launch(
        *("tools/predict.py", "--config-file", data / "settings.yaml"),
        *("--weights", trained[0] / "model_final.pth", "--out", out, "--score", "0.0"),
        images,
    )
    assert done.returncode == 1 and "broken.png" in done.stdout  # said and passed over
    found = json.loads((out / "detections.json").read_text())
    names = sorted(path.stem for path in (data / "scenes" / "images").iterdir())
    assert sorted(found["images"]) == names and found["score"] == 0.0
    results = read_task_folder(out, 2)
    for name in names:
        entry = found["images"][name]
        assert (entry["width"], entry["height"]) == (240, 100)
        assert read_image(out / f"{name}_detections.jpg").shape == (100, 240, 3)
        objects = entry["detections"]
        written = sum(result.image_names.count(name) for result in results.values())
        assert len(objects) == written > 0
        boxes = np.array([item["box"] for item in objects])
        assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes[:, 2].max() > 112  # beyond a tile
        assert np.shape([item["corners"] for item in objects]) == (len(objects), 4, 2)
    assert list(out.glob("Task1_*.txt"))


def test_errors_are_one_line_and_status_2(data, monkeypatch, capsys):
    command = ["test_net.py", "--config-file", str(data / "settings.yaml"), "--ckpt", "no.pth"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        run_tool(test_net.main)
    logging.getLogger("maskrcnn_benchmark").handlers.clear()
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and line.startswith("error: ") and "no.pth" in line


def test_weights_of_another_detector_are_not_evaluated(data, trained):
    settings = str(data / "settings.yaml")
    weights = str(trained[0] / "model_final.pth")
    other = load_config(settings, ["MODEL.ROI_BOX_HEAD.NUM_CLASSES", "4"])
    with pytest.raises(ValueError, match="roi_heads.box.predictor.*config.yml"):
        load_trained(other, build_detection_model(other), weights, use_latest=False)
    cfg = load_config(settings, ["OUTPUT_DIR", str(data / "nothing")])
    with pytest.raises(FileNotFoundError, match="no trained weights"):
        load_trained(cfg, build_detection_model(cfg), "", use_latest=True)
    model = build_detection_model(cfg)
    load_trained(cfg, model, weights, use_latest=True)
    saved = torch.load(weights, weights_only=True)["model"]
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


def test_resumed_training_equals_uninterrupted_bit_for_bit(data, tmp_path):
    whole = train_here(data, tmp_path / "whole", "SOLVER.MAX_ITER", "4")
    again = train_here(data, tmp_path / "again", "SOLVER.MAX_ITER", "4")
    assert same_weights(whole, again)
    opts = ["SOLVER.MAX_ITER", "4", "SOLVER.CHECKPOINT_PERIOD", "2"]
    train_here(data, tmp_path / "parts", *opts)
    half = tmp_path / "parts" / "model_0000002.pth"
    (tmp_path / "parts" / "last_checkpoint").write_text(str(half))
    resumed = train_here(data, tmp_path / "parts", *opts, "DATALOADER.NUM_WORKERS", "1", seed=77)
    assert same_weights(whole, resumed)


def test_fault_the_same_command_with_a_lower_learning_rate_trained_with_the_old_one(
    data, tmp_path, caplog
):
    command = [
        *("SOLVER.MAX_ITER", "5", "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.WARMUP_ITERS", "2"),
        *("SOLVER.WARMUP_METHOD", "constant", "SOLVER.WARMUP_FACTOR", "1e-9"),
    ]
    with pytest.raises(FloatingPointError, match="iteration 4 .*Lower SOLVER.BASE_LR"):
        train_here(data, tmp_path, *command, "SOLVER.BASE_LR", "1e6")
    with caplog.at_level(logging.INFO):
        train_here(data, tmp_path, *command, "SOLVER.BASE_LR", "0.02")
    assert "1 setting(s) differ from the checkpoint's run" in caplog.text
    assert caplog.text.count("SOLVER.BASE_LR: 1000000.0 -> 0.02") == 1
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4, 5]
    # the rate of the iteration that follows; the resumed ones ran at 0.02
    assert [row["lr"] for row in rows] == [0.001, 1e6, 0.02, 0.02, 0.02]
    assert math.isfinite(rows[-1]["loss"])
    # a command that trains nothing leaves the settings that training had
    train_here(data, tmp_path, *command, "SOLVER.BASE_LR", "0.5")
    assert load_config(str(tmp_path / "config.yml"), []).SOLVER.BASE_LR == 0.02


def test_fault_last_checkpoint_turns_fine_tuning_into_resuming(data, trained, tmp_path, caplog):
    run, _ = trained
    weight = ["MODEL.WEIGHT", str(run / "model_final.pth")]
    with caplog.at_level(logging.INFO):
        tuned = train_here(data, tmp_path / "tuned", *weight, "SOLVER.BASE_LR", "0.0")
    assert "Start training at iteration 0 of 2" in caplog.text
    rows = read_metrics(tmp_path / "tuned" / "metrics.jsonl")
    assert [row["iteration"] for row in rows] == [1, 2]
    start = torch.load(run / "model_final.pth", weights_only=True)["model"]
    # with learning rate 0 the weights are those that it started from
    assert all(torch.equal(start[name], value) for name, value in tuned.state_dict().items())
    caplog.clear()
    with caplog.at_level(logging.INFO):
        train_here(data, tmp_path / "tuned", *weight)
    assert "Resuming from" in caplog.text and "This run is finished: 2 of 2" in caplog.text


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_from_training_to_evaluation(data, trained, tmp_path, dtype):
    opts = ["OUTPUT_DIR", str(tmp_path), "DTYPE", dtype]
    model = train_here(data, tmp_path, *opts)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    exact = read_metrics(trained[0] / "metrics.jsonl")
    assert len(rows) == 2 and 0.5 < rows[0]["loss"] / exact[0]["loss"] < 2
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    cfg = load_config(str(data / "settings.yaml"), opts)
    (metrics,) = run_test(cfg, model, distributed=False, output_dir="").values()
    found = metrics["task1"]["voc07@0.5"]["classes"].values()
    assert sum(entry["ndet"] for entry in found) > 0


def test_evaluation_of_raw_images_cuts_them_in_memory(data, trained):
    opts = ["DATASETS.TEST", f"('dota:{data}/scenes',)", "MODEL.WEIGHT", ""]
    cfg = load_config(str(data / "settings.yaml"), opts)
    model = build_detection_model(cfg)
    model.load_state_dict(torch.load(trained[0] / "model_final.pth", weights_only=True)["model"])
    results = run_test(cfg, model, distributed=False, output_dir="")
    tiles = run_test(
        load_config(str(data / "settings.yaml"), []), model, distributed=False, output_dir=""
    )
    assert list(results.values()) == list(tiles.values())
