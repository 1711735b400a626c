"""BoxList: arithmetic with both ends included, fields that move with their boxes."""

import numpy as np
import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory as pin_as_the_loader_does

from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    BoxList,
)
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.keypoint import Keypoints, PersonKeypoints
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

SIZE = (40, 20)  # width, height
BOXES = [[3.0, 4, 12, 8], [20, 10, 20, 19]]


def corners_of(boxes: torch.Tensor) -> torch.Tensor:
    """Upright corners (N, 4, 2) of boxes: the far edges are one beyond the last pixel."""
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    return torch.stack([x1, y1, x2 + 1, y1, x2 + 1, y2 + 1, x1, y2 + 1], dim=1).view(-1, 4, 2)


def full_boxes() -> BoxList:
    boxes = BoxList(BOXES, SIZE)
    boxes.image_name = "P0001.png"
    boxes.add_field("labels", torch.tensor([7, 9]))
    boxes.add_field("names", ["ship", "plane"])
    boxes.add_field("scores", np.array([0.5, 0.25]))
    boxes.add_field("corners", corners_of(boxes.bbox))
    outlines = [[[3.0, 4, 12, 4, 12, 8, 3, 8]], [[20.0, 10, 20, 19, 25, 12]]]
    boxes.add_field("masks", SegmentationMask(outlines, SIZE))
    boxes.add_field("keypoints", Keypoints([[[5, 6, 2]], [[20, 11, 1]]], SIZE))
    boxes.add_field("proposals", BoxList(BOXES, SIZE))
    return boxes


def test_area_and_modes():
    boxes = BoxList(BOXES, SIZE)
    assert boxes.area().tolist() == [10 * 5, 1 * 10]
    wide = boxes.convert("xywh")
    assert wide.bbox.tolist() == [[3, 4, 10, 5], [20, 10, 1, 10]]
    assert wide.area().tolist() == [50, 10]
    assert wide.convert("xyxy").bbox.tolist() == BOXES
    assert boxes.convert("xyxy") is boxes


def test_xywh_without_size_is_one_pixel():
    assert BoxList([[5, 6, 0, 0]], SIZE, "xywh").convert("xyxy").bbox.tolist() == [[5, 6, 5, 6]]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((80, 40), [[6, 8, 24, 16], [40, 20, 40, 38]]),  # x 2
        ((80, 10), [[6, 2, 24, 4], [40, 5, 40, 9.5]]),  # x 2, y 1/2
    ],
    ids=["one ratio", "two ratios"],
)
def test_resize(size, expected):
    resized = BoxList(BOXES, SIZE).resize(size)
    assert resized.bbox.tolist() == expected
    assert resized.size == size


def test_resize_of_xywh_is_the_originals():
    boxes = BoxList([[3, 4, 10, 5]], SIZE, "xywh")
    # one ratio scales width and height as they are
    assert boxes.resize((80, 40)).bbox.tolist() == [[6, 8, 20, 10]]
    # two ratios scale x2 = 12, y2 = 8: 24 - 6 + 1, 4 - 2 + 1
    assert boxes.resize((80, 10)).bbox.tolist() == [[6, 2, 19, 3]]


@pytest.mark.parametrize("mode", ["xyxy", "xywh"])
def test_left_right_flip(mode):
    flipped = BoxList(BOXES, SIZE).convert(mode).transpose(FLIP_LEFT_RIGHT)
    assert flipped.mode == mode
    # 40 - 12 - 1 = 27, 40 - 3 - 1 = 36; 40 - 20 - 1 = 19
    assert flipped.convert("xyxy").bbox.tolist() == [[27, 4, 36, 8], [19, 10, 19, 19]]


def test_fault_top_bottom_flip():
    # a box on row 0 of a 10-pixel image is on row 9 afterwards, not on row 10
    flipped = BoxList([[2, 0, 5, 0]], (8, 10)).transpose(FLIP_TOP_BOTTOM)
    assert flipped.bbox.tolist() == [[2, 9, 5, 9]]
    again = flipped.transpose(FLIP_TOP_BOTTOM)
    assert again.bbox.tolist() == [[2, 0, 5, 0]]


def test_unknown_flip():
    with pytest.raises(NotImplementedError, match="got 2"):
        BoxList(BOXES, SIZE).transpose(2)


def test_crop_cuts_boxes():
    cropped = BoxList(BOXES, SIZE).crop((5, 5, 18, 15))
    # 13 wide, 10 high; the second box lies right of it
    assert cropped.size == (13, 10)
    assert cropped.bbox.tolist() == [[0, 0, 7, 3], [13, 5, 13, 10]]


@pytest.mark.parametrize("name", ["resize", "left_right", "top_bottom", "crop"])
def test_fault_fields_move_with_boxes(name):
    """Each field changes as its boxes do; labels and scores stay."""
    change = {
        "resize": lambda v: v.resize((60, 50)),
        "left_right": lambda v: v.transpose(FLIP_LEFT_RIGHT),
        "top_bottom": lambda v: v.transpose(FLIP_TOP_BOTTOM),
        "crop": lambda v: v.crop((2, 3, 30, 18)),
    }[name]
    boxes = full_boxes()
    changed = change(boxes)
    assert changed.image_name == "P0001.png"
    assert changed.get_field("labels").tolist() == [7, 9]
    assert changed.get_field("names") == ["ship", "plane"]
    assert changed.get_field("scores").tolist() == [0.5, 0.25]
    assert torch.equal(
        changed.get_field("proposals").bbox, change(boxes.get_field("proposals")).bbox
    )
    masks = change(boxes.get_field("masks")).instances.polygons
    for got, wanted in zip(changed.get_field("masks").instances, masks, strict=True):
        assert torch.equal(got.polygons[0], wanted.polygons[0])
    points = changed.get_field("keypoints").keypoints
    assert torch.equal(points, change(boxes.get_field("keypoints")).keypoints)
    assert not torch.equal(points, boxes.get_field("keypoints").keypoints)
    # the corners still surround the boxes (edges scale exactly, pixel indices nearly)
    corners = changed.get_field("corners")
    if name == "resize":
        expected = corners_of(boxes.bbox) * torch.tensor([1.5, 2.5])
    elif name == "crop":
        expected = corners_of(boxes.bbox) - torch.tensor([2.0, 3.0])
    else:
        expected = corners_of(changed.bbox)
    assert torch.equal(corners.amin(dim=1), expected.amin(dim=1))
    assert torch.equal(corners.amax(dim=1), expected.amax(dim=1))


def test_corners_keep_their_order_in_a_flip():
    corners = torch.tensor([[[3.0, 4], [13, 5], [12, 9], [2, 8]]])
    boxes = BoxList([[2, 4, 12, 8]], SIZE)
    boxes.add_field("corners", corners)
    flipped = boxes.transpose(FLIP_LEFT_RIGHT).get_field("corners")
    assert flipped.tolist() == [[[37, 4], [27, 5], [28, 9], [38, 8]]]
    assert corners[0, 0].tolist() == [3, 4]  # the given ones are untouched


def test_corners_given_as_an_array_move_too():
    boxes = BoxList([[2, 4, 12, 8]], SIZE)
    boxes.add_field("corners", np.array([[[3.0, 4], [13, 5], [12, 9], [2, 8]]]))
    moved = boxes.resize((80, 20)).get_field("corners")
    assert moved.tolist() == [[[6, 4], [26, 5], [24, 9], [4, 8]]]


@pytest.mark.parametrize(
    "item",
    [[1], torch.tensor([1]), torch.tensor([False, True]), [False, True], slice(1, 2), [-1]],
    ids=["list", "indices", "mask", "list mask", "slice", "negative"],
)
def test_indexing_takes_fields_along(item):
    chosen = full_boxes()[item]
    assert chosen.bbox.tolist() == BOXES[1:]
    assert chosen.image_name == "P0001.png"
    assert chosen.get_field("labels").tolist() == [9]
    assert chosen.get_field("names") == ["plane"]
    assert chosen.get_field("corners")[0, 0].tolist() == [20, 10]
    assert chosen.get_field("keypoints").keypoints.tolist() == [[[20, 11, 1]]]
    assert chosen.get_field("masks").instances.polygons[0].polygons[0][1] == 10
    assert all(len(chosen.get_field(name)) == 1 for name in chosen.fields())


def test_indexing_with_nothing():
    chosen = full_boxes()[[]]
    assert len(chosen) == 0
    assert {len(chosen.get_field(name)) for name in chosen.fields()} == {0}


@pytest.mark.parametrize(
    "data", [torch.zeros(3), [1], np.zeros((1, 2)), Keypoints([[[5, 6, 2]]], SIZE)], ids=str
)
def test_fault_field_of_any_length(data):
    boxes = BoxList(BOXES, SIZE)
    with pytest.raises(ValueError, match=f"'extra'.*expected length 2, got {len(data)}"):
        boxes.add_field("extra", data)
    assert not boxes.has_field("extra")


def test_field_of_any_length_is_accepted_on_demand(monkeypatch):
    monkeypatch.setattr(BoxList, "checks_field_lengths", False)
    boxes = BoxList(BOXES, SIZE)
    boxes.add_field("extra", torch.arange(3))
    assert boxes.clip_to_image(remove_empty=False).get_field("extra").tolist() == [0, 1, 2]


def test_a_field_without_length_is_taken():
    boxes = BoxList(BOXES, SIZE)
    boxes.add_field("scale", torch.tensor(2.0))
    assert boxes.get_field("scale") == 2


def test_clip_to_image():
    boxes = BoxList([[-5.0, 2, 50, 30], [41, 3, 60, 9], [3, 4, 12, 8]], SIZE)
    given = boxes.bbox.clone()
    boxes.add_field("labels", torch.tensor([1, 2, 3]))
    held = boxes.bbox
    clipped = boxes.clip_to_image()
    # the second one becomes the single column 39
    assert clipped.bbox.tolist() == [[0, 2, 39, 19], [3, 4, 12, 8]]
    assert clipped.get_field("labels").tolist() == [1, 3]
    assert boxes.bbox.tolist() == [[0, 2, 39, 19], [39, 3, 39, 9], [3, 4, 12, 8]]
    assert torch.equal(held, given)  # the caller's tensor is not edited
    assert len(boxes.clip_to_image(remove_empty=False)) == 3


def test_clip_under_autograd_and_in_xywh():
    source = torch.tensor([[-5.0, 2, 50, 30]], requires_grad=True)
    BoxList((source * 1)[:, :], SIZE).clip_to_image().bbox.sum().backward()
    assert source.grad.tolist() == [[0, 1, 0, 0]]
    wide = BoxList([[30, 2, 20, 5]], SIZE, "xywh").clip_to_image()  # x2 = 49 -> 39
    assert wide.bbox.tolist() == [[30, 2, 10, 5]]


def test_copy_with_fields():
    boxes = full_boxes()
    copy = boxes.copy_with_fields("labels")
    assert copy.fields() == ["labels"] and copy.image_name == "P0001.png"
    assert boxes.copy_with_fields(["labels", "none"], skip_missing=True).fields() == ["labels"]
    with pytest.raises(KeyError, match="'none' not found"):
        boxes.copy_with_fields(["labels", "none"])


def test_to_moves_boxes_and_fields():
    moved = full_boxes().to("cpu")
    assert moved.bbox.tolist() == BOXES and moved.image_name == "P0001.png"
    assert moved.fields() == full_boxes().fields()


class OnlyToDevice:
    """A field as projects write them: `to` knows the device alone."""

    where = "cpu"

    def to(self, device):
        self.where = device
        return self


def test_copies_to_a_device_need_not_be_waited_for():
    from second_device import SecondDevice  # skips where PyTorch has no back ends in Python

    boxes = full_boxes()
    boxes.add_field("own", OnlyToDevice())
    with SecondDevice() as device:
        boxes.to("fake")
        assert device.waits["copy"] == 5  # boxes, labels, corners, keypoints, proposals
        moved = boxes.to("fake", non_blocking=True)
        assert device.waits["copy"] == 5
    assert moved.get_field("labels").device.type == moved.bbox.device.type == "fake"
    assert moved.get_field("own").where == "fake" and moved.get_field("names") == ["ship", "plane"]


def test_a_batch_is_pinned_as_the_loader_does_it(monkeypatch):
    def pin_memory(tensor, *_):
        pinned.append(tuple(tensor.shape))
        return tensor.clone()

    pinned: list[tuple] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    batch = (to_image_list([torch.ones(3, 20, 40)]), [full_boxes()], [4])
    images, (boxes,), ids = pin_as_the_loader_does(batch)
    # the images; the boxes, labels, corners, keypoints and proposals
    assert pinned == [(1, 3, 20, 40), (2, 4), (2,), (2, 4, 2), (2, 1, 3), (2, 4)]
    assert images.tensors.sum() == 2400 and images.image_sizes[0] == (20, 40) and ids == [4]
    assert boxes.bbox.tolist() == BOXES and boxes.fields() == full_boxes().fields()


@pytest.mark.parametrize(
    ("boxes", "mode", "message"),
    [
        ([1, 2, 3, 4], "xyxy", r"\(N, 4\), got \(4,\)"),
        ([[1, 2, 3]], "xyxy", r"got \(1, 3\)"),
        (BOXES, "yxyx", "got 'yxyx'"),
    ],
)
def test_bad_boxes(boxes, mode, message):
    with pytest.raises(ValueError, match=message):
        BoxList(boxes, SIZE, mode)


def test_empty_boxes_are_normal():
    empty = BoxList(torch.zeros(0, 4), SIZE)
    empty.add_field("keypoints", PersonKeypoints(torch.zeros(0, 17, 3), SIZE))
    for changed in (empty.resize((7, 9)), empty.transpose(1), empty.crop((1, 1, 5, 4))):
        assert len(changed) == 0 and len(changed.get_field("keypoints")) == 0
    assert len(empty.clip_to_image()) == 0 and empty.area().shape == (0,)


def test_repr():
    expected = "BoxList(num_boxes=2, image_width=40, image_height=20, mode=xyxy)"
    assert repr(BoxList(BOXES, SIZE)) == expected
