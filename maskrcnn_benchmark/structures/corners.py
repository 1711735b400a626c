"""The corners of an image's objects, which move along with their boxes.

Coordinates are edges in pixels, x right, y down: an object that fills columns 3..12 spans x = 3 to
13 (see structures/rotated_boxes.py). On ground truth a BoxList carries them as its field "corners".
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_LEFT_RIGHT,
    check_flip,
    warp_points,
)


class Corners:
    """Quadrilaterals on one image.

    Args:
        points: (N, 4, 2), in either sense of rotation.
        size: (width, height) of the image, pixels.

    Raises:
        ValueError: another shape.
    """

    def __init__(self, points: Any, size: Sequence[Any]) -> None:
        points = torch.as_tensor(points)
        if points.dim() != 3 or points.shape[1:] != (4, 2):
            raise ValueError(f"corners must be of shape (N, 4, 2), got {tuple(points.shape)}")
        self.points = points
        self.size = tuple(size)

    def resize(self, size: Sequence[Any], *_: Any, **__: Any) -> "Corners":
        """Return the corners on the image resized to (width, height)."""
        ratios = [float(new) / float(old) for new, old in zip(size, self.size, strict=True)]
        return Corners(self.points * self.points.new_tensor(ratios), size)

    def transpose(self, method: int) -> "Corners":
        """Return the corners on the flipped image (FLIP_LEFT_RIGHT or FLIP_TOP_BOTTOM)."""
        check_flip(method)
        axis = 0 if method == FLIP_LEFT_RIGHT else 1
        points = self.points.clone()
        points[..., axis] = self.size[axis] - points[..., axis]
        return Corners(points, self.size)

    def crop(self, box: Sequence[Any]) -> "Corners":
        """Return the corners on the crop (x1, y1, x2, y2), moved and not cut at its border."""
        x1, y1, x2, y2 = (float(v) for v in box)
        return Corners(self.points - self.points.new_tensor([x1, y1]), (x2 - x1, y2 - y1))

    def warp(self, matrix: Tensor, size: Sequence[Any]) -> "Corners":
        """Return the corners on the image that an affine matrix makes of this; see BoxList.warp."""
        return Corners(warp_points(self.points, matrix), size)

    def blank(self, count: int) -> "Corners":
        """Return `count` objects without an area on an image of the same size."""
        return Corners(self.points.new_zeros((count, 4, 2)), self.size)

    @staticmethod
    def cat(parts: Sequence["Corners"]) -> "Corners":
        """Put corners on one image into one."""
        return Corners(torch.cat([part.points for part in parts]), parts[0].size)

    def to(self, *args: Any, **kwargs: Any) -> "Corners":
        """Return the corners on a device, as Tensor.to takes it."""
        return Corners(self.points.to(*args, **kwargs), self.size)

    def pin_memory(self) -> "Corners":
        """Return a copy in pinned memory."""
        return Corners(self.points.pin_memory(), self.size)

    def __getitem__(self, item: Any) -> "Corners":
        """Return the objects picked by a slice, a mask or indices."""
        return Corners(self.points[item], self.size)

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        width, height = self.size
        return f"Corners(num_boxes={len(self)}, image_width={width}, image_height={height})"
