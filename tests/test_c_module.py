"""The compiled extension's names against torch's own derivatives and slow plain versions."""

import inspect

import pytest
import torch
from torchvision.ops import deform_conv2d

from maskrcnn_benchmark import _C, layers
from maskrcnn_benchmark.layers import _utils

ROIS = torch.tensor([[1, 5.0, 3.0, 14.0, 11.0], [0, 2.5, 1.0, 9.0, 8.25]])


def test_every_function_of_the_extension_is_there():
    arguments = {
        "nms": 3,
        "roi_align_forward": 6,
        "roi_align_backward": 10,
        "roi_pool_forward": 5,
        "roi_pool_backward": 11,
        "sigmoid_focalloss_forward": 5,
        "sigmoid_focalloss_backward": 6,
        "deform_conv_forward": 17,
        "deform_conv_backward_input": 18,
        "deform_conv_backward_parameters": 18,
        "modulated_deform_conv_forward": 19,
        "modulated_deform_conv_backward": 24,
        "deform_psroi_pooling_forward": 13,
        "deform_psroi_pooling_backward": 15,
    }
    for name, count in arguments.items():
        assert len(inspect.signature(getattr(_C, name)).parameters) == count, name
    assert _utils._C is _C and _utils._load_C_extensions() is _C


def test_nms_keeps_the_better_of_two():
    boxes = torch.tensor([[10.0, 5, 30, 25], [50, 5, 60, 25], [11, 6, 30, 25]])
    assert sorted(_C.nms(boxes, torch.tensor([0.5, 0.4, 0.9]), 0.5).tolist()) == [1, 2]
    assert _C.nms(boxes[:0], torch.zeros(0), 0.5).dtype == torch.int64


def test_roi_align_and_its_gradient():
    torch.manual_seed(0)
    features = torch.rand(2, 3, 6, 9, requires_grad=True)
    pooled = layers.roi_align(features, ROIS, (2, 4), 0.5, 2)
    assert torch.equal(_C.roi_align_forward(features, ROIS, 0.5, 2, 4, 2), pooled)
    grad = torch.rand_like(pooled)
    pooled.backward(grad)
    mine = _C.roi_align_backward(grad, ROIS, 0.5, 2, 4, 2, 3, 6, 9, 2)
    torch.testing.assert_close(mine, features.grad)


def test_roi_pool_says_where_the_maxima_are():
    torch.manual_seed(0)
    features = torch.rand(2, 3, 6, 9)
    pooled, argmax = _C.roi_pool_forward(features, ROIS, 0.5, 2, 4)
    assert torch.equal(pooled, layers.roi_pool(features, ROIS, (2, 4), 0.5))
    assert argmax.dtype == torch.int32
    assert features[1, 2].flatten()[argmax[0, 2, 1, 3]] == pooled[0, 2, 1, 3]
    grad = _C.roi_pool_backward(
        torch.ones_like(pooled), features, ROIS, argmax, 0.5, 2, 4, 2, 3, 6, 9
    )
    assert grad.shape == features.shape and grad.sum() == pooled.numel()
    assert grad[1, 2].flatten()[argmax[0, 2, 1, 3]] >= 1


def test_sigmoid_focal_loss_and_its_gradient():
    torch.manual_seed(0)
    logits = torch.randn(5, 3, dtype=torch.float64)
    targets = torch.tensor([0, 1, 3, -1, 2], dtype=torch.int32)
    losses = _C.sigmoid_focalloss_forward(logits, targets, 3, 2.0, 0.25)
    assert losses.shape == (5, 3) and not losses[3].any()
    p = logits[1, 0].sigmoid()
    assert losses[1, 0].item() == pytest.approx((-0.25 * (1 - p) ** 2 * p.log()).item())
    weights = torch.rand_like(losses)
    grad = _C.sigmoid_focalloss_backward(logits, targets, weights, 3, 2.0, 0.25)
    step = 1e-6  # a central difference
    for row, column in ((0, 1), (1, 0), (4, 2)):
        moved = torch.zeros_like(logits)
        moved[row, column] = step
        high, low = (
            _C.sigmoid_focalloss_forward(logits + sign * moved, targets, 3, 2.0, 0.25)
            for sign in (1, -1)
        )
        expected = ((high - low) * weights).sum() / (2 * step)
        assert grad[row, column].item() == pytest.approx(expected.item(), rel=1e-5)


# Height and width differ in all of them, so that a mix-up shows.
KERNEL, STRIDE, PADDING, DILATION, GROUPS, OFFSETS = (3, 2), (1, 2), (2, 1), (2, 1), 2, 2


@pytest.fixture
def convolution():
    """Return inputs of a deformable convolution, in float64, and a gradient of its output."""
    torch.manual_seed(0)
    taps = OFFSETS * KERNEL[0] * KERNEL[1]
    leaves = {
        "input": torch.randn(2, 4, 5, 7, dtype=torch.float64),
        "offset": torch.randn(2, 2 * taps, 5, 4, dtype=torch.float64),
        "mask": torch.rand(2, taps, 5, 4, dtype=torch.float64),
        "weight": torch.randn(6, 2, *KERNEL, dtype=torch.float64),
        "bias": torch.randn(6, dtype=torch.float64),
    }
    grad = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    return {name: leaf.requires_grad_() for name, leaf in leaves.items()}, grad


def _width_first() -> tuple:
    pairs = (KERNEL, STRIDE, PADDING, DILATION)
    return (*(value for pair in pairs for value in reversed(pair)), GROUPS, OFFSETS)


def test_deform_conv_fills_its_outputs(convolution):
    v, grad = convolution
    scratch = v["input"].new_empty(0)
    expected = deform_conv2d(v["input"], v["offset"], v["weight"], None, STRIDE, PADDING, DILATION)
    expected.backward(grad)
    output = torch.empty_like(grad)
    args = (v["input"], v["weight"], v["offset"], output, scratch, scratch)
    assert _C.deform_conv_forward(*args, *_width_first(), 2) == 1
    torch.testing.assert_close(output, expected.detach())

    ones = {name: torch.ones_like(leaf) for name, leaf in v.items()}
    args = (v["input"], v["offset"], grad, ones["input"], ones["offset"], v["weight"], scratch)
    assert _C.deform_conv_backward_input(*args, *_width_first(), 2) == 1
    torch.testing.assert_close(ones["input"], v["input"].grad + 1)  # added
    torch.testing.assert_close(ones["offset"], v["offset"].grad)  # replaced
    args = (v["input"], v["offset"], grad, ones["weight"], scratch, scratch)
    assert _C.deform_conv_backward_parameters(*args, *_width_first(), 0.5, 2) == 1
    torch.testing.assert_close(ones["weight"], v["weight"].grad / 2 + 1)


@pytest.mark.parametrize("with_bias", [True, False])
def test_modulated_deform_conv_fills_its_outputs(convolution, with_bias):
    v, grad = convolution
    scratch = v["input"].new_empty(0)
    bias = v["bias"] if with_bias else None
    expected = deform_conv2d(
        v["input"], v["offset"], v["weight"], bias, STRIDE, PADDING, DILATION, v["mask"]
    )
    expected.backward(grad)
    numbers = (*KERNEL, *STRIDE, *PADDING, *DILATION, GROUPS, OFFSETS, with_bias)
    output = torch.empty_like(grad)
    args = (v["input"], v["weight"], v["bias"], scratch, v["offset"], v["mask"], output, scratch)
    _C.modulated_deform_conv_forward(*args, *numbers)
    torch.testing.assert_close(output, expected.detach())

    ones = {name: torch.ones_like(leaf) for name, leaf in v.items()}
    outputs = [ones[name] for name in ("input", "weight", "bias", "offset", "mask")]
    args = (v["input"], v["weight"], v["bias"], scratch, v["offset"], v["mask"], scratch)
    _C.modulated_deform_conv_backward(*args, *outputs, grad, *numbers)
    for name in ("input", "weight"):
        torch.testing.assert_close(ones[name], v[name].grad + 1)  # added
    for name in ("offset", "mask"):
        torch.testing.assert_close(ones[name], v[name].grad)  # replaced
    torch.testing.assert_close(ones["bias"], v["bias"].grad + 1 if with_bias else v["bias"] * 0 + 1)


@pytest.mark.parametrize("no_trans", [0, 1])
def test_deform_psroi_pooling_fills_its_outputs(no_trans):
    torch.manual_seed(0)
    data = torch.randn(2, 4 * 4, 6, 9, dtype=torch.float64, requires_grad=True)
    rois = ROIS.double()
    trans = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    pooled = layers.deform_roi_pooling(data, rois, trans, 0.5, 3, 4, bool(no_trans), 2, 3, 2, 0.3)
    grad = torch.randn_like(pooled)
    pooled.backward(grad)
    numbers = (no_trans, 0.5, 4, 2, 3, 3, 2, 0.3)
    out, count = torch.empty_like(pooled), torch.empty_like(pooled)
    _C.deform_psroi_pooling_forward(data, rois, trans, out, count, *numbers)
    torch.testing.assert_close(out, pooled.detach())
    assert count.max() == 4 and count.min() >= 0  # 2 x 2 samples in a cell
    data_grad, trans_grad = torch.ones_like(data), torch.ones_like(trans)
    _C.deform_psroi_pooling_backward(
        grad, data, rois, trans, count, data_grad, trans_grad, *numbers
    )
    torch.testing.assert_close(data_grad, data.grad + 1)  # both added
    torch.testing.assert_close(trans_grad, torch.ones_like(trans) if no_trans else trans.grad + 1)
