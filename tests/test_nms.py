"""Suppression within groups: on the CPU and in one call on a device, against a plain loop."""

import sys

import pytest
import torch
import torchvision
from second_device import SecondDevice

from maskrcnn_benchmark.layers.nms import nms_per_group


def groups_of_boxes(kind, groups, count=700):
    generator = torch.Generator().manual_seed(groups)
    corner = torch.rand(count, 2, generator=generator) * 40
    sides = torch.rand(count, 2, generator=generator) * 20 + 20
    if kind == "whole":  # overlaps of exactly 3 / 10, and boxes that repeat
        corner, sides = corner.div(4).floor(), sides.div(4).floor()
    boxes = torch.cat([corner, corner + sides], dim=1)
    scores = torch.randint(40, (count,), generator=generator) / 40  # many ties
    return boxes, scores, torch.randint(groups, (count,), generator=generator) * 3


@pytest.mark.parametrize("kind", ["any", "whole"])
@pytest.mark.parametrize(("groups", "most"), [(1, 0), (5, 0), (5, 20), (80, 3)])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_suppression_per_group_against_a_loop(kind, groups, most, threshold, monkeypatch):
    boxes, scores, group = groups_of_boxes(kind, groups)
    expected = []
    for number in group.unique().tolist():
        rows = (group == number).nonzero().squeeze(1)
        kept = rows[torchvision.ops.nms(boxes[rows], scores[rows], threshold)].tolist()
        expected += kept[:most] if most else kept
    assert len(expected) < 600 and (groups == 1 or group.max() > 9)
    assert nms_per_group(boxes, scores, group, threshold, most).tolist() == expected
    with SecondDevice() as device:
        given = [tensor.to("fake") for tensor in (boxes, scores, group)]
        device.waits.clear()
        kept = nms_per_group(*given, threshold, most)
        assert device.waits.total() <= 2
        assert kept.tolist() == expected
        # more boxes than are taken at once: whole groups, one of them alone too large
        monkeypatch.setattr(sys.modules[nms_per_group.__module__], "_BOXES_AT_ONCE", 300)
        assert nms_per_group(*given, threshold, most).tolist() == expected


def test_suppression_of_boxes_that_are_not_finite():
    boxes = torch.tensor([[3.0, 4, 9, 9], [0, 0, float("nan"), 5], [3, 4, 9, 9], [3, 4, 9, 9]])
    scores, group = torch.tensor([0.5, 0.9, 0.7, 0.6]), torch.tensor([0, 0, 0, 2])
    assert nms_per_group(boxes, scores, group, 0.5).tolist() == [1, 2, 3]
    with SecondDevice():
        given = [tensor.to("fake") for tensor in (boxes, scores, group)]
        assert nms_per_group(*given, 0.5).tolist() == [1, 2, 3]
        assert nms_per_group(*(tensor[:0] for tensor in given), 0.5).tolist() == []
