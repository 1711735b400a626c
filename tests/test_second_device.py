"""The second device itself, and everything that must run on a device as it does on the CPU."""

import golden_models
import numpy as np
import pytest
import torch
from made_data import gradient, make_coco_folder
from second_device import SecondDevice
from tiny_models import (
    FPN_BODY,
    FPN_MASK,
    NARROW,
    make_cfg,
)

from maskrcnn_benchmark.commands import train_net
from maskrcnn_benchmark.engine.bbox_aug import make_bbox_aug
from maskrcnn_benchmark.engine.inference import run_test
from maskrcnn_benchmark.layers.sparse_gradient_conv import SparseGradientConv2d
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.structures import crowd
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.structures.image_list import to_image_list
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


@pytest.fixture
def one_backward_pass(monkeypatch):
    """Let the CPU go over all cells as devices do: over those of the loss the last bits differ."""
    monkeypatch.setattr(SparseGradientConv2d, "forward", torch.nn.Conv2d.forward)


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
@pytest.mark.usefixtures("one_backward_pass")
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
    model = train_net.train(cfg, distributed=False)
    return {name: value.cpu() for name, value in model.state_dict().items()}


@pytest.mark.usefixtures("one_backward_pass")
def test_training_and_resuming_give_the_weights_of_the_cpu(coco, tmp_path):
    expected = trained_weights("cpu", coco, tmp_path / "cpu", 3)
    with SecondDevice():
        first = trained_weights("fake", coco, tmp_path / "fake", 2)
        same(trained_weights("fake", coco, tmp_path / "fake", 3), expected)
    saved = torch.load(tmp_path / "fake" / "model_final.pth", weights_only=True)["model"]
    same({name: value.cpu() for name, value in saved.items()}, expected)
    assert not all(torch.equal(first[name], expected[name]) for name in expected)
