"""The box head's sampling, losses and selection of detections."""

import logging

import numpy as np
import pytest
import torch
import torchvision

from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.roi_heads.box_head.inference import PostProcessor
from maskrcnn_benchmark.modeling.roi_heads.box_head.loss import FastRCNNLossComputation
from maskrcnn_benchmark.structures.bounding_box import BoxList

CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
SIZE = (120, 90)


def computation(agnostic=False):
    return FastRCNNLossComputation(
        Matcher(0.5, 0.5), BalancedPositiveNegativeSampler(100, 0.5), CODER, agnostic
    )


def sampled_proposals(loss):
    target = BoxList(torch.tensor([[20.0, 30.0, 39.0, 49.0], [60.0, 10.0, 99.0, 39.0]]), SIZE)
    target.add_field("labels", torch.tensor([2, 1]))
    # the same box; shifted by 2 of 20 pixels (IoU 18/22); half of the second (IoU 0.5); elsewhere
    rows = [[20, 30, 39, 49], [22, 30, 41, 49], [60, 10, 79, 39], [5, 60, 24, 79]]
    proposals = BoxList(torch.tensor(rows, dtype=torch.float32), SIZE)
    return loss.subsample([proposals], [target])[0]


def test_labels_and_codes_by_hand():
    sampled = sampled_proposals(computation())
    assert sampled.get_field("labels").tolist() == [2, 2, 1, 0]
    codes = sampled.get_field("regression_targets")
    assert codes[0].tolist() == [0.0, 0.0, 0.0, 0.0]
    # the centre must move by -2 of 20 pixels, times weight 10
    torch.testing.assert_close(codes[1], torch.tensor([-1.0, 0.0, 0.0, 0.0]))
    # from (70, 25) to (80, 25): 10 / 20 * 10; width 20 -> 40: 5 ln 2
    torch.testing.assert_close(codes[2], torch.tensor([5.0, 0.0, 5 * 0.6931472, 0.0]))


@pytest.mark.parametrize("agnostic", [False, True], ids=["per class", "agnostic"])
def test_losses_by_a_plain_sum(agnostic):
    loss = computation(agnostic)
    sampled_proposals(loss)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=generator)
    predicted = torch.randn(4, 8 if agnostic else 12, generator=generator)
    classification, box = loss([logits], [predicted])
    labels = [2, 2, 1, 0]
    expected = -sum(logits[i].log_softmax(0)[label] for i, label in enumerate(labels)) / 4
    torch.testing.assert_close(classification, expected)
    codes = loss._proposals[0].get_field("regression_targets")
    total = 0.0
    for i, label in enumerate(labels[:3]):
        first = 4 if agnostic else 4 * label
        off = (predicted[i, first : first + 4] - codes[i]).abs()
        total += torch.where(off < 1, 0.5 * off**2, off - 0.5).sum()
    torch.testing.assert_close(box, total / 4)


def test_loss_before_sampling_is_refused():
    with pytest.raises(RuntimeError, match="subsample"):
        computation()([torch.zeros(1, 2)], [torch.zeros(1, 8)])


def test_more_classes_than_the_model_has_are_refused():
    loss = computation()
    sampled_proposals(loss)  # labels 2, 2, 1, 0
    with pytest.raises(ValueError, match=r"label 2, but MODEL.ROI_BOX_HEAD.NUM_CLASSES is 2 "):
        loss([torch.zeros(4, 2)], [torch.zeros(4, 8)])


def test_an_image_without_ground_truth_is_all_background():
    loss = computation()
    target = BoxList(torch.zeros(0, 4), SIZE)
    target.add_field("labels", torch.zeros(0, dtype=torch.int64))
    proposals = BoxList(torch.tensor([[5.0, 6.0, 30.0, 40.0]]), SIZE)
    sampled = loss.subsample([proposals], [target])[0]
    assert sampled.get_field("labels").tolist() == [0]
    predicted = torch.zeros(1, 8, requires_grad=True)
    _, box = loss([torch.zeros(1, 2)], [predicted])
    box.backward()  # a gradient of zeros, so that all processes reduce the same tensors
    assert box == 0 and predicted.grad.abs().sum() == 0


def made_outputs(proposals=60, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(proposals, 2, generator=generator) * 60
    boxes = BoxList(torch.cat([corner, corner + 25], dim=1), SIZE)
    logits = torch.randn(proposals, classes, generator=generator)
    return logits, torch.randn(proposals, 4 * classes, generator=generator), boxes


def plain_detections(logits, codes, boxes, score, iou):
    """Class by class: threshold, decode, clip, NMS."""
    probabilities = logits.softmax(dim=1)
    found = []
    for label in range(1, logits.shape[1]):
        rows = [i for i in range(len(boxes)) if probabilities[i, label] > score]
        decoded = CODER.decode(codes[rows, 4 * label : 4 * label + 4], boxes.bbox[rows])
        decoded[:, 0::2] = decoded[:, 0::2].clamp(0, SIZE[0] - 1)
        decoded[:, 1::2] = decoded[:, 1::2].clamp(0, SIZE[1] - 1)
        kept = torchvision.ops.nms(decoded, probabilities[rows, label], iou)
        found += [(label, float(probabilities[rows, label][k]), decoded[k].tolist()) for k in kept]
    return found


def test_detections_against_a_plain_computation():
    logits, codes, boxes = made_outputs()
    labels, scores, places = zip(*plain_detections(logits, codes, boxes, 0.2, 0.4), strict=True)
    (result,) = PostProcessor(0.2, 0.4, 1000)((logits, codes), [boxes])
    assert tuple(result.get_field("labels").tolist()) == labels and set(labels) == {1, 2, 3}
    # exponentials of other shapes than the plain computation's, whose last bits may differ
    assert result.get_field("scores").tolist() == pytest.approx(scores, rel=1e-5)
    assert result.bbox.numpy() == pytest.approx(np.array(places), abs=1e-4)


def test_agnostic_codes_serve_every_class():
    logits, codes, boxes = made_outputs()
    (result,) = PostProcessor(0.2, 0.4, 1000, cls_agnostic_bbox_reg=True)(
        (logits, codes[:, :8]), [boxes]
    )
    expected = plain_detections(logits, codes[:, 4:8].repeat(1, 4), boxes, 0.2, 0.4)
    places = np.array([box for _, _, box in expected])
    assert result.bbox.numpy() == pytest.approx(places, abs=1e-4)  # exponentials of another shape


def test_fault_detections_cut_silently(caplog):
    logits, codes, boxes = made_outputs()
    processor = PostProcessor(0.2, 0.4, 10)
    with caplog.at_level(logging.WARNING):
        (first,) = processor((logits, codes), [boxes])
        processor((logits, codes), [boxes])
    scores = sorted(
        (s for _, s, _ in plain_detections(logits, codes, boxes, 0.2, 0.4)), reverse=True
    )
    found = sorted(first.get_field("scores").tolist(), reverse=True)
    assert found == pytest.approx(scores[:10], rel=1e-5)
    said = [r for r in caplog.records if "DETECTIONS_PER_IMG" in r.getMessage()]
    assert len(said) == 1 and f"has {len(scores)} detections, the best 10" in said[0].getMessage()


def test_no_proposals():
    logits, codes, boxes = made_outputs(proposals=0)
    (result,) = PostProcessor()((logits, codes), [boxes])
    assert len(result) == 0 and result.get_field("labels").dtype == torch.int64
