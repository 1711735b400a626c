"""Corners by hand, and as a BoxList's field through everything that a BoxList goes through."""

import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory as pin_as_the_loader_does

from maskrcnn_benchmark.modeling.matcher import gather_matched
from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    BoxList,
)
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist
from maskrcnn_benchmark.structures.corners import Corners

SIZE = (40, 20)  # width, height
TURNED = [[3.0, 4], [13, 6], [12, 11], [2, 9]]
UPRIGHT = [[20.0, 10], [21, 10], [21, 20], [20, 20]]  # column 20, rows 10 .. 19
BOXES = [[2.0, 4, 12, 10], [20, 10, 20, 19]]
# by 90 degrees clockwise: y from the bottom becomes x, x becomes y
TURN = torch.tensor([[0.0, -1, 20], [1, 0, 0]])


def both() -> Corners:
    return Corners(torch.tensor([TURNED, UPRIGHT]), SIZE)


def boxes_with_corners() -> BoxList:
    boxes = BoxList(BOXES, SIZE)
    boxes.add_field("labels", torch.tensor([7, 9]))
    boxes.add_field("corners", both())
    return boxes


CHANGES = {
    # x * 2, y / 2
    "resize": (lambda v: v.resize((80, 10)), (80, 10), [[6, 2], [26, 3], [24, 5.5], [4, 4.5]]),
    # 40 - x
    "left_right": (
        lambda v: v.transpose(FLIP_LEFT_RIGHT),
        SIZE,
        [[37, 4], [27, 6], [28, 11], [38, 9]],
    ),
    # 20 - y
    "top_bottom": (
        lambda v: v.transpose(FLIP_TOP_BOTTOM),
        SIZE,
        [[3, 16], [13, 14], [12, 9], [2, 11]],
    ),
    # from (5, 3); nothing is cut off
    "crop": (lambda v: v.crop((5, 3, 18, 15)), (13, 12), [[-2, 1], [8, 3], [7, 8], [-3, 6]]),
    # (20 - y, x)
    "warp": (lambda v: v.warp(TURN, (20, 40)), (20, 40), [[16, 3], [14, 13], [9, 12], [11, 2]]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_corners_move_with_their_image(name):
    change, size, expected = CHANGES[name]
    corners = both()
    changed = change(corners)
    assert changed.size == size and len(changed) == 2
    assert changed.points[0].tolist() == expected
    assert corners.points[0].tolist() == TURNED and corners.size == SIZE  # the given stay


@pytest.mark.parametrize("name", CHANGES)
def test_a_boxlist_moves_its_corners(name):
    change, size, expected = CHANGES[name]
    changed = change(boxes_with_corners())
    corners = changed.get_field("corners")
    assert isinstance(corners, Corners) and corners.size == size == changed.size
    assert corners.points[0].tolist() == expected
    assert changed.get_field("labels").tolist() == [7, 9]


def test_a_warped_box_surrounds_its_corners():
    boxes = boxes_with_corners()
    # x 9 .. 16 and y 2 .. 13 in edges; the column 20, rows 10 .. 19 is the row 20, columns 0 .. 9
    assert boxes.warp(TURN, (20, 40)).bbox.tolist() == [[9, 2, 15, 12], [0, 20, 9, 20]]
    plain = boxes.copy_with_fields([])
    # (2, 4) .. (13, 11) in edges: x from 20 - 11
    assert plain.warp(TURN, (20, 40)).bbox.tolist() == [[9, 2, 15, 12], [0, 20, 9, 20]]
    # half as steep: a box around the corners is smaller than one around the turned box
    tilt = torch.tensor([[1.0, 0.5, 0], [0, 1, 0]])
    assert boxes.warp(tilt, SIZE).bbox[0].tolist() == [5, 4, 16.5, 10]  # 3 + 2, 12 + 5.5
    assert plain.warp(tilt, SIZE).bbox[0].tolist() == [4, 4, 17.5, 10]  # 2 + 2, 13 + 5.5
    as_tensor = boxes.copy_with_fields([])
    as_tensor.add_field("corners", both().points)
    assert torch.equal(as_tensor.warp(tilt, SIZE).bbox, boxes.warp(tilt, SIZE).bbox)
    assert torch.equal(
        as_tensor.warp(TURN, SIZE).get_field("corners"), both().warp(TURN, SIZE).points
    )
    wide = boxes.convert("xywh").warp(TURN, (20, 40))
    assert wide.mode == "xywh" and wide.bbox.tolist() == [[9, 2, 7, 11], [0, 20, 10, 1]]


@pytest.mark.parametrize(
    "item",
    [[1], torch.tensor([1]), torch.tensor([False, True]), [False, True], slice(1, 2), [-1]],
    ids=["list", "indices", "mask", "list mask", "slice", "negative"],
)
def test_indexing(item):
    for chosen in (both()[item], boxes_with_corners()[item].get_field("corners")):
        assert chosen.points.tolist() == [UPRIGHT] and chosen.size == SIZE
    assert both()[[]].points.shape == (0, 4, 2)


def test_clipping_leaves_corners_in_step():
    boxes = boxes_with_corners()
    boxes = cat_boxlist([boxes, boxes.resize(SIZE)])
    boxes.bbox[0] += 50  # beyond the right border
    boxes.bbox[1, 3] = 30
    clipped = boxes.clip_to_image(remove_empty=True)
    assert clipped.get_field("labels").tolist() == [7]  # a single column is empty too
    assert clipped.get_field("corners").points.tolist() == [TURNED]


def test_cat():
    joined = Corners.cat([both(), both()[:1]])
    assert joined.points.tolist() == [TURNED, UPRIGHT, TURNED] and joined.size == SIZE
    first, last = boxes_with_corners(), boxes_with_corners()[1:]
    corners = cat_boxlist([first, last]).get_field("corners")
    assert isinstance(corners, Corners)
    assert corners.points.tolist() == [TURNED, UPRIGHT, UPRIGHT]
    assert cat_boxlist([first]).get_field("corners") is first.get_field("corners")


def test_to_another_device():
    from second_device import SecondDevice  # skips where PyTorch has no back ends in Python

    with SecondDevice() as device:
        moved = boxes_with_corners().to("fake", non_blocking=True)
        assert device.waits["copy"] == 0
        corners = moved.get_field("corners")
        assert isinstance(corners, Corners) and corners.size == SIZE
        assert corners.points.device.type == "fake"
        turned = moved[torch.tensor([0], device="fake")].warp(TURN, (20, 40))
        there = turned.get_field("corners").points
        assert there.device.type == turned.bbox.device.type == "fake"
        assert there.cpu().tolist() == [CHANGES["warp"][2]]
    assert both().to(torch.float64).points.dtype == torch.float64


def test_a_batch_with_corners_is_pinned(monkeypatch):
    pinned = []

    def pin_memory(tensor, *_):
        pinned.append(tuple(tensor.shape))
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    boxes = pin_as_the_loader_does([boxes_with_corners()])[0]
    assert pinned == [(2, 4), (2,), (2, 4, 2)]  # boxes, labels, corners
    assert boxes.get_field("corners").points.tolist() == [TURNED, UPRIGHT]


def test_matched_corners():
    boxes = boxes_with_corners()
    matched = gather_matched(boxes, torch.tensor([1, -1, 1]), ["corners"])
    assert matched.get_field("corners").points.tolist() == [UPRIGHT, TURNED, UPRIGHT]
    blank = gather_matched(boxes[:0], torch.tensor([-1, -1, -1]), ["corners"]).get_field("corners")
    assert blank.points.tolist() == [[[0, 0]] * 4] * 3 and blank.size == SIZE


@pytest.mark.parametrize("shape", [(4, 2), (3, 8), (0, 4)])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match=r"\(N, 4, 2\), got \(" + str(shape[0])):
        Corners(torch.zeros(shape), SIZE)


def test_corners_of_another_number_are_refused():
    with pytest.raises(ValueError, match="'corners'.*expected length 2, got 1"):
        BoxList(BOXES, SIZE).add_field("corners", both()[:1])


def test_repr():
    assert repr(both()) == "Corners(num_boxes=2, image_width=40, image_height=20)"
