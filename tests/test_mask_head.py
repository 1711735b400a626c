"""Mask targets, the mask loss and pasting, against plain computations."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as mask_utils
from second_device import SecondDevice
from tiny_models import made_batch, tiny_mask_rcnn

from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.roi_heads.mask_head.inference import (
    Masker,
    MaskPostProcessor,
    MaskPostProcessorCOCOFormat,
    expand_boxes,
    expand_masks,
    paste_mask_in_image,
)
from maskrcnn_benchmark.modeling.roi_heads.mask_head.loss import (
    MaskRCNNLossComputation,
    project_masks_on_boxes,
)
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import keep_only_positive_boxes
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

SIZE = (100, 80)


def rectangle(x1, y1, x2, y2):
    return [[float(v) for v in (x1, y1, x2, y1, x2, y2, x1, y2)]]


def test_a_mask_is_sampled_inside_its_box():
    masks = SegmentationMask([rectangle(20, 10, 40, 30)], SIZE, mode="poly")
    # the box is twice as wide as the object and starts where it starts: the left half is inside
    grid = project_masks_on_boxes(masks, BoxList(torch.tensor([[20.0, 10.0, 60.0, 30.0]]), SIZE), 8)
    expected = torch.zeros(1, 8, 8)
    expected[:, :, :4] = 1
    assert torch.equal(grid, expected)


def test_masks_of_another_image_are_refused():
    masks = SegmentationMask([rectangle(20, 10, 40, 30)], SIZE, mode="poly")
    with pytest.raises(ValueError, match="same image"):
        project_masks_on_boxes(masks, BoxList(torch.tensor([[1.0, 2, 3, 4]]), (10, 10)), 8)


def test_loss_is_taken_on_the_mask_of_the_true_class():
    target = BoxList(torch.tensor([[20.0, 10.0, 40.0, 30.0], [50.0, 40.0, 80.0, 60.0]]), SIZE)
    target.add_field("labels", torch.tensor([2, 1]))
    outlines = [rectangle(20, 10, 40, 30), rectangle(50, 40, 80, 50)]
    target.add_field("masks", SegmentationMask(outlines, SIZE, mode="poly"))
    logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    loss = MaskRCNNLossComputation(Matcher(0.5, 0.5), 8)(
        [target.copy_with_fields([])], logits, [target]
    )
    upper_half = torch.zeros(8, 8)
    upper_half[:4] = 1
    expected = (
        F.binary_cross_entropy_with_logits(logits[0, 2], torch.ones(8, 8))
        + F.binary_cross_entropy_with_logits(logits[1, 1], upper_half)
    ) / 2
    torch.testing.assert_close(loss, expected)


def test_no_positive_proposal_gives_a_gradient_of_zero():
    empty = BoxList(torch.zeros(0, 4), SIZE)
    empty.add_field("labels", torch.zeros(0, dtype=torch.int64))
    empty.add_field("masks", SegmentationMask([], SIZE, mode="poly"))
    weight = torch.ones(1, requires_grad=True)
    loss = MaskRCNNLossComputation(Matcher(0.5, 0.5), 8)(
        [empty.copy_with_fields([])], weight * torch.zeros(0, 3, 8, 8), [empty]
    )
    loss.backward()
    assert loss == 0 and weight.grad == 0


def test_only_positive_boxes_are_kept():
    boxes = BoxList(torch.arange(12.0).reshape(3, 4), SIZE)
    boxes.add_field("labels", torch.tensor([0, 2, 1]))
    (kept,), (mask,) = keep_only_positive_boxes([boxes])
    assert kept.bbox[:, 0].tolist() == [4.0, 8.0] and mask.tolist() == [False, True, True]


def test_each_detection_gets_the_mask_of_its_class():
    boxes = [BoxList(torch.rand(n, 4), SIZE) for n in (2, 0, 1)]
    for b, labels in zip(boxes, ([1, 2], [], [2]), strict=True):
        b.add_field("labels", torch.tensor(labels, dtype=torch.int64))
    logits = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    results = MaskPostProcessor()(logits, boxes)
    assert [tuple(r.get_field("mask").shape) for r in results] == [
        (2, 1, 4, 4),
        (0, 1, 4, 4),
        (1, 1, 4, 4),
    ]
    torch.testing.assert_close(results[0].get_field("mask")[1, 0], logits[1, 2].sigmoid())
    torch.testing.assert_close(results[2].get_field("mask")[0, 0], logits[2, 2].sigmoid())


@pytest.mark.parametrize("counts", [(24,), (6, 0, 3)], ids=["one image", "three"])
def test_fault_bitmap_masks_on_a_device(counts):
    """A model that trains on bitmaps, as cityscapes' binarymask config does, takes a step there."""
    images, targets = made_batch(counts)
    for target in targets:
        target.add_field("masks", target.get_field("masks").convert("mask"))
    model = tiny_mask_rcnn()
    torch.manual_seed(0)
    expected = model(images, targets)
    assert expected["loss_mask"].item() > 0.5
    with SecondDevice() as device:
        model = model.to("fake")
        given = [image.to("fake") for image in images], [t.to("fake") for t in targets]
        device.waits.clear()
        torch.manual_seed(0)
        losses = model(*given)
        sum(losses.values()).backward()
        assert len(counts) > 1 or device.waits.total() <= 22
        for name, loss in losses.items():
            assert torch.equal(loss.detach().cpu(), expected[name].detach())


def test_masks_of_detections_on_a_device():
    boxes = [BoxList(torch.tensor([[3.0, 2, 30, 28], [50, 10, 92, 66]]), SIZE) for _ in range(2)]
    for b, labels in zip(boxes, ([1, 2], [2, 2]), strict=True):
        b.add_field("labels", torch.tensor(labels))
    logits = torch.randn(4, 3, 14, 14, generator=torch.Generator().manual_seed(0)) * 4
    for processor in (MaskPostProcessor(), MaskPostProcessor(Masker())):
        expected = [b.get_field("mask") for b in processor(logits, boxes)]
        with SecondDevice():
            found = processor(logits.to("fake"), [b.to("fake") for b in boxes])
            for got, mask in zip(found, expected, strict=True):
                assert torch.equal(got.get_field("mask").cpu(), mask) and mask.sum() > 100
    codes = MaskPostProcessorCOCOFormat(Masker())
    expected = [b.get_field("mask") for b in codes(logits, boxes)]
    with SecondDevice():
        found = codes(logits.to("fake"), [b.to("fake") for b in boxes])
        assert [b.get_field("mask") for b in found] == expected


def plain_paste(mask, box, height, width):
    """Interpolate the mask with a rim of zeros bilinearly, pixel by pixel, around the box."""
    m = mask.shape[0]
    padded = np.zeros((m + 2, m + 2))
    padded[1:-1, 1:-1] = mask
    scale = (m + 2) / m
    cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    hw, hh = (box[2] - box[0]) / 2 * scale, (box[3] - box[1]) / 2 * scale
    x1, y1, x2, y2 = int(cx - hw), int(cy - hh), int(cx + hw), int(cy + hh)
    w, h = x2 - x1 + 1, y2 - y1 + 1
    image = np.zeros((height, width), dtype=bool)
    for y in range(max(y1, 0), min(y2 + 1, height)):
        for x in range(max(x1, 0), min(x2 + 1, width)):
            u = max((x - x1 + 0.5) * (m + 2) / w - 0.5, 0)
            v = max((y - y1 + 0.5) * (m + 2) / h - 0.5, 0)
            u0, v0 = int(u), int(v)
            u1, v1 = min(u0 + 1, m + 1), min(v0 + 1, m + 1)
            top = padded[v0, u0] * (1 - (u - u0)) + padded[v0, u1] * (u - u0)
            bottom = padded[v1, u0] * (1 - (u - u0)) + padded[v1, u1] * (u - u0)
            image[y, x] = top * (1 - (v - v0)) + bottom * (v - v0) > 0.5
    return image


@pytest.mark.parametrize(
    "box",
    [[20.3, 10.2, 60.7, 45.1], [-8.0, -5.0, 30.0, 20.0], [80.0, 60.0, 99.0, 79.0], [5, 5, 5, 5]],
    ids=["inside", "over the corner", "at the far corner", "one pixel"],
)
def test_pasting_against_a_plain_loop(box):
    mask = torch.rand(14, 14, generator=torch.Generator().manual_seed(3))
    expected = plain_paste(mask.numpy(), box, 80, 100)
    got = paste_mask_in_image(mask, torch.tensor(box), 80, 100).numpy()
    assert (got != expected).sum() <= 2  # rounding right at the threshold
    boxes = BoxList(torch.tensor([box]), SIZE)
    (pasted,) = Masker()([mask[None, None]], boxes)
    assert pasted.shape == (1, 1, 80, 100) and np.array_equal(pasted[0, 0].numpy(), got)


def test_pasting_needs_a_mask_per_box():
    with pytest.raises(ValueError, match="one mask per box"):
        Masker()([torch.zeros(2, 1, 4, 4)], BoxList(torch.zeros(1, 4), SIZE))


def test_masks_as_run_lengths():
    boxes = BoxList(torch.tensor([[3.0, 2.0, 9.0, 8.0], [5.0, 1.0, 12.0, 6.0]]), SIZE)
    boxes.add_field("labels", torch.tensor([1, 2]))
    logits = torch.randn(2, 3, 4, 4) * 4
    (encoded,) = MaskPostProcessorCOCOFormat(Masker())(logits, [boxes])
    (pasted,) = MaskPostProcessor(Masker())(logits, [boxes])
    codes, masks = encoded.get_field("mask"), pasted.get_field("mask")
    assert all(isinstance(code["counts"], str) for code in codes)
    for code, mask in zip(codes, masks, strict=True):
        assert torch.equal(torch.from_numpy(mask_utils.decode(code)).bool(), mask[0])


def test_growing_boxes_and_masks_by_hand():
    # centre (7, 4), half sides 3 and 2, times 1.5
    boxes = torch.tensor([[4.0, 2.0, 10.0, 6.0]])
    assert expand_boxes(boxes, 1.5).tolist() == [[2.5, 1.0, 11.5, 7.0]]
    masks, scale = expand_masks(torch.ones(2, 1, 4, 4), 1)
    assert masks.shape == (2, 1, 6, 6) and masks.sum() == 32 and scale == 1.5


def test_inverted_box_has_no_pixels():
    boxes = BoxList(torch.tensor([[10.0, 30.0, 60.0, 28.4]]), SIZE)  # as a decoded box may be
    (pasted,) = Masker()([torch.ones(1, 1, 4, 4)], [boxes])
    assert not pasted.any()
