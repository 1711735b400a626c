"""Deformable convolution and RoI pooling, against slow plain versions."""

import itertools
import math

import pytest
import torch
from torch import nn

from maskrcnn_benchmark import layers
from maskrcnn_benchmark.layers.dcn.deform_pool_func import deform_roi_pooling_with_count

# --- deformable convolution


def _slow_deform_conv(x, offset, mask, weight):
    """One image, stride 1, padding (k - 1) / 2, one group: bilinear samples times weights."""
    channels, height, width = x.shape
    k = weight.shape[-1]

    def sample(c, y, x_):
        total, top, left = 0.0, math.floor(y), math.floor(x_)
        for r in (top, top + 1):
            for q in (left, left + 1):
                if 0 <= r < height and 0 <= q < width:
                    total += x[c, r, q].item() * (1 - abs(y - r)) * (1 - abs(x_ - q))
        return total

    out = torch.zeros(len(weight), height, width)
    for o in range(len(weight)):
        for r in range(height):
            for q in range(width):
                for tap in range(k * k):
                    i, j = divmod(tap, k)
                    y = r + i - k // 2 + offset[2 * tap, r, q].item()
                    x_ = q + j - k // 2 + offset[2 * tap + 1, r, q].item()
                    for c in range(channels):
                        out[o, r, q] += weight[o, c, i, j] * mask[tap, r, q] * sample(c, y, x_)
    return out


def test_modulated_deform_conv_equals_a_slow_plain_version():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 2, 4, 5), torch.randn(3, 2, 3, 3)
    offset, mask = torch.randn(1, 18, 4, 5), torch.rand(1, 9, 4, 5)
    result = layers.modulated_deform_conv(x, offset, mask, weight, torch.ones(3), 1, 1)
    expected = _slow_deform_conv(x[0], offset[0], mask[0], weight) + 1
    torch.testing.assert_close(result[0], expected, atol=1e-5, rtol=1e-5)
    plain = layers.deform_conv(x, offset, weight, 1, 1)
    expected = _slow_deform_conv(x[0], offset[0], torch.ones(9, 4, 5), weight)
    torch.testing.assert_close(plain[0], expected, atol=1e-5, rtol=1e-5)


def test_deformable_convolution_without_offsets_is_a_convolution():
    x = torch.randn(2, 4, 7, 9)
    layer = layers.DFConv2d(4, 6, with_modulated_dcn=False, stride=2, groups=2, dilation=2)
    nn.init.zeros_(layer.offset.weight)
    expected = nn.functional.conv2d(x, layer.conv.weight, None, 2, 2, 2, 2)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
    assert set(layer.state_dict()) == {"offset.weight", "offset.bias", "conv.weight"}

    pack = layers.ModulatedDeformConvPack(4, 6, 3, padding=1, deformable_groups=2)
    halved = nn.functional.conv2d(x, pack.weight / 2, pack.bias, 1, 1)  # masks sigmoid(0)
    torch.testing.assert_close(pack(x), halved, atol=1e-5, rtol=1e-5)


def test_modulated_layer_of_two_deformable_groups_uses_all_its_planes():
    torch.manual_seed(0)
    layer, x = layers.DFConv2d(4, 6, deformable_groups=2), torch.randn(1, 4, 5, 7)
    planes = layer.offset(x)
    assert planes.shape[1] == 2 * 27
    expected = layers.modulated_deform_conv(
        x, planes[:, :36], planes[:, 36:].sigmoid(), layer.conv.weight, None, 1, 1, 1, 1, 2
    )
    torch.testing.assert_close(layer(x), expected)


def test_deformable_convolution_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="divisible by groups 3"):
        layers.DeformConv(4, 6, 3, groups=3)
    with pytest.raises(ValueError, match="has no bias"):
        layers.DeformConv(4, 6, 3, bias=True)
    with pytest.raises(ValueError, match="offset has 9 channels where 1 groups of 18"):
        layers.deform_conv(
            torch.zeros(1, 4, 5, 7), torch.zeros(1, 9, 5, 7), torch.zeros(6, 4, 3, 3)
        )


# --- deformable RoI pooling


def _slow_deform_roi_pooling(data, rois, offset, scale, size, channels, group, part, samples, std):
    """Pool cell by cell and sample by sample; return values and counts.

    `offset` None: the cells are not moved.
    """
    height, width = data.shape[2:]
    values = torch.zeros(len(rois), channels, size, size, dtype=data.dtype)
    counts = torch.zeros_like(values)
    classes = 1 if offset is None else offset.shape[1] // 2

    def away_from_zero(x):
        return math.copysign(math.floor(abs(x) + 0.5), x)

    def sample(plane, y, x):
        total = 0.0
        for r, wy in ((math.floor(y), 1 - y % 1), (math.ceil(y), y % 1)):
            for c, wx in ((math.floor(x), 1 - x % 1), (math.ceil(x), x % 1)):
                total += wy * wx * plane[r, c].item()
        return total

    for k, c, i, j in itertools.product(*map(range, values.shape)):
        index, *box = rois[k].tolist()
        x1, y1 = (away_from_zero(v) * scale - 0.5 for v in box[:2])
        x2, y2 = ((away_from_zero(v) + 1) * scale - 0.5 for v in box[2:])
        w, h = max(x2 - x1, 0.1), max(y2 - y1, 0.1)
        dx = dy = 0.0
        if offset is not None:
            c_class = c // (channels // classes)
            moves = offset[k, 2 * c_class : 2 * c_class + 2, i * part // size, j * part // size]
            dx, dy = (moves * std).tolist()
        plane = data[int(index), (c * group + i * group // size) * group + j * group // size]
        found = []
        for a, b in itertools.product(range(samples), repeat=2):
            y = y1 + (i + a / samples) * h / size + dy * h
            x = x1 + (j + b / samples) * w / size + dx * w
            if -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5:
                y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
                found.append(sample(plane, y, x))
        counts[k, c, i, j] = len(found)
        values[k, c, i, j] = sum(found) / max(len(found), 1)
    return values, counts


@pytest.mark.parametrize(
    ("group", "part", "classes"), [(1, 3, 1), (2, 2, 2), (3, 1, 1)], ids=["plain", "two", "parts"]
)
def test_deform_roi_pooling_equals_a_slow_plain_version(group, part, classes):
    torch.manual_seed(0)
    data = torch.randn(2, 4 * group**2, 6, 9, dtype=torch.float64)
    # the third is partly, the last wholly off the 18x12 image; halves are rounded away from 0
    rois = torch.tensor(
        [
            [1, 5.5, 3.0, 14.0, 10.5],
            [0, 2.0, 1.0, 2.0, 1.0],
            [0, -7.5, 4.0, 6.0, 30.0],
            [1, 40.0, 40.0, 50.0, 45.0],
        ],
        dtype=torch.float64,
    )
    offset = torch.randn(4, 2 * classes, part, part, dtype=torch.float64)
    for moved in (None, offset):
        expected, counts = _slow_deform_roi_pooling(
            data, rois, moved, 0.5, 3, 4, group, part, 2, 0.4
        )
        result, count = deform_roi_pooling_with_count(
            data, rois, offset, 0.5, 3, 4, moved is None, group, part, 2, 0.4
        )
        torch.testing.assert_close(result, expected)
        assert torch.equal(count, counts) and counts.min() == 0 and counts.max() == 4


def test_deform_roi_pooling_has_the_gradients_of_its_values():
    torch.manual_seed(0)
    data = torch.randn(1, 4 * 4, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 2.0, 1.0, 9.0, 7.0], [0, -3.0, 4.0, 5.0, 6.0]], dtype=torch.float64)
    offset = torch.randn(2, 4, 2, 2, dtype=torch.float64, requires_grad=True)

    def pool(data, offset):
        return layers.deform_roi_pooling(data, rois, offset, 0.5, 3, 4, False, 2, 2, 2, 0.3)

    assert torch.autograd.gradcheck(pool, (data, offset))


def test_deform_roi_pooling_layers():
    torch.manual_seed(0)
    data, rois = torch.randn(2, 4, 6, 9), torch.tensor([[1, 5.0, 3.0, 14.0, 11.0]])
    settings = (0.5, 3, 4)
    still = layers.DeformRoIPooling(*settings, no_trans=True)(data, rois, None)
    assert torch.equal(still, layers.deform_roi_pooling(data, rois, rois, 0.5, 3, 4, True))
    pack = layers.DeformRoIPoolingPack(*settings, False, trans_std=0.1, deform_fc_channels=8)
    modulated = layers.ModulatedDeformRoIPoolingPack(
        *settings, False, trans_std=0.1, deform_fc_channels=8
    )
    # No offset at the start, and masks of sigmoid(0).
    torch.testing.assert_close(pack(data, rois), still)
    torch.testing.assert_close(modulated(data, rois), still / 2)
    shapes = {name: tuple(value.shape) for name, value in modulated.state_dict().items()}
    assert shapes == {
        **{"offset_fc.0.weight": (8, 36), "offset_fc.0.bias": (8,)},
        **{"offset_fc.2.weight": (8, 8), "offset_fc.2.bias": (8,)},
        **{"offset_fc.4.weight": (18, 8), "offset_fc.4.bias": (18,)},
        **{"mask_fc.0.weight": (8, 36), "mask_fc.0.bias": (8,)},
        **{"mask_fc.2.weight": (9, 8), "mask_fc.2.bias": (9,)},
    }
    nn.init.constant_(pack.offset_fc[4].bias, 2.0)  # 2 * 0.1 of the 10x9 pixels (stride 2: 5x4.5)
    moved = torch.full((1, 2, 3, 3), 2.0)
    expected = layers.DeformRoIPooling(*settings, False, trans_std=0.1)(data, rois, moved)
    torch.testing.assert_close(pack(data, rois), expected)
    assert not torch.allclose(expected, still)
    assert pack(data, rois[:0]).shape == (0, 4, 3, 3)
    modulated(data, rois).sum().backward()
    assert all(p.grad is not None for p in modulated.parameters())


def test_deform_roi_pooling_refuses_what_does_not_fit():
    data, rois = torch.zeros(1, 4, 6, 9), torch.zeros(1, 5)
    with pytest.raises(ValueError, match="need 16 input channels, got 4"):
        layers.deform_roi_pooling(data, rois, rois, 0.5, 3, 4, True, 2)
    with pytest.raises(ValueError, match="must be 3x3 .part_size., got 2x2"):
        layers.deform_roi_pooling(data, rois, torch.zeros(1, 2, 2, 2), 0.5, 3, 4, False)
    with pytest.raises(ValueError, match="divide the 4 output channels, got 6 channels"):
        layers.deform_roi_pooling(data, rois, torch.zeros(1, 6, 3, 3), 0.5, 3, 4, False)
    with pytest.raises(ValueError, match="between 0 and 1, got 2"):
        layers.deform_roi_pooling(data, rois, rois, 0.5, 3, 4, True, trans_std=2)
    with pytest.raises(ValueError, match="expected 8 channels, got 4"):
        layers.DeformRoIPoolingPack(0.5, 3, 8, False, deform_fc_channels=8)(data, rois)
