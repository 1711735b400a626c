"""Exported detectors beside the models that they come from."""

import json
import logging
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
import torchvision
from made_data import gradient
from tiny_models import FPN_BODY, FPN_KEYPOINT, FPN_MASK, NARROW, RETINANET, make_cfg
from yacs.config import CfgNode

from maskrcnn_benchmark.commands import predict
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.export import onnx_detector
from maskrcnn_benchmark.export.detectors import ExportableDetector
from maskrcnn_benchmark.export.files import (
    METADATA,
    export_detector,
    make_exportable,
    make_metadata,
)
from maskrcnn_benchmark.export.onnx_detector import FIELDS, OnnxDetector
from maskrcnn_benchmark.export.pooling import TracedPooler, TracedRotatedPooler
from maskrcnn_benchmark.export.suppression import best, nms, oriented_nms_per_class
from maskrcnn_benchmark.images.image_io import write_image
from maskrcnn_benchmark.layers.roi_align_rotated import ROIAlignRotated
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.poolers import Pooler
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.oriented_boxes import oriented_nms
from maskrcnn_benchmark.structures.rotated_boxes import rotated_to_corners

HEAD = [
    *("MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4),
    *("MODEL.ROI_HEADS.SCORE_THRESH", 0.28, "DATALOADER.SIZE_DIVISIBILITY", 32),
]
KINDS = {
    "faster": [*FPN_BODY, *NARROW, *HEAD],
    "faster_C4": [
        *(*NARROW, *HEAD, "MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 64),
        *("MODEL.RPN.ANCHOR_SIZES", (16, 32), "DATALOADER.SIZE_DIVISIBILITY", 0),
    ],
    "mask": [*FPN_BODY, *FPN_MASK, *NARROW, *HEAD],
    "retinanet": [*RETINANET, *NARROW, "MODEL.RETINANET.INFERENCE_TH", 0.005],
    "oriented_rcnn": [
        *(*FPN_BODY, *NARROW, *HEAD, "MODEL.ORIENTED.METHOD", "oriented_rcnn"),
        *("MODEL.RPN.RPN_HEAD", "OrientedRPNHead", "MODEL.ROI_HEADS.SCORE_THRESH", 0.35),
    ],
    "gliding_vertex": [
        *(*FPN_BODY, *NARROW, *HEAD, "MODEL.ORIENTED.METHOD", "gliding_vertex"),
        *("MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNRatioPredictor"),
    ],
}
CLASSES = ["plane", "ship", "large vehicle"]


def made_model(kind):
    torch.manual_seed(0)
    cfg = make_cfg(*KINDS[kind])
    return cfg, build_detection_model(cfg).eval()


def made_images(padded_hw, hw):
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randn(1, 3, *padded_hw, generator=generator) * 20
    pixels[..., hw[0] :, :] = 0
    pixels[..., hw[1] :] = 0
    return ImageList(pixels, [hw])


def assert_same(found: BoxList, expected: BoxList, least: int = 21):
    assert len(found) == len(expected) >= least
    if not len(found):
        return
    scores = found.get_field("scores")
    assert (scores[1:] <= scores[:-1]).all()
    # equal scores have no order: the partners are the nearest boxes of the same class
    distance = torch.cdist(found.bbox, expected.bbox, p=torch.inf)
    distance[found.get_field("labels")[:, None] != expected.get_field("labels")] = torch.inf
    partner = distance.argmin(dim=1)
    assert len(partner.unique()) == len(partner)
    expected = expected[partner]
    # sums in another order: some roundings of float32
    assert (found.bbox - expected.bbox).abs().max() < 1e-2
    assert (found.get_field("scores") - expected.get_field("scores")).abs().max() < 1e-5
    for name in ("mask", "corners"):
        assert found.has_field(name) == expected.has_field(name)
        if found.has_field(name):
            assert (found.get_field(name) - expected.get_field(name)).abs().max() < 1e-2


def as_boxes(detector: ExportableDetector, outputs, hw) -> BoxList:
    names = ["boxes", "scores", "labels", *detector.extra_outputs]
    found = dict(zip(names, outputs, strict=True))
    boxes = BoxList(found.pop("boxes"), hw[::-1])
    for name, values in found.items():
        boxes.add_field(FIELDS[name], values)
    return boxes


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=pytest.mark.slow) if k == "oriented_rcnn" else k for k in KINDS],
)
def test_the_function_of_tensors_detects_what_the_model_does(kind):
    cfg, model = made_model(kind)
    detector = make_exportable(cfg, model)
    images = made_images((160, 192), (150, 185))
    with torch.no_grad():
        outputs = detector(images.tensors, torch.tensor([150, 185]))
        assert_same(as_boxes(detector, outputs, (150, 185)), model(images)[0])


def predict_with(path, detector, folder, monkeypatch):
    """Run tools/predict.py on the file alone, and compare with the Predictor on its settings."""
    write_image(folder / "scene.png", gradient(150, 120))
    out = folder / "found"
    arguments = ["predict.py", "--weights", path, "--out", out, "--score", 0, folder / "scene.png"]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    assert predict.main() == 0
    logging.getLogger("maskrcnn_benchmark").handlers.clear()
    written = json.loads((out / "detections.json").read_text())
    expected = Predictor(detector.cfg, detector).predict(str(folder / "scene.png"))
    found = written["images"]["scene"]["detections"]
    assert len(found) == len(expected) > 0
    assert {item["class"] for item in found} <= set(CLASSES)
    assert written["config"] == str(path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mask", "retinanet", "oriented_rcnn"])
def test_onnx_gives_the_models_detections_on_images_of_other_sizes(kind, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    cfg, model = made_model(kind)
    path = tmp_path / "new" / "detector.onnx"
    export_detector(cfg, model, CLASSES, str(path))
    detector = OnnxDetector(str(path))
    assert detector.class_names == CLASSES
    assert detector.cfg.DATALOADER.SIZE_DIVISIBILITY == 32
    if kind == "retinanet":
        predict_with(path, detector, tmp_path, monkeypatch)
    for padded_hw, hw in (((160, 192), (150, 185)), ((352, 96), (340, 90))):
        images = made_images(padded_hw, hw)
        with torch.no_grad():
            assert_same(detector(images)[0], model(images)[0])


@pytest.mark.slow
def test_fault_pt2_stopped_where_a_class_has_one_box(tmp_path):
    """Many boxes, one of a class, a few, none: the last biases say how many pass the threshold."""
    cfg, model = made_model("faster")
    path = str(tmp_path / "detector.pt2")
    export_detector(cfg, model, CLASSES, path)
    extra = {METADATA: ""}
    program = torch.export.load(path, extra_files=extra).module()
    metadata = json.loads(extra[METADATA])
    assert metadata["outputs"] == ["boxes", "scores", "labels"]
    assert (metadata["channel_order"], metadata["classes"]) == ("BGR", CLASSES)
    bias = model.roi_heads.box.predictor.cls_score.bias.data
    exported_bias = program.state_dict()["model.roi_heads.box.predictor.cls_score.bias"]
    assert torch.equal(bias, exported_bias)
    counts = set()
    for shift in (0, 4, 4, 10):
        bias[1:] -= shift
        exported_bias.copy_(bias)
        for padded_hw, hw in (((160, 192), (150, 185)), ((352, 96), (340, 90))):
            images = made_images(padded_hw, hw)
            with torch.no_grad():
                found = program(images.tensors, torch.tensor(hw))
                boxes = as_boxes(make_exportable(cfg, model), found, hw)
                expected = model(images)[0]
            counts |= set(torch.bincount(expected.get_field("labels"), minlength=4)[1:].tolist())
            assert_same(boxes, expected, least=0)
    assert {0, 1} < counts and max(counts) > 90


def test_the_metadata_say_how_to_feed_the_graph():
    cfg = make_cfg(*KINDS["faster_C4"], "INPUT.PIXEL_MEAN", [1.0, 2.0, 3.0])
    metadata = make_metadata(cfg, CLASSES, 16)
    assert (metadata["channel_order"], metadata["greatest_value"]) == ("BGR", 255)
    assert (metadata["pixel_mean"], metadata["classes"]) == ([1.0, 2.0, 3.0], CLASSES)
    assert (metadata["tile"], metadata["overlap"], metadata["size_divisibility"]) == (1024, 200, 16)
    assert CfgNode.load_cfg(metadata["settings"]).DATALOADER.SIZE_DIVISIBILITY == 16


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([*KINDS["faster"], *FPN_KEYPOINT], "KEYPOINT_ON"),
        ([*KINDS["faster"], "MODEL.RPN_ONLY", True], "RPN_ONLY"),
        ([*KINDS["faster"], "TEST.BBOX_AUG.ENABLED", True], "BBOX_AUG"),
        ([*KINDS["mask"], "MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS", True], "POSTPROCESS_MASKS"),
        ([*KINDS["faster"], "MODEL.RESNETS.STAGE_WITH_DCN", (False, True, True, True)], "DCN"),
        ([*KINDS["faster"], "MODEL.ROI_HEADS.NMS", 0.0], "ROI_HEADS.NMS"),
        ([*KINDS["faster"], "MODEL.RPN.NMS_THRESH", 0.0], "RPN.NMS_THRESH"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_the_reason(options, told, tmp_path):
    cfg = make_cfg(*options)
    with pytest.raises(ValueError, match=f"{told}.* cannot be exported"):
        export_detector(cfg, build_detection_model(cfg), CLASSES, str(tmp_path / "x.onnx"))
    assert not list(tmp_path.iterdir())


def test_another_ending_is_refused():
    with pytest.raises(ValueError, match=r"ends in .onnx or .pt2, got x.pb"):
        export_detector(None, None, [], "x.pb")


@pytest.mark.parametrize("content", [None, b"", b"no protocol buffer"])
def test_a_file_that_is_no_exported_detector_is_refused(content, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "x.onnx"
    if content is None:
        with pytest.raises(FileNotFoundError, match="x.onnx"):
            OnnxDetector(str(path))
        return
    path.write_bytes(content)
    with pytest.raises(ValueError, match="x.onnx is damaged or no ONNX file"):
        OnnxDetector(str(path))


def test_pooling_from_the_levels_keeps_the_order_of_the_boxes():
    pooler = Pooler((3, 3), [0.25, 0.125], sampling_ratio=2, fast=True)
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(1, 2, side, side, generator=generator) for side in (40, 20)]
    sides = torch.tensor([10.0, 400.0, 30.0, 150.0, 12.0])  # pixels; levels 0, 1, 0, 1, 0
    boxes = BoxList(torch.stack([sides / 9, sides / 7, sides, sides * 0.9], dim=1), (160, 160))
    expected = pooler(features, [boxes])
    assert torch.allclose(TracedPooler(pooler)(features, [boxes]), expected, atol=1e-5)


def test_rotated_pooling_inside_and_across_the_border():
    pooler = ROIAlignRotated(3, [0.25, 0.125])
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(1, 2, *hw, generator=generator) for hw in ((30, 40), (15, 20))]
    boxes = torch.tensor(
        [
            [50.0, 60.0, 40.0, 20.0, 0.3],
            [3.0, 5.0, 60.0, 30.0, -1.2],  # across the upper left corner
            [150.0, 110.0, 300.0, 200.0, 0.7],  # the coarser level, across the lower right one
            [-90.0, 40.0, 20.0, 10.0, 0.0],  # outside
        ]
    )
    found = TracedRotatedPooler(pooler)(features, [boxes])
    assert torch.allclose(found, pooler(features, [boxes]), atol=1e-5)
    assert (found[3] == 0).all() and (found[:3] != 0).any(dim=(1, 2, 3)).all()


def test_the_best_scores_and_fewer_where_there_are_fewer():
    scores = torch.tensor([0.1, 0.9, 0.5])
    assert [x.tolist() for x in best(scores, 2)] == [pytest.approx([0.9, 0.5]), [1, 2]]
    assert best(scores, 5)[1].tolist() == [1, 2, 0]


def test_oriented_suppression_against_the_plain_one():
    generator = torch.Generator().manual_seed(3)
    place = torch.rand(150, 2, generator=generator) * 100
    shape = torch.rand(150, 2, generator=generator) * 30 + 5
    angle = torch.rand(150, 1, generator=generator) * 3 - 1.5
    corners = rotated_to_corners(torch.cat([place, shape, angle], dim=1))
    labels = torch.randint(1, 4, (150,), generator=generator)
    scores = torch.linspace(1, 0, 150)
    kept = oriented_nms_per_class(corners, labels, 0.2)
    assert 40 < len(kept) < 140
    assert kept.tolist() == sorted(oriented_nms(corners, scores, 0.2, groups=labels).tolist())


def test_fault_boxes_that_a_rounding_had_swapped_were_suppressed_in_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    # clipped at the border x = 399: two with x2 < x1, on each other; the others, too
    boxes = torch.tensor([[399.0, 34, 398.998, 49], [399, 35, 398.998, 50]])
    boxes = torch.cat([boxes, torch.tensor([[380.0, 30, 399, 50], [380, 30, 399, 52]])])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])

    class Suppression(torch.nn.Module):
        def forward(self, boxes, scores):
            return nms(boxes, scores, 0.5)

    path = str(tmp_path / "nms.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Suppression(), (boxes, scores), path, dynamo=True, input_names=["boxes", "scores"]
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (kept,) = session.run(None, {"boxes": boxes.numpy(), "scores": scores.numpy()})
    assert kept.tolist() == torchvision.ops.nms(boxes, scores, 0.5).tolist() == [0, 1, 2]


def test_fault_work_of_one_exported_file_was_taken_for_that_of_another(tmp_path, monkeypatch):
    cfg = make_cfg(*KINDS["faster"])
    metadata = {METADATA: json.dumps(make_metadata(cfg, CLASSES, 32))}
    session = SimpleNamespace(
        get_modelmeta=lambda: SimpleNamespace(custom_metadata_map=metadata), get_outputs=list
    )
    monkeypatch.setattr(onnx_detector, "_open", lambda _: session)
    known = []
    for number, weights in enumerate((b"some", b"others", b"some")):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(weights)
        detector = OnnxDetector(str(path))
        known.append(Predictor(detector.cfg, detector).depends_on())
    assert known[0] == known[2] != known[1]
