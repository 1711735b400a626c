"""From the outlines of whole objects to small masks inside boxes, on which the mask head trains."""

from collections.abc import Sequence

import numpy as np
import pycocotools.mask as mask_utils
import torch

from maskrcnn_benchmark.structures.polygons import cut_far_parts
from maskrcnn_benchmark.structures.segmentation_mask import (
    BinaryMaskList,
    PolygonList,
    SegmentationMask,
    crop_window,
)


def crop_masks(
    masks: SegmentationMask, which: Sequence[int], boxes: torch.Tensor, side: int
) -> torch.Tensor:
    """Cut an object's outline out by each box and sample it on a square grid.

    The grids equal ``masks[i].crop(box).resize(side).get_mask_tensor()`` to the last bit. The work
    is done where the outlines lie, on the CPU: bitmaps of a crowd would take N * H * W bytes of a
    device, and another device's bilinear kernel rounds differently, which turns cells of 1 into 0.

    Args:
        masks: the outlines of N objects.
        which: for each box the number of its object, P numbers below N.
        boxes: float32 (P, 4) xyxy in pixels, on the CPU.
        side: of the grid, cells.

    Returns:
        (P, side, side): 1 inside, 0 outside; uint8 of polygons, of bitmaps their type.

    Raises:
        ValueError: a box's x1 y1 are beyond its x2 y2.
    """
    if len(boxes) == 0:
        return torch.empty((0, side, side), dtype=torch.uint8)
    if masks.mode == "poly":
        return _crop_polygons(masks.instances, which, boxes, side)
    return _crop_bitmaps(masks.instances, which, boxes, side)


def _crop_bitmaps(
    bitmaps: BinaryMaskList, which: Sequence[int], boxes: torch.Tensor, side: int
) -> torch.Tensor:
    grids = [
        bitmaps[number].crop(box).resize(side).masks
        for number, box in zip(which, boxes.tolist(), strict=True)
    ]
    return torch.cat(grids)


def _crop_polygons(
    polygons: PolygonList, which: Sequence[int], boxes: torch.Tensor, side: int
) -> torch.Tensor:
    grids = np.zeros((len(boxes), side, side), dtype=np.uint8)
    objects = [polygons.polygons[number].polygons for number in which]
    counts = [len(rings) for rings in objects]
    start, ratio = _to_grid(polygons.size, boxes, side)
    if any(counts):
        moved = _move([ring for rings in objects for ring in rings], counts, start, ratio)
        near = [cut_far_parts(ring, side, side) for ring in moved]
        codes = iter(mask_utils.frPyObjects(near, side, side))
        filled = [index for index, count in enumerate(counts) if count]
        joined = [mask_utils.merge([next(codes) for _ in range(counts[i])]) for i in filled]
        grids[filled] = mask_utils.decode(joined).transpose(2, 0, 1)  # [filled, side, side]
    return torch.from_numpy(grids)


def _to_grid(size: tuple, boxes: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return, each (P, 2), the point where a box's grid starts and the grid's cells per pixel."""
    corners = [crop_window(box, size)[:2] for box in boxes.tolist()]
    extent = boxes[:, 2:] - boxes[:, :2]
    # a box of one pixel has x2 - x1 = 0; nothing can be enlarged from there
    ratio = side / extent.where(extent > 0, 1).double()
    return torch.tensor(corners, dtype=torch.float32), ratio.float()


def _move(
    rings: list[torch.Tensor], counts: list[int], start: torch.Tensor, ratio: torch.Tensor
) -> list[np.ndarray]:
    """Return rings x1 y1 x2 y2 … on their boxes' grids; box i has the next counts[i] of them."""
    lengths = torch.tensor([len(ring) // 2 for ring in rings])
    box_of_ring = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    box_of_point = box_of_ring.repeat_interleave(lengths)
    points = torch.cat(rings).float().view(-1, 2)
    points = (points - start[box_of_point]) * ratio[box_of_point]
    return [part.reshape(-1) for part in np.split(points.numpy(), lengths.cumsum(0)[:-1].numpy())]
