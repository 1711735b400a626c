"""RoIAlign (arXiv 1703.06870)."""

import math

import torch
import torchvision
from torch import Tensor, nn

from .pyramid_samples import average_samples

PIXELS_PER_CELL = 8  # turning as many of a map takes as long as torchvision's pooling of a cell


def roi_align(
    input: Tensor,
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
) -> Tensor:
    """Pool each box bilinearly into a grid; half precision is raised to float32 first.

    Args:
        input: feature map (N, C, H, W).
        rois: (K, 5): index in the batch, then xyxy in image pixels. No half-pixel shift is
            applied ("aligned" is False, as in the original).
        output_size: (height, width) of the grid.
        spatial_scale: feature pixels per image pixel, 1 / stride.
        sampling_ratio: samples per cell along each side; 0: one per feature pixel.

    Returns:
        (K, C, height, width)
    """
    if input.dtype.itemsize < 4:
        input = input.float()
    return torchvision.ops.roi_align(
        input, rois.to(input.dtype), output_size, spatial_scale, sampling_ratio, aligned=False
    )


def roi_align_gathered(
    input: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
) -> Tensor:
    """Pool as `roi_align` does, by weighted sums of the map's pixels; roundings differ.

    On a CPU this takes a fraction of the time if the map lies channels last, or there are hundreds
    of boxes: another map is turned first. Arguments and result are those of `roi_align`, with at
    least one sample per cell.
    """
    if input.dtype.itemsize < 4:
        input = input.float()
    start = rois[:, 1:3] * spatial_scale
    size = (rois[:, 3:5] * spatial_scale - start).clamp(min=1)
    x, y = (
        _sample_places(start[:, axis], size[:, axis], output_size[1 - axis], sampling_ratio)
        for axis in (0, 1)
    )
    y, x = torch.broadcast_tensors(y[:, :, None, :, None], x[:, None, :, None, :])
    x, y = (place.flatten(3).flatten(1, 2) for place in (x, y))  # (K, cells, samples)
    image = rois[:, 0].long()
    cells = average_samples([input], image, torch.zeros_like(image), x, y)  # (K, cells, C)
    return cells.transpose(1, 2).unflatten(2, output_size)


def _sample_places(start: Tensor, size: Tensor, cells: int, samples: int) -> Tensor:
    """Return where the samples of each cell lie along one side of each box, (K, cells, samples)."""
    steps = torch.arange(cells * samples, device=start.device, dtype=start.dtype) + 0.5
    places = start[:, None] + size[:, None] * (steps / (cells * samples))
    return places.unflatten(1, (cells, samples))


class ROIAlign(nn.Module):
    """Module form of `roi_align`; its arguments are those of the function.

    Args:
        fast: take `roi_align_gathered` on a CPU where it pays. Not if samples adapt to the box.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        fast: bool = False,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.fast = fast and sampling_ratio > 0

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        if self.fast and self._gathering_pays(input, len(rois)):
            return roi_align_gathered(
                input, rois, self._grid(), self.spatial_scale, self.sampling_ratio
            )
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)

    def _gathering_pays(self, input: Tensor, boxes: int) -> bool:
        """Say whether the map lies channels last, or there are cells enough to turn it for."""
        if input.device.type != "cpu":
            return False  # GPUs have a kernel
        if input.is_contiguous(memory_format=torch.channels_last):
            return True
        cells = boxes * math.prod(self._grid())
        return cells * PIXELS_PER_CELL >= input[:, 0].numel()

    def _grid(self) -> tuple[int, int]:
        size = self.output_size
        return (size, size) if isinstance(size, int) else size

    def extra_repr(self) -> str:
        names = ("output_size", "spatial_scale", "sampling_ratio")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
