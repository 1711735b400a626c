"""Mask targets of all boxes at once, against a loop over the boxes."""

import pytest
import torch
from second_device import SecondDevice
from torch.utils._python_dispatch import TorchDispatchMode

from maskrcnn_benchmark.modeling.roi_heads.mask_head.loss import project_masks_on_boxes
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.mask_cropping import crop_masks
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

SIZE = (90, 70)  # width, height


def object_by_object(masks, which, boxes, side):
    """Return the grids as the original makes them."""
    grids = []
    for number, box in zip(which, boxes, strict=True):
        grids.append(masks[number].crop(box).resize((side, side)).get_mask_tensor())
    return torch.stack(grids)


def outlines():
    """Return five objects: a star, one of three parts, one without, one off the image, a sliver."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.arange(24) * (2 * torch.pi / 24)
    radius = torch.rand(24, generator=generator) * 20 + 12
    star = torch.stack([40 + angle.cos() * radius, 33 + angle.sin() * radius], dim=1)
    parts = [[20, 10, 50, 12.5, 31, 44], [5.5, 50, 30, 50, 30, 60, 5.5, 60]]
    parts.append([60, 60, 70, 60, 65, 67])
    off, sliver = [85, 60, 130, 64, 110, 95], [10, 20, 80, 20.4, 80, 20.6]
    objects = [[star.flatten().tolist()], parts, [], [off], [sliver]]
    return SegmentationMask(objects, SIZE, mode="poly")


def boxes_of_all_kinds(count=60):
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([80.0, 60])
    sides = torch.rand(count, 2, generator=generator) ** 2 * 60
    boxes = torch.cat([corner, corner + sides], dim=1)
    given = [
        *([0, 0, 89, 69], [-7.5, -3.25, 40, 30], [60, 50, 120, 110], [88.7, 69, 95, 70]),
        *([30, 20, 30, 20], [30, 20, 30.4, 45], [30.5, 20.5, 31.5, 41.5], [5, 5, 61, 33]),
        [-20, -20, -5, -4],
    ]
    boxes = torch.cat([torch.tensor(given, dtype=torch.float32), boxes])
    objects = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 3, 4])
    which = objects[torch.randint(10, (len(boxes),), generator=generator)]
    return boxes, which


def made_masks(kind):
    """Return the objects as polygons, moved polygons or bitmaps of a type."""
    masks = outlines()
    if kind == "poly":
        return masks
    if kind == "flipped poly":
        return masks.transpose(0)
    tensor = masks.convert("mask").get_mask_tensor()
    tensor = tensor * 200 if kind == "uint8 of 200" else tensor.to(getattr(torch, kind))
    return SegmentationMask(tensor, SIZE, mode="mask")


@pytest.mark.parametrize("side", [7, 28])
@pytest.mark.parametrize(
    "kind", ["poly", "flipped poly", "uint8", "bool", "float32", "uint8 of 200"]
)
def test_all_boxes_at_once_give_what_a_loop_gives(kind, side):
    masks, (boxes, which) = made_masks(kind), boxes_of_all_kinds()
    grids = crop_masks(masks, which.tolist(), boxes, side)
    expected = object_by_object(masks, which.tolist(), boxes, side)
    assert grids.dtype == expected.dtype and torch.equal(grids, expected)
    assert 0.1 < (grids != 0).float().mean() < 0.9


@pytest.mark.parametrize("mode", ["poly", "mask"])
def test_without_boxes_or_outlines(mode):
    masks = outlines().convert(mode)
    assert crop_masks(masks, [], torch.zeros(0, 4), 9).shape == (0, 9, 9)
    nothing = crop_masks(masks, [2, 2], torch.tensor([[3.0, 4, 20, 30]] * 2), 9)
    assert nothing.shape == (2, 9, 9) and not nothing.any()


@pytest.mark.parametrize("mode", ["poly", "mask"])
def test_inverted_boxes_are_refused(mode):
    for number in (0, 2):
        with pytest.raises(ValueError, match="x1 y1 must not be beyond its x2 y2"):
            crop_masks(outlines().convert(mode), [number], torch.tensor([[30.0, 4, 20, 30]]), 9)


@pytest.mark.parametrize("mode", ["poly", "mask"])
def test_targets_on_a_device_cost_two_copies(mode):
    masks, (boxes, which) = outlines().convert(mode), boxes_of_all_kinds()
    expected = project_masks_on_boxes(masks, BoxList(boxes, SIZE), 28, which)
    assert torch.equal(expected, object_by_object(masks, which.tolist(), boxes, 28).float())
    with SecondDevice() as device:
        proposals, on_device = BoxList(boxes, SIZE).to("fake"), which.to("fake")
        device.waits.clear()
        grids = project_masks_on_boxes(masks, proposals, 28, on_device)
        assert device.waits == {"copy": 2} and grids.device.type == "fake"
        assert torch.equal(grids.cpu(), expected)
        # as the original is called: the masks picked before, with the device's indices
        picked = project_masks_on_boxes(masks[on_device], proposals, 28)
        assert torch.equal(picked.cpu(), expected)


def test_masks_and_boxes_of_different_numbers_are_refused():
    boxes = BoxList(torch.tensor([[3.0, 4, 20, 30]] * 3), SIZE)
    with pytest.raises(ValueError, match="one mask per box, got 5 masks and 3 boxes"):
        project_masks_on_boxes(outlines(), boxes, 28)


class LargestResult(TorchDispatchMode):
    """Within it the number of elements of the largest tensor that is made is kept."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            held = result.untyped_storage().nbytes() // result.element_size()
            self.elements = max(self.elements, held)
        return result


def test_fault_a_bitmap_of_the_image_was_copied_for_each_box():
    masks, (boxes, which) = outlines().convert("mask"), boxes_of_all_kinds(300)
    proposals = BoxList(boxes, SIZE)
    with LargestResult() as largest:
        project_masks_on_boxes(masks, proposals, 28, which)
    # the five bitmaps, or the targets; 309 bitmaps would be 1.9 million
    assert largest.elements == max(5 * 90 * 70, 309 * 28 * 28)
