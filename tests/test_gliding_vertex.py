"""Gliding Vertex: vertices by hand and by the original's table, the model against its figures."""

import numpy as np
import pytest
import torch
from oriented_models import EveryOne, corners_target, oriented_cfg, oriented_model

from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.oriented_targets import to_oriented_targets
from maskrcnn_benchmark.modeling.roi_heads.gliding_vertex_head.vertices import (
    decode_vertices,
    encode_vertices,
    obliquity_ratio,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.rotated_boxes import (
    corners_to_edges,
    edges_to_corners,
    rotated_to_corners,
)
from maskrcnn_benchmark.utils.checkpoint import DetectronCheckpointer

# the worked numbers of vertices.py
BOX = torch.tensor([[10.0, 20, 30, 28]])
KITE = torch.tensor([[[15.0, 20], [30, 24], [25, 28], [10, 24]]])
PLACES = [0.25, 0.5, 0.25, 0.5]


def every_description(corners):
    """The same quadrilaterals (1, 4, 2) from each first vertex, in both senses: (8, 4, 2)."""
    turned = torch.cat([corners.roll(k, dims=1) for k in range(4)])
    return torch.cat([turned, turned.flip(1)])


def test_vertices_by_hand():
    for quad in every_description(KITE):
        assert encode_vertices(quad[None])[0].tolist() == pytest.approx(PLACES)
    torch.testing.assert_close(decode_vertices(torch.tensor([PLACES]), BOX), KITE)


def test_fault_upright_boxes_became_triangles():
    """In the original, 2 of the 8 descriptions give (1, 1, 1, 0) or (0, 1, 1, 1)."""
    quads = every_description(edges_to_corners(BOX))
    assert encode_vertices(quads).tolist() == [[1, 1, 1, 1]] * 8
    decoded = decode_vertices(encode_vertices(quads), BOX.expand(8, 4))
    torch.testing.assert_close(corners_to_edges(decoded), BOX.expand(8, 4))


def test_vertices_there_and_back():
    generator = torch.Generator().manual_seed(1)
    boxes = torch.rand(200, 5, generator=generator) * torch.tensor([300, 300, 80, 40, 3.1])
    boxes += torch.tensor([0, 0, 8, 4, -1.55])
    corners = rotated_to_corners(boxes.double())
    back = decode_vertices(encode_vertices(corners), corners_to_edges(corners))
    off = [(back.roll(k, dims=1) - corners).abs().amax((1, 2)) for k in range(4)]
    assert torch.stack(off).amin(dim=0).max() < 1e-9


def test_ratio_by_hand():
    # shoelace: (-240 + 240 + 320 - 160) / 2 = 80; the box counts as 21 x 9, with the original's +1
    assert obliquity_ratio(KITE).item() == pytest.approx(80 / (21 * 9))
    small = edges_to_corners(torch.tensor([[3.0, 4, 11, 12]]))
    assert obliquity_ratio(small).item() == pytest.approx(64 / 81)


def test_the_originals_tables(figures):
    known = figures("gliding_vertex")
    quads = known["enc_quads"].view(-1, 4, 2)
    found, expected = encode_vertices(quads), known["enc_fix"]
    off = (found - expected).abs().amax(dim=1) > 1e-5
    # upright and anticlockwise: the original's triangles, ours the whole rectangle
    assert off.nonzero().flatten().tolist() == [2, 8, 14, 17, 20, 29, 32, 35]
    assert (found[off] == 1).all()
    torch.testing.assert_close(obliquity_ratio(quads), known["enc_ratio"][:, 0], atol=1e-4, rtol=0)
    boxes = known["dec_boxes"].view(-1, 4)
    decoded = decode_vertices(known["dec_alphas"].view(-1, 4), boxes)
    torch.testing.assert_close(decoded, known["dec_quads"].view(-1, 4, 2), atol=1e-3, rtol=0)


def test_fault_sampled_proposals_were_matched_again(monkeypatch):
    box = oriented_model("gliding_vertex").roi_heads.box
    calls, matcher = [], box.loss_evaluator.proposal_matcher
    match = matcher.match
    monkeypatch.setattr(matcher, "match", lambda *pair: calls.append(pair) or match(*pair))
    (target,) = to_oriented_targets([corners_target(KITE, torch.tensor([3]), (60, 50))])
    proposals = BoxList(torch.tensor([[40.0, 3, 50, 9], [11, 20, 30, 28]]), (60, 50))
    (sampled,) = box.loss_evaluator.subsample([proposals], [target])
    assert sampled.get_field("labels").tolist() == [0, 3]
    assert sampled.get_field("vertices")[1].tolist() == pytest.approx(PLACES)
    assert len(calls) == 1


def saved_weights(folder):
    path = folder / "gliding.pth"
    torch.save({"model": oriented_model("gliding_vertex").state_dict()}, path)
    return str(path)


@pytest.mark.parametrize("method", ["oriented_rcnn", ""])
def test_fault_other_models_took_the_parts_that_they_know(method, tmp_path):
    """Fine-tuning went on from boxes that mean something else."""
    options = ["MODEL.ORIENTED.METHOD", "", "MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNPredictor"]
    cfg = oriented_cfg(method) if method else oriented_cfg("gliding_vertex", *options)
    checkpointer = DetectronCheckpointer(cfg, build_detection_model(cfg))
    parts = ("fix_pred.weight", "fix_pred.bias", "ratio_pred.weight", "ratio_pred.bias")
    names = ", ".join(f"roi_heads.box.predictor.{part}" for part in parts)
    with pytest.raises(ValueError, match=f"{names} have no place in .*METHOD '{method}'"):
        checkpointer.load(saved_weights(tmp_path))


def test_weights_for_other_classes_start_a_training(tmp_path):
    cfg = oriented_cfg("gliding_vertex", "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4)
    model = build_detection_model(cfg)
    weights = saved_weights(tmp_path)
    DetectronCheckpointer(cfg, model).load(weights)
    loaded = torch.load(weights)["model"]
    name = "roi_heads.box.feature_extractor.fc6.weight"
    assert torch.equal(model.state_dict()[name], loaded[name])
    assert model.roi_heads.box.predictor.fix_pred.out_features == 4 * 4


LIMITS = [
    *("MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN", 500, "MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 300),
    *("MODEL.RPN.POST_NMS_TOP_N_TRAIN", 2000, "MODEL.RPN.POST_NMS_TOP_N_TEST", 1000),
]


class Known:
    """The figures with our model of the same weights."""

    def __init__(self, figures):
        self.figures = figures("gliding_vertex")
        self.model = oriented_model("gliding_vertex", *LIMITS)
        self.model.load_state_dict(self.figures.state_dict())  # the original's, name by name
        self.sizes = [tuple(size) for size in self.figures.numbers["image_sizes_hw"]]
        self.images = ImageList(self.figures["images"], self.sizes)

    def target(self, image):
        quads = self.figures[f"gt_quads_{image}"].view(-1, 4, 2)
        labels = self.figures[f"gt_labels_{image}"].long()
        return corners_target(quads, labels, self.sizes[image][::-1])


@pytest.fixture(scope="module")
def known(figures):
    return Known(figures)


@torch.no_grad()
def test_proposals_and_detections(known):
    model = known.model.eval()
    features = model.backbone(known.images.tensors)
    torch.testing.assert_close(features[0][:1], known.figures["fpn_p2"], atol=2e-4, rtol=1e-3)
    proposals = model.rpn(known.images, features)[0][0]
    torch.testing.assert_close(proposals.bbox, known.figures["proposals_0"], atol=1e-2, rtol=0)
    found = model(known.images)[0]
    scores, labels = found.get_field("scores").numpy(), found.get_field("labels").numpy()
    ours = np.lexsort((-scores, labels))
    wanted = {k: known.figures[f"det_{k}_0"].numpy() for k in ("scores", "labels", "boxes")}
    theirs = np.lexsort((-wanted["scores"], wanted["labels"]))
    assert labels[ours].tolist() == wanted["labels"][theirs].tolist()
    np.testing.assert_allclose(scores[ours], wanted["scores"][theirs], atol=1e-3)
    upright = known.figures["det_ratios_0"][theirs] > 0.8
    boxes = known.figures["det_boxes_0"][theirs]
    quads = known.figures["det_rboxes_0"][theirs].view(-1, 4, 2)
    expected = torch.where(upright[:, None, None], edges_to_corners(boxes), quads)
    corners = found.get_field("corners")[ours]
    torch.testing.assert_close(corners, expected, atol=1e-2, rtol=0)


def test_losses_of_given_proposals(known, monkeypatch):
    box = known.model.train().roi_heads.box
    monkeypatch.setattr(box.loss_evaluator, "fg_bg_sampler", EveryOne())
    with torch.no_grad():
        features = known.model.backbone(known.images.tensors)
    proposals = [
        BoxList(known.figures[f"roi/proposals_{image}"], size[::-1])
        for image, size in enumerate(known.sizes)
    ]
    targets = to_oriented_targets([known.target(0), known.target(1)])
    _, sampled, losses = box(features, proposals, targets)
    for image, boxes in enumerate(sampled):
        positive = boxes.get_field("labels") > 0
        expected = known.figures[f"roi/roi_labels_{image}"]
        assert boxes.get_field("labels").tolist() == expected.tolist()
        for field, name in (("vertices", "fix"), ("ratios", "ratio")):
            wanted = known.figures[f"roi/roi_{name}_targets_{image}"].squeeze(1)[positive]
            torch.testing.assert_close(boxes.get_field(field)[positive], wanted, atol=1e-4, rtol=0)
    expected = known.figures.numbers["loss_roi_given_proposals"]
    wanted = {name: expected[name] for name in losses}
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(wanted, rel=1e-4)


class Recorded:
    """A sampler that takes the anchors that the original drew."""

    def __init__(self, known):
        self.known = known

    def __call__(self, labels):
        drawn = []
        for kind in ("pos", "neg"):
            masks = [torch.zeros_like(label, dtype=torch.bool) for label in labels]
            for image, mask in enumerate(masks):
                mask[self.known.figures[f"sampled/rpn_{kind}_inds_{image}"]] = True
            drawn.append(masks)
        return drawn


def test_losses_and_gradients(known, monkeypatch):
    model = known.model.train()
    monkeypatch.setattr(model.rpn.loss_evaluator, "fg_bg_sampler", Recorded(known))
    # fewer than 512 proposals: the original took all of them
    monkeypatch.setattr(model.roi_heads.box.loss_evaluator, "fg_bg_sampler", EveryOne())
    losses = model(known.images, [known.target(0), known.target(1)])
    expected = known.figures.numbers["loss_sampled_256_512"]
    wanted = {name: expected[name] for name in losses}
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(wanted, rel=1e-4)
    model.zero_grad()
    sum(losses.values()).backward()
    for name in ("roi_heads.box.predictor.cls_score.weight", "rpn.head.conv.weight"):
        found = dict(model.named_parameters())[name].grad.norm().item()
        assert found == pytest.approx(expected["grad_norms"][name], rel=1e-3), name
