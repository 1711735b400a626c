"""Tests of layers/sparse_gradient_conv.py: nn.Conv2d's numbers from few products."""

import time

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from maskrcnn_benchmark.layers.sparse_gradient_conv import SparseGradientConv2d
from maskrcnn_benchmark.modeling.rpn.oriented.oriented_rpn import OrientedRPNHead
from maskrcnn_benchmark.modeling.rpn.rpn import RPNHead, RPNHeadFeatureSingleConv


def a_pair(channels=(3, 5)):
    torch.manual_seed(0)
    ours, plain = SparseGradientConv2d(*channels), nn.Conv2d(*channels, 3, padding=1)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def gradients(conv, x, cells):
    """Return the output and the gradients of x, weight and bias, if `cells` enter the loss."""
    x = x.clone().requires_grad_()
    output = conv(x)
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    loss = (output * upstream).permute(0, 2, 3, 1)[cells].sum()
    return output.detach(), *torch.autograd.grad(loss, (x, conv.weight, conv.bias))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.6])
def test_numbers_are_those_of_a_convolution(share, layout):
    ours, plain = a_pair()
    x = torch.randn(2, 3, 9, 14).to(memory_format=layout)
    cells = torch.rand(2, 9, 14) < share
    output, *ours_gradients = gradients(ours, x, cells)
    expected_output, *expected = gradients(plain, x, cells)
    assert torch.equal(output, expected_output)
    for gradient, other in zip(ours_gradients, expected, strict=True):
        assert_close(gradient, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", [(0, 0, 0), (1, 3, 4), (0, 0, 4), (1, 3, 0)])
def test_corners_of_the_map_have_zeros_around_them(cell):
    ours, plain = a_pair()
    x = torch.randn(2, 3, 4, 5)
    found, expected = (gradients(conv, x, tuple([i] for i in cell)) for conv in (ours, plain))
    for gradient, other in zip(found, expected, strict=True):
        assert_close(gradient, other, rtol=1e-5, atol=1e-6)


def test_a_gradient_that_is_not_finite_is_kept():
    ours, _ = a_pair()
    output = ours(torch.randn(1, 3, 8, 8))
    (output[0, :, 2, 2] * float("nan")).sum().backward()
    assert ours.weight.grad.isnan().all()


def test_autocast_gives_the_output_of_a_convolution_and_float_gradients():
    ours, plain = a_pair()
    x = torch.randn(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        output, expected = ours(x), plain(x)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, expected)
    for loss in (output[..., 2, 2].float().sum(), expected[..., 2, 2].float().sum()):
        loss.backward()
    assert ours.weight.grad.dtype == torch.float32
    assert_close(ours.weight.grad, plain.weight.grad, rtol=0.02, atol=0.02)


def test_the_heads_whose_loss_samples_cells_use_it():
    for head in (
        RPNHead(None, 4, 3),
        OrientedRPNHead(None, 4, 3),
        RPNHeadFeatureSingleConv(None, 4),
    ):
        assert isinstance(head.conv, SparseGradientConv2d)
        assert head.conv.weight.std() < 0.02


def test_few_cells_take_less_time():
    ours, plain = a_pair((64, 64))
    x = torch.randn(1, 64, 96, 96)
    cells = torch.zeros(1, 96, 96, dtype=torch.bool)
    cells[0, ::24, ::24] = True

    def seconds(conv):
        output = conv(x.clone().requires_grad_())
        loss = output.permute(0, 2, 3, 1)[cells].sum()
        start = time.process_time()
        loss.backward()
        return time.process_time() - start

    both = [(seconds(ours), seconds(plain)) for _ in range(5)]
    fastest, fastest_plain = (min(times) for times in zip(*both, strict=True))
    assert fastest < 0.7 * fastest_plain
