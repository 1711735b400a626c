"""Rotated boxes (cx, cy, w, h, angle) and their corners.

Convention, of every oriented model: coordinates are edges in pixels, x right, y down, without `+1`;
the angle is in radians, positive clockwise on the screen, from the x axis to the side of length w.
Boxes are kept in the form "le90": w >= h and -pi/2 <= angle < pi/2.

Worked numbers: (10, 20, 8, 4, 0) has the corners (6, 18), (14, 18), (14, 22), (6, 22); with the
angle pi/2 it is 4 wide and 8 high. BoxList counts pixel indices with both ends included, so the
upright box around an object that spans x = 6 .. 14 and y = 18 .. 22 is (6, 18, 13, 21) there:
`edges_to_boxlist` and `boxlist_to_edges` are the only places that convert.
"""

import math

import torch
from torch import Tensor


def normalize_angle(angle: Tensor) -> Tensor:
    """Return angles modulo pi, in -pi/2 <= angle < pi/2."""
    turned = (angle + math.pi / 2) % math.pi - math.pi / 2
    # where the remainder of a tiny negative number was rounded up to pi
    return torch.where(turned >= math.pi / 2, -math.pi / 2, turned)


def edges_to_boxlist(edges_xyxy: Tensor) -> Tensor:
    """Turn upright boxes (..., 4) from edges to BoxList's pixel indices: (3, 4, 13, 9) -> 12, 8."""
    return torch.cat([edges_xyxy[..., :2], edges_xyxy[..., 2:] - 1], dim=-1)


def boxlist_to_edges(boxes_xyxy: Tensor) -> Tensor:
    """Turn upright boxes (..., 4) from BoxList's pixel indices to edges: (3, 4, 12, 8) -> 13, 9."""
    return torch.cat([boxes_xyxy[..., :2], boxes_xyxy[..., 2:] + 1], dim=-1)


def rotated_to_corners(boxes: Tensor) -> Tensor:
    """Return the corners (..., 4, 2) of rotated boxes (..., 5), clockwise on the screen.

    The first is the corner at (-w/2, -h/2) in the box's own frame.
    """
    center, w, h, angle = boxes[..., :2], boxes[..., 2], boxes[..., 3], boxes[..., 4]
    cos, sin = angle.cos(), angle.sin()
    along_w = torch.stack([w * cos, w * sin], dim=-1) / 2
    along_h = torch.stack([-h * sin, h * cos], dim=-1) / 2
    offsets = [-along_w - along_h, along_w - along_h, along_w + along_h, along_h - along_w]
    return center[..., None, :] + torch.stack(offsets, dim=-2)


def corners_to_edges(corners: Tensor) -> Tensor:
    """Return the upright boxes (..., 4) xyxy, in edges, around corners (..., K, 2)."""
    return torch.cat([corners.amin(dim=-2), corners.amax(dim=-2)], dim=-1)


def edges_to_corners(edges_xyxy: Tensor) -> Tensor:
    """Return the corners (..., 4, 2) of upright boxes (..., 4), clockwise from the top left."""
    x1, y1, x2, y2 = edges_xyxy.unbind(dim=-1)
    return torch.stack([x1, y1, x2, y1, x2, y2, x1, y2], dim=-1).unflatten(-1, (4, 2))


def rectangle_to_rotated(corners: Tensor) -> Tensor:
    """Return rotated boxes (..., 5), in the form le90, of corners (..., 4, 2) of true rectangles.

    The angle is that of the longer side, which is reckoned from the first corner.
    """
    first, second, third, fourth = corners.unbind(dim=-2)
    sides = torch.stack([(first - second).norm(dim=-1), (second - third).norm(dim=-1)], dim=-1)
    direction = torch.where(sides[..., :1] > sides[..., 1:], second - first, fourth - first)
    angle = normalize_angle(torch.atan2(direction[..., 1], direction[..., 0]))
    box = [sides.amax(dim=-1), sides.amin(dim=-1), angle]
    return torch.cat([(first + third) / 2, torch.stack(box, dim=-1)], dim=-1)


def corners_to_rotated(corners: Tensor) -> Tensor:
    """Return the smallest rectangles around quadrilaterals, in the form le90.

    The smallest rectangle around points has a side along a side of their hull; of four points,
    every such side is one of the six lines through two of them.

    Args:
        corners: (..., 4, 2), in any order.

    Returns:
        (..., 5). Of a rectangle, the rectangle itself.
    """
    first, second = corners[..., [0, 1, 2, 3, 0, 1], :], corners[..., [1, 2, 3, 0, 2, 3], :]
    side = second - first  # [..., 6, 2]
    length = side.norm(dim=-1, keepdim=True)
    along = side / length.clamp(min=1e-12)  # 0 where two points coincide: not a direction
    along = torch.stack(
        [torch.where(length[..., 0] > 0, along[..., 0], 1.0), along[..., 1]], dim=-1
    )
    across = torch.stack([-along[..., 1], along[..., 0]], dim=-1)
    middle = corners.mean(dim=-2, keepdim=True)
    local = corners - middle
    # sums and no matrix products, which autocast would compute in half precision
    u, v = ((axis[..., :, None, :] * local[..., None, :, :]).sum(-1) for axis in (along, across))
    low = torch.stack([u.amin(dim=-1), v.amin(dim=-1)], dim=-1)  # [..., 6, 2]
    high = torch.stack([u.amax(dim=-1), v.amax(dim=-1)], dim=-1)
    best = (high - low).prod(dim=-1).argmin(dim=-1)[..., None, None]  # [..., 1, 1]
    along, across, low, high = (
        t.gather(-2, best.expand(*best.shape[:-1], 2)).squeeze(-2)
        for t in (along, across, low, high)
    )
    place = (low + high) / 2
    center = middle.squeeze(-2) + along * place[..., :1] + across * place[..., 1:]
    w, h = (high - low).unbind(-1)
    angle = torch.atan2(along[..., 1], along[..., 0])
    return le90(torch.cat([center, torch.stack([w, h, angle], dim=-1)], dim=-1))


def le90(boxes: Tensor) -> Tensor:
    """Return the same rotated boxes (..., 5) in the form le90."""
    w, h, angle = boxes[..., 2], boxes[..., 3], boxes[..., 4]
    swap = w < h
    angle = normalize_angle(torch.where(swap, angle + math.pi / 2, angle))
    sides = torch.stack([torch.where(swap, h, w), torch.where(swap, w, h), angle], dim=-1)
    return torch.cat([boxes[..., :2], sides], dim=-1)
