"""RoIAlign in rotated boxes, over all levels of a pyramid at once."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .pyramid_samples import average_samples

SAMPLES = 2  # along each side of a cell


def roi_align_rotated(
    features: Sequence[Tensor], rois: Tensor, levels: Tensor, output_size: int, scales: Tensor
) -> Tensor:
    """Pool features inside rotated boxes ("aligned": pixel i covers i .. i + 1).

    Args:
        features: maps [N, C, H, W], one per level.
        rois: [R, 6], rows of (image index, cx, cy, w, h, angle) in edges of image pixels; the angle
            is clockwise on the screen.
        levels: int64 [R], the level that each box is pooled from.
        output_size: side of the pooled grid, cells.
        scales: [levels], feature pixels / image pixels.

    Returns:
        [R, C, output_size, output_size], rows along the boxes' h and columns along their w. What
        lies more than a pixel outside a map counts as 0.
    """
    x, y = sample_points(rois[:, 1:], scales.to(rois)[levels], output_size).unbind(-1)
    cells = average_samples(features, rois[:, 0].long(), levels, x, y)  # [R, cells, C]
    return cells.transpose(1, 2).unflatten(2, (output_size, output_size))


def sample_points(boxes: Tensor, scales: Tensor, output_size: int) -> Tensor:
    """Return where the cells are sampled, [R, cells, samples, 2] xy in their level's pixels."""
    steps = output_size * SAMPLES
    place = (torch.arange(steps, device=boxes.device, dtype=boxes.dtype) + 0.5) / steps - 0.5
    v, u = torch.meshgrid(place, place, indexing="ij")  # shares of h and of w, from the centre
    grid = torch.stack([u, v], dim=-1).view(output_size, SAMPLES, output_size, SAMPLES, 2)
    u, v = grid.transpose(1, 2).reshape(-1, SAMPLES**2, 2).unbind(-1)  # [cells, samples]
    center, size = boxes[:, :2] * scales[:, None] - 0.5, boxes[:, 2:4] * scales[:, None]
    across = u * size[:, 0, None, None]  # [R, cells, samples]
    down = v * size[:, 1, None, None]
    cos, sin = (f(boxes[:, 4])[:, None, None] for f in (torch.cos, torch.sin))
    points = torch.stack([across * cos - down * sin, across * sin + down * cos], dim=-1)
    return points + center[:, None, None]


class ROIAlignRotated(nn.Module):
    """Pool from the pyramid level that suits each rotated box.

    A box of sqrt(w * h) below 112 pixels is pooled from the first level, below 224 from the second,
    and so on.

    Args:
        output_size: side of the pooled grid, cells.
        scales: feature pixels / image pixels of each level, each half of the one before.
    """

    def __init__(self, output_size: int, scales: Sequence[float]) -> None:
        super().__init__()
        self.output_size = output_size
        self.register_buffer("scales", torch.tensor(scales), persistent=False)

    def map_levels(self, boxes: Tensor) -> Tensor:
        """Return the level [R] int64 of each rotated box [R, 5]."""
        side = (boxes[:, 2] * boxes[:, 3]).sqrt()
        level = torch.log2(side / 56 + 1e-6).floor().nan_to_num(0)
        return level.clamp(0, len(self.scales) - 1).long()

    def forward(self, features: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Pool.

        Args:
            features: maps [N, C, H, W], one per level; those beyond `scales` are not used.
            boxes: rotated boxes [R, 5] per image.

        Returns:
            [sum of R, C, output_size, output_size], in the order of the boxes.
        """
        image = [box.new_full((len(box), 1), float(k)) for k, box in enumerate(boxes)]
        rois = torch.cat([torch.cat(image), torch.cat(list(boxes))], dim=1)
        levels = self.map_levels(rois[:, 1:])
        used = list(features)[: len(self.scales)]
        return roi_align_rotated(used, rois, levels, self.output_size, self.scales)
