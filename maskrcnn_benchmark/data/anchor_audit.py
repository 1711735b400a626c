"""How well a config's anchors fit a data set's objects, and what matching them costs.

The best anchor of an object is found without laying all anchors: anchors of one shape stand on a
grid, their intersection with a box is the product of one length in x and one in y, and each is
greatest where the centres are nearest. So per shape one column and one row give the best IoU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from yacs.config import CfgNode

from maskrcnn_benchmark.modeling.rpn.anchor_generator import (
    AnchorGenerator,
    make_anchor_generator,
    make_anchor_generator_retinanet,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.pairwise_iou import box_areas

from .transforms import Resize

DENSE_BYTES = 36  # that the original needs per pair of ground truth and anchor


@dataclass(frozen=True)
class AnchorSettings:
    """What of a config decides about anchors.

    Attributes:
        generator: lays them.
        high, low: IoU from which an anchor is an object; below which it is background.
        keys: prefix of the settings' names.
    """

    generator: AnchorGenerator
    high: float
    low: float
    keys: str


def anchor_settings(cfg: CfgNode) -> AnchorSettings:
    """Read a config's anchors: RetinaNet's or the RPN's."""
    if cfg.MODEL.RETINANET_ON:
        node, generator = cfg.MODEL.RETINANET, make_anchor_generator_retinanet(cfg)
    else:
        node, generator = cfg.MODEL.RPN, make_anchor_generator(cfg)
    keys = "MODEL.RETINANET" if cfg.MODEL.RETINANET_ON else "MODEL.RPN"
    return AnchorSettings(generator, node.FG_IOU_THRESHOLD, node.BG_IOU_THRESHOLD, keys)


def resized_in_training(cfg: CfgNode, target: BoxList) -> BoxList:
    """Return a sample's objects as training shows them; of several sizes, in the middle one."""
    sizes = sorted(cfg.INPUT.MIN_SIZE_TRAIN)
    resize = Resize(sizes, cfg.INPUT.MAX_SIZE_TRAIN)
    height, width = resize.size_for(target.size, sizes[len(sizes) // 2])
    return target.resize((width, height))


def grid_sizes(generator: AnchorGenerator, size: tuple[int, int], multiple: int) -> list:
    """Return the feature maps' (rows, columns) on an image (width, height), padded to a multiple.

    Args:
        generator: its strides count.
        size: pixels.
        multiple: of DATALOADER.SIZE_DIVISIBILITY; 0 or 1: not padded.
    """
    step = max(multiple, 1)
    width, height = (-(-side // step) * step for side in size)
    return [(-(-height // stride), -(-width // stride)) for stride in generator.strides]


def count_anchors(generator: AnchorGenerator, grids: list) -> int:
    """Count the anchors of an image."""
    cells = generator.num_anchors_per_location()
    return sum(rows * columns * count for (rows, columns), count in zip(grids, cells, strict=True))


def best_anchor_iou(
    generator: AnchorGenerator, grids: list, boxes_xyxy: Tensor, size: tuple[int, int]
) -> Tensor:
    """Return each box's IoU with the anchor that fits it best.

    Args:
        generator: of the anchors; those that leave the image by more than its straddle_thresh do
            not count, as in training.
        grids: `grid_sizes`.
        boxes_xyxy: (N, 4) in the resized image.
        size: its width and height, pixels.

    Returns:
        (N,) IoU with `+1`.
    """
    boxes = boxes_xyxy.double()
    best = torch.zeros(len(boxes), dtype=torch.float64)
    slack = generator.straddle_thresh
    levels = zip(generator.cell_anchors, grids, generator.strides, strict=True)
    for cell, grid, stride in levels:
        for anchor in cell.double():
            shared = torch.ones_like(best)
            for axis, cells in ((0, grid[1]), (1, grid[0])):
                low, high = anchor[axis], anchor[2 + axis]
                first, last = 0, cells - 1
                if slack >= 0:  # low + stride * k >= -slack, high + stride * k < length + slack
                    first = max(first, int(torch.ceil((-slack - low) / stride)))
                    last = min(last, int(torch.ceil((size[axis] + slack - high) / stride)) - 1)
                if first > last:
                    shared.zero_()
                    break
                ends = boxes[:, axis], boxes[:, 2 + axis]
                nearest = ((ends[0] + ends[1] - low - high) / 2 / stride).round()
                start = low + nearest.clamp(first, last) * stride
                end = start + (high - low)
                length = torch.minimum(end, ends[1]) - torch.maximum(start, ends[0]) + 1
                shared *= length.clamp(min=0)
            area = (anchor[2] - anchor[0] + 1) * (anchor[3] - anchor[1] + 1)
            best = torch.maximum(best, shared / (area + box_areas(boxes) - shared))
    return best
