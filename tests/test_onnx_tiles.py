"""An exported detector beside its model on tiles of photographs, as tools/predict.py runs them."""

import cv2
import numpy as np
import pytest
import torch
from launching import ROOT
from test_export import CLASSES, KINDS
from tiny_models import FPN_MASK, make_cfg

from maskrcnn_benchmark.benchmarks.exported import exported_table, largest_difference
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.export.files import export_detector
from maskrcnn_benchmark.export.onnx_detector import OnnxDetector
from maskrcnn_benchmark.images.image_io import read_image, read_image_size
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.checkpoint import DetectronCheckpointer

DATA = ROOT.parent / "shared" / "data"
BODY = DATA / "weights" / "R-50-half-c2.pkl"


def real_tiles():
    """Yield tiles of 400 pixels from the middle of 10 airports and of 10 of DOTA's images."""
    for folder in ("airplanes/val", "dota"):
        paths = sorted((DATA / folder / "images").iterdir())
        for path in paths[:10]:
            width, height = read_image_size(path)
            x0, y0 = (width - 400) // 2, (height - 400) // 2
            yield read_image(path)[y0 : y0 + 400, x0 : x0 + 400]


def made_tiles():
    """Yield two tiles of smooth blotches."""
    rng = np.random.default_rng(0)
    for _ in range(2):
        coarse = rng.integers(0, 256, (12, 15, 3), dtype=np.uint8)
        yield np.kron(coarse, np.ones((10, 10, 1), np.uint8))


HEAD = ["MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4, "MODEL.ROI_HEADS.SCORE_THRESH", 0.3]
HEAD += ["MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 0]
REAL_KINDS = {  # beside airplanes_cpu.yaml
    "faster": HEAD,
    "mask": [*HEAD, *FPN_MASK],
    "gliding_vertex": [
        *(*HEAD, "MODEL.ORIENTED.METHOD", "gliding_vertex"),
        *("MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNRatioPredictor"),
    ],
    "retinanet": [
        *("MODEL.RETINANET_ON", True, "MODEL.RPN_ONLY", True, "MODEL.RETINANET.NUM_CLASSES", 4),
        *("MODEL.BACKBONE.CONV_BODY", "R-50-FPN-RETINANET", "MODEL.RETINANET.INFERENCE_TH", 0.3),
        *("MODEL.RETINANET.ANCHOR_SIZES", (16, 32, 64, 128, 256)),
    ],
}


def airplane_detector(kind):
    """Return settings and a detector with a trained body and heads of random numbers.

    These are enlarged: scores that all but equal each other would change their order by roundings,
    and with it what is suppressed.
    """
    cfg = load_config("configs/dota/airplanes_cpu.yaml", list(map(str, REAL_KINDS[kind])))
    torch.manual_seed(1)
    model = build_detection_model(cfg)
    DetectronCheckpointer(cfg, model).load(str(BODY), use_latest=False)
    if kind == "retinanet":
        model.rpn.head.cls_logits.weight.data *= 1000
        model.rpn.head.cls_logits.bias.data.fill_(-2)
    else:
        model.rpn.head.cls_logits.weight.data *= 5
        model.roi_heads.box.predictor.cls_score.weight.data *= 30
    return cfg, model


def narrow_detector():
    torch.manual_seed(0)
    sizes = ["INPUT.MIN_SIZE_TEST", 120, "INPUT.MAX_SIZE_TEST", 150]
    cfg = make_cfg(*KINDS["faster"], *sizes)
    return cfg, build_detection_model(cfg)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*REAL_KINDS, "made"])
def test_onnxruntime_finds_what_pytorch_finds(kind, tmp_path):
    pytest.importorskip("onnxruntime")
    if kind in REAL_KINDS and not DATA.is_dir():
        pytest.skip("there is no ../shared/data")
    tiles = list(real_tiles() if kind in REAL_KINDS else made_tiles())
    assert len(tiles) == (20 if kind in REAL_KINDS else 2)
    if kind not in ("faster", "made"):
        tiles = tiles[::4]  # in a quarter of the time
    cfg, model = airplane_detector(kind) if kind in REAL_KINDS else narrow_detector()
    export_detector(cfg, model, CLASSES, str(tmp_path / "detector.onnx"))
    detector = OnnxDetector(str(tmp_path / "detector.onnx"))
    expected = list(Predictor(cfg, model).predict_many(tiles))
    found = list(Predictor(detector.cfg, detector).predict_many(tiles))
    for boxes, wanted in zip(found, expected, strict=True):
        assert len(boxes) == len(wanted)
        pixels, score = largest_difference(boxes, wanted)
        assert pixels < 0.1 and score < 1e-3
    assert min(map(len, expected)) > 0 and sum(map(len, expected)) > 10 * len(tiles)


def boxes_of(*rows):
    """Rows of (x1, y1, x2, y2, score, label)."""
    found = BoxList(torch.tensor([row[:4] for row in rows]).reshape(-1, 4), (90, 70))
    found.add_field("scores", torch.tensor([row[4] for row in rows]))
    found.add_field("labels", torch.tensor([row[5] for row in rows]))
    return found


def test_the_largest_difference_is_that_of_partners():
    one, two = (3.0, 5.0, 20.0, 30.0, 0.5, 1), (4.0, 5.0, 20.0, 30.0, 0.5, 1)
    moved = (4.0, 5.0, 20.25, 30.0, 0.625, 1)
    assert largest_difference(boxes_of(one, two), boxes_of(two, one)) == (0, 0)
    assert largest_difference(boxes_of(one, two), boxes_of(moved, one)) == (0.25, 0.125)
    assert largest_difference(boxes_of(one, one), boxes_of(two, one))[0] == float("inf")
    other_class = (*one[:5], 2)
    assert largest_difference(boxes_of(one), boxes_of(other_class))[0] == float("inf")
    assert largest_difference(boxes_of(), boxes_of()) == (0, 0)


@pytest.mark.slow
def test_the_table_has_a_line_per_tile(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    cfg, model = narrow_detector()
    cfg.DOTA.TILE, cfg.DOTA.OVERLAP, cfg.DOTA.CLASSES = 100, 20, CLASSES
    torch.save({"model": model.state_dict()}, tmp_path / "w.pth")
    for number, tile in enumerate(made_tiles()):
        cv2.imwrite(str(tmp_path / f"{number}.png"), tile)
    images = sorted(tmp_path.glob("*.png"))
    _, _, *tiles, medians = exported_table(cfg, str(tmp_path / "w.pth"), images)
    assert [line.split()[0] for line in tiles] == ["0.png", "1.png"]
    for line in tiles:
        _, _, _, ours, onnx, pixels, score = line.split()
        assert int(ours) == int(onnx) > 0 and float(pixels) < 0.1 and float(score) < 1e-3
    assert medians.startswith("median")
