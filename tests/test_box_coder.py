"""Offsets between boxes."""

import math

import pytest
import torch

from maskrcnn_benchmark.modeling.box_coder import BoxCoder


def test_encode_by_hand():
    # proposal: x 10..19, y 20..39: 10 x 20 around (15, 30)
    # reference: x 12..31, y 24..33: 20 x 10 around (22, 29)
    proposal = torch.tensor([[10.0, 20, 19, 39]])
    reference = torch.tensor([[12.0, 24, 31, 33]])
    offsets = BoxCoder((10.0, 10.0, 5.0, 5.0)).encode(reference, proposal)
    expected = [10 * 7 / 10, 10 * -1 / 20, 5 * math.log(2), 5 * math.log(0.5)]
    assert offsets[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_decode_by_hand():
    # centre (15, 30) + (0.1 * 10, -0.2 * 20) = (16, 26), size 10 * 2, 20 * 1
    codes = torch.tensor([[0.1, -0.2, math.log(2), 0.0]])
    boxes = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode(codes, torch.tensor([[10.0, 20, 19, 39]]))
    # 16 - 10 = 6, 26 - 10 = 16, 16 + 10 - 1 = 25, 26 + 10 - 1 = 35
    assert boxes[0].tolist() == pytest.approx([6, 16, 25, 35], abs=1e-5)


def test_round_trip_of_several_classes():
    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(50, 3, 2, generator=generator) * 100
    boxes = torch.cat([corner, corner + 3 + torch.rand(50, 3, 2, generator=generator) * 60], dim=2)
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    proposals, first, second = boxes.unbind(dim=1)
    codes = torch.cat([coder.encode(first, proposals), coder.encode(second, proposals)], dim=1)
    decoded = coder.decode(codes, proposals)
    assert decoded.shape == (50, 8)
    assert torch.allclose(decoded, torch.cat([first, second], dim=1), atol=1e-3)


def test_wild_sizes_are_clipped():
    decoded = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode(
        torch.tensor([[0.0, 0.0, 50.0, 50.0]]), torch.tensor([[0.0, 0, 15, 15]])
    )
    # 16 pixels grow to 16 * 1000 / 16 = 1000: 8 - 500 .. 8 + 500 - 1
    assert decoded[0].tolist() == pytest.approx([-492, -492, 507, 507], abs=1e-2)


def test_no_boxes():
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    assert coder.encode(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)
    assert coder.decode(torch.zeros(0, 8), torch.zeros(0, 4)).shape == (0, 8)


def test_dtype_is_the_codes():
    decoded = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode(
        torch.zeros(1, 4, dtype=torch.float64), torch.tensor([[1.0, 2, 5, 8]])
    )
    assert decoded.dtype == torch.float64 and decoded.tolist() == [[1, 2, 5, 8]]
