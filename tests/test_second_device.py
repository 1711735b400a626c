"""The second device itself, and everything that must run on a device as it does on the CPU."""

import sys

import golden_models
import numpy as np
import pytest
import torch
import torchvision
from launching import load_file
from made_data import gradient, make_coco_folder
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

from maskrcnn_benchmark.engine.bbox_aug import make_bbox_aug
from maskrcnn_benchmark.engine.inference import run_test
from maskrcnn_benchmark.layers.nms import nms_per_group
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.poolers import Pooler
from maskrcnn_benchmark.modeling.rpn.inference import RPNPostProcessor
from maskrcnn_benchmark.modeling.rpn.retinanet.inference import RetinaNetPostProcessor
from maskrcnn_benchmark.modeling.utils import nonzero_each, object_rows
from maskrcnn_benchmark.structures import crowd
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.utils.random_state import seed_everything

DEVICES = ("cpu", "fake")
ON_BOTH = torch.arange(12.0).view(3, 4)


# --- the harness


@pytest.mark.parametrize(
    "mix",
    [
        lambda cpu, fake: cpu + fake,
        lambda cpu, fake: torch.cat([fake, cpu]),
        lambda cpu, fake: fake.where(cpu > 3, fake),
        lambda cpu, fake: cpu[fake.long()[0] % 3],
        lambda cpu, fake: fake.index_add_(0, torch.tensor([0, 1, 2]), fake),
        lambda cpu, fake: cpu.add_(fake),
        lambda cpu, fake: torch.nn.functional.linear(fake, cpu),
    ],
    ids=["add", "cat", "where", "index of the CPU", "index_add", "in place", "linear"],
)
def test_mixing_devices_raises(mix):
    cpu = ON_BOTH.clone()
    with SecondDevice():
        fake = cpu.to("fake")
        with pytest.raises(RuntimeError, match="expected all tensors on one device"):
            mix(cpu, fake)


def test_what_a_device_takes_from_the_cpu():
    with SecondDevice():
        fake = ON_BOTH.to("fake")
        assert fake.device.type == "fake" and fake.cpu().device.type == "cpu"
        assert torch.equal((fake * torch.tensor(2.0)).cpu(), ON_BOTH * 2)
        assert torch.equal(fake[torch.tensor([2, 0])].cpu(), ON_BOTH[[2, 0]])
        fake[1] = ON_BOTH[0]
        assert fake[1].tolist() == [0, 1, 2, 3] and ON_BOTH[1].tolist() == [4, 5, 6, 7]


def test_arrays_do_not_come_from_a_device():
    with SecondDevice():
        with pytest.raises(TypeError, match="second device to numpy"):
            ON_BOTH.to("fake").numpy()


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("item", lambda fake: bool(fake.sum() > 3)),
        ("item", lambda fake: float(fake[1, 2])),
        ("item", lambda fake: torch.equal(fake, fake)),
        ("nonzero", lambda fake: fake.nonzero()),
        ("nonzero", lambda fake: fake[fake > 3]),
        ("nonzero", lambda fake: fake.__setitem__(fake > 3, fake[fake > 3].sum().expand(8))),
        ("unique", lambda fake: fake.unique()),
        ("bincount", lambda fake: fake.flatten().long().bincount()),
        ("nms", lambda fake: torch.ops.torchvision.nms(fake, fake[:, 0], 0.5)),
        ("tolist", lambda fake: fake.tolist()),
        ("copy", lambda fake: fake.cpu()),
        ("copy", lambda fake: ON_BOTH.to("fake")),
        ("copy", lambda fake: torch.tensor([1, 2], device="fake")),
        ("copy", lambda fake: fake[[0, 1]]),
        ("copy", lambda fake: fake.copy_(ON_BOTH)),
        ("repeat_interleave", lambda fake: fake.long()[0].repeat_interleave(fake.long()[0])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_the_host_wait_is_counted(name, work):
    with SecondDevice() as device:
        fake = ON_BOTH.to("fake")
        device.waits.clear()
        work(fake)
        assert device.waits[name] >= 1


def test_what_lets_the_host_go_on_is_not_counted():
    with SecondDevice() as device:
        fake = ON_BOTH.to("fake")
        device.waits.clear()
        fake[fake > 3] = 0  # a masked fill
        torch.zeros(3, device="fake")
        fake.topk(2)
        ON_BOTH.to("fake", non_blocking=True)
        fake.long()[0].repeat_interleave(fake.long()[0] + 1, output_size=10)
        assert device.waits.total() == 0


# --- the same results on both devices


def same(got, expected):
    """Assert that both are the same tensors, bit for bit, under the same names."""
    assert got.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(got[name], expected[name])]
    assert different == []


def fields_of(results):
    """Return all tensors of detections by name, on the CPU."""
    found = {}
    for image, result in enumerate(results):
        result = result.to("cpu")
        found[f"{image} boxes"] = result.bbox
        for name in result.fields():
            value = result.get_field(name)
            if name == "keypoints":
                found[f"{image} keypoint logits"] = value.get_field("logits")
                value = value.keypoints
            found[f"{image} {name}"] = value
    return found


def step_and_detections(name, device):
    """Return the losses of a training step, the weights after it, and then the detections."""
    model = golden_models.build(name).to(device)
    images = to_image_list(golden_models.make_images(), 32).to(device)
    targets = golden_models.make_targets(1 if name.startswith("keypoint") else 3)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=1e-4, momentum=0.9
    )
    torch.manual_seed(0)
    losses = model.train()(images, [target.to(device) for target in targets])
    sum(losses.values()).backward()
    optimizer.step()
    with torch.no_grad():
        detections = model.eval()(images)
    tensors = {**losses, **model.state_dict()}
    return {name: t.detach().cpu() for name, t in tensors.items()} | fields_of(detections)


QUICK = ("keypoint_R50_FPN", "retinanet_R50_FPN")


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in golden_models.MODELS
    ],
)
def test_a_model_trains_and_detects_as_on_the_cpu(name):
    expected = step_and_detections(name, "cpu")
    assert len(expected["0 boxes"]) > 10
    with SecondDevice():
        same(step_and_detections(name, "fake"), expected)


@pytest.fixture
def _policy_restored():
    before = crowd.get_policy()
    yield
    crowd.set_policy(before)


def crowd_scene():
    """Return 150 ground truths, some that can match nothing, and 900 anchors, some of no area."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(1050, 2, generator=generator) * torch.tensor([300.0, 200])
    sides = torch.rand(1050, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + sides], dim=1)
    boxes[5] = float("nan")
    boxes[40] = boxes[40, [2, 3, 0, 1]]
    boxes[200:220, 2] -= 40
    return BoxList(boxes[:150], (330, 230)), BoxList(boxes[150:], (330, 230))


@pytest.mark.usefixtures("_policy_restored")
@pytest.mark.parametrize("mode", crowd.MODES)
@pytest.mark.parametrize("block_mb", [0.3, 64])
def test_crowds_are_matched_as_on_the_cpu(mode, block_mb):
    target, anchors = crowd_scene()
    matchers = [Matcher(0.7, 0.3, True), Matcher(0.5, 0.5)]
    expected = [matcher.match(target, anchors) for matcher in matchers]
    iou = boxlist_iou(target[6:30], anchors)
    assert (expected[0] >= 0).sum() > 100
    with SecondDevice():
        crowd.set_policy(crowd.CrowdPolicy(5, 5, mode, block_mb))
        for matcher, matches in zip(matchers, expected, strict=True):
            got = matcher.match(target.to("fake"), anchors.to("fake"))
            assert got.device.type == "fake" and torch.equal(got.cpu(), matches)
        got = boxlist_iou(target[6:30].to("fake"), anchors.to("fake"))
        assert got.device.type == "fake" and torch.equal(got.cpu(), iou)


TINY = [*FPN_BODY, *FPN_MASK, *NARROW, "MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16]
TINY += ["MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4, "DATALOADER.NUM_WORKERS", 0]


def test_views_of_an_image_are_merged_as_on_the_cpu():
    cfg = make_cfg(
        *(*TINY, "TEST.BBOX_AUG.ENABLED", True, "TEST.BBOX_AUG.H_FLIP", True),
        *("INPUT.MIN_SIZE_TEST", 64, "TEST.BBOX_AUG.SCALES", (96,)),
        *("MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 50, "MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 10),
    )
    image = np.random.default_rng(0).integers(0, 100, (60, 90, 3)) + gradient(90, 60) // 2
    torch.manual_seed(0)
    model = build_detection_model(cfg).eval()
    with torch.no_grad():
        expected = fields_of(make_bbox_aug(cfg)(model, [image.astype(np.uint8)], "cpu"))
        assert len(expected["0 mask"]) >= 10
        with SecondDevice():
            model = model.to("fake")
            same(fields_of(make_bbox_aug(cfg)(model, [image.astype(np.uint8)], "fake")), expected)


@pytest.fixture
def coco(tmp_path):
    """Return the name of a data set of three images with an object each."""
    sizes = {4: (90, 60), 6: (50, 100), 9: (80, 80)}
    annotations = [
        {
            **dict(image_id=image_id, category_id=image_id % 2 + 1, bbox=[10, 9, 30, 21]),
            "segmentation": [[10, 9, 40, 9, 40, 30, 10, 30]],
        }
        for image_id in sizes
    ]
    file, folder = make_coco_folder(tmp_path / "coco", sizes, {1: "a", 2: "b"}, annotations)
    return f"coco:{file}:{folder}"


def test_a_set_is_evaluated_as_on_the_cpu(coco):
    rows = {}
    for device in DEVICES:
        cfg = make_cfg(
            *(*TINY, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 3, "DATASETS.TEST", (coco,)),
            *("INPUT.MIN_SIZE_TEST", 64, "TEST.IMS_PER_BATCH", 2, "MODEL.DEVICE", device),
            *("MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 50, "MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 10),
        )
        torch.manual_seed(0)
        with SecondDevice():
            model = build_detection_model(cfg).to(device)
            ((_, rows[device]),) = run_test(cfg, model, False, output_dir="").values()
    assert rows["cpu"] == rows["fake"]
    assert len(rows["cpu"]["bbox"]) == len(rows["cpu"]["segm"]) > 20


def trained_weights(device, coco, folder, iterations):
    """Train as tools/train_net.py does, from the folder's last checkpoint if there is one."""
    cfg = make_cfg(
        *(*TINY, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 3, "MODEL.DEVICE", device, "MODEL.WEIGHT", ""),
        *("DATASETS.TRAIN", (coco,), "INPUT.MIN_SIZE_TRAIN", (80,), "SOLVER.IMS_PER_BATCH", 2),
        *("SOLVER.BASE_LR", 0.001, "SOLVER.MAX_ITER", iterations, "OUTPUT_DIR", str(folder)),
    )
    folder.mkdir(exist_ok=True)
    seed_everything(0)
    model = load_file("tools/train_net.py").train(cfg, distributed=False)
    return {name: value.cpu() for name, value in model.state_dict().items()}


def test_training_and_resuming_give_the_weights_of_the_cpu(coco, tmp_path):
    expected = trained_weights("cpu", coco, tmp_path / "cpu", 3)
    with SecondDevice():
        first = trained_weights("fake", coco, tmp_path / "fake", 2)
        same(trained_weights("fake", coco, tmp_path / "fake", 3), expected)
    saved = torch.load(tmp_path / "fake" / "model_final.pth", weights_only=True)["model"]
    same({name: value.cpu() for name, value in saved.items()}, expected)
    assert not all(torch.equal(first[name], expected[name]) for name in expected)


# --- suppression in one call


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


# --- waits

# limits of a training step and of inference, and what makes the kind of model
KINDS = {
    "faster": (16, 16, FPN_BODY),
    "mask": (22, 18, [*FPN_BODY, *FPN_MASK]),
    "keypoint": (26, 18, [*FPN_BODY, *FPN_KEYPOINT]),
    "retinanet": (6, 16, RETINANET),
    "rpn": (8, 10, [*FPN_BODY, "MODEL.RPN_ONLY", True]),
    "fbnet": (16, 16, FBNET),
}


def waits_of(options, objects, classes):
    """Return how often the host waits in a training step, and in inference."""
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
    model = build_detection_model(cfg)
    images, targets = made_batch((objects,))
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
    target, anchors = crowd_scene()
    target = target[50:]  # all good: nothing was told of them before
    target.image_name = "good.png"
    with SecondDevice() as device:
        target, anchors = target.to("fake"), anchors.to("fake")
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
