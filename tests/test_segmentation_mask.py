"""Outlines as polygons and as masks, which change with the image in the same way."""

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from second_device import SecondDevice

from maskrcnn_benchmark.structures.segmentation_mask import (
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    BinaryMaskList,
    PolygonInstance,
    SegmentationMask,
)

SIZE = (30, 20)  # width, height
RECTANGLE = [4.0, 3, 14, 3, 14, 9, 4, 9]
TRIANGLE = [16.0, 2, 28, 10, 18, 18]


def outlines() -> SegmentationMask:
    """Return a rectangle, and an object of two parts."""
    return SegmentationMask([[RECTANGLE], [TRIANGLE, [2, 12, 8, 12, 8, 16, 2, 16]]], SIZE)


def rectangle_mask(x1: int, y1: int, x2: int, y2: int, size=SIZE) -> torch.Tensor:
    mask = torch.zeros(size[1], size[0], dtype=torch.uint8)
    mask[y1:y2, x1:x2] = 1
    return mask


def test_polygon_to_mask():
    # edges at x 4 and 14: the pixels 4 .. 13
    masks = outlines().convert("mask")
    assert masks.mode == "mask" and len(masks) == 2
    assert torch.equal(masks.get_mask_tensor()[0], rectangle_mask(4, 3, 14, 9))
    # 6 x 4 = 24 pixels and a triangle of about |12 * 16 - 2 * 8| / 2 = 88
    assert masks.get_mask_tensor()[1, 12:16, 2:8].eq(1).all()
    assert 24 + 80 < masks.get_mask_tensor()[1].sum() < 24 + 96


def test_mask_tensor_of_one_has_no_first_dimension():
    assert outlines()[0].get_mask_tensor().shape == (20, 30)
    assert outlines().get_mask_tensor().shape == (2, 20, 30)


def test_mask_to_polygon_and_back():
    masks = outlines().convert("mask")
    back = masks.convert("poly").convert("mask").get_mask_tensor()
    assert len(masks.convert("poly").instances.polygons[1]) == 2  # parts
    # a contour runs through the pixels' centres: the last row and column are lost
    assert back[0].sum() == 9 * 5
    difference = (back != masks.get_mask_tensor()).sum(dim=(1, 2))
    assert difference.tolist()[0] == 60 - 45 and difference[1] < 40


@pytest.mark.parametrize(
    ("method", "polygon", "mask"),
    [
        # x -> 29 - x: edges 15 and 25, as the original has it; pixels 4 .. 13 -> 16 .. 25
        (FLIP_LEFT_RIGHT, [25, 3, 15, 3, 15, 9, 25, 9], (16, 3, 26, 9)),
        # y -> 19 - y; rows 3 .. 8 -> 11 .. 16
        (FLIP_TOP_BOTTOM, [4, 16, 14, 16, 14, 10, 4, 10], (4, 11, 14, 17)),
    ],
    ids=["left right", "top bottom"],
)
def test_flips(method, polygon, mask):
    flipped = outlines().transpose(method)
    assert flipped.instances.polygons[0].polygons[0].tolist() == polygon
    masks = outlines().convert("mask").transpose(method)
    assert torch.equal(masks.get_mask_tensor()[0], rectangle_mask(*mask))
    assert flipped.size == masks.size == SIZE
    again = masks.transpose(method).get_mask_tensor()
    assert torch.equal(again, outlines().get_mask_tensor())


def test_warp():
    """By 90 degrees clockwise: y from the bottom becomes x, x becomes y."""
    turn = torch.tensor([[0.0, -1, 20], [1, 0, 0]], dtype=torch.float64)
    turned = outlines().warp(turn, (20, 30))
    assert turned.size == (20, 30)
    assert turned.instances.polygons[0].polygons[0].tolist() == [17, 4, 17, 14, 11, 14, 11, 4]
    assert len(turned.instances.polygons[1].polygons) == 2
    assert torch.equal(turned.get_mask_tensor()[0], rectangle_mask(11, 4, 17, 14, (20, 30)))
    with pytest.raises(ValueError, match="only polygons can be rotated"):
        outlines().convert("mask").warp(turn, (20, 30))


def test_crop():
    box = (6, 4, 16, 18)
    cropped = outlines().crop(box)
    assert cropped.size == (10, 14)
    assert cropped.instances.polygons[0].polygons[0].tolist() == [-2, -1, 8, -1, 8, 5, -2, 5]
    masks = outlines().convert("mask").crop(torch.tensor(box).float())
    assert masks.size == (10, 14)
    for one in (cropped.get_mask_tensor()[0], masks.get_mask_tensor()[0]):
        assert torch.equal(one, rectangle_mask(0, 0, 8, 5, size=(10, 14)))


def test_crop_at_the_border():
    masks = outlines().convert("mask")
    assert masks.crop((-5, -5, 100, 100)).size == SIZE
    assert masks.crop((29.2, 19.4, 29.4, 19.4)).size == (1, 1)
    # the offset stays on the image, the size is the box's
    polygons = outlines().crop((-5.0, -5, 40, 35))
    assert polygons.size == (45, 40)
    assert polygons.instances.polygons[0].polygons[0][:2].tolist() == [4, 3]
    with pytest.raises(ValueError, match="must not be beyond"):
        outlines().crop((9, 3, 8, 6))


def test_crop_of_a_pixel_can_be_resized():
    mask = outlines().crop(torch.tensor([6.0, 4, 6, 4])).resize((28, 28)).get_mask_tensor()
    assert mask.shape == (2, 28, 28) and mask[0].eq(1).all()


def test_resize():
    resized = outlines().resize((60, 10))
    assert resized.size == (60, 10)
    assert resized.instances.polygons[0].polygons[0].tolist() == [8, 1.5, 28, 1.5, 28, 4.5, 8, 4.5]
    masks = outlines().convert("mask").resize((60, 40))
    assert masks.size == (60, 40)
    # doubling blends the border pixels, and cutting to integers takes them away
    assert torch.equal(masks.get_mask_tensor()[0, 7:17, 9:27], torch.ones(10, 18).byte())
    assert masks.get_mask_tensor()[0].sum() == 10 * 18
    assert outlines().instances.resize(40).size == (40, 40)


@pytest.mark.parametrize("mode", ["poly", "mask"])
@pytest.mark.parametrize(
    "item",
    [1, [1], torch.tensor([1]), torch.tensor([False, True]), slice(1, None)],
    ids=["number", "list", "indices", "mask", "slice"],
)
def test_indexing(mode, item):
    masks = outlines().convert(mode)
    chosen = masks[item]
    assert len(chosen) == 1 and chosen.size == SIZE
    assert torch.equal(chosen.get_mask_tensor(), outlines().get_mask_tensor()[1])
    assert len(masks[torch.tensor([1, 1, 0])]) == 3
    assert len(masks[torch.zeros(2, dtype=torch.bool)]) == 0


@pytest.mark.parametrize("mode", ["poly", "mask"])
def test_fault_indices_of_a_device(mode):
    """On a GPU the original's bitmap masks cannot be picked by what the matcher found there."""
    masks = outlines().convert(mode)
    with SecondDevice():
        for index in (torch.tensor([1, 1, 0]), torch.tensor([False, True])):
            chosen = masks[index.to("fake")].get_mask_tensor()
            assert torch.equal(chosen, masks[index].get_mask_tensor())


@pytest.mark.parametrize("mode", ["poly", "mask"])
def test_iteration(mode):
    masks = outlines().convert(mode)
    parts = list(masks)
    assert [len(part) for part in parts] == [1, 1]
    assert torch.equal(parts[1].get_mask_tensor(), outlines().get_mask_tensor()[1])
    assert len(list(masks)) == 2  # again from the start


def test_kinds_of_masks():
    tensor = outlines().get_mask_tensor()
    codes = [mask_utils.encode(np.asfortranarray(mask.numpy())) for mask in tensor]
    for given in (tensor, list(tensor), codes, BinaryMaskList(tensor, SIZE)):
        masks = SegmentationMask(given, SIZE, "mask")
        assert torch.equal(masks.get_mask_tensor(), tensor)
    counts = [0, 20 * 15, 20 * 15]  # column by column: the left half
    plain = SegmentationMask([{"counts": counts, "size": [20, 30]}], SIZE, "mask")
    assert torch.equal(plain.get_mask_tensor(), rectangle_mask(0, 0, 15, 20))
    small = SegmentationMask(codes, (15, 10), "mask")  # encoded at twice the size
    assert small.get_mask_tensor().shape == (2, 10, 15)
    assert SegmentationMask(tensor[0], SIZE, "mask").get_mask_tensor().shape == (20, 30)


def test_masks_are_copied():
    tensor = outlines().get_mask_tensor()
    masks = SegmentationMask(tensor, SIZE, "mask")
    tensor.zero_()
    assert masks.get_mask_tensor().sum() > 0


def test_object_without_polygon_keeps_its_place():
    masks = SegmentationMask([[[1, 2, 3, 4]], [RECTANGLE], []], SIZE)
    assert len(masks) == 3
    tensor = masks.get_mask_tensor()
    assert [int(mask.sum()) for mask in tensor] == [0, 60, 0]
    assert len(masks.resize((9, 8)).transpose(0).crop((1, 1, 5, 6))) == 3


@pytest.mark.parametrize("mode", ["poly", "mask"])
def test_no_objects(mode):
    masks = SegmentationMask([], SIZE, mode)
    assert len(masks) == 0 and list(masks) == []
    for changed in (masks.resize((9, 8)), masks.transpose(1), masks.crop((1, 1, 5, 6))):
        assert len(changed) == 0
    other = "mask" if mode == "poly" else "poly"
    assert len(masks.convert(other)) == 0


@pytest.mark.parametrize("mode", ["poly", "mask"])
def test_blank(mode):
    blank = outlines().convert(mode).blank(5)
    assert len(blank) == 5 and blank.mode == mode
    assert blank[[1, 3]].crop((2, 2, 9, 8)).get_mask_tensor().sum() == 0


@pytest.mark.parametrize(
    ("instances", "mode", "message"),
    [
        ("text", "poly", "a list with an item per object"),
        ([1.0, 2, 3], "poly", "must be a list of polygons"),
        ([RECTANGLE], "poly", "flat list"),
        ([[RECTANGLE[:-1]]], "poly", "flat list"),
        (torch.zeros(2, 30, 20), "mask", r"\(N, 20, 30\), got \(2, 30, 20\)"),
        ("text", "mask", "a tensor or a list"),
    ],
)
def test_bad_outlines(instances, mode, message):
    with pytest.raises(ValueError, match=message):
        SegmentationMask(instances, SIZE, mode)


def test_run_lengths_of_several_sizes():
    codes = [mask_utils.encode(np.zeros((5, 4 + k), dtype=np.uint8, order="F")) for k in range(2)]
    with pytest.raises(ValueError, match="of one size"):
        SegmentationMask(codes, SIZE, "mask")


def test_unknown_mode():
    for act in (lambda: SegmentationMask([], SIZE, "rle"), lambda: outlines().convert("rle")):
        with pytest.raises(NotImplementedError, match="got 'rle'"):
            act()
    assert outlines().convert("poly").mode == "poly"


def test_next_goes_on_where_it_was():
    masks = outlines()
    assert [len(one) for one in masks] == [1, 1]
    iter(masks)
    first, second = next(masks), next(masks)
    for found, index in ((first, 0), (second, 1)):
        assert torch.equal(found.get_mask_tensor(), masks[index].get_mask_tensor())
    with pytest.raises(StopIteration):
        next(masks)


def test_size_of_tensors():
    size = (torch.tensor(30), torch.tensor(20))
    assert SegmentationMask([[RECTANGLE]], size).size == SIZE


def test_repr_and_to():
    masks = outlines()
    assert masks.to("cpu") is masks
    expected = "(num_instances=2, image_width=30, image_height=20"
    assert repr(masks) == f"SegmentationMask{expected}, mode=poly)"
    assert repr(masks.instances) == f"PolygonList{expected})"
    assert "num_groups=1" in repr(PolygonInstance([RECTANGLE], SIZE))
