"""Assignment of ground truth to anchors and proposals by overlap (Faster R-CNN, section 3.1.2)."""

import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import torch

from maskrcnn_benchmark.modeling.crowd_matching import match_boxes
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou, valid_ground_truth
from maskrcnn_benchmark.structures.crowd import get_policy

_logger = logging.getLogger(__name__)
_warned: set[str] = set()
_checked: WeakSet[BoxList] = WeakSet()
_BYTES_PER_PAIR = 16  # a row block of set_low_quality_matches_: a float, bools, an index


class Matcher:
    """Give each prediction (anchor, proposal) at most one ground truth.

    Args:
        high_threshold: a prediction whose best quality is >= this takes that ground truth.
        low_threshold: below this it is background; from here to `high_threshold` it is neither.
        allow_low_quality_matches: each ground truth also gets the predictions that it overlaps
            most (ties included), however little that is, if at all.
        least_low_quality: those only where that is at least this much.
        low_quality_takes_own: such a prediction takes the ground truth that overlaps it most of
            all predictions (the last of several), instead of the one that it overlaps most itself.

    Raises:
        ValueError: low_threshold is above high_threshold.
    """

    BELOW_LOW_THRESHOLD = -1
    BETWEEN_THRESHOLDS = -2

    def __init__(
        self,
        high_threshold: float,
        low_threshold: float,
        allow_low_quality_matches: bool = False,
        least_low_quality: float = 0.0,
        low_quality_takes_own: bool = False,
    ) -> None:
        if low_threshold > high_threshold:
            raise ValueError(
                "low_threshold must not be above high_threshold, "
                f"got {low_threshold} and {high_threshold}"
            )
        self.high_threshold = high_threshold
        self.low_threshold = low_threshold
        self.allow_low_quality_matches = allow_low_quality_matches
        self.least_low_quality = least_low_quality
        self.low_quality_takes_own = low_quality_takes_own

    def __call__(self, match_quality_matrix: torch.Tensor) -> torch.Tensor:
        """Match by a matrix of qualities.

        Args:
            match_quality_matrix: (N ground truths, M predictions), >= 0; a NaN wins nothing.

        Returns:
            (M,) int64: index of the ground truth (the first among equals), or a negative constant
            of this class. Without ground truth all predictions are background.
        """
        rows, columns = match_quality_matrix.shape
        if rows == 0 or columns == 0:
            return match_quality_matrix.new_full(
                (columns,), self.BELOW_LOW_THRESHOLD, dtype=torch.int64
            )
        value, best = match_quality_matrix.max(dim=0)
        if value.isnan().any():
            match_quality_matrix = _without_nan(match_quality_matrix)
            value, best = match_quality_matrix.max(dim=0)
        matches = best.masked_fill(value < self.high_threshold, self.BETWEEN_THRESHOLDS)
        matches[value < self.low_threshold] = self.BELOW_LOW_THRESHOLD
        if self.allow_low_quality_matches:
            self.set_low_quality_matches_(matches, best, match_quality_matrix)
        return matches

    def set_low_quality_matches_(
        self, matches: torch.Tensor, all_matches: torch.Tensor, match_quality_matrix: torch.Tensor
    ) -> None:
        """Write into `matches` the predictions that some ground truth overlaps most.

        A ground truth whose best is 0 or NaN overlaps nothing and gets none. More rows than
        MODEL.CROWD.MATCH_ROWS are taken in row blocks of bounded working memory.

        Args:
            matches: (M,) int64, edited in place.
            all_matches: (M,) int64, each prediction's best ground truth whatever its quality.
            match_quality_matrix: (N, M).
        """
        rows, columns = match_quality_matrix.shape
        policy = get_policy()
        crowd = policy.mode != "off" and rows > policy.match_rows
        device = torch.device("cpu") if crowd and policy.mode == "cpu" else matches.device
        step = rows
        if crowd:
            step = max(1, policy.list_bytes() // (_BYTES_PER_PAIR * max(1, columns)))
        forced = torch.full((columns,), -1, dtype=torch.int64, device=device)
        for top in range(0, rows if columns else 0, step):
            block = match_quality_matrix[top : top + step].to(device)
            best = block.amax(dim=1, keepdim=True)  # [n, 1]
            if best.isnan().any():
                block = _without_nan(block)
                best = block.amax(dim=1, keepdim=True)
            is_best = (block == best) & (best > 0) & (best >= self.least_low_quality)
            row = torch.arange(top, top + len(block), device=device)[:, None]
            forced = torch.maximum(forced, torch.where(is_best, row, -1).amax(dim=0))
        forced = forced.to(matches.device)
        index = forced if self.low_quality_takes_own else all_matches
        matches.copy_(torch.where(forced >= 0, index, matches))

    def match(self, target: BoxList, boxes: BoxList) -> torch.Tensor:
        """Match boxes with an image's ground truth, in bounded memory (MODEL.CROWD).

        Args:
            target: N ground-truth boxes; those that can match nothing (see valid_ground_truth)
                are left out, and named in one warning per image.
            boxes: M anchors or proposals on the same image.

        Returns:
            (M,) int64 as of __call__; the indices count all N ground truths.
        """
        if len(target) == 0:
            return self._match_valid(target, boxes)
        valid = valid_ground_truth(target)
        _warn_of_invalid(target, valid)
        # the box before it that can match stands in for each that cannot (the first one for those
        # at the head): copies next to their box change no match, be it the first or the last of
        # equals that counts
        number = torch.arange(len(target), device=valid.device)
        before = torch.where(valid, number, -1).cummax(dim=0).values
        stand_in = torch.where(before < 0, valid.int().argmax(), before)
        usable = BoxList(target.convert("xyxy").bbox[stand_in], target.size)
        matches = self._match_valid(usable, boxes.convert("xyxy"))
        matches = torch.where(matches >= 0, stand_in[matches.clamp(min=0)], matches)
        return matches.masked_fill(~valid.any(), self.BELOW_LOW_THRESHOLD)

    def _match_valid(self, target: BoxList, boxes: BoxList) -> torch.Tensor:
        mode = get_policy().mode
        if mode == "stream":
            return match_boxes(
                *(target.bbox, boxes.bbox, self.high_threshold, self.low_threshold),
                *(self.allow_low_quality_matches, self.least_low_quality),
                self.low_quality_takes_own,
            )
        if mode == "off":
            return self(boxlist_iou(target, boxes))
        target, on_cpu = target.copy_with_fields([]).to("cpu"), boxes.copy_with_fields([]).to("cpu")
        return self(boxlist_iou(target, on_cpu)).to(boxes.bbox.device)


def gather_matched(
    target: BoxList, matched_idxs: torch.Tensor, fields: Sequence[str] = ()
) -> BoxList:
    """Return each prediction's ground truth.

    Args:
        target: N ground truths.
        matched_idxs: (M,) as of Matcher; negative ones get the first ground truth, to be ignored.
        fields: names of the fields that come along.

    Returns:
        M boxes with these fields and "matched_idxs". Without ground truth the boxes and tensor
        fields are zeros and other fields hold blank instances.
    """
    chosen = target.copy_with_fields(list(fields))
    if len(target):
        matched = chosen[matched_idxs.clamp(min=0)]
    else:
        count = len(matched_idxs)
        matched = BoxList(target.bbox.new_zeros((count, 4)), target.size, target.mode)
        matched.image_name = target.image_name
        for name in fields:
            matched.add_field(name, _blank(chosen.get_field(name), count))
    matched.add_field("matched_idxs", matched_idxs)
    return matched


def _blank(field: Any, count: int) -> Any:
    if isinstance(field, torch.Tensor):
        return field.new_zeros((count, *field.shape[1:]))
    return field.blank(count)


def _without_nan(quality: torch.Tensor) -> torch.Tensor:
    """Return the matrix with NaN as the worst of all values."""
    return quality.masked_fill(quality.isnan(), -float("inf"))


def _warn_of_invalid(target: BoxList, valid: torch.Tensor) -> None:
    """Tell once per image that some of its ground truth matches nothing.

    An image is known by its name; one without is told of each time that it is loaded. The count is
    fetched from the device when a list is seen first, not by each head anew.
    """
    if target in _checked or target.image_name in _warned:
        return
    _checked.add(target)
    count = int((~valid).sum())
    if count == 0:
        return
    if target.image_name:
        _warned.add(target.image_name)
    _logger.warning(
        "%s: %d of %d ground-truth boxes match nothing: empty, inverted, not finite or off the "
        "image (%s x %s)",
        target.image_name or "an image without a name",
        count,
        len(target),
        *target.size,
    )
