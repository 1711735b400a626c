"""Upright anchors in edges, centred on multiples of the stride."""

import torch
from torch import Tensor

from ..anchor_generator import AnchorGenerator, BufferList


class CenteredAnchors(AnchorGenerator):
    """Anchors of Oriented R-CNN: stride 4, size 32, ratio 0.5 (height / width): w = 32 / sqrt(0.5)
    = 45.25, h = 22.63, and the first is (-22.63, -11.31, 22.63, 11.31), in edges.

    Args:
        sizes: square roots of the anchors' areas, pixels, one per stride.
        aspect_ratios: height / width.
        anchor_strides: image pixels between neighbouring cells of each map.
    """

    def __init__(self, sizes, aspect_ratios, anchor_strides) -> None:
        super().__init__(sizes, aspect_ratios, anchor_strides)
        ratios = torch.tensor(aspect_ratios).sqrt()
        shapes = torch.stack([1 / ratios, ratios], dim=1)  # [A, 2] width and height of area 1
        self.cell_anchors = BufferList(
            [torch.cat([-shapes, shapes], dim=1) * (size / 2) for size in sizes]
        )

    def inside(self, anchors: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Say which anchors [A, 4] lie inside an image."""
        height, width = image_hw
        x1, y1, x2, y2 = anchors.unbind(1)
        return (x1 >= 0) & (y1 >= 0) & (x2 < width) & (y2 < height)
