"""Proposals and RPN losses against plain computations."""

import torch
import torchvision

from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.rpn.inference import RPNPostProcessor
from maskrcnn_benchmark.modeling.rpn.loss import RPNLossComputation, generate_rpn_labels
from maskrcnn_benchmark.modeling.rpn.utils import concat_box_prediction_layers, permute_and_flatten
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist

CODER = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))


def anchors_of(height, width, stride, side, size):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    corner = torch.stack([x, y], dim=-1).reshape(-1, 2).float() * stride
    level = BoxList(torch.cat([corner, corner + side - 1], dim=1), size)
    level.add_field("visibility", torch.ones(height * width, dtype=torch.bool))
    return level


def test_permute_and_flatten_by_index():
    layer = torch.arange(2 * 6 * 3 * 4).reshape(2, 6, 3, 4)  # A = 2, C = 3
    rows = permute_and_flatten(layer, 2, 2, 3, 3, 4)
    for n, y, x, a, c in [(0, 0, 0, 0, 0), (1, 2, 3, 1, 2), (0, 1, 2, 1, 0)]:
        assert rows[n, (y * 4 + x) * 2 + a, c] == layer[n, a * 3 + c, y, x]


def test_levels_are_joined_image_by_image():
    objectness = [torch.full((2, 1, 2, 3), 1.0), torch.full((2, 1, 1, 2), 2.0)]
    objectness[1][1] = 3.0
    logits, codes = concat_box_prediction_layers(
        objectness, [o.repeat(1, 4, 1, 1) for o in objectness]
    )
    assert logits.flatten().tolist() == [1.0] * 6 + [2.0] * 2 + [1.0] * 6 + [3.0] * 2
    assert codes.shape == (16, 4)


def plain_proposals(anchors, objectness, codes, before, after):
    """One level of one image: best `before` anchors, decoded, clipped, NMS at 0.7, best `after`."""
    scores = objectness.permute(1, 2, 0).reshape(-1).sigmoid()
    order = scores.argsort(descending=True)[:before]
    boxes = CODER.decode(codes.permute(1, 2, 0).reshape(-1, 4)[order], anchors.bbox[order])
    width, height = anchors.size
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width - 1)
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, height - 1)
    keep = torchvision.ops.nms(boxes, scores[order], 0.7)[:after]
    return boxes[keep], scores[order][keep]


def made_level(height, width, stride, side, size, images, seed):
    generator = torch.Generator().manual_seed(seed)
    objectness = torch.randn(images, 1, height, width, generator=generator)
    codes = torch.randn(images, 4, height, width, generator=generator) * 0.3
    return anchors_of(height, width, stride, side, size), objectness, codes


def test_proposals_of_all_levels_against_a_plain_computation():
    size = (120, 90)
    levels = [made_level(9, 12, 10, 20, size, 2, 0), made_level(5, 6, 20, 40, size, 2, 1)]
    selector = RPNPostProcessor(40, 25, 0.7, 0, fpn_post_nms_top_n=30).eval()
    anchors = [[level[0] for level in levels] for _ in range(2)]
    result = selector(anchors, [level[1] for level in levels], [level[2] for level in levels])
    for image, proposals in enumerate(result):
        parts = [plain_proposals(a, o[image], c[image], 40, 25) for a, o, c in levels]
        boxes, scores = (torch.cat(values) for values in zip(*parts, strict=True))
        best = scores.topk(min(30, len(scores))).indices
        # the plain computation takes sigmoids and exponentials of other shapes, whose last bits may
        # differ
        torch.testing.assert_close(proposals.bbox, boxes[best])
        torch.testing.assert_close(proposals.get_field("objectness"), scores[best])


def test_level_by_level_as_the_original_calls_it():
    levels = [made_level(9, 12, 10, 20, (120, 90), 2, 0), made_level(5, 6, 20, 40, (120, 90), 2, 1)]
    selector = RPNPostProcessor(40, 25, 0.7, 0, fpn_post_nms_top_n=30).eval()
    by_level = [selector.forward_for_single_feature_map([a, a], o, c) for a, o, c in levels]
    assert all(0 < len(boxes) <= 25 for boxes in by_level[0])
    joined = [cat_boxlist(parts) for parts in zip(*by_level, strict=True)]
    anchors = [[level[0] for level in levels]] * 2
    expected = selector(anchors, [level[1] for level in levels], [level[2] for level in levels])
    for got, wanted in zip(selector.select_over_all_levels(joined), expected, strict=True):
        assert torch.equal(got.bbox, wanted.bbox) and got.fields() == ["objectness"]


def test_in_training_the_limit_counts_over_the_batch_and_good_ground_truth_is_added():
    size = (120, 90)
    levels = [made_level(9, 12, 10, 20, size, 2, 0), made_level(5, 6, 20, 40, size, 2, 1)]
    levels[0][1][1] -= 10  # the second image has hardly any good proposal
    levels[1][1][1] -= 10
    selector = RPNPostProcessor(40, 25, 0.7, 0, fpn_post_nms_top_n=30).train()
    bad = [float("nan"), 1.0, 5.0, 6.0]
    targets = [
        BoxList(torch.tensor([[10.0, 12.0, 40.0, 50.0], bad]), size),
        BoxList(torch.zeros(0, 4), size),
    ]
    anchors = [[level[0] for level in levels] for _ in range(2)]
    proposals = selector(anchors, [v[1] for v in levels], [v[2] for v in levels], targets)
    assert sum(len(p) for p in proposals) == 30 + 1
    assert len(proposals[0]) > len(proposals[1])
    assert proposals[0].bbox[-1].tolist() == [10.0, 12.0, 40.0, 50.0]
    assert proposals[0].get_field("objectness")[-1] == 1
    selector.fpn_post_nms_per_batch = False
    proposals = selector(anchors, [v[1] for v in levels], [v[2] for v in levels], targets)
    assert [len(p) for p in proposals] == [30 + 1, 30]


def loss_of(targets, sampled=1000):
    size = targets[0].size
    level, objectness, codes = made_level(9, 12, 10, 20, size, len(targets), 3)
    computation = RPNLossComputation(
        Matcher(0.7, 0.3, allow_low_quality_matches=True),
        BalancedPositiveNegativeSampler(sampled, 0.5),
        CODER,
        generate_rpn_labels,
    )
    return computation, level, objectness, codes


def test_loss_by_a_plain_sum():
    size = (120, 90)
    target = BoxList(torch.tensor([[21.0, 31.0, 42.0, 52.0], [70.0, 10.0, 89.0, 29.0]]), size)
    computation, level, objectness, codes = loss_of([target])
    got = computation([[level]], [objectness], [codes], [target])

    box_sum, objectness_sum, count = 0.0, 0.0, 0
    logits = objectness[0, 0].flatten()
    predicted = codes[0].permute(1, 2, 0).reshape(-1, 4)
    iou = torchvision.ops.box_iou(
        target.bbox + torch.tensor([0.0, 0, 1, 1]), level.bbox + torch.tensor([0.0, 0, 1, 1])
    )
    for a in range(len(level)):
        value, truth = iou[:, a].max(dim=0)
        positive = value >= 0.7 or any(iou[g, a] == iou[g].max() for g in range(2))
        if not positive and value >= 0.3:
            continue
        count += 1
        objectness_sum += torch.nn.functional.softplus(-logits[a] if positive else logits[a])
        if positive:
            code = CODER.encode(target.bbox[truth][None], level.bbox[a][None])[0]
            off = (predicted[a] - code).abs()
            box_sum += torch.where(off < 1 / 9, 4.5 * off**2, off - 1 / 18).sum()
    torch.testing.assert_close(got[0], objectness_sum / count)
    torch.testing.assert_close(got[1], box_sum / count)


def test_fault_image_without_ground_truth_trains_as_background():
    target = BoxList(torch.zeros(0, 4), (120, 90))
    computation, level, objectness, codes = loss_of([target])
    got = computation([[level]], [objectness], [codes], [target])
    expected = torch.nn.functional.softplus(objectness).mean()  # every anchor is a negative
    torch.testing.assert_close(got[0], expected)
    assert got[1] == 0


def test_invisible_anchors_and_nothing_sampled_give_zero_not_nan():
    target = BoxList(torch.tensor([[21.0, 31.0, 42.0, 52.0]]), (120, 90))
    computation, level, objectness, codes = loss_of([target])
    level.add_field("visibility", torch.zeros(len(level), dtype=torch.bool))
    assert [float(v) for v in computation([[level]], [objectness], [codes], [target])] == [0.0, 0.0]
