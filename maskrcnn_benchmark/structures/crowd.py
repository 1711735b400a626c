"""Overlap of crowds: IoU and matching in memory that does not grow with ground truth x anchors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

MODES = ("stream", "cpu", "off")


@dataclass(frozen=True)
class CrowdPolicy:
    """When and how the crowd path is taken; the keys of MODEL.CROWD (see config/defaults.py).

    Args:
        iou_rows: boxlist_iou with more rows than this takes the crowd path.
        match_rows: Matcher.set_low_quality_matches_ with more rows than this takes it.
        mode: "stream": in blocks on the boxes' device; "cpu": on the CPU; "off": never.
        block_mb: working memory of the crowd path in megabytes.

    Raises:
        ValueError: an unknown mode or a block without size.
    """

    iou_rows: int = 100
    match_rows: int = 1000
    mode: str = "stream"
    block_mb: float = 64

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"MODEL.CROWD.MODE must be one of {MODES}, got {self.mode!r}")
        if not self.block_mb > 0:
            raise ValueError(f"MODEL.CROWD.BLOCK_MB must be above 0, got {self.block_mb}")

    def block_bytes(self) -> int:
        """Return the working memory in bytes."""
        return int(self.block_mb * 2**20)


_policy = CrowdPolicy()


def get_policy() -> CrowdPolicy:
    """Return the policy in force in this process."""
    return _policy


def set_policy(policy: CrowdPolicy) -> None:
    """Put a policy in force for every later call in this process."""
    global _policy
    _policy = policy


def set_policy_from_cfg(cfg: Any) -> None:
    """Put MODEL.CROWD of a config in force."""
    crowd = cfg.MODEL.CROWD
    set_policy(CrowdPolicy(crowd.IOU_ROWS, crowd.MATCH_ROWS, crowd.MODE, crowd.BLOCK_MB))


def box_areas(boxes_xyxy: torch.Tensor) -> torch.Tensor:
    """Return the areas (N,) of boxes (N, 4), both ends included."""
    x1, y1, x2, y2 = boxes_xyxy.unbind(dim=1)
    return (x2 - x1 + 1) * (y2 - y1 + 1)


def pairwise_iou(boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> torch.Tensor:
    """Return the IoU (N, M) of boxes (N, 4) and (M, 4) by the original's operations in their order.

    The order matters: another one gives other last bits, and then other ties and matches.
    """
    ax1, ay1, ax2, ay2 = boxes_a[:, :, None].unbind(dim=1)  # each [N, 1]
    bx1, by1, bx2, by2 = boxes_b.unbind(dim=1)  # each [M]
    width = (torch.min(ax2, bx2) - torch.max(ax1, bx1) + 1).clamp(min=0)  # [N, M]
    height = (torch.min(ay2, by2) - torch.max(ay1, by1) + 1).clamp(min=0)
    inter = width * height
    return inter / (box_areas(boxes_a)[:, None] + box_areas(boxes_b) - inter)


def blocks(rows: int, columns: int, block_bytes: int, pair_bytes: int) -> Iterator[tuple]:
    """Cut a [rows, columns] matrix into blocks, each a (slice, slice) of bounded working memory.

    Args:
        rows, columns: shape of the matrix.
        block_bytes: working memory of one block.
        pair_bytes: working memory of one pair.
    """
    pairs = max(1, block_bytes // pair_bytes)
    width = max(1, min(columns, pairs))
    height = max(1, min(rows, pairs // width))
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield slice(top, top + height), slice(left, left + width)


def match_boxes(
    gt_xyxy: torch.Tensor,
    boxes_xyxy: torch.Tensor,
    high: float,
    low: float,
    allow_low_quality: bool,
) -> torch.Tensor:
    """Match boxes with ground truth without their whole IoU matrix (see Matcher).

    Args:
        gt_xyxy: (N, 4) valid ground-truth boxes, on the same device as the others.
        boxes_xyxy: (M, 4) anchors or proposals.
        high, low: thresholds of the Matcher.
        allow_low_quality: also give each ground truth the boxes that it overlaps most.

    Returns:
        (M,) int64: index of the ground truth, -1 below `low`, -2 from `low` to `high`.
    """
    count, device = len(boxes_xyxy), boxes_xyxy.device
    best = boxes_xyxy.new_zeros(count)
    index = torch.zeros(count, dtype=torch.int64, device=device)
    hit = torch.zeros(count, dtype=torch.bool, device=device)
    if len(gt_xyxy) == 0:
        return index - 1
    # whole rows, so that each block knows its ground truths' best
    rows = max(1, get_policy().block_bytes() // (24 * max(1, count)))
    for top in range(0, len(gt_xyxy), rows):
        iou = pairwise_iou(gt_xyxy[top : top + rows], boxes_xyxy)
        value, row = iou.max(dim=0)
        better = value > best
        best = torch.where(better, value, best)
        index = torch.where(better, row + top, index)
        if allow_low_quality and count:
            top_of_row = iou.max(dim=1, keepdim=True).values
            hit |= ((iou == top_of_row) & (top_of_row > 0)).any(dim=0)
    matches = torch.where(best >= high, index, torch.where(best < low, -1, -2))
    return torch.where(hit, index, matches)
