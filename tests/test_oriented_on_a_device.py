"""Oriented models on a second device: as on the CPU, test-time augmentation included; waits."""

import numpy as np
import pytest
import torch
from oriented_models import METHODS, oriented_cfg, oriented_model, oriented_target
from second_device import SecondDevice
from test_rotated_boxes import random_boxes

from maskrcnn_benchmark.engine.bbox_aug import make_bbox_aug
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import FLIP_LEFT_RIGHT
from maskrcnn_benchmark.structures.oriented_boxes import best_oriented_overlap, oriented_nms
from maskrcnn_benchmark.structures.rotated_boxes import rotated_to_corners

SIZE = (160, 128)
LIMITS = [
    *("MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 60, "MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN", 60),
    *("MODEL.ROI_HEADS.SCORE_THRESH", 0.0, "MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 40),
]
# how often the host waits in a training step and in inference, whatever the number of objects
MOST_WAITS = {"oriented_rcnn": (22, 20), "gliding_vertex": (22, 16)}


def made(count):
    """An image of noise and as many objects of 15 classes, from 12 to 60 pixels long."""
    generator = torch.Generator().manual_seed(count)
    image = torch.randn(3, SIZE[1], SIZE[0], generator=generator) * 20
    boxes = random_boxes(count, seed=count).float() * torch.tensor([0.5, 0.4, 0.5, 0.5, 1])
    return image, oriented_target(boxes, torch.arange(count) % 15 + 1, SIZE)


def on_device(device, method, count):
    """Losses, gradient of a layer and detections of a model on "cpu" or "fake"."""
    model = oriented_model(method, *LIMITS).to(device)
    image, target = made(count)
    torch.manual_seed(3)
    losses = model.train()([image.to(device)], [target.to(device)])
    sum(losses.values()).backward()
    gradient = model.rpn.head.conv.weight.grad.cpu()
    with torch.no_grad():
        found = model.eval()([image.to(device)])[0].to("cpu")
    return {k: v.item() for k, v in losses.items()}, gradient, found


@pytest.mark.parametrize("method", sorted(METHODS))
def test_as_on_the_cpu(method):
    losses, gradient, found = on_device("cpu", method, count=9)
    with SecondDevice():
        others, other_gradient, other_found = on_device("fake", method, count=9)
    assert others == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(other_gradient, gradient, rtol=1e-4, atol=1e-6)
    assert len(found) == len(other_found) > 10
    for field in ("corners", "scores", "labels"):
        torch.testing.assert_close(
            other_found.get_field(field), found.get_field(field), atol=1e-3, rtol=1e-4
        )


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("count", [3, 24])
def test_waits(method, count):
    model = oriented_model(method, *LIMITS)
    image, target = made(count)
    with SecondDevice() as device:
        model, image, target = model.to("fake"), image.to("fake"), target.to("fake")
        device.waits.clear()
        sum(model.train()([image], [target]).values()).backward()
        training = sum(device.waits.values())
        device.waits.clear()
        with torch.no_grad():
            model.eval()([image])
        inference = sum(device.waits.values())
    most = MOST_WAITS[method]
    assert training <= most[0] and inference <= most[1], (training, inference)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("device_name", ["cpu", "fake"])
def test_augmentation_finds_a_flipped_image_alike(method, device_name):
    """Flip and scale are merged; the flipped image's detections are the image's, flipped."""
    aug = ["TEST.BBOX_AUG.ENABLED", True, "TEST.BBOX_AUG.H_FLIP", True]
    aug += ["INPUT.MIN_SIZE_TEST", 128, "INPUT.MAX_SIZE_TEST", 160]
    cfg = oriented_cfg(method, *LIMITS, *aug, "MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 15)
    torch.manual_seed(0)
    model = build_detection_model(cfg).eval()
    pixels = np.random.default_rng(1).integers(0, 255, (128, 160, 3), dtype=np.uint8)
    detect = make_bbox_aug(cfg)
    with SecondDevice(), torch.no_grad():
        model = model.to(device_name)
        straight, flipped = (
            detect(model, [image], device_name)[0].to("cpu")
            for image in (pixels, np.ascontiguousarray(pixels[:, ::-1]))
        )
    assert len(straight) == len(flipped) >= 15
    back = flipped.transpose(FLIP_LEFT_RIGHT)
    assert back.get_field("labels").tolist() == straight.get_field("labels").tolist()
    torch.testing.assert_close(back.bbox, straight.bbox, atol=1e-2, rtol=0)
    torch.testing.assert_close(
        back.get_field("corners").sort(dim=1).values,  # their order turns round with the flip
        straight.get_field("corners").sort(dim=1).values,
        atol=1e-2,
        rtol=0,
    )


def test_overlap_and_suppression():
    corners, others = (rotated_to_corners(random_boxes(n, seed=n)) for n in (40, 60))
    scores = torch.linspace(1, 0, 40).double()
    iou, index = best_oriented_overlap(corners, others)
    kept = oriented_nms(corners, scores, 0.1)
    with SecondDevice():
        found = best_oriented_overlap(corners.to("fake"), others.to("fake"))
        assert torch.equal(found[0].cpu(), iou) and torch.equal(found[1].cpu(), index)
        assert torch.equal(oriented_nms(corners.to("fake"), scores.to("fake"), 0.1).cpu(), kept)
