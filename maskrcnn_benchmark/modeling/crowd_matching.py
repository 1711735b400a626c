"""Matching of crowds in memory that does not grow with ground truth x anchors.

Most pairs of ground truth and anchor do not overlap. `match_boxes` sorts the anchors into blocks of
similar size that lie close together, compares each block only with the ground truth that touches
the block's hull, and computes those pairs by the very operations of the whole matrix, some blocks
at a time. What it skips has IoU 0, so the result is the whole matrix's to the last bit. The host
waits for the device twice per part of the ground truth, and all of it is one part unless it has
thousands of boxes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from maskrcnn_benchmark.modeling.utils import nonzero_counted
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
    least_low_quality: float = 0.0,
    low_quality_takes_own: bool = False,
) -> torch.Tensor:
    """Match boxes with ground truth without their whole IoU matrix (see Matcher).

    Args:
        gt_xyxy: (N, 4) ground-truth boxes on the same device as the others.
        boxes_xyxy: (M, 4) anchors or proposals, in any order.
        high, low: thresholds of the Matcher.
        allow_low_quality, least_low_quality, low_quality_takes_own: as Matcher takes them.

    Returns:
        (M,) int64: index of the ground truth, -1 below `low`, -2 from `low` to `high`.
    """
    count = len(boxes_xyxy)
    matches = torch.full((count,), -1, dtype=torch.int64, device=boxes_xyxy.device)
    if count == 0 or len(gt_xyxy) == 0:
        return matches
    with one_thread(boxes_xyxy.device):
        least = least_low_quality if allow_low_quality else None
        for order, best in _best_of_all(gt_xyxy, boxes_xyxy, least):
            is_forced = best.forced >= 0
            index = best.index
            if low_quality_takes_own:
                index = torch.where(is_forced, best.forced, index)
            negative = torch.where(best.value < low, -1, -2)
            matches[order] = torch.where(is_forced | (best.value >= high), index, negative)
    return matches


@dataclass
class _Best:
    """What M boxes know of their ground truth."""

    value: torch.Tensor  # [M] best IoU
    index: torch.Tensor  # [M] int64, the first ground truth with it
    forced: torch.Tensor  # [M] int64, the last ground truth that overlaps no box more; -1: none


def _best_of_all(
    gt: torch.Tensor, boxes: torch.Tensor, least: float | None
) -> Iterator[tuple[Any, _Best]]:
    """Yield, for parts of the boxes, their indices and their best ground truth.

    What is yielded later for a box counts.

    Args:
        least: the IoU that a ground truth's best must reach to force a box; None: none is forced.
    """
    policy = get_policy()
    step_bytes = policy.step_bytes(boxes.device)
    if len(boxes) * len(gt) * PAIR_BYTES <= step_bytes:
        yield slice(None), _best_dense(gt, boxes, least, step_bytes)
        return
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    regular = box_areas(boxes).isfinite() & (sides >= 0).all(dim=1)
    order = _spatial_order(boxes, regular)
    nearby = torch.where(regular[:, None], boxes, _far_away(boxes))[order]
    blocks = _Blocks(nearby, policy.list_bytes(), step_bytes)
    irregular = blocks.compare(gt, least, (~regular).sum())
    yield order, blocks.best(len(order))
    if irregular:
        # such a box overlaps nothing, but its IoU may be NaN, which is worse than 0
        last = order[-irregular:]
        yield last, _best_dense(gt, boxes[last], least, step_bytes)


def _best_dense(
    gt: torch.Tensor, boxes: torch.Tensor, least: float | None, step_bytes: int
) -> _Best:
    """Work out all pairs, some rows of the matrix at a time."""
    value = boxes.new_full((len(boxes),), -float("inf"))
    index = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    forced = torch.full_like(index, -1)
    rows = max(1, step_bytes // (PAIR_BYTES * len(boxes)))
    for top in range(0, len(gt), rows):
        iou = pairwise_iou(gt[top : top + rows], boxes)
        iou.masked_fill_(iou.isnan(), -float("inf"))
        row_best = iou.amax(dim=1, keepdim=True)
        if least is not None:
            is_best = (iou == row_best) & (row_best > 0) & (row_best >= least)
            row = torch.arange(top, top + len(iou), device=iou.device)[:, None]
            forced = torch.maximum(forced, torch.where(is_best, row, -1).amax(dim=0))
        block_value, block_index = iou.max(dim=0)
        index = torch.where(block_value > value, block_index + top, index)
        value = torch.max(value, block_value)
    return _Best(value, index, forced)


def _far_away(boxes: torch.Tensor) -> torch.Tensor:
    """Return a box (1, 4) that has IoU 0 with every finite one: from inf to -inf, its area inf."""
    return torch.cat([boxes.new_full((1, 2), v) for v in (float("inf"), -float("inf"))], dim=1)


def _spatial_order(boxes: torch.Tensor, regular: torch.Tensor) -> torch.Tensor:
    """Return the order (M,) that puts boxes of like size and place next to each other.

    Sorted by octave of size, then along a Z-curve over cells of an eighth of that size; those that
    are not `regular` (M,) come last.
    """
    boxes = torch.where(regular[:, None], boxes, 0)
    octave = (box_areas(boxes).log2() / 2).round().clamp(min=0, max=31)
    cell = torch.exp2(octave) / 8
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = (centers - centers.amin(dim=0)) / cell[:, None]
    x, y = cells.clamp(max=4095).to(torch.int32).unbind(dim=1)  # 12 bits each
    key = (octave.to(torch.int32) << 24) | (_spread_bits(y) << 1) | _spread_bits(x)
    return key.masked_fill(~regular, 2**31 - 1).sort(stable=True).indices


def _spread_bits(v: torch.Tensor) -> torch.Tensor:
    """Put a zero before each of the low 12 bits: abc -> 0a0b0c."""
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        v = (v | (v << shift)) & mask
    return v


class _Blocks:
    """Boxes in blocks of neighbours, and the best ground truth that each was compared with.

    Args:
        boxes: (M, 4) with areas that are no NaN, neighbours in space next to each other.
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
        self.forced = torch.full_like(self.index, -1)
        self.step_pairs = max(1, step_bytes // (PAIR_BYTES * _BLOCK))
        self.step_hulls = max(1, step_bytes // (PAIR_BYTES * len(self.hulls)))
        # so few at once that all may touch all blocks, and that a block takes its own in one step
        self.most_gt = max(1, min(list_bytes // (48 * len(self.hulls)), self.step_pairs))

    def best(self, count: int) -> _Best:
        """Return what the first `count` boxes know, which leaves out the padding."""
        return _Best(*(v.view(-1)[:count] for v in (self.value, self.index, self.forced)))

    def compare(self, gt: torch.Tensor, least: float | None, number: torch.Tensor) -> int:
        """Compare with ground truth (N, 4), N > 0.

        Args:
            gt: boxes of any kind.
            least: as in _best_of_all.
            number: what else the caller wants to know from the device, a scalar.

        Returns:
            that number, fetched in the same wait as the numbers of pairs.
        """
        far_away = _far_away(gt)
        gt = torch.where(box_areas(gt).isfinite()[:, None], gt, far_away)
        fetched = 0
        for first in range(0, len(gt), self.most_gt):
            part = torch.cat([gt[first : first + self.most_gt], far_away])
            pairs, fetched = self._touching(part[:-1], number)
            pair_best = self._compare_pairs(part, pairs, first)
            if least is not None:
                self._force(part, pairs, pair_best, first, least)
        return fetched

    def _touching(self, gt: torch.Tensor, number: torch.Tensor) -> tuple["_Pairs", int]:
        """Return the pairs of block and ground truth that can overlap, and `number`.

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
        counts = touches.sum(dim=1)
        order = counts.argsort(descending=True)
        fetched, *falling = torch.cat([number[None], counts[order]]).tolist()
        place = nonzero_counted(touches.view(-1), sum(falling))
        return _Pairs(place // len(gt), place % len(gt), counts, order, falling), fetched

    def _compare_pairs(self, gt: torch.Tensor, pairs: "_Pairs", first: int) -> torch.Tensor:
        """Work out pairs, keep what is better, and return the best IoU of each, (P,).

        Args:
            gt: (G + 1, 4), the last one far away.
            pairs: of the first G.
            first: number of the first ground truth.
        """
        number = len(pairs.row)
        row = F.pad(pairs.row, (0, 1), value=len(gt) - 1)  # place P: far away
        pair_best = gt.new_zeros(number + 1)
        starts = pairs.counts.cumsum(dim=0) - pairs.counts
        for ids, width in self._steps(pairs):
            place = torch.arange(width, device=gt.device)
            places = torch.where(place < pairs.counts[ids, None], starts[ids, None] + place, number)
            rows = row[places]  # [b, g]
            iou = pairwise_iou(gt[rows], self.boxes[ids])  # [b, g, K]
            pair_best[places] = iou.amax(dim=2)
            value, at = iou.max(dim=1)  # [b, K]
            before = self.value[ids]
            index = torch.where(value > before, rows.gather(1, at) + first, self.index[ids])
            self.index[ids] = index
            self.value[ids] = torch.max(value, before)
        return pair_best[:number]

    def _steps(self, pairs: "_Pairs") -> Iterator[tuple[torch.Tensor, int]]:
        """Yield blocks (b,) that touch about as many ground truths, and the most that one does."""
        done, end = 0, sum(n > 0 for n in pairs.falling)
        while done < end:
            width = pairs.falling[done]
            after = min(end, done + max(1, self.step_pairs // width))
            yield pairs.order[done:after], width
            done = after

    def _force(
        self, gt: torch.Tensor, pairs: "_Pairs", pair_best: torch.Tensor, first: int, least: float
    ) -> None:
        """Note the last ground truth whose best IoU is that with a box, for each box."""
        best = pair_best.new_zeros(len(gt)).scatter_reduce_(0, pairs.row, pair_best, "amax")
        is_top = (pair_best == best[pairs.row]) & (pair_best > 0) & (pair_best >= least)
        for some in is_top.nonzero().squeeze(1).split(self.step_pairs):
            ids, row = pairs.block[some], pairs.row[some]
            iou = pairwise_iou(gt[row, None], self.boxes[ids]).squeeze(1)  # [p, K]
            forced = torch.where(iou == pair_best[some, None], row[:, None] + first, -1)
            self.forced.scatter_reduce_(0, ids[:, None].expand_as(forced), forced, "amax")


@dataclass
class _Pairs:
    """Pairs of B blocks and ground truths, sorted by block, then ground truth."""

    block: torch.Tensor  # [P] int64
    row: torch.Tensor  # [P] int64, the ground truth
    counts: torch.Tensor  # [B] int64, pairs per block
    order: torch.Tensor  # [B] int64, blocks by falling count
    falling: list[int]  # the counts in that order
