"""How often the host waits for a device: limits that hold whatever objects, classes and levels."""

import pytest
import torch
from second_device import SecondDevice
from tiny_models import (
    FBNET,
    FPN_BODY,
    FPN_KEYPOINT,
    FPN_MASK,
    NARROW,
    RETINANET,
    made_batch,
    make_cfg,
)

from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.poolers import Pooler
from maskrcnn_benchmark.modeling.rpn.inference import RPNPostProcessor
from maskrcnn_benchmark.modeling.rpn.retinanet.inference import RetinaNetPostProcessor
from maskrcnn_benchmark.modeling.utils import nonzero_each, object_rows
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints

# limits of a training step and of inference, and what makes the kind of model
KINDS = {
    "faster": (16, 16, FPN_BODY),
    "mask": (22, 18, [*FPN_BODY, *FPN_MASK]),
    "keypoint": (26, 18, [*FPN_BODY, *FPN_KEYPOINT]),
    "retinanet": (6, 16, RETINANET),
    "rpn": (8, 10, [*FPN_BODY, "MODEL.RPN_ONLY", True]),
    "fbnet": (16, 16, FBNET),
}


def waits_of(options, objects, classes, size=(96, 128)):
    """Return how often the host waits in a training step, and in inference; the detections."""
    cfg = make_cfg(
        *(*options, *NARROW, "MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16),
        *("MODEL.ROI_BOX_HEAD.NUM_CLASSES", classes + 1),
        *("MODEL.RETINANET.NUM_CLASSES", classes + 1, "MODEL.RETINANET.INFERENCE_TH", 0.001),
        # every limit on numbers is reached
        *("MODEL.ROI_HEADS.SCORE_THRESH", 0.0, "MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 20),
        *("TEST.DETECTIONS_PER_IMG", 20, "MODEL.RPN.POST_NMS_TOP_N_TRAIN", 200),
        *("MODEL.RPN.POST_NMS_TOP_N_TEST", 50, "MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 90),
        *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 64),
    )
    torch.manual_seed(0)
    model = build_detection_model(cfg)
    images, targets = made_batch((objects,), size)
    middle = targets[0].bbox.unflatten(1, (2, 2)).mean(dim=1, keepdim=True)
    points = torch.cat([middle, torch.full_like(middle[..., :1], 2)], dim=2).repeat(1, 17, 1)
    targets[0].add_field("keypoints", PersonKeypoints(points, targets[0].size))
    with SecondDevice() as device:
        model, images = model.to("fake"), to_image_list(images).to("fake")
        targets = [target.to("fake") for target in targets]
        device.waits.clear()
        sum(model.train()(images, targets).values()).backward()
        training = device.waits.total()
        with torch.no_grad():
            (found,) = model.eval()(images)
        return training, device.waits.total() - training, len(found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_host_waits_no_more_for_more_objects_and_classes(kind):
    training, inference, options = KINDS[kind]
    for objects, classes in ((24, 3), (600, 80)):  # 600 are matched as a crowd
        waits = waits_of(options, objects, classes)
        assert waits[0] <= training and waits[1] <= inference and waits[2] >= 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["faster", "mask"])
def test_the_host_waits_no_more_where_proposals_are_matched_as_a_crowd_too(kind):
    training, inference, options = KINDS[kind]
    waits = waits_of(options, 1500, 3, size=(256, 320))
    assert waits[0] <= training and waits[1] <= inference


def test_indices_of_many_masks_take_one_wait():
    masks = [torch.rand(n) < share for n, share in ((50, 0.3), (7, 1.0), (0, 0.5), (400, 0.0))]
    with SecondDevice() as device:
        given = [mask.to("fake") for mask in masks]
        device.waits.clear()
        rows = nonzero_each(given)
        assert device.waits.total() == 1
        for row, on_cpu, mask in zip(rows, nonzero_each(masks), masks, strict=True):
            expected = [index for index, value in enumerate(mask.tolist()) if value]
            assert row.tolist() == on_cpu.tolist() == expected
            assert row.dtype == on_cpu.dtype == torch.int64


def test_labels_of_objects_take_one_wait():
    labels = torch.tensor([0, 3, -1, 1, 0, 2])
    with SecondDevice() as device:
        given = labels.to("fake")
        device.waits.clear()
        assert object_rows(given, 3, "KEY").device.type == "fake" and device.waits.total() == 1
        assert object_rows(given, 3, "KEY").tolist() == object_rows(labels, 3, "KEY").tolist()
        assert object_rows(labels, 3, "KEY").tolist() == [1, 3, 5]
        with pytest.raises(ValueError, match="has label 3, but KEY is 3 and allows 1 to 2"):
            object_rows(given, 2, "KEY")


def test_the_next_heads_wait_for_nothing_to_match_an_image():
    _, (target,) = made_batch((30,))
    target.image_name = "never told of"
    with SecondDevice() as device:
        target = target.to("fake")
        anchors = BoxList(target.bbox + 3, target.size)
        device.waits.clear()
        for _ in range(3):
            Matcher(0.5, 0.5).match(target, anchors)
        assert device.waits.total() == 1  # whether some of the ground truth is bad


def made_level(stride, generator):
    height, width = 240 // stride, 320 // stride
    corner = torch.rand(height * width, 2, generator=generator) * 200
    anchors = BoxList(torch.cat([corner, corner + stride * 4], dim=1), (320, 240))
    objectness = torch.randn(1, 1, height, width, generator=generator)
    return anchors, objectness, torch.randn(1, 4, height, width, generator=generator) / 4


@pytest.mark.parametrize("is_training", [True, False])
def test_the_host_waits_no_more_for_more_levels(is_training):
    generator = torch.Generator().manual_seed(0)
    waits = []
    for strides in ((8, 16), (8, 10, 12, 16, 20, 24, 30)):
        parts = [made_level(stride, generator) for stride in strides]
        with SecondDevice() as device:
            anchors, *outputs = zip(*([t.to("fake") for t in p] for p in parts), strict=True)
            selector = RPNPostProcessor(200, 40, 0.7, 0, fpn_post_nms_top_n=50)
            device.waits.clear()
            (boxes,) = selector.train(is_training)([list(anchors)], *map(list, outputs))
            retinanet = RetinaNetPostProcessor(0.5, 60, 0.4, 25, 0, 2).eval()
            retinanet([list(anchors)], *map(list, outputs))
            scales = [1 / stride for stride in (4, 8, 16, 32, 64, 128)[: len(strides)]]
            features = [torch.ones(1, 2, 60, 80, device="fake")] * len(scales)
            Pooler((7, 7), scales, 2)(features, [boxes])
            waits.append(device.waits.total())
    assert len(boxes) == 50 and waits[0] == waits[1] <= 13
