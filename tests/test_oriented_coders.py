"""Codes of rotated boxes: by hand, there and back, and against mmrotate's tables."""

import math

import pytest
import torch
from test_rotated_boxes import random_boxes, same_rectangles

from maskrcnn_benchmark.modeling.oriented_coders import MidpointOffsetCoder, RotatedBoxCoder
from maskrcnn_benchmark.structures.oriented_boxes import oriented_iou
from maskrcnn_benchmark.structures.rotated_boxes import corners_to_edges, rotated_to_corners

# rows of mid_gt whose target decodes to a box without area in mmrotate 0.3.4
WRONG_IN_MMROTATE = [9, 27, 38, 282, 348, 402]


def around(boxes):
    """Upright anchors that are a little off the boxes."""
    return corners_to_edges(rotated_to_corners(boxes)) + boxes.new_tensor([-3, 2, 5, 4])


def test_midpoint_code_by_hand():
    # 8 along (0.6, 0.8), 5 along (-0.8, 0.6): vertices (9.6, 15.3), (14.4, 21.7), (10.4, 24.7),
    # (5.6, 18.3); its upright box is 8.8 x 9.4 around (10, 20). The top vertex lies 0.4 left of
    # the middle, the right one 1.7 below it; both are divided by 0.5.
    box = torch.tensor([[10.0, 20, 8, 5, math.atan2(0.8, 0.6)]], dtype=torch.float64)
    anchor = torch.tensor([[0.0, 10, 16, 22]], dtype=torch.float64)  # 16 x 12 around (8, 16)
    expected = [2 / 16, 4 / 12, math.log(8.8 / 16), math.log(9.4 / 12)]
    expected += [-0.4 / 8.8 / 0.5, 1.7 / 9.4 / 0.5]
    code = MidpointOffsetCoder().encode(box, anchor)
    assert code[0].tolist() == pytest.approx(expected)
    torch.testing.assert_close(MidpointOffsetCoder().decode(code, anchor), box)


def test_rotated_code_by_hand():
    # reference: sides 10 and 5, turned by 30 degrees; the box lies 2 along and 1 across from it,
    # has twice its sides and is turned by 0.2 more
    reference = torch.tensor([[50.0, 40, 10, 5, math.pi / 6]], dtype=torch.float64)
    cos, sin = math.cos(math.pi / 6), 0.5
    box = [50 + 2 * cos - sin, 40 + 2 * sin + cos, 20, 10, math.pi / 6 + 0.2]
    box = torch.tensor([box], dtype=torch.float64)
    code = RotatedBoxCoder().encode(box, reference)
    expected = [2 / 10 / 0.1, 1 / 5 / 0.1, math.log(2) / 0.2, math.log(2) / 0.2, 0.2 / 0.1]
    assert code[0].tolist() == pytest.approx(expected)
    torch.testing.assert_close(RotatedBoxCoder().decode(code, reference), box)
    # turned by 80 degrees more, the other description turns less: by -10, with the sides exchanged
    box[0, 4] = math.pi / 6 + math.radians(80) - math.pi
    code = RotatedBoxCoder().encode(box, reference)[0]
    assert code[2:].tolist() == pytest.approx(
        [math.log(10 / 10) / 0.2, math.log(20 / 5) / 0.2, math.radians(-10) / 0.1]
    )


def near_upright(count):
    """Slender boxes (1:20) turned by up to 0.01 rad, and by as much from a quarter turn."""
    boxes = random_boxes(count, seed=5)
    boxes[:, 3] = boxes[:, 2] / 20
    tilt = torch.linspace(-0.01, 0.01, count).double()
    boxes[:, 4] = torch.where(torch.arange(count) % 2 == 0, tilt, -math.pi / 2 + tilt.abs())
    return boxes


def small_squares(count):
    """Boxes of 1 to 8 pixels per side or little more, turned by up to 0.05 rad."""
    boxes = random_boxes(count, seed=7)
    boxes[:, 3] = torch.linspace(1, 8, count)
    boxes[:, 2] = boxes[:, 3] * (1 + torch.arange(count) % 3 * 0.02)
    boxes[:, 4] = (torch.arange(count) * 0.618) % 0.1 - 0.05
    return boxes


SHAPES = {
    "any": lambda: random_boxes(500),
    "slender, nearly upright": lambda: near_upright(500),
    "small, square, nearly upright": lambda: small_squares(3000),
    "square": lambda: torch.cat([(b := random_boxes(300))[:, :3], b[:, [2, 4]]], dim=1),
    "upright": lambda: random_boxes(100) * torch.tensor([1, 1, 1, 1, 0]),
    "vertical": lambda: (
        random_boxes(99) * torch.tensor([1, 1, 1, 1, 0]) + torch.tensor([0, 0, 0, 0, -math.pi / 2])
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_fault_midpoint_targets_that_decode_to_nothing(shape, dtype):
    """mmrotate's targets of 43 % of such slender boxes decode to an IoU of about 0."""
    boxes = SHAPES[shape]().to(dtype)
    anchors = around(boxes)
    coder = MidpointOffsetCoder()
    code = coder.encode(boxes, anchors)
    assert code[:, 4:].abs().max() <= 1 + 1e-5  # 0.5 / 0.5: on the sides
    back = rotated_to_corners(coder.decode(code, anchors))
    iou = oriented_iou(back, rotated_to_corners(boxes)).diagonal()
    assert iou.min() >= 0.97


@pytest.mark.parametrize("shape", SHAPES)
def test_rotated_code_there_and_back(shape):
    boxes = SHAPES[shape]()
    references = random_boxes(len(boxes), seed=9)
    references[:, 2:4] = boxes[:, 2:4] * 1.5  # a side of 1 / 62.5 of its reference's is the limit
    coder = RotatedBoxCoder()
    code = coder.encode(boxes, references)
    assert code[:, 4].abs().max() <= math.pi / 4 / 0.1 + 1e-6
    assert same_rectangles(coder.decode(code, references), boxes)


def test_wild_codes_give_finite_boxes():
    wild = torch.tensor([[1e4, -1e4, 1e4, -1e4, 1e4, -1e4]])
    anchor = torch.tensor([[3.0, 4, 20, 30]])
    box = MidpointOffsetCoder().decode(wild, anchor)
    assert box.isfinite().all()
    assert RotatedBoxCoder().decode(wild[:, :5], box).isfinite().all()
    assert MidpointOffsetCoder().decode(wild[:0], anchor[:0]).shape == (0, 5)


def test_midpoint_table(figures):
    known = figures("oriented_rcnn")
    coder, anchors = MidpointOffsetCoder(), known["mid_anchors"]
    off = (coder.encode(known["mid_gt"], anchors) - known["mid_encoded"]).abs().amax(dim=1)
    assert (off > 1e-4).nonzero().flatten().tolist() == WRONG_IN_MMROTATE
    found, expected = coder.decode(known["mid_deltas"], anchors), known["mid_decoded"]
    torch.testing.assert_close(found[:, :4], expected[:, :4], atol=2e-3, rtol=0)
    assert same_rectangles(found, expected, atol=2e-3)


def test_rotated_table(figures):
    known = figures("oriented_rcnn")
    coder, proposals = RotatedBoxCoder(), known["obb_proposals"]
    code = coder.encode(known["obb_gt"], proposals)
    torch.testing.assert_close(code, known["obb_encoded"], atol=1e-4, rtol=1e-5)
    for codes, boxes in (("obb_encoded", "obb_decoded_of_encoded"), ("obb_deltas", "obb_decoded")):
        found, expected = coder.decode(known[codes], proposals), known[boxes]
        torch.testing.assert_close(found[:, :4], expected[:, :4], atol=1e-3, rtol=1e-5)
        assert same_rectangles(found, expected, atol=2e-3)
