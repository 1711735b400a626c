"""Rotated RoIAlign: against a slow loop, torchvision's upright one, turned maps, and mmcv's."""

import math

import pytest
import torch
from torchvision.ops import roi_align

from maskrcnn_benchmark.layers.roi_align_rotated import ROIAlignRotated, roi_align_rotated


def pool(features, rois, side=3, scale=0.25):
    levels = torch.zeros(len(rois), dtype=torch.int64)
    return roi_align_rotated([features], rois, levels, side, torch.tensor([scale]))


def made_rois(count, width, height, images=2, seed=0):
    """Rows (image, cx, cy, w, h, angle); some reach beyond the image, one has no width."""
    generator = torch.Generator().manual_seed(seed)
    rois = torch.rand(count, 6, generator=generator)
    rois *= torch.tensor([images, width * 1.2, height * 1.2, 70, 40, math.pi])
    rois[:, 0].floor_()
    rois[:, 5] -= math.pi / 2
    rois[0, 3] = 0
    return rois


def at(feature, x, y):
    """Interpolate a map (H, W) at a point whose pixel centres are whole numbers."""
    height, width = feature.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = feature[top, left] * (1 - dx) + feature[top, right] * dx
    lower = feature[below, left] * (1 - dx) + feature[below, right] * dx
    return float(upper * (1 - dy) + lower * dy)


def slow(features, rois, side, scale):
    out = torch.zeros(len(rois), features.shape[1], side, side)
    for number, (image, cx, cy, w, h, angle) in enumerate(rois.tolist()):
        for channel, feature in enumerate(features[int(image)]):
            for row in range(side):
                for column in range(side):
                    total = 0.0
                    for v in (row + 0.25, row + 0.75):
                        for u in (column + 0.25, column + 0.75):
                            along, down = (u / side - 0.5) * w, (v / side - 0.5) * h
                            x = cx + along * math.cos(angle) - down * math.sin(angle)
                            y = cy + along * math.sin(angle) + down * math.cos(angle)
                            total += at(feature, x * scale - 0.5, y * scale - 0.5)
                    out[number, channel, row, column] = total / 4
    return out


def test_against_a_slow_loop():
    features = torch.randn(2, 2, 20, 26, generator=torch.Generator().manual_seed(1))
    rois = made_rois(12, 104, 80)
    torch.testing.assert_close(pool(features, rois), slow(features, rois, 3, 0.25))


def test_at_no_angle_it_is_the_upright_one():
    features = torch.randn(2, 3, 20, 26)
    rois = made_rois(30, 104, 80)
    rois[:, 5] = 0
    center, half = rois[:, 1:3], rois[:, 3:5] / 2
    boxes = torch.cat([rois[:, :1], center - half, center + half], dim=1)
    upright = roi_align(features, boxes, 7, 0.25, sampling_ratio=2, aligned=True)
    torch.testing.assert_close(pool(features, rois, side=7), upright, atol=1e-5, rtol=1e-5)


def test_a_quarter_turn_is_that_of_the_map():
    # a map turned by a quarter clockwise: (x, y) goes to (height - y, x), in edges
    features = torch.randn(1, 2, 20, 26)
    rois = made_rois(20, 104, 80, images=1)
    turned = torch.rot90(features, -1, dims=(2, 3))
    moved = rois.clone()
    moved[:, 1], moved[:, 2] = 80 - rois[:, 2], rois[:, 1]
    moved[:, 5] += math.pi / 2
    torch.testing.assert_close(pool(turned, moved), pool(features, rois), atol=1e-5, rtol=1e-5)


def test_gradient_by_finite_differences():
    features = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    rois = made_rois(5, 28, 24, images=1).double() * torch.tensor([1, 1, 1, 0.4, 0.4, 1])
    assert torch.autograd.gradcheck(lambda f: pool(f, rois, side=2), features)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision(dtype):
    features = torch.randn(2, 4, 20, 26)
    rois = made_rois(20, 104, 80)
    low = features.to(dtype).requires_grad_()
    found = pool(low, rois)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), pool(features, rois), atol=0.05, rtol=0.05)
    found.sum().backward()
    assert low.grad.dtype == dtype and low.grad.abs().sum() > 0


def test_levels_and_images():
    pooler = ROIAlignRotated(2, (0.25, 0.125, 0.0625))
    # sqrt(w h): 111 and 113 around the first limit of 112, 900 beyond the last level
    boxes = torch.tensor([[80, 90, side, side, 0.3] for side in (111.0, 113, 900)])
    assert pooler.map_levels(boxes).tolist() == [0, 1, 2]
    # every level of every image holds its own number
    maps = [torch.zeros(2, 1, 64 >> k, 64 >> k) for k in range(4)]
    for level, features in enumerate(maps):
        features += level * 10 + torch.arange(2)[:, None, None, None]
    pooled = pooler(maps, [boxes[:2], boxes[:1]])
    assert pooled.shape == (3, 1, 2, 2)
    assert pooled.mean(dim=(1, 2, 3)).tolist() == [0, 10, 1]
    assert pooler(maps, [boxes[:0], boxes[:0]]).shape == (0, 1, 2, 2)


def test_against_mmcv(figures):
    known = figures("oriented_rcnn")
    features = known["roialign_features"].clone().requires_grad_()
    pooled = pool(features, known["roialign_rois"], side=7)
    torch.testing.assert_close(pooled, known["roialign_out_model"], atol=2e-5, rtol=1e-4)
    pooled.backward(known["roialign_grad_out"])
    torch.testing.assert_close(features.grad, known["roialign_grad_in_model"], atol=5e-5, rtol=1e-4)
    rois = known["extractor_rois"]
    pooler = ROIAlignRotated(7, (0.25, 0.125, 0.0625, 0.03125))
    assert pooler.map_levels(rois[:, 1:]).tolist() == known["extractor_levels"].tolist()
