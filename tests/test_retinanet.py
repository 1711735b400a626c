"""RetinaNet's parts against plain computations, and the whole model on made images."""

import math

import pytest
import torch
import torchvision
from tiny_models import NARROW, RETINANET, made_batch, make_cfg

from maskrcnn_benchmark.layers import SigmoidFocalLoss
from maskrcnn_benchmark.modeling import matcher as matcher_module
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.rpn.anchor_generator import make_anchor_generator_retinanet
from maskrcnn_benchmark.modeling.rpn.retinanet.inference import RetinaNetPostProcessor
from maskrcnn_benchmark.modeling.rpn.retinanet.loss import (
    RetinaNetLossComputation,
    generate_retinanet_labels,
)
from maskrcnn_benchmark.modeling.rpn.retinanet.retinanet import RetinaNetHead, build_retinanet
from maskrcnn_benchmark.structures import crowd
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist
from maskrcnn_benchmark.structures.image_list import ImageList

CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
SIZE = (120, 90)


def tiny_retinanet(*options):
    torch.manual_seed(0)
    return build_detection_model(make_cfg(*NARROW, *RETINANET, *options))


def grid(height, width, stride, side):
    """One anchor per cell; those at the border reach beyond the image."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    corner = torch.stack([x, y], dim=-1).reshape(-1, 2).float() * stride - 5
    level = BoxList(torch.cat([corner, corner + side - 1], dim=1), SIZE)
    level.add_field("visibility", torch.zeros(len(level), dtype=torch.bool))
    return level


def test_head_has_two_towers_and_starts_from_the_prior():
    head = RetinaNetHead(make_cfg(*RETINANET), 16)
    assert [type(layer).__name__ for layer in head.cls_tower] == ["Conv2d", "ReLU"] * 2
    # 9 anchors per cell (3 ratios, 3 scales), 3 classes without the background
    logits, codes = head([torch.zeros(2, 16, 5, 7), torch.zeros(2, 16, 3, 4)])
    assert [tuple(level.shape) for level in logits] == [(2, 27, 5, 7), (2, 27, 3, 4)]
    assert [tuple(level.shape) for level in codes] == [(2, 36, 5, 7), (2, 36, 3, 4)]
    torch.testing.assert_close(logits[0].sigmoid(), torch.full((2, 27, 5, 7), 0.01))
    assert not codes[1].any()


def test_anchors_by_hand():
    generator = make_anchor_generator_retinanet(make_cfg())
    assert generator.num_anchors_per_location() == [9] * 5
    cell = list(generator.cell_anchors)[0]  # stride 8: the cell's centre is (3.5, 3.5)
    # ratio 1 is the second of three; sizes 32, 32 * 2^(1/3) = 40.3175, 32 * 2^(2/3) = 50.7968
    expected = [[3.5 - (s - 1) / 2] * 2 + [3.5 + (s - 1) / 2] * 2 for s in (32, 40.3175, 50.7968)]
    torch.testing.assert_close(cell[3:6], torch.tensor(expected), rtol=0, atol=1e-4)
    # ratio 2: a cell of 64 pixels is round(sqrt(32)) = 6 wide and 12 high, times 32 / 8: 24 x 48
    torch.testing.assert_close(cell[6], torch.tensor([-8.0, -20.0, 15.0, 27.0]))


def test_anchor_sizes_and_strides_must_agree():
    cfg = make_cfg("MODEL.RETINANET.ANCHOR_STRIDES", (8, 16))
    with pytest.raises(ValueError, match=r"one entry per pyramid level each, got \(8, 16\) and"):
        make_anchor_generator_retinanet(cfg)


def plain_labels(anchors, boxes, labels):
    """Class of each anchor, 0 for background, -1 for ignored; and its ground truth."""

    def iou(a, b):
        w = min(a[2], b[2]) - max(a[0], b[0]) + 1
        h = min(a[3], b[3]) - max(a[1], b[1]) + 1
        areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
        return max(w, 0) * max(h, 0) / (sum(areas) - max(w, 0) * max(h, 0))

    table = [[iou(a, b) for b in boxes] for a in anchors]
    best_of_box = [max(row[i] for row in table) for i in range(len(boxes))]
    result = []
    for row in table:
        best = max(row)
        chosen = row.index(best)
        rescued = any(v == m > 0 for v, m in zip(row, best_of_box, strict=True))
        if best >= 0.5 or rescued:
            result.append((labels[chosen], chosen))
        else:
            result.append((0 if best < 0.4 else -1, chosen))
    return result


def test_losses_against_a_plain_computation():
    generator = torch.Generator().manual_seed(3)
    levels = [grid(9, 12, 10, 20), grid(5, 6, 20, 40)]
    logits = [torch.randn(2, 3, 9, 12, generator=generator) for _ in range(1)]
    logits.append(torch.randn(2, 3, 5, 6, generator=generator))
    codes = [torch.randn(2, 4, *part.shape[2:], generator=generator) for part in logits]
    truths = [
        ([[8.0, 6, 29, 27], [41, 33, 77, 70], [60, 20, 64, 23]], [2, 1, 3]),
        ([[96.0, 61, 130, 95]], [3]),
    ]
    targets = []
    for boxes, labels in truths:
        target = BoxList(boxes, SIZE)
        target.add_field("labels", torch.tensor(labels))
        targets.append(target)
    evaluator = RetinaNetLossComputation(
        *(Matcher(0.5, 0.4, True), CODER, generate_retinanet_labels, SigmoidFocalLoss(2.0, 0.25)),
        *(0.11, 4.0),
    )
    class_loss, box_loss = evaluator([levels, levels], logits, codes, targets)

    class_sum = box_sum = positives = ignored = 0
    anchors = torch.cat([level.bbox for level in levels])
    for image, (boxes, labels) in enumerate(truths):
        rows = torch.cat([part[image].flatten(1).T for part in logits]).double()
        offsets = torch.cat([part[image].flatten(1).T for part in codes]).double()
        chosen = plain_labels(anchors.tolist(), boxes, labels)
        for row, offset, anchor, (label, truth) in zip(rows, offsets, anchors, chosen, strict=True):
            ignored += label < 0
            for number, logit in enumerate(row.tolist(), 1):
                p = 1 / (1 + math.exp(-logit))
                if number == label:
                    class_sum -= 0.25 * (1 - p) ** 2 * math.log(p)
                elif label >= 0:
                    class_sum -= 0.75 * p**2 * math.log(1 - p)
            if label > 0:
                positives += 1
                wanted = CODER.encode(torch.tensor([boxes[truth]]), anchor[None])[0]
                for d in (offset - wanted).abs().tolist():
                    box_sum += d * d / 0.22 if d < 0.11 else d - 0.055
    assert positives > 4 and ignored > 0
    assert class_loss.item() == pytest.approx(class_sum / (positives + 2), rel=1e-5)
    assert box_loss.item() == pytest.approx(box_sum / (positives * 4), rel=1e-5)


def made_outputs(seed=0, classes=3):
    generator = torch.Generator().manual_seed(seed)
    levels = [grid(9, 12, 10, 20), grid(5, 6, 20, 40)]
    shapes = [(9, 12), (5, 6)]
    logits = [torch.randn(2, classes, *s, generator=generator) for s in shapes]
    codes = [torch.randn(2, 4, *s, generator=generator) * 2 for s in shapes]
    return [levels, levels], logits, codes


def plain_detections(anchors, logits, codes, image, top, limit):
    """Each level's best `top` pairs above 0.3, class by class NMS at 0.4, the best `limit`."""
    boxes, scores, labels = [], [], []
    for level, logit, code in zip(anchors, logits, codes, strict=True):
        probability = logit[image].flatten(1).T.sigmoid()  # [anchors, classes]
        decoded = CODER.decode(code[image].flatten(1).T, level.bbox)
        decoded[:, 0::2] = decoded[:, 0::2].clamp(0, SIZE[0] - 1)
        decoded[:, 1::2] = decoded[:, 1::2].clamp(0, SIZE[1] - 1)
        pairs = [(s, a, c) for a, row in enumerate(probability.tolist()) for c, s in enumerate(row)]
        for score, anchor, column in sorted(pairs, reverse=True)[:top]:
            if score > 0.3:
                boxes.append(decoded[anchor])
                scores.append(score)
                labels.append(column + 1)
    boxes, scores, labels = torch.stack(boxes), torch.tensor(scores), torch.tensor(labels)
    kept = []
    for label in (1, 2, 3):
        rows = (labels == label).nonzero().squeeze(1)
        kept += rows[torchvision.ops.nms(boxes[rows], scores[rows], 0.4)].tolist()
    kept = sorted(kept, key=lambda row: -scores[row])[:limit]
    return boxes[kept], scores[kept], labels[kept]


def test_detections_against_a_plain_computation():
    anchors, logits, codes = made_outputs()
    selector = RetinaNetPostProcessor(0.3, 60, 0.4, 25, 0, 4).eval()
    result = selector(anchors, logits, codes)
    for image, found in enumerate(result):
        boxes, scores, labels = plain_detections(anchors[0], logits, codes, image, 60, 25)
        found = found[found.get_field("scores").argsort(descending=True)]
        assert len(found) == 25 and torch.equal(found.get_field("labels"), labels)
        # sigmoids and exponentials of other shapes, whose last bits may differ
        torch.testing.assert_close(found.get_field("scores"), scores, rtol=1e-5, atol=0)
        torch.testing.assert_close(found.bbox, boxes, rtol=0, atol=1e-4)


def test_level_by_level_as_the_original_calls_it():
    anchors, logits, codes = made_outputs()
    selector = RetinaNetPostProcessor(0.3, 60, 0.4, 25, 0, 4).eval()
    by_level = [
        selector.forward_for_single_feature_map(list(level), *outputs)
        for level, *outputs in zip(zip(*anchors, strict=True), logits, codes, strict=True)
    ]
    assert [len(boxes) for boxes in by_level[0]] == [60, 60]  # nothing is suppressed yet
    joined = [cat_boxlist(parts) for parts in zip(*by_level, strict=True)]
    expected = selector(anchors, logits, codes)
    for got, wanted in zip(selector.select_over_all_levels(joined), expected, strict=True):
        assert torch.equal(got.bbox, wanted.bbox)
        assert torch.equal(got.get_field("labels"), wanted.get_field("labels"))


def test_detections_of_nothing():
    anchors, logits, codes = made_outputs()
    selector = RetinaNetPostProcessor(0.3, 60, 0.4, 25, 0, 4).eval()
    result = selector(anchors, [part - 50 for part in logits], codes)
    assert [len(found) for found in result] == [0, 0]
    assert sorted(result[0].fields()) == ["labels", "scores"] and result[0].size == SIZE


def test_a_limit_of_zero_keeps_all_and_a_cut_is_said_once(caplog):
    anchors, logits, codes = made_outputs()
    everything = RetinaNetPostProcessor(0.3, 60, 0.4, 0, 0, 4).eval()(anchors, logits, codes)
    assert min(len(found) for found in everything) > 25 and not caplog.records
    RetinaNetPostProcessor(0.3, 60, 0.4, 25, 0, 4).eval()(anchors, logits, codes)
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 1 and "raise TEST.DETECTIONS_PER_IMG" in said[0]


@pytest.mark.parametrize("use_c5", [True, False])
def test_training_gives_two_losses_and_a_gradient_for_every_parameter(use_c5):
    model = tiny_retinanet(
        "MODEL.RETINANET.USE_C5", use_c5, "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0
    )
    # P6 comes from C5, 16 * 8 channels, or from P5, 16 channels
    assert model.backbone.fpn.top_blocks.p6.in_channels == (128 if use_c5 else 16)
    losses = model(*made_batch())
    assert set(losses) == {"loss_retina_cls", "loss_retina_reg"}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_fault_batch_without_ground_truth_trains_retinanet_as_background():
    model = tiny_retinanet("MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0)
    losses = model(*made_batch(counts=(0, 0)))
    assert losses["loss_retina_reg"] == 0 and losses["loss_retina_cls"] > 0
    sum(losses.values()).backward()
    # every process must have a gradient for every parameter, with any images
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_more_classes_than_retinanet_has_are_refused():
    images, targets = made_batch()
    targets[0].get_field("labels")[0] = 99
    with pytest.raises(ValueError, match=r"label 99, but MODEL.RETINANET.NUM_CLASSES is "):
        tiny_retinanet()(images, targets)


def test_bad_ground_truth_changes_no_loss_of_retinanet():
    model = tiny_retinanet()
    images, targets = made_batch()
    clean = model(images, targets)
    bad = [[30.0, 30.0, 20.0, 40.0], [float("nan"), 0, 5, 5], [500.0, 500.0, 520.0, 530.0]]
    spoilt = []
    for target in targets:
        new = BoxList(torch.cat([torch.tensor(bad), target.bbox]), target.size)
        new.add_field("labels", torch.cat([torch.ones(3).long(), target.get_field("labels")]))
        spoilt.append(new)
    assert {k: float(v.detach()) for k, v in model(images, spoilt).items()} == {
        k: float(v.detach()) for k, v in clean.items()
    }


@pytest.mark.parametrize("mode", ["cpu", "off"])
def test_every_crowd_mode_gives_the_same_losses_of_retinanet(mode):
    images, targets = made_batch(counts=(120, 4))
    before = crowd.get_policy()
    try:
        results = []
        for chosen in ("stream", mode):
            model = tiny_retinanet("MODEL.CROWD.MODE", chosen, "MODEL.CROWD.BLOCK_MB", 1)
            results.append({k: float(v.detach()) for k, v in model(images, targets).items()})
    finally:
        crowd.set_policy(before)
    assert results[0] == results[1]


def test_fault_crowd_of_2000_boxes_never_makes_a_matrix(monkeypatch):
    def refuse(*_):
        raise AssertionError("a matrix of all overlaps was made")

    monkeypatch.setattr(Matcher, "__call__", refuse)
    monkeypatch.setattr(matcher_module, "boxlist_iou", refuse)
    cfg = make_cfg(*RETINANET, "MODEL.RETINANET.ANCHOR_SIZES", (32, 64, 128, 256, 512))
    crowd.set_policy_from_cfg(cfg)
    evaluator = build_retinanet(cfg, 16).loss_evaluator
    anchors = make_anchor_generator_retinanet(cfg)(
        ImageList(torch.zeros(1, 3, 1, 1), [(1024, 896)]),
        [torch.zeros(1, 1, -(-1024 // s), 896 // s) for s in (8, 16, 32, 64, 128)],
    )[0]
    corner = torch.stack([torch.arange(2000) % 50, torch.arange(2000) // 50], dim=1) * 17.0 + 3
    target = BoxList(torch.cat([corner, corner + 30], dim=1), (896, 1024))
    target.add_field("labels", torch.arange(2000) % 3 + 1)
    labels = [evaluator.prepare_targets([level], [target])[0][0] for level in anchors[:2]]
    # The boxes are 31 pixels wide, the smallest anchors 32 and 8 apart: some anchor's centre lies
    # within 4 pixels of a box's in x and y, so that they share 27 * 27 = 729 pixels or more, an
    # IoU of 729 / (31 * 31 + 32 * 32 - 729) = 0.58.
    assert int((labels[0] > 0).sum()) > 2000 and set(labels[0].int().tolist()) >= {0, 1, 2, 3}


def test_detection_gives_boxes_scores_and_labels_and_no_heads():
    model = tiny_retinanet("MODEL.RETINANET.INFERENCE_TH", 0.0).eval()
    assert model.roi_heads is None
    images, _ = made_batch()
    with torch.no_grad():
        together, alone = model(images), [model([image])[0] for image in images]
    for result, single in zip(together, alone, strict=True):
        assert result.size == (128, 96) and len(result) == 100
        assert sorted(result.fields()) == ["labels", "scores"]
        assert set(result.get_field("labels").tolist()) <= {1, 2, 3}
        torch.testing.assert_close(
            result.get_field("scores").sort().values, single.get_field("scores").sort().values
        )


def test_mixed_precision_of_retinanet_stays_close():
    images, targets = made_batch()
    model = tiny_retinanet()
    exact = model(images, targets)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(images, targets)
    for name, value in exact.items():
        torch.testing.assert_close(rough[name].float(), value, rtol=0.1, atol=0.05)
