"""Matching of crowds in memory that does not grow with ground truth x anchors.

Most pairs of ground truth and anchor do not overlap. `match_boxes` sorts the anchors into blocks of
similar size that lie close together, compares each block only with the ground truth that touches
the block's hull, and computes those pairs by the very operations of the whole matrix, some blocks
at a time. What it skips has IoU 0, so the result is the whole matrix's to the last bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from maskrcnn_benchmark.structures.crowd import get_policy, one_thread
from maskrcnn_benchmark.structures.pairwise_iou import (
    PAIR_BYTES,
    box_areas,
    pairwise_iou,
    shared_length,
)

_BLOCK = 192  # anchors in a block: an 8 x 8 patch of a feature map with 3 anchors each


@torch.no_grad()
def match_boxes(
    gt_xyxy: torch.Tensor,
    boxes_xyxy: torch.Tensor,
    high: float,
    low: float,
    allow_low_quality: bool,
) -> torch.Tensor:
    """Match boxes with ground truth without their whole IoU matrix (see Matcher).

    Args:
        gt_xyxy: (N, 4) ground-truth boxes on the same device as the others.
        boxes_xyxy: (M, 4) anchors or proposals, in any order.
        high, low: thresholds of the Matcher.
        allow_low_quality: also give each ground truth the boxes that it overlaps most.

    Returns:
        (M,) int64: index of the ground truth, -1 below `low`, -2 from `low` to `high`.
    """
    count = len(boxes_xyxy)
    matches = torch.full((count,), -1, dtype=torch.int64, device=boxes_xyxy.device)
    if count == 0 or len(gt_xyxy) == 0:
        return matches
    with one_thread(boxes_xyxy.device):
        for order, best in _best_of_all(gt_xyxy, boxes_xyxy, allow_low_quality):
            chosen = best.hit & allow_low_quality | (best.value >= high)
            negative = torch.where(best.value < low, -1, -2)
            matches[order] = torch.where(chosen, best.index, negative)
    return matches


@dataclass
class _Best:
    """What M boxes know of their ground truth."""

    value: torch.Tensor  # [M] best IoU
    index: torch.Tensor  # [M] int64, the first ground truth with it
    hit: torch.Tensor  # [M] bool, one that some ground truth overlaps most


def _best_of_all(
    gt: torch.Tensor, boxes: torch.Tensor, with_hits: bool
) -> Iterator[tuple[Any, _Best]]:
    """Yield, for parts of the boxes, their indices and their best ground truth."""
    policy = get_policy()
    step_bytes = policy.step_bytes(boxes.device)
    if len(boxes) * len(gt) * PAIR_BYTES <= step_bytes:
        yield slice(None), _best_dense(gt, boxes, step_bytes)
        return
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    regular = box_areas(boxes).isfinite() & (sides >= 0).all(dim=1)
    odd = (~regular).nonzero().squeeze(1)
    if len(odd):
        # such a box overlaps nothing, but its IoU may be NaN, which is worse than 0
        yield odd, _best_dense(gt, boxes[odd], step_bytes)
    order = regular.nonzero().squeeze(1)
    if len(order):
        order = order[_spatial_order(boxes[order])]
        anchors = _AnchorBlocks(boxes[order], policy.list_bytes(), step_bytes)
        anchors.meet(gt, with_hits)
        yield order, anchors.best(len(order))


def _best_dense(gt: torch.Tensor, boxes: torch.Tensor, step_bytes: int) -> _Best:
    """Work out all pairs, some rows of the matrix at a time."""
    value = boxes.new_full((len(boxes),), -float("inf"))
    index = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    hit = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    rows = max(1, step_bytes // (PAIR_BYTES * len(boxes)))
    for top in range(0, len(gt), rows):
        iou = pairwise_iou(gt[top : top + rows], boxes)
        iou.masked_fill_(iou.isnan(), -float("inf"))
        row_best = iou.amax(dim=1, keepdim=True)
        hit |= ((iou == row_best) & (row_best > 0)).any(dim=0)
        block_value, block_index = iou.max(dim=0)
        index = torch.where(block_value > value, block_index + top, index)
        value = torch.max(value, block_value)
    return _Best(value, index, hit)


def _spatial_order(boxes: torch.Tensor) -> torch.Tensor:
    """Return the order (M,) that puts boxes of like size and place next to each other.

    Sorted by octave of size, then along a Z-curve over cells of an eighth of that size.
    """
    octave = (box_areas(boxes).log2() / 2).round().clamp(min=0, max=31)
    cell = torch.exp2(octave) / 8
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = (centers - centers.amin(dim=0)) / cell[:, None]
    x, y = cells.clamp(max=4095).to(torch.int32).unbind(dim=1)  # 12 bits each
    key = (octave.to(torch.int32) << 24) | (_spread_bits(y) << 1) | _spread_bits(x)
    return key.sort(stable=True).indices


def _spread_bits(v: torch.Tensor) -> torch.Tensor:
    """Put a zero before each of the low 12 bits: abc -> 0a0b0c."""
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        v = (v | (v << shift)) & mask
    return v


class _AnchorBlocks:
    """Boxes in blocks of neighbours, and the best ground truth that each has met.

    Args:
        boxes: (M, 4) with finite areas, neighbours in space next to each other.
        list_bytes: memory for a list of (block, ground truth) pairs.
        step_bytes: memory for the IoU of the pairs that are worked out in one step.
    """

    def __init__(self, boxes: torch.Tensor, list_bytes: int, step_bytes: int) -> None:
        padding = boxes[-1:].expand(-len(boxes) % _BLOCK, 4)
        self.boxes = torch.cat([boxes, padding]).view(-1, _BLOCK, 4)  # [B, K, 4]
        near, far = self.boxes[..., :2].amin(dim=1), self.boxes[..., 2:].amax(dim=1)
        self.hulls = torch.cat([near, far], dim=1)  # [B, 4]
        shape = self.boxes.shape[:2]
        self.value = boxes.new_zeros(shape)
        self.index = torch.zeros(shape, dtype=torch.int64, device=boxes.device)
        self.hit = torch.zeros(shape, dtype=torch.bool, device=boxes.device)
        self.step_pairs = max(1, step_bytes // (PAIR_BYTES * _BLOCK))
        self.step_hulls = max(1, step_bytes // (PAIR_BYTES * len(self.hulls)))
        # so few at once that all may touch all blocks, and that a block meets its own in one step
        self.most_gt = max(1, min(list_bytes // (32 * len(self.hulls)), self.step_pairs))

    def best(self, count: int) -> _Best:
        """Return what the first `count` boxes, that is all but the padding, have met."""
        return _Best(*(v.view(-1)[:count] for v in (self.value, self.index, self.hit)))

    def meet(self, gt: torch.Tensor, with_hits: bool) -> None:
        """Bring the ground truth (N, 4) to the blocks; `with_hits` fills `hit` too."""
        nowhere = gt.new_tensor([[1.0, 1.0, -1.0, -1.0]]) * float("inf")  # IoU 0 with every box
        gt = torch.where(box_areas(gt).isfinite()[:, None], gt, nowhere)
        for first in range(0, len(gt), self.most_gt):
            part = torch.cat([gt[first : first + self.most_gt], nowhere])
            block, row = self._touching(part[:-1])
            row_best = self._meet_part(part, block, row, first)
            if with_hits:
                self._mark_hits(part, block, row, row_best)

    def _touching(self, gt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the pairs (block, ground truth) that can overlap, by block, then ground truth.

        The test is the IoU's own arithmetic on the hull, which rounds no pair away: subtraction
        and addition of floats are monotone.
        """
        x1, y1, x2, y2 = gt.unbind(dim=1)
        touches = torch.empty((len(self.hulls), len(gt)), dtype=torch.bool, device=gt.device)
        for top in range(0, len(gt), self.step_hulls):
            part = slice(top, top + self.step_hulls)
            left, upper, right, lower = self.hulls.unbind(dim=1)
            in_x = shared_length(left, right, x1[part], x2[part]) > 0
            touches[:, part] = in_x & (shared_length(upper, lower, y1[part], y2[part]) > 0)
        block, row = touches.nonzero(as_tuple=True)
        return block, row

    def _meet_part(
        self, gt: torch.Tensor, block: torch.Tensor, row: torch.Tensor, first: int
    ) -> torch.Tensor:
        """Work out the pairs that touch, and return the best IoU of each, (P,).

        Args:
            gt: (G + 1, 4), the last one nowhere.
            block, row: (P,) the pairs.
            first: number of the first ground truth.
        """
        pairs = len(row)
        row = torch.cat([row, row.new_tensor([len(gt) - 1])])  # slot P: nowhere
        row_best = gt.new_zeros(pairs + 1)
        counts = torch.bincount(block, minlength=len(self.hulls))
        starts = counts.cumsum(dim=0) - counts
        for ids, width in self._steps(counts):
            place = torch.arange(width, device=gt.device)
            slot = torch.where(place < counts[ids, None], starts[ids, None] + place, pairs)
            rows = row[slot]  # [b, g]
            iou = pairwise_iou(gt[rows], self.boxes[ids])  # [b, g, K]
            row_best[slot] = iou.amax(dim=2)
            value, at = iou.max(dim=1)  # [b, K]
            before = self.value[ids]
            index = torch.where(value > before, rows.gather(1, at) + first, self.index[ids])
            self.index[ids] = index
            self.value[ids] = torch.max(value, before)
        return row_best[:pairs]

    def _steps(self, counts: torch.Tensor) -> Iterator[tuple[torch.Tensor, int]]:
        """Yield blocks (b,) that touch about as many ground truths, and the most that one does."""
        order = counts.argsort(descending=True)
        numbers = counts[order].tolist()
        done, end = 0, sum(n > 0 for n in numbers)
        while done < end:
            width = numbers[done]
            after = min(end, done + max(1, self.step_pairs // width))
            yield order[done:after], width
            done = after

    def _mark_hits(
        self, gt: torch.Tensor, block: torch.Tensor, row: torch.Tensor, row_best: torch.Tensor
    ) -> None:
        """Mark the boxes whose IoU with a ground truth is that ground truth's best."""
        best = row_best.new_zeros(len(gt)).scatter_reduce_(0, row, row_best, "amax")
        top = ((row_best == best[row]) & (row_best > 0)).nonzero().squeeze(1)
        for some in top.split(self.step_pairs):
            of_block = block[some]
            iou = pairwise_iou(gt[row[some], None], self.boxes[of_block]).squeeze(1)  # [p, K]
            new = (iou == row_best[some, None]) & ~self.hit[of_block]
            pair, column = new.nonzero(as_tuple=True)
            self.hit[of_block[pair], column] = True
