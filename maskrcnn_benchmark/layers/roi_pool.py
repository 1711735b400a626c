"""RoI pooling (arXiv 1504.08083)."""

import torchvision
from torch import Tensor, nn


def roi_pool(
    input: Tensor, rois: Tensor, output_size: int | tuple[int, int], spatial_scale: float
) -> Tensor:
    """Max-pool each box into a grid; half precision is raised to float32 first.

    Args:
        input: feature map (N, C, H, W).
        rois: (K, 5): index in the batch, then xyxy in image pixels.
        output_size: (height, width) of the grid.
        spatial_scale: feature pixels per image pixel, 1 / stride.

    Returns:
        (K, C, height, width)
    """
    if input.dtype.itemsize < 4:
        input = input.float()
    return torchvision.ops.roi_pool(input, rois.to(input.dtype), output_size, spatial_scale)


class ROIPool(nn.Module):
    """Module form of `roi_pool`; its arguments are those of the function."""

    def __init__(self, output_size: int | tuple[int, int], spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        return roi_pool(input, rois, self.output_size, self.spatial_scale)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, spatial_scale={self.spatial_scale}"
