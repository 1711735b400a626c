"""RoIAlign (arXiv 1703.06870)."""

import torchvision
from torch import Tensor, nn


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


class ROIAlign(nn.Module):
    """Module form of `roi_align`; its arguments are those of the function."""

    def __init__(
        self, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)

    def extra_repr(self) -> str:
        names = ("output_size", "spatial_scale", "sampling_ratio")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
