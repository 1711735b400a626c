"""A quadrilateral as places on the sides of its upright box (Gliding Vertex, section 3.2).

Worked numbers: in the box (10, 20, 30, 28) the vertices (0.25, 0.5, 0.25, 0.5) are (15, 20) on the
upper side, a quarter from the left; (30, 24) on the right one, half from the top; (25, 28), a
quarter from the right; (10, 24), half from the bottom. It covers half of the box.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.structures.oriented_boxes import signed_areas
from maskrcnn_benchmark.structures.rotated_boxes import corners_to_edges

_LEVEL = 1e-3  # pixels by which the ends of a level side may differ, for rounding


def encode_vertices(corners: Tensor) -> Tensor:
    """Return where the vertices lie on the sides of the upright box, (N, 4) in 0 .. 1.

    They are taken clockwise from the top one, of two the right one, so that an upright rectangle
    gives (1, 1, 1, 1) whatever its first vertex and sense.

    Args:
        corners: (N, 4, 2), in either sense.
    """
    anticlockwise = signed_areas(corners) < 0
    clockwise = torch.where(anticlockwise[:, None, None], corners.flip(1), corners)
    x, y = clockwise.unbind(dim=2)  # [N, 4]
    is_top = y <= y.amin(dim=1, keepdim=True) + _LEVEL
    first = x.masked_fill(~is_top, -torch.inf).argmax(dim=1, keepdim=True)
    order = (first + torch.arange(4, device=x.device)) % 4
    x, y = x.gather(1, order), y.gather(1, order)
    x1, y1, x2, y2 = corners_to_edges(corners).unbind(dim=1)
    width, height = (x2 - x1).clamp(min=1e-6), (y2 - y1).clamp(min=1e-6)
    sides = [(x[:, 0] - x1) / width, (y[:, 1] - y1) / height]
    sides += [(x2 - x[:, 2]) / width, (y2 - y[:, 3]) / height]
    return torch.stack(sides, dim=1)


def decode_vertices(vertices: Tensor, boxes: Tensor) -> Tensor:
    """Return the corners (..., 4, 2), clockwise from the top, of vertices and boxes (..., 4)."""
    x1, y1, x2, y2 = boxes.unbind(dim=-1)
    top, right, bottom, left = vertices.unbind(dim=-1)
    width, height = x2 - x1, y2 - y1
    points = [x1 + top * width, y1, x2, y1 + right * height]
    points += [x2 - bottom * width, y2, x1, y2 - left * height]
    return torch.stack(points, dim=-1).unflatten(-1, (4, 2))


def obliquity_ratio(corners: Tensor) -> Tensor:
    """Return the share (N,) of the upright box that a quadrilateral covers.

    The box counts with the original's `+1` on both sides, so that published weights mean the same:
    an upright object of 8 x 8 pixels gives 64 / 81 = 0.79. Nothing is lost where such a one is not
    taken for upright, since its vertices (1, 1, 1, 1) give the same corners.
    """
    sides = corners_to_edges(corners)
    width, height = sides[:, 2] - sides[:, 0] + 1, sides[:, 3] - sides[:, 1] + 1
    return signed_areas(corners).abs() / (width * height)
