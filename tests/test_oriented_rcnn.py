"""Oriented R-CNN: against mmrotate's figures stage by stage, and learning on made images."""

import cv2
import numpy as np
import pytest
import torch
from oriented_models import (
    EveryOne,
    corners_target,
    oriented_cfg,
    oriented_model,
    oriented_target,
)

from maskrcnn_benchmark.modeling.oriented_targets import to_oriented_targets
from maskrcnn_benchmark.solver import make_optimizer
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.oriented_boxes import oriented_iou
from maskrcnn_benchmark.structures.rotated_boxes import (
    corners_to_edges,
    rotated_to_corners,
)
from maskrcnn_benchmark.utils.mmrotate_weights import from_mmrotate

LIMITS = ["MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN", 300, "MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 300]


class Known:
    """The figures with our model of the same weights."""

    def __init__(self, figures):
        self.figures = figures("oriented_rcnn")
        self.model = oriented_model("oriented_rcnn", *LIMITS)
        loaded = self.model.load_state_dict(from_mmrotate(self.figures.state_dict()), strict=False)
        assert not loaded.unexpected_keys
        assert all("cell_anchors" in name for name in loaded.missing_keys)
        self.sizes = [meta["img_shape"][:2] for meta in self.figures.numbers["img_metas"]]
        self.images = ImageList(self.figures["images"], [tuple(size) for size in self.sizes])

    def target(self, image):
        boxes = self.figures[f"gt_bboxes_{image}"]
        labels = self.figures[f"gt_labels_{image}"].long() + 1  # theirs begin at 0
        return oriented_target(boxes, labels, self.sizes[image][::-1])

    def targets(self):
        return to_oriented_targets([self.target(0), self.target(1)])


@pytest.fixture(scope="module")
def known(figures):
    return Known(figures)


@pytest.fixture(scope="module")
def features(known):
    with torch.no_grad():
        return known.model.eval().backbone(known.images.tensors)


def test_features(known, features):
    for level, found in enumerate(features, start=2):
        torch.testing.assert_close(found[:1], known.figures[f"fpn_p{level}"], atol=2e-4, rtol=1e-3)


def test_anchors(known, features):
    generator = known.model.rpn.anchor_generator
    grids = generator.grid_anchors([tuple(level.shape[-2:]) for level in features])
    for level, found in enumerate(grids):
        torch.testing.assert_close(found, known.figures[f"anchors_{level}"])
    for image, size in enumerate(known.sizes):
        inside = known.figures[f"sampled/rpn_inside_{image}"].bool()
        assert torch.equal(generator.inside(torch.cat(grids), size), inside)


@torch.no_grad()
def test_proposals(known, features):
    proposals, _ = known.model.eval().rpn(known.images, features)
    expected = known.figures["proposals_0"]
    rotated = proposals[0].get_field("rotated_boxes")
    torch.testing.assert_close(rotated[:, :4], expected[:, :4], atol=1e-2, rtol=0)
    torch.testing.assert_close(rotated[:, 4], expected[:, 4], atol=1e-3, rtol=0)
    scores = proposals[0].get_field("objectness")
    torch.testing.assert_close(scores, expected[:, 5], atol=1e-3, rtol=0)
    around = corners_to_edges(rotated_to_corners(rotated))
    torch.testing.assert_close(proposals[0].bbox, around)


@torch.no_grad()
def test_second_stage(known, features):
    box = known.model.eval().roi_heads.box
    rotated = known.figures["rcnn_rois"][:, 1:]  # of image 0
    proposals = [BoxList(corners_to_edges(rotated_to_corners(rotated)), known.sizes[0][::-1])]
    proposals[0].add_field("rotated_boxes", rotated)
    logits, codes = box.predictor(box.feature_extractor([f[:1] for f in features], proposals))
    background_first = known.figures["rcnn_cls_score"].roll(1, dims=1)
    torch.testing.assert_close(logits, background_first, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(codes, known.figures["rcnn_bbox_pred"], atol=1e-3, rtol=1e-4)
    decoded = box.post_processor.box_coder.decode(codes, rotated)
    expected = known.figures["rcnn_decoded"]
    torch.testing.assert_close(decoded[:, :4], expected[:, :4], atol=1e-2, rtol=1e-4)


@torch.no_grad()
def test_detections(known):
    found = known.model.eval()(known.images)[0]
    expected = known.figures["det_scaled_0"]
    labels = known.figures["det_labels_scaled_0"] + 1
    assert found.get_field("labels").tolist() == labels.tolist()
    torch.testing.assert_close(found.get_field("scores"), expected[:, 5], atol=1e-3, rtol=0)
    corners = found.get_field("corners")
    wanted = rotated_to_corners(expected[:, :5])
    off = torch.stack([(corners.roll(k, dims=1) - wanted).abs().amax((1, 2)) for k in range(4)])
    assert off.amin(dim=0).max() < 1e-2
    assert torch.equal(found.bbox[:, :2], corners.amin(dim=1))
    torch.testing.assert_close(found.bbox[:, 2:], corners.amax(dim=1) - 1)


def test_assignment_of_anchors(known, features):
    rpn = known.model.rpn
    anchors = rpn.anchor_generator.grid_anchors([tuple(f.shape[-2:]) for f in features])
    for image, target in enumerate(known.targets()):
        inside = rpn.anchor_generator.inside(torch.cat(anchors), known.sizes[image])
        matched = rpn.loss_evaluator.match(torch.cat(anchors), inside, target)
        positive = known.figures[f"sampled/rpn_pos_inds_{image}"]
        assert (matched >= 0).nonzero().flatten().tolist() == positive.tolist()
        objects = known.figures[f"sampled/rpn_pos_gt_{image}"]
        assert matched[positive].tolist() == objects.tolist()
        negative = known.figures[f"sampled/rpn_neg_inds_{image}"]
        assert (matched[negative] == -1).all()
        code = rpn.loss_evaluator.box_coder.encode(
            target.get_field("rotated_boxes")[matched[positive]], torch.cat(anchors)[positive]
        )
        expected = known.figures[f"sampled/rpn_pos_targets_{image}"]
        torch.testing.assert_close(code, expected, atol=1e-4, rtol=1e-4)


class RecordedAnchors:
    """A sampler that takes the anchors that mmrotate drew."""

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
    monkeypatch.setattr(model.rpn.loss_evaluator, "fg_bg_sampler", RecordedAnchors(known))
    # fewer than 512 proposals: mmrotate took all of them
    monkeypatch.setattr(model.roi_heads.box.loss_evaluator, "fg_bg_sampler", EveryOne())
    losses = model(known.images, [known.target(0), known.target(1)])
    expected = known.figures.numbers["loss_sampled_256_512"]
    wanted = {
        "loss_classifier": expected["loss_cls"],
        "loss_box_reg": expected["loss_bbox"],
        "loss_objectness": sum(expected["loss_rpn_cls"]),
        "loss_rpn_box_reg": sum(expected["loss_rpn_bbox"]),
    }
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(wanted, rel=1e-4)
    model.zero_grad()
    sum(losses.values()).backward()
    norms = expected["grad_norms"]
    for ours, theirs in (
        (model.rpn.head.conv, "rpn_head.rpn_conv"),
        (model.rpn.head.bbox_pred, "rpn_head.rpn_reg"),
        (model.roi_heads.box.feature_extractor.fc6, "roi_head.bbox_head.shared_fcs.0"),
        (model.roi_heads.box.predictor.bbox_pred, "roi_head.bbox_head.fc_reg"),
        (model.backbone.fpn.fpn_inner2, "neck.lateral_convs.1.conv"),
    ):
        found = ours.weight.grad.norm().item()
        assert found == pytest.approx(norms[f"{theirs}.weight"], rel=1e-3), theirs


def test_losses_of_given_proposals(known, features, monkeypatch):
    box = known.model.train().roi_heads.box
    monkeypatch.setattr(box.loss_evaluator, "fg_bg_sampler", EveryOne())
    proposals = []
    for image, size in enumerate(known.sizes):
        rotated = known.figures[f"roi/proposals_{image}"][:, :5]
        boxes = BoxList(corners_to_edges(rotated_to_corners(rotated)), size[::-1])
        boxes.add_field("rotated_boxes", rotated)
        proposals.append(boxes)
    _, sampled, losses = box(features, proposals, known.targets())
    expected = known.figures.numbers["loss_roi_given_proposals"]
    positives = [(boxes.get_field("labels") > 0).sum().item() for boxes in sampled]
    assert positives == expected["num_pos"]
    assert losses["loss_classifier"].item() == pytest.approx(expected["loss_cls"], rel=1e-4)
    assert losses["loss_box_reg"].item() == pytest.approx(expected["loss_bbox"], rel=1e-4)


# --- on made data


def bars(seed, count=4, size=(128, 96)):
    """An image of bright bars at all angles on a dark ground, and its ground truth."""
    random = np.random.default_rng(seed)
    image = np.full((size[1], size[0]), 30, np.uint8)
    boxes = []
    for number in range(count):
        center = [20 + number % 2 * 60 + random.uniform(0, 25), 20 + number // 2 * 45]
        box = [*center, random.uniform(28, 34), random.uniform(9, 12), random.uniform(-1.5, 1.5)]
        boxes.append(box)
        corners = rotated_to_corners(torch.tensor(box)).numpy()
        cv2.fillPoly(image, [np.round(corners * 16 - 8).astype(np.int32)], 220, cv2.LINE_AA, 4)
    pixels = torch.from_numpy(image).float()[None].repeat(3, 1, 1) - 100
    target = oriented_target(torch.tensor(boxes), torch.ones(count, dtype=torch.int64), size)
    return pixels, target


SMALL = ["MODEL.RPN.ANCHOR_SIZES", (16, 32, 64, 128, 256), "SOLVER.BASE_LR", 0.02]
SMALL += ["MODEL.RESNETS.STEM_FUNC", "StemWithGN", "MODEL.RESNETS.TRANS_FUNC", "BottleneckWithGN"]
SMALL += ["MODEL.GROUP_NORM.NUM_GROUPS", 4, "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0]
SMALL += ["MODEL.ROI_BOX_HEAD.NUM_CLASSES", 2]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["oriented_rcnn", "gliding_vertex"])
def test_it_learns_angles(method):
    model = oriented_model(method, *SMALL)
    optimizer = make_optimizer(oriented_cfg(method, *SMALL), model.train())
    made = [bars(seed) for seed in range(4)]
    for step in range(90):
        image, target = made[step % 4]
        losses = sum(model([image], [target]).values())
        optimizer.zero_grad()
        losses.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
    model.eval()
    overlaps = []
    for image, target in made:
        with torch.no_grad():
            found = model([image])[0]
        best = oriented_iou(target.get_field("corners").points, found.get_field("corners"))
        assert len(found) >= len(target)
        overlaps.append(best.amax(dim=1))
    assert torch.cat(overlaps).mean() > 0.5  # upright boxes around these bars reach 0.4


@pytest.mark.parametrize("method", ["oriented_rcnn", "gliding_vertex"])
def test_background_images_train(method):
    model = oriented_model(method).train()
    image, target = bars(0)
    losses = model([image, image], [target, target[:0]])
    assert all(loss.isfinite() for loss in losses.values())
    losses = model([image], [target[:0]])
    assert losses["loss_box_reg"] == 0 and losses["loss_rpn_box_reg"] == 0
    sum(losses.values()).backward()


def test_fault_two_objects_with_one_box_got_the_label_of_the_first():
    """Ground truth is added to the proposals; mmrotate gives each the label of its own."""
    _, target = bars(0)
    box = target.get_field("corners").points[:1]
    twice = corners_target(torch.cat([box, box]), torch.tensor([3, 7]), (128, 96))
    (truth,) = to_oriented_targets([twice])
    loss = oriented_model("oriented_rcnn").roi_heads.box.loss_evaluator
    proposals = truth.copy_with_fields(["rotated_boxes"])[:1]
    (labelled,) = loss.label([proposals], [truth])
    assert labelled.get_field("labels").tolist() == [3, 7, 3]  # the proposal: the first


def test_fault_an_image_without_a_positive_counted_less():
    """mmrotate divides by max(positives, 1) + max(negatives, 1) of each image."""
    loss = oriented_model("oriented_rcnn").rpn.loss_evaluator
    anchors = [torch.tensor([[10.0, 12, 30, 28], [40, 44, 60, 70]])]
    logits, codes = [torch.tensor([[[0.0], [1.0]]])], [torch.zeros(1, 2, 6)]
    (empty,) = to_oriented_targets([bars(0)[1][:0]])
    inside = [torch.tensor([True, True])]
    objectness, box = loss(anchors, inside, logits, codes, [empty])
    # log(1 + e^0) = 0.693147 and log(1 + e^1) = 1.313262, over 1 + 2
    assert objectness.item() == pytest.approx((0.693147 + 1.313262) / 3, abs=1e-6)
    assert box == 0


@pytest.mark.parametrize("method", ["oriented_rcnn", "gliding_vertex"])
def test_ground_truth_without_corners_is_refused(method):
    image, target = bars(0)
    with pytest.raises(ValueError, match='the field "corners"'):
        oriented_model(method).train()([image], [target.copy_with_fields(["labels"])])


@pytest.mark.parametrize("method", ["oriented_rcnn", "gliding_vertex"])
def test_more_classes_than_the_model_has_are_refused(method):
    image, target = bars(0)
    target.add_field("labels", torch.full((4,), 16))
    with pytest.raises(ValueError, match="NUM_CLASSES is 16"):
        oriented_model(method).train()([image], [target])


def test_detections_by_hand():
    """Turned boxes that overlap little stay and a double goes, whatever their upright boxes."""
    post = oriented_model("oriented_rcnn").roi_heads.box.post_processor
    bar = [50.0, 40, 60, 6]
    rotated = torch.tensor([[*bar, 0.7], [50, 52, 60, 6, 0.7], [51, 40, 60, 6, 0.72]])
    proposals = BoxList(corners_to_edges(rotated_to_corners(rotated)), (128, 96))
    proposals.add_field("rotated_boxes", rotated)
    logits = torch.full((3, 16), -9.0)
    logits[[0, 1, 2], [3, 3, 3]] = torch.tensor([4.0, 2, 3])
    found = post((logits, torch.zeros(3, 5)), [proposals])[0]
    torch.testing.assert_close(found.get_field("corners"), rotated_to_corners(rotated[:2]))
    assert found.get_field("labels").tolist() == [3, 3]
    logits[2] = logits[2].roll(1)  # another class: nothing is suppressed
    assert post((logits, torch.zeros(3, 5)), [proposals])[0].get_field("labels").tolist() == [
        3,
        4,
        3,
    ]


def test_ground_truth_is_the_same_under_autocast():
    _, target = bars(0)
    plain = to_oriented_targets([target])[0].get_field("rotated_boxes")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = to_oriented_targets([target])[0].get_field("rotated_boxes")
    assert torch.equal(half, plain)


def test_weights_that_are_no_numbers_give_losses_that_are_none():
    """The trainer then stops with the iteration and the losses; nothing breaks before."""
    model = oriented_model("oriented_rcnn").train()
    torch.nn.init.constant_(model.rpn.head.bbox_pred.weight, float("nan"))
    image, target = bars(0)
    losses = model([image], [target])
    assert not sum(losses.values()).isfinite()


@pytest.mark.parametrize(
    ("method", "setting", "value"),
    [
        ("oriented_rcnn", "MODEL.MASK_ON", True),
        ("oriented_rcnn", "MODEL.RPN.RPN_HEAD", "SingleConvRPNHead"),
        ("oriented_rcnn", "MODEL.RETINANET_ON", True),
        ("gliding_vertex", "MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNPredictor"),
        ("gliding_vertex", "MODEL.ORIENTED.METHOD", "gliding"),
    ],
)
def test_settings_that_contradict_the_method_are_refused(method, setting, value):
    with pytest.raises(ValueError, match=f"{setting} "):
        oriented_model(method, setting, value)
