"""Anchors: boxes of fixed sizes and shapes, centred on each cell of the feature maps.

A cell anchor belongs to the cell whose window is (0, 0, stride - 1, stride - 1). Stride 16, size
128, ratio 0.5 (height / width): the cell's area 256 is reshaped to width round(sqrt(256 / 0.5)) =
23 and height round(23 * 0.5) = 12, both grow by 128 / 16 = 8 to 184 x 96, and the anchor around
(7.5, 7.5) is (-84, -40, 99, 55).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList


class BufferList(nn.Module):
    """A list of tensors that moves with the module; its members are named "0", "1", …"""

    def __init__(self, buffers: list[Tensor] | None = None):
        super().__init__()
        self.extend(buffers or [])

    def extend(self, buffers: list[Tensor]) -> "BufferList":
        """Append tensors."""
        for index, tensor in enumerate(buffers, start=len(self)):
            self.register_buffer(str(index), tensor)
        return self

    def __len__(self) -> int:
        return len(self._buffers)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._buffers.values())


class AnchorGenerator(nn.Module):
    """Lay anchors over feature maps.

    Args:
        sizes: square roots of the anchors' areas, pixels. With one stride all sizes sit on the one
            map; with several, one entry (a number or a tuple of numbers) per map.
        aspect_ratios: height / width.
        anchor_strides: image pixels between neighbouring cells of each map.
        straddle_thresh: an anchor that leaves the image by more pixels is not "visible"; -1: all
            are.
    """

    def __init__(
        self,
        sizes=(128, 256, 512),
        aspect_ratios=(0.5, 1.0, 2.0),
        anchor_strides=(8, 16, 32),
        straddle_thresh: int = 0,
    ):
        super().__init__()
        if len(anchor_strides) == 1:
            sizes = (sizes,)
        if len(sizes) != len(anchor_strides):
            raise ValueError(
                "expected one anchor size per stride, "
                f"got sizes {sizes} and strides {anchor_strides}"
            )
        self.strides = anchor_strides
        self.cell_anchors = BufferList(
            [
                generate_anchors(stride, np.atleast_1d(size), aspect_ratios).float()
                for stride, size in zip(anchor_strides, sizes, strict=True)
            ]
        )
        self.straddle_thresh = straddle_thresh

    def num_anchors_per_location(self) -> list[int]:
        """Return the number of anchors per cell, one number per map."""
        return [len(cell) for cell in self.cell_anchors]

    def grid_anchors(self, grid_sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Return the anchors [H * W * A, 4] of each map; (H, W) are the maps' sizes."""
        grids = []
        for (height, width), stride, cell in zip(
            grid_sizes, self.strides, self.cell_anchors, strict=True
        ):
            x = torch.arange(width, dtype=torch.float32, device=cell.device) * stride
            y = torch.arange(height, dtype=torch.float32, device=cell.device) * stride
            yy, xx = torch.meshgrid(y, x, indexing="ij")
            shift = torch.stack([xx, yy, xx, yy], dim=-1)  # [H, W, 4]
            grids.append((shift[:, :, None] + cell).reshape(-1, 4))
        return grids

    def add_visibility_to(self, boxlist: BoxList) -> None:
        """Add the bool field "visibility": whether an anchor lies (nearly) inside the image."""
        width, height = boxlist.size
        slack = self.straddle_thresh
        if slack < 0:
            inside = torch.ones(len(boxlist), dtype=torch.bool, device=boxlist.bbox.device)
        else:
            x1, y1, x2, y2 = boxlist.bbox.unbind(1)
            inside = (x1 >= -slack) & (y1 >= -slack) & (x2 < width + slack) & (y2 < height + slack)
        boxlist.add_field("visibility", inside)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[list[BoxList]]:
        """Return each image's anchors, one BoxList per map, with the field "visibility"."""
        grids = self.grid_anchors([tuple(features.shape[-2:]) for features in feature_maps])
        anchors = []
        for height, width in image_list.image_sizes:
            levels = [BoxList(grid, (int(width), int(height)), mode="xyxy") for grid in grids]
            for level in levels:
                self.add_visibility_to(level)
            anchors.append(levels)
        return anchors


def generate_anchors(
    stride: int = 16, sizes=(32, 64, 128, 256, 512), aspect_ratios=(0.5, 1, 2)
) -> Tensor:
    """Return the anchors of the first cell, float64 [ratios * sizes, 4], ratio by ratio.

    The rounding is that of Faster R-CNN's first release, see this module's worked number.
    """
    ratios = np.asarray(aspect_ratios, dtype=np.float64)
    scales = np.asarray(sizes, dtype=np.float64) / stride
    cell_width = np.round(np.sqrt(stride * stride / ratios))
    cell_height = np.round(cell_width * ratios)
    half_w = 0.5 * (np.outer(cell_width, scales).ravel() - 1)
    half_h = 0.5 * (np.outer(cell_height, scales).ravel() - 1)
    centre = 0.5 * (stride - 1)
    return torch.from_numpy(
        np.stack([centre - half_w, centre - half_h, centre + half_w, centre + half_h], axis=1)
    )


def make_anchor_generator(config) -> AnchorGenerator:
    """Build the RPN's anchors from MODEL.RPN."""
    rpn = config.MODEL.RPN
    if not rpn.USE_FPN and len(rpn.ANCHOR_STRIDE) != 1:
        raise ValueError(
            f"MODEL.RPN.ANCHOR_STRIDE needs one stride without FPN, got {rpn.ANCHOR_STRIDE}"
        )
    if rpn.USE_FPN and len(rpn.ANCHOR_STRIDE) != len(rpn.ANCHOR_SIZES):
        raise ValueError(
            "MODEL.RPN.ANCHOR_STRIDE and ANCHOR_SIZES need one entry per pyramid level each, "
            f"got {rpn.ANCHOR_STRIDE} and {rpn.ANCHOR_SIZES}"
        )
    return AnchorGenerator(
        rpn.ANCHOR_SIZES, rpn.ASPECT_RATIOS, rpn.ANCHOR_STRIDE, rpn.STRADDLE_THRESH
    )


def make_anchor_generator_retinanet(config) -> AnchorGenerator:
    """Build RetinaNet's anchors from MODEL.RETINANET.

    A level of size 32 with 3 scales per octave of ratio 2 has the sizes 32, 32 * 2^(1/3) = 40.3 and
    32 * 2^(2/3) = 50.8.
    """
    retinanet = config.MODEL.RETINANET
    if len(retinanet.ANCHOR_STRIDES) != len(retinanet.ANCHOR_SIZES):
        raise ValueError(
            "MODEL.RETINANET.ANCHOR_STRIDES and ANCHOR_SIZES need one entry per pyramid level each,"
            f" got {retinanet.ANCHOR_STRIDES} and {retinanet.ANCHOR_SIZES}"
        )
    count = retinanet.SCALES_PER_OCTAVE
    factors = [retinanet.OCTAVE ** (index / count) for index in range(count)]
    return AnchorGenerator(
        tuple(tuple(size * factor for factor in factors) for size in retinanet.ANCHOR_SIZES),
        retinanet.ASPECT_RATIOS,
        retinanet.ANCHOR_STRIDES,
        retinanet.STRADDLE_THRESH,
    )
