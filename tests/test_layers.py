import copy
import math
import pickle

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from maskrcnn_benchmark import layers


def _frozen(channels: int = 3) -> layers.FrozenBatchNorm2d:
    norm = layers.FrozenBatchNorm2d(channels)
    for buffer in norm.buffers():
        buffer.copy_(torch.rand(channels) + 0.5)
    return norm


# --- FrozenBatchNorm2d


def test_frozen_batch_norm_by_hand():
    norm = layers.FrozenBatchNorm2d(1)
    norm.load_state_dict(
        {
            "weight": torch.tensor([3.0]),
            "bias": torch.tensor([10.0]),
            "running_mean": torch.tensor([5.0]),
            "running_var": torch.tensor([4.0]),
        }
    )
    x = torch.tensor([[[[7.0, 1.0]]]], requires_grad=True)
    y = norm(x)
    assert y.tolist() == [[[[13.0, 4.0]]]]  # (7 - 5) * 3 / 2 + 10, (1 - 5) * 3 / 2 + 10
    y.sum().backward()
    assert x.grad.tolist() == [[[[1.5, 1.5]]]]


def test_frozen_batch_norm_has_buffers_only_and_adds_no_epsilon():
    norm = layers.FrozenBatchNorm2d(2)
    assert list(norm.state_dict()) == ["weight", "bias", "running_mean", "running_var"]
    assert not list(norm.parameters())
    norm.running_var.fill_(1e-10)  # with an epsilon of 1e-5, the result would be 0.3
    assert norm(torch.full((1, 2, 1, 1), 1e-3)).flatten().tolist() == pytest.approx([100, 100])


def test_frozen_batch_norm_follows_its_buffers():
    norm, x = _frozen(), torch.rand(2, 3, 4, 5)
    before = norm.eval()(x)
    norm.weight.mul_(2)
    assert not torch.allclose(norm(x), before)


class Operations(TorchDispatchMode):
    """Within it the names of the operations are listed."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def _plain_batch_norm(norm, x):
    scale = norm.weight * norm.running_var.rsqrt()
    shift = norm.bias - norm.running_mean * scale
    return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]


def test_fault_frozen_batch_norm_computed_its_factors_at_each_call():
    norm, x = _frozen(), torch.rand(2, 3, 4, 5)
    norm(x)
    with Operations() as operations:
        norm(x)
    assert operations.names == ["mul", "add_"]


def _swap_weight(norm):
    norm.weight = norm.weight.clone().mul_(3)  # edited once, as the one before


def _assign_state(norm):
    norm.load_state_dict({k: v + 1 for k, v in norm.state_dict().items()}, assign=True)


@pytest.mark.parametrize(
    "edit",
    [
        lambda norm: norm.load_state_dict({k: v + 1 for k, v in norm.state_dict().items()}),
        _assign_state,
        _swap_weight,
        lambda norm: norm.bias[1:].add_(3),
        lambda norm: norm.state_dict()["running_var"].mul_(2),
        lambda norm: norm.running_mean.copy_(torch.tensor([7.0, 8, 9])),
        lambda norm: norm.to(torch.float64),
        lambda norm: norm.to(torch.bfloat16).float(),
    ],
    ids=["load", "assign", "swap", "part", "state dict", "copy", "float64", "there and back"],
)
def test_frozen_batch_norm_follows_every_edit(edit):
    norm, x = _frozen().eval(), torch.rand(2, 3, 4, 5)
    norm.running_var.mul_(1.001)
    for dtype in (torch.float32, torch.float64, torch.float32):
        assert torch.equal(norm(x.to(dtype)), _plain_batch_norm(norm, x.to(dtype)))
    before = norm(x)
    edit(norm)
    assert torch.equal(norm(x), _plain_batch_norm(norm, x))
    assert norm.weight.dtype == torch.float64 or not torch.equal(norm(x), before)
    with torch.inference_mode():
        norm.weight.mul_(2)
        assert torch.equal(norm(x), _plain_batch_norm(norm, x))


@pytest.mark.parametrize(
    "copy_of",
    [copy.deepcopy, lambda norm: pickle.loads(pickle.dumps(norm))],
    ids=["deepcopy", "pickle"],
)
def test_copies_of_frozen_batch_norm_go_their_own_way(copy_of):
    norm, x = _frozen(), torch.rand(2, 3, 4, 5)
    unused = pickle.dumps(norm)
    before = norm(x)
    assert pickle.dumps(norm) == unused
    copied = copy_of(norm)
    # an edit more or less than the first one's makes the versions of the buffers meet
    for _ in range(3):
        copied.weight.mul_(2)
        assert torch.equal(copied(x), _plain_batch_norm(copied, x))
        assert torch.equal(norm(x), before) and list(copied.state_dict()) == list(norm.state_dict())


def test_frozen_batch_norm_trains_after_inference_mode():
    norm, x = _frozen(), torch.rand(2, 3, 4, 5, requires_grad=True)
    with torch.inference_mode():
        expected = norm(x)
    y = norm(x)
    y.sum().backward()
    assert torch.equal(y, expected) and x.grad[0, :, 0, 0].tolist() == pytest.approx(
        (norm.weight / norm.running_var.sqrt()).tolist()
    )
    with torch.inference_mode():
        made_within = _frozen()
        made_within(x)
        made_within.weight.mul_(2)
        assert torch.equal(made_within(x), _plain_batch_norm(made_within, x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_frozen_batch_norm_keeps_its_buffers_under_autocast(dtype):
    norm, x = _frozen(), torch.rand(2, 3, 4, 5)
    with torch.autocast("cpu", dtype=dtype):
        y = norm(x.to(dtype))
    assert y.dtype == dtype
    assert all(buffer.dtype == torch.float32 for buffer in norm.buffers())
    torch.testing.assert_close(y.float(), norm(x), atol=0.05, rtol=0.02)


# --- no boxes at all


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (layers.Conv2d(4, 6, 3, stride=2, padding=1), (3, 4)),
        (layers.ConvTranspose2d(4, 6, 2, stride=2), (10, 14)),
        (layers.BatchNorm2d(4), (5, 7)),
        (layers.FrozenBatchNorm2d(4), (5, 7)),
        (layers.DFConv2d(4, 6), (5, 7)),
        (layers.DFConv2d(4, 6, with_modulated_dcn=False, stride=2), (3, 4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_empty_batch_goes_forward_and_backward(layer, size):
    x = torch.zeros(0, 4, 5, 7, requires_grad=True)
    y = layer(x)
    assert y.shape[0] == 0 and tuple(y.shape[2:]) == size
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert all(p.grad is not None and not p.grad.any() for p in layer.parameters())


def test_interpolate_empty_and_full():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert layers.interpolate(x, scale_factor=2)[0, 0, 3].tolist() == [3, 3, 4, 4, 5, 5]
    assert layers.interpolate(x[:0], size=(5, 9), mode="bilinear").shape == (0, 1, 5, 9)


# --- ROIAlign, ROIPool, nms


def _slow_roi_align(feature, roi, output_size, scale, ratio):
    """One (H, W) map and one box, by the formula: the mean of bilinear samples in each cell."""
    x1, y1, x2, y2 = (value * scale for value in roi)
    rows, columns = output_size
    cell_h, cell_w = max(y2 - y1, 1.0) / rows, max(x2 - x1, 1.0) / columns
    height, width = feature.shape

    def sample(y, x):
        y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
        top, left = int(y), int(x)
        total = 0.0
        for r, wy in ((top, 1 - (y - top)), (min(top + 1, height - 1), y - top)):
            for c, wx in ((left, 1 - (x - left)), (min(left + 1, width - 1), x - left)):
                total += wy * wx * feature[r, c].item()
        return total

    steps = [(k + 0.5) / ratio for k in range(ratio)]
    return [
        [
            sum(sample(y1 + (i + a) * cell_h, x1 + (j + b) * cell_w) for a in steps for b in steps)
            / ratio**2
            for j in range(columns)
        ]
        for i in range(rows)
    ]


def test_roi_align_equals_a_slow_plain_version():
    torch.manual_seed(0)
    features = torch.rand(2, 1, 6, 9)
    rois = torch.tensor([[1, 5.0, 3.0, 14.0, 11.0], [0, 2.5, 1.0, 3.0, 1.25]])
    pooled = layers.ROIAlign((2, 3), 0.5, 2)(features, rois)
    assert pooled.shape == (2, 1, 2, 3)
    for result, (index, *roi) in zip(pooled, rois.tolist(), strict=True):
        expected = _slow_roi_align(features[int(index), 0], roi, (2, 3), 0.5, 2)
        torch.testing.assert_close(result[0], torch.tensor(expected))


def test_roi_pool_by_hand():
    feature = torch.arange(20.0).view(1, 1, 4, 5)
    # stride 2: columns 1 to 4, rows 1 to 2, whose values are 6..9 and 11..14
    rois = torch.tensor([[0.0, 2.0, 2.0, 8.0, 4.0]])
    assert layers.ROIPool((1, 2), 0.5)(feature, rois).flatten().tolist() == [12.0, 14.0]
    assert layers.roi_pool(feature, rois, (2, 1), 0.5).flatten().tolist() == [9.0, 14.0]


@pytest.mark.parametrize("pool", [layers.ROIAlign((2, 3), 0.5, 2), layers.ROIPool((2, 3), 0.5)])
def test_pooling_works_in_float32_under_autocast_and_takes_no_boxes(pool):
    feature = torch.rand(1, 2, 6, 9)
    rois = torch.tensor([[0, 5.3, 3.0, 14.0, 11.0]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = pool(feature.bfloat16(), rois)
    assert pooled.dtype == torch.float32
    # The box is not rounded to bfloat16 (5.3 would become 5.3125).
    torch.testing.assert_close(pooled, pool(feature.bfloat16().float(), rois))
    assert pool(feature, rois[:0]).shape == (0, 2, 2, 3)


def _slow_nms(boxes, scores, threshold):
    def area(b):
        return (b[2] - b[0]) * (b[3] - b[1])

    def iou(a, b):
        w = min(a[2], b[2]) - max(a[0], b[0])
        h = min(a[3], b[3]) - max(a[1], b[1])
        inter = max(w, 0) * max(h, 0)
        return inter / (area(a) + area(b) - inter)

    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[k]) <= threshold for k in kept):
            kept.append(i)
    return kept


def test_nms_measures_sides_without_the_one():
    # 9 x 9 and 9 x 9, sharing 9 x 5: 45 / 117 = 0.38; with the + 1 it would be 60 / 140 = 0.43
    boxes = torch.tensor([[10.0, 20, 19, 29], [10, 24, 19, 33]])
    assert layers.nms(boxes, torch.tensor([0.6, 0.9]), 0.4).tolist() == [1, 0]
    assert layers.nms(boxes, torch.tensor([0.6, 0.9]), 0.38).tolist() == [1]


def test_nms_equals_a_slow_plain_version():
    torch.manual_seed(0)
    corner, size = torch.rand(60, 2) * 50 + 7, torch.rand(60, 2) * 20 + 4
    boxes, scores = torch.cat([corner, corner + size], 1), torch.rand(60)
    kept = layers.nms(boxes, scores, 0.3)
    assert kept.tolist() == _slow_nms(boxes.tolist(), scores.tolist(), 0.3)
    assert 5 < len(kept) < 55
    assert layers.nms(boxes[:0], scores[:0], 0.3).tolist() == []
    assert layers.nms(boxes.half(), scores.half(), 0.3).dtype == torch.int64


# --- losses


def test_smooth_l1_loss_by_hand():
    values = torch.tensor([0.0, 0.25, -0.5, 2.0, -3.0], requires_grad=True)
    # beta 0.5: 0, 0.0625 / 1, 0.5 - 0.25, 2 - 0.25, 3 - 0.25
    zeros = torch.zeros(5)
    total = layers.smooth_l1_loss(values, zeros, beta=0.5, size_average=False)
    assert total.item() == pytest.approx(0.0625 + 0.25 + 1.75 + 2.75)
    assert layers.smooth_l1_loss(values, zeros, 0.5).item() == pytest.approx(4.8125 / 5)
    total.backward()
    assert values.grad.tolist() == pytest.approx([0.0, 0.5, -1.0, 1.0, -1.0])  # d / beta, or sign


def test_smooth_l1_loss_of_beta_zero_is_the_distance():
    loss = layers.smooth_l1_loss(torch.tensor([2.0, -1.0]), torch.zeros(2), beta=0.0)
    assert loss.item() == 1.5


def _slow_focal_loss(logits, targets, gamma, alpha):
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        for c, logit in enumerate(row, 1):
            p = 1 / (1 + math.exp(-logit))
            if target == c:
                total -= alpha * (1 - p) ** gamma * math.log(p)
            elif target >= 0:
                total -= (1 - alpha) * p**gamma * math.log(1 - p)
    return total


def test_sigmoid_focal_loss_equals_a_slow_plain_version():
    torch.manual_seed(0)
    logits = torch.randn(7, 3) * 3
    targets = torch.tensor([0, 1, 2, 3, -1, 0, 2], dtype=torch.int32)
    loss = layers.SigmoidFocalLoss(2.0, 0.25)(logits, targets)
    assert loss.item() == pytest.approx(_slow_focal_loss(logits, targets, 2.0, 0.25), rel=1e-5)
    ignored = layers.SigmoidFocalLoss(2.0, 0.25)(logits, torch.full((7,), -1))
    assert ignored.item() == 0.0


def test_sigmoid_focal_loss_is_finite_where_the_sigmoid_saturates():
    logits = torch.tensor([[300.0, -300.0]], requires_grad=True)
    loss = layers.SigmoidFocalLoss(2.0, 0.25)(logits, torch.tensor([2]))
    loss.backward()
    # 0.75 * 1 * 300 for the background called class 1, 0.25 * 1 * 300 for the missed class 2
    assert loss.item() == pytest.approx(300.0)
    assert logits.grad.tolist() == [[0.75, -0.25]]
