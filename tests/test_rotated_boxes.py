"""Rotated boxes: corners, edges and angles, by hand and against mmrotate's figures."""

import math

import pytest
import torch

from maskrcnn_benchmark.structures.rotated_boxes import (
    boxlist_to_edges,
    corners_to_edges,
    corners_to_rotated,
    edges_to_boxlist,
    edges_to_corners,
    le90,
    normalize_angle,
    rectangle_to_rotated,
    rotated_to_corners,
)


def random_boxes(count, seed=0):
    """Rotated boxes in the form le90, w from 8 to 108 pixels, h from 4 up."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 300
    sides = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    w = 8 + sides[:, :1] * 100
    h = 4 + sides[:, 1:] * (w - 4)
    angle = (torch.rand(count, 1, generator=generator, dtype=torch.float64) - 0.5) * math.pi
    return torch.cat([center, w, h, angle], dim=1)


def same_rectangles(a, b, atol=1e-4):
    """Whether boxes of one list are those of the other, whatever their description."""
    ours, theirs = rotated_to_corners(a), rotated_to_corners(b)
    turns = [(ours.roll(k, dims=1) - theirs).abs().amax(dim=(1, 2)) for k in range(4)]
    return bool((torch.stack(turns).amin(dim=0) <= atol).all())


def test_corners_by_hand():
    # 8 along (0.6, 0.8), 5 along (-0.8, 0.6): halves (2.4, 3.2) and (-2, 1.5)
    box = torch.tensor([10.0, 20, 8, 5, math.atan2(0.8, 0.6)], dtype=torch.float64)
    expected = [[9.6, 15.3], [14.4, 21.7], [10.4, 24.7], [5.6, 18.3]]
    torch.testing.assert_close(rotated_to_corners(box), torch.tensor(expected).double())
    upright = torch.tensor([[10.0, 20, 8, 4, 0], [10, 20, 8, 4, math.pi / 2]])
    edges = corners_to_edges(rotated_to_corners(upright))
    torch.testing.assert_close(edges, torch.tensor([[6.0, 18, 14, 22], [8, 16, 12, 24]]))


def test_edges_and_pixel_indices():
    edges = torch.tensor([[6.0, 18, 14, 22]])
    assert edges_to_boxlist(edges).tolist() == [[6, 18, 13, 21]]
    assert boxlist_to_edges(edges_to_boxlist(edges)).tolist() == edges.tolist()


@pytest.mark.parametrize("quarter_turns", [-3, -2, -1, 1, 2, 3])
def test_le90_describes_the_same_box(quarter_turns):
    boxes = random_boxes(50)
    turned = boxes.clone()
    turned[:, 4] += quarter_turns * math.pi / 2
    if quarter_turns % 2:
        turned[:, [2, 3]] = turned[:, [3, 2]]
    torch.testing.assert_close(le90(turned), boxes)


def test_angles_are_half_open():
    given = torch.tensor([math.pi / 2, -math.pi / 2, math.pi, 2.0], dtype=torch.float64)
    angles = normalize_angle(given)
    expected = [-math.pi / 2, -math.pi / 2, 0, 2 - math.pi]
    assert angles.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fault_an_angle_just_below_the_range_became_its_open_end(dtype):
    """In float64 the remainder of -2e-16 by pi is rounded to pi."""
    limit = torch.tensor(math.pi / 2, dtype=dtype)
    angles = [-limit]
    for _ in range(5):
        angles.append(angles[-1].nextafter(-2 * limit))
    angles = torch.stack([*angles, limit, 3 * limit, -3 * limit])
    normalized = normalize_angle(angles)
    assert (normalized < limit).all() and (normalized >= -limit).all()


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("clockwise", [True, False], ids=["clockwise", "anticlockwise"])
@pytest.mark.parametrize("fit", [corners_to_rotated, rectangle_to_rotated])
def test_a_rectangles_corners_give_it_back(start, clockwise, fit):
    boxes = random_boxes(100, seed=start)
    corners = rotated_to_corners(boxes).roll(start, dims=1)
    found = fit(corners if clockwise else corners.flip(1))
    assert same_rectangles(found, boxes)
    assert ((found[:, 4] >= -math.pi / 2) & (found[:, 4] < math.pi / 2)).all()
    assert (found[:, 2] >= found[:, 3]).all()


def test_the_smallest_rectangle_around_any_quadrilateral():
    quads = torch.rand(200, 4, 2, generator=torch.Generator().manual_seed(3)).double() * 90
    found = corners_to_rotated(quads)
    # against turning the axes by a twentieth of a degree at a time
    angles = torch.arange(0, math.pi / 2, math.pi / 3600, dtype=torch.float64)
    u = quads[:, None, :, 0] * angles.cos()[:, None] + quads[:, None, :, 1] * angles.sin()[:, None]
    v = quads[:, None, :, 1] * angles.cos()[:, None] - quads[:, None, :, 0] * angles.sin()[:, None]
    areas = (u.amax(2) - u.amin(2)) * (v.amax(2) - v.amin(2))  # [N, angles]
    area = found[:, 2] * found[:, 3]
    assert (area <= areas.amin(dim=1) + 1e-9).all()
    assert (area >= areas.amin(dim=1) * 0.99).all()
    around = corners_to_edges(_in_frame(quads, found))
    limits = torch.cat([-found[:, 2:4], found[:, 2:4]], dim=1) / 2
    torch.testing.assert_close(around, limits)  # each side is touched


def _in_frame(points, boxes):
    """Points (N, 4, 2) along the sides of boxes (N, 5), from their centres."""
    x, y = (points - boxes[:, None, :2]).unbind(-1)
    cos, sin = boxes[:, 4:].cos(), boxes[:, 4:].sin()
    return torch.stack([x * cos + y * sin, y * cos - x * sin], dim=-1)


def test_edges_to_corners_and_back():
    edges = torch.tensor([[3.0, 4, 13, 9], [20, 10, 21, 20]])
    corners = edges_to_corners(edges)
    assert corners[0].tolist() == [[3, 4], [13, 4], [13, 9], [3, 9]]
    assert torch.equal(corners_to_edges(corners), edges)


def test_degenerate_corners_give_no_nan():
    point = torch.full((1, 4, 2), 7.0)
    line = torch.tensor([[[3.0, 4], [9, 12], [3, 4], [6, 8]]])
    assert corners_to_rotated(point).tolist() == [[7, 7, 0, 0, 0]]
    found = corners_to_rotated(line)[0]
    assert found.tolist() == pytest.approx([6, 8, 10, 0, math.atan2(8, 6)], abs=1e-5)
    assert corners_to_rotated(torch.zeros(0, 4, 2)).shape == (0, 5)


def test_against_mmrotates_tables(figures):
    known = figures("oriented_rcnn")
    corners = rotated_to_corners(known["mid_gt"])
    torch.testing.assert_close(corners.flatten(1), known["obb2poly_le90"])
    torch.testing.assert_close(corners_to_edges(corners), known["obb2xyxy_le90"])
    torch.testing.assert_close(normalize_angle(known["norm_angle_in"]), known["norm_angle_le90"])
    expected = known["poly2obb_le90_of_obb2poly"]
    for fit in (corners_to_rotated, rectangle_to_rotated):
        found = fit(corners)
        torch.testing.assert_close(found[:, :4], expected[:, :4], atol=1e-4, rtol=0)
        assert same_rectangles(found, expected)
