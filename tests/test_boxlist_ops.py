"""Operations on boxes, against numbers by hand and a plain loop."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.structures import crowd
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import (
    boxlist_iou,
    boxlist_nms,
    boxlist_nms_per_group,
    cat_boxlist,
    remove_small_boxes,
    valid_ground_truth,
)

SIZE = (130, 90)  # width, height


@pytest.fixture(autouse=True)
def _policy_restored():
    before = crowd.get_policy()
    yield
    crowd.set_policy(before)


def random_boxes(count: int, seed: int, whole: bool = False) -> BoxList:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 80
    boxes = torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * 40], dim=1)
    return BoxList(boxes.floor() if whole else boxes, SIZE)


def slow_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU pair by pair in single precision, in the order min - max, then + 1."""
    one, zero = np.float32(1), np.float32(0)

    def area(box):
        return (box[2] - box[0] + one) * (box[3] - box[1] + one)

    iou = np.zeros((len(a), len(b)), dtype=np.float32)
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            width = max(min(p[2], q[2]) - max(p[0], q[0]) + one, zero)
            height = max(min(p[3], q[3]) - max(p[1], q[1]) + one, zero)
            inter = width * height
            iou[i, j] = inter / (area(p) + area(q) - inter)
    return iou


def test_iou_by_hand():
    a = BoxList([[10, 20, 19, 29]], SIZE)  # 10 x 10
    b = BoxList([[15, 20, 24, 29], [10, 20, 19, 29], [20, 20, 29, 29], [19, 29, 19, 29]], SIZE)
    # 5 columns of 10 shared: 50 / 150; itself; a neighbour shares none; one pixel of 100
    assert boxlist_iou(a, b)[0].tolist() == pytest.approx([50 / 150, 1, 0, 0.01])


@pytest.mark.parametrize("mode", crowd.MODES)
@pytest.mark.parametrize("block_mb", [0.0002, 0.01, 64], ids=lambda mb: f"{mb} MB")
def test_iou_is_the_same_to_the_last_bit(mode, block_mb):
    a, b = random_boxes(60, 1), random_boxes(70, 2)
    expected = torch.from_numpy(slow_iou(a.bbox.numpy(), b.bbox.numpy()))
    assert expected.gt(0).sum() > 500
    for rows in (0, 60, 100):  # crowd path, and just not
        crowd.set_policy(crowd.CrowdPolicy(iou_rows=rows, mode=mode, block_mb=block_mb))
        assert torch.equal(boxlist_iou(a, b), expected)
        assert torch.equal(boxlist_iou(a.convert("xywh"), b), boxlist_iou(a, b))


@pytest.mark.parametrize("mode", crowd.MODES)
@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (5, 0), (0, 0)])
def test_iou_of_nothing(mode, rows, columns):
    crowd.set_policy(crowd.CrowdPolicy(iou_rows=0, mode=mode))
    iou = boxlist_iou(random_boxes(rows, 1), random_boxes(columns, 2))
    assert iou.shape == (rows, columns)


def test_iou_of_different_images():
    with pytest.raises(RuntimeError, match=r"\(130, 90\) and \(90, 130\)"):
        boxlist_iou(random_boxes(1, 1), BoxList([[0, 0, 1, 1]], (90, 130)))


def test_iou_passes_gradients():
    boxes = torch.tensor([[10.0, 20, 19, 29]], requires_grad=True)
    iou = boxlist_iou(BoxList(boxes, SIZE), BoxList([[15, 20, 24, 29]], SIZE))
    iou.sum().backward()
    # d(50/150): x2 grows: inter 5 -> 5 + e, union 150: (10 e) / 150; x1 falls by e: union + 10 e
    assert boxes.grad[0].tolist() == pytest.approx([50 * 10 / 150**2, 0, 10 / 150, 0], abs=1e-4)


def test_nms_by_hand():
    boxes = BoxList([[10, 20, 19, 29], [11, 20, 20, 29], [40, 20, 49, 29], [12, 20, 21, 29]], SIZE)
    boxes.add_field("scores", torch.tensor([0.6, 0.9, 0.3, 0.8]))
    boxes.image_name = "P1.png"
    kept = boxlist_nms(boxes, 0.5)
    assert kept.get_field("scores").tolist() == pytest.approx([0.9, 0.3])
    assert kept.bbox.tolist() == [[11, 20, 20, 29], [40, 20, 49, 29]]
    assert kept.image_name == "P1.png"
    assert len(boxlist_nms(boxes, 0.5, max_proposals=1)) == 1
    assert boxlist_nms(boxes, 0) is boxes
    wide = boxlist_nms(boxes.convert("xywh"), 0.5)
    assert wide.mode == "xywh" and wide.bbox.tolist() == [[11, 20, 10, 10], [40, 20, 10, 10]]


def test_nms_per_group_by_hand():
    # three boxes of 10 x 10 one pixel apart (IoU 90 / 110), one elsewhere
    boxes = BoxList([[10, 20, 19, 29], [11, 20, 20, 29], [40, 20, 49, 29], [12, 20, 21, 29]], SIZE)
    boxes.add_field("objectness", torch.tensor([0.6, 0.9, 0.3, 0.8]))
    group = torch.tensor([4, 0, 4, 4])

    def kept(threshold, most=0):
        found = boxlist_nms_per_group(boxes, group, threshold, most, score_field="objectness")
        return found.get_field("objectness").tolist()

    assert kept(0.5) == pytest.approx([0.9, 0.8, 0.3])  # 0.8 drops 0.6, 0.9 drops none
    assert kept(0.9) == pytest.approx([0.9, 0.8, 0.6, 0.3])
    assert kept(0.9, 2) == pytest.approx([0.9, 0.8, 0.6])
    assert kept(0) == pytest.approx([0.9, 0.6, 0.3, 0.8])  # by group, as they came
    wide = boxlist_nms_per_group(boxes.convert("xywh"), group, 0.5, score_field="objectness")
    assert wide.bbox.tolist() == [[11, 20, 10, 10], [12, 20, 10, 10], [40, 20, 10, 10]]


def test_remove_small_boxes():
    # widths 10, 10, 4; heights 10, 4, 10
    boxes = BoxList([[10, 20, 19, 29], [10, 20, 19, 23], [10, 20, 13, 29]], SIZE)
    boxes.add_field("labels", torch.tensor([1, 2, 3]))
    assert remove_small_boxes(boxes, 5).get_field("labels").tolist() == [1]
    assert remove_small_boxes(boxes, 4).get_field("labels").tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("box", "valid"),
    [
        ([10, 20, 19, 29], True),
        ([10, 20, 10, 29], False),
        ([10, 20, 19, 20], False),
        ([19, 20, 10, 29], False),
        ([float("nan"), 20, 19, 29], False),
        ([10, 20, float("inf"), 29], False),
        ([-9, -9, 0, 0], True),  # its last pixel is the image's first
        ([-9, -9, -0.5, 5], False),
        ([3, -9, 9, -1], False),
        ([129, 89, 140, 95], True),  # its first pixel is the image's last
        ([130, 80, 140, 95], False),
        ([120, 90, 140, 95], False),
    ],
    ids=str,
)
def test_valid_ground_truth(box, valid):
    assert valid_ground_truth(BoxList([box, [1, 2, 5, 6]], SIZE)).tolist() == [valid, True]


def test_cat_boxlist():
    first, second = random_boxes(3, 1), random_boxes(2, 2)
    first.image_name = "P1.png"
    for boxes, start in ((first, 0), (second, 10)):
        boxes.add_field("labels", torch.arange(start, start + len(boxes)))
        boxes.add_field("scores", torch.ones(len(boxes)))
    joined = cat_boxlist([first, second])
    assert torch.equal(joined.bbox, torch.cat([first.bbox, second.bbox]))
    assert joined.get_field("labels").tolist() == [0, 1, 2, 10, 11]
    assert joined.size == SIZE and joined.image_name == "P1.png"
    assert cat_boxlist([first]).get_field("labels") is first.get_field("labels")


@pytest.mark.parametrize(
    "other",
    [BoxList([[1, 2, 3, 4]], (90, 130)), BoxList([[1, 2, 3, 4]], SIZE, "xywh"), None],
    ids=["size", "mode", "fields"],
)
def test_cat_boxlist_of_different_kinds(other):
    first = random_boxes(3, 1)
    if other is None:
        other = random_boxes(3, 1)
        other.add_field("labels", torch.zeros(3))
    with pytest.raises(ValueError, match="must agree in size, mode and fields"):
        cat_boxlist([first, other])
    with pytest.raises(ValueError, match="at least one"):
        cat_boxlist([])
