"""Rotated boxes as offsets from reference boxes: what Oriented R-CNN's two stages learn.

Coordinates, angles and the form le90 are those of structures/rotated_boxes.py.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from maskrcnn_benchmark.structures.rotated_boxes import (
    corners_to_edges,
    le90,
    normalize_angle,
    rectangle_to_rotated,
    rotated_to_corners,
)

LARGEST_LOG_RATIO = abs(math.log(16 / 1000))  # of a side: no box is 62.5 times its reference's
_UPRIGHT_PX = 0.1
_UPRIGHT_SHARE = 0.015  # of the shorter side: taking a box for upright leaves an IoU of 0.97


class MidpointOffsetCoder:
    """Rotated boxes relative to upright ones (Xie et al., "Oriented R-CNN", 2021, section 3.1).

    The code is that of the upright box around the rotated one, (dx, dy, dw, dh), and where the
    rotated one touches it: the top vertex lies da * width right of the middle of the upper side,
    the right vertex db * height below the middle of the right side; both in -0.5 .. 0.5.

    Args:
        stds: each number of the code is divided by these.
    """

    def __init__(self, stds: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 0.5, 0.5)) -> None:
        self.stds = stds

    def encode(self, boxes: Tensor, anchors_xyxy: Tensor) -> Tensor:
        """Return the codes (N, 6) of rotated boxes (N, 5) relative to anchors (N, 4), in edges."""
        edges = corners_to_edges(rotated_to_corners(boxes))
        center, size = (edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]
        anchor_center = (anchors_xyxy[:, :2] + anchors_xyxy[:, 2:]) / 2
        anchor_size = anchors_xyxy[:, 2:] - anchors_xyxy[:, :2]
        shift = (center - anchor_center) / anchor_size
        code = torch.cat([shift, (size / anchor_size).log(), _touching_points(boxes) / size], dim=1)
        return _scaled(code, [1 / std for std in self.stds])

    def decode(self, codes: Tensor, anchors_xyxy: Tensor) -> Tensor:
        """Return the rotated boxes (N, 5) of codes (N, 6), smallest rectangles in the form le90.

        The two touching points and their mirror images form a parallelogram; its shorter diagonal
        is lengthened to the longer one, which makes it a rectangle.
        """
        codes = _scaled(codes, self.stds)
        anchor_center = (anchors_xyxy[:, :2] + anchors_xyxy[:, 2:]) / 2
        anchor_size = anchors_xyxy[:, 2:] - anchors_xyxy[:, :2]
        center = anchor_center + codes[:, :2] * anchor_size
        size = anchor_size * codes[:, 2:4].clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
        offset = codes[:, 4:].clamp(-0.5, 0.5) * size
        low, high = center - size / 2, center + size / 2
        after, before = center + offset, center - offset
        vertices = torch.stack(  # top, right, bottom, left: [N, 4, 2]
            [
                torch.stack([after[:, 0], low[:, 1]], dim=1),
                torch.stack([high[:, 0], after[:, 1]], dim=1),
                torch.stack([before[:, 0], high[:, 1]], dim=1),
                torch.stack([low[:, 0], before[:, 1]], dim=1),
            ],
            dim=1,
        )
        from_center = vertices - center[:, None]
        length = from_center.norm(dim=2, keepdim=True)
        longest = length.amax(dim=1, keepdim=True)
        return rectangle_to_rotated(from_center * (longest / length) + center[:, None])


def _scaled(codes: Tensor, factors: Sequence[float]) -> Tensor:
    """Return codes (N, C) times a factor per column; no factor is copied to a device."""
    columns = zip(codes.unbind(dim=1), factors, strict=True)
    return torch.stack([column * factor for column, factor in columns], dim=1)


def _touching_points(boxes: Tensor) -> Tensor:
    """Return x of the top vertex and y of the right one, from the centre, (N, 2).

    A box whose sides are all within 0.1 pixel of upright (less for one thinner than 7 pixels) has
    two vertices on each side of its upright box: the right one of the upper two and the lower one
    of the right two are taken. Where only one pair of sides is that close (a slender box), all
    vertices are told apart: mixing both rules would give a code that no rectangle has.
    """
    x, y = (rotated_to_corners(boxes) - boxes[:, None, :2]).unbind(dim=2)  # [N, 4] each
    below_top, left_of_right = y - y.amin(dim=1, keepdim=True), x.amax(dim=1, keepdim=True) - x
    tolerance = (boxes[:, 3:4] * _UPRIGHT_SHARE).clamp(max=_UPRIGHT_PX)  # [N, 1]
    near = [(gap <= tolerance).sum(dim=1, keepdim=True) > 1 for gap in (below_top, left_of_right)]
    tolerance = tolerance * (near[0] & near[1])
    top_x = x.masked_fill(below_top > tolerance, -math.inf).amax(dim=1)
    right_y = y.masked_fill(left_of_right > tolerance, -math.inf).amax(dim=1)
    return torch.stack([top_x, right_y], dim=1)


class RotatedBoxCoder:
    """Rotated boxes relative to rotated ones, in the reference's own frame.

    (dx, dy) is the shift along the reference's sides in units of them, (dw, dh) the logarithms of
    the ratios of the sides, da the turn. Of a box's two descriptions, (w, h, angle) and (h, w,
    angle + pi/2), the one that turns less is encoded.

    Args:
        stds: each number of the code is divided by these.
    """

    def __init__(self, stds: tuple[float, ...] = (0.1, 0.1, 0.2, 0.2, 0.1)) -> None:
        self.stds = stds

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """Return the codes (N, 5) of boxes (N, 5) relative to references (N, 5)."""
        across, down = (boxes[:, :2] - references[:, :2]).unbind(dim=1)
        cos, sin = references[:, 4].cos(), references[:, 4].sin()
        shift = torch.stack([cos * across + sin * down, cos * down - sin * across], dim=1)
        turn = normalize_angle(boxes[:, 4] - references[:, 4])
        other = normalize_angle(boxes[:, 4] - references[:, 4] + math.pi / 2)
        swap = turn.abs() >= other.abs()
        sides = torch.where(swap[:, None], boxes[:, [3, 2]], boxes[:, 2:4])
        turn = torch.where(swap, other, turn)
        ratios = (sides / references[:, 2:4]).log()
        code = torch.cat([shift / references[:, 2:4], ratios, turn[:, None]], dim=1)
        return _scaled(code, [1 / std for std in self.stds])

    def decode(self, codes: Tensor, references: Tensor) -> Tensor:
        """Return the boxes (N, 5), in the form le90, of codes (N, 5)."""
        codes = _scaled(codes, self.stds)
        along, across = (codes[:, :2] * references[:, 2:4]).unbind(dim=1)
        cos, sin = references[:, 4].cos(), references[:, 4].sin()
        center = references[:, :2] + torch.stack(
            [cos * along - sin * across, sin * along + cos * across], dim=1
        )
        ratios = codes[:, 2:4].clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
        turned = (references[:, 4] + codes[:, 4])[:, None]
        return le90(torch.cat([center, references[:, 2:4] * ratios, turned], dim=1))
