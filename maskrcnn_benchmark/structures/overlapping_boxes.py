"""Which upright boxes overlap, found without a look at all pairs.

The plane is cut into horizontal strips as high as the mean box, so that a box lies in three strips
or less on average. Within a strip, boxes are sorted by their left edges: those that begin within a
box's columns are one run of the sorted list. Boxes are edges x1 y1 x2 y2, on any device.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

_FEW = 2**20  # so many pairs are compared at once, for which the host waits for a GPU once only
_CANDIDATES = 2**17  # what is compared in one step otherwise: 20 MB


def overlapping_pairs(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the pairs whose boxes share an area, each once, in parts of bounded size.

    Args:
        a: (N, 4) float64; boxes without area or with NaN overlap nothing.
        b: (M, 4) float64.

    Yields:
        (P,) indices into a and (P,) into b, in no order. P is at most 2**20, or 2**17 and what one
        box may overlap.
    """
    if len(a) * len(b) <= _FEW:
        ax1, ay1, ax2, ay2 = _nan_without_area(a)[:, :, None].unbind(dim=1)
        bx1, by1, bx2, by2 = _nan_without_area(b).unbind(dim=1)
        share = (ax1 < bx2) & (bx1 < ax2) & (ay1 < by2) & (by1 < ay2)  # [N, M]
        rows, columns = share.nonzero(as_tuple=True)
        yield rows, columns
        return
    rows_a, rows_b = _with_area(a), _with_area(b)
    a, b = a[rows_a], b[rows_b]
    if len(a) == 0 or len(b) == 0:
        return
    both = torch.cat([a, b])
    low, high = both[:, :2].amin(dim=0), both[:, 2:].amax(dim=0)
    height, length = (both[:, 3] - both[:, 1]).mean(), high[0] - low[0] + 1
    strips_a, strips_b = (_Strips(boxes, low, height, length) for boxes in (a, b))
    for first, second in strips_a.pairs_with_later(strips_b, or_equal=True):
        yield rows_a[first], rows_b[second]
    for second, first in strips_b.pairs_with_later(strips_a, or_equal=False):
        yield rows_a[first], rows_b[second]


def _nan_without_area(boxes: Tensor) -> Tensor:
    """Return the boxes (N, 4), those without area as NaN, which overlaps nothing."""
    return torch.where((boxes[:, :2] < boxes[:, 2:]).all(dim=1, keepdim=True), boxes, torch.nan)


def _with_area(boxes: Tensor) -> Tensor:
    """Return the places of the boxes with an area and finite coordinates."""
    good = (boxes[:, :2] < boxes[:, 2:]).all(dim=1) & boxes.isfinite().all(dim=1)
    return good.nonzero().squeeze(1)


class _Strips:
    """Boxes sorted by strip and left edge, with an entry for each strip that a box lies in.

    Args:
        boxes: (N, 4).
        low: (2,), the least x and y of all boxes.
        height: of a strip.
        length: more than any box's right edge less the least x.
    """

    def __init__(self, boxes: Tensor, low: Tensor, height: Tensor, length: Tensor) -> None:
        self.boxes = boxes
        self.top, bottom = ((boxes[:, 1::2] - low[1]) / height).long().unbind(dim=1)
        box, strip = _runs(self.top, bottom - self.top + 1)
        # Rounding can make different places equal but cannot exchange them: no pair is missed.
        start = strip * length + (boxes[box, 0] - low[0])
        self.start, order = start.sort()
        self.box, self.strip = box[order], strip[order]
        self.end = self.strip * length + (boxes[self.box, 2] - low[0])

    def pairs_with_later(
        self, others: "_Strips", or_equal: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the pairs that overlap and whose second box begins at a greater x (or the same)."""
        first = torch.searchsorted(others.start, self.start)
        count = torch.searchsorted(others.start, self.end, right=True) - first
        step = (count.cumsum(0) - 1).div(_CANDIDATES, rounding_mode="floor").clamp(min=0)
        sizes = step.bincount().tolist()
        entries = torch.arange(len(count), device=count.device)
        for part in entries.split(sizes):
            entry, place = _runs(first[part], count[part])
            row, column = self.box[part[entry]], others.box[place]
            a, b = self.boxes[row], others.boxes[column]
            later = b[:, 0] >= a[:, 0] if or_equal else b[:, 0] > a[:, 0]
            overlap = (a[:, :2] < b[:, 2:]) & (b[:, :2] < a[:, 2:])
            # of the strips that both lie in, the upper one counts
            upper = torch.maximum(self.top[row], others.top[column])
            here = (self.strip[part[entry]] == upper) & (others.strip[place] == upper)
            where = (later & here & overlap.all(dim=1)).nonzero().squeeze(1)
            yield row[where], column[where]


def _runs(start: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return the members start, start + 1, … of all runs, behind the number of each one's run."""
    run = torch.arange(len(start), device=start.device).repeat_interleave(count)
    shift = start - (count.cumsum(0) - count)
    return run, torch.arange(len(run), device=start.device) + shift[run]
