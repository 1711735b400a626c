"""Greedy suppression of what was found twice, in memory that grows with N and not with N * N."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.structures.overlapping_boxes import overlapping_pairs

_BLOCK = 2048  # boxes that are decided in one step: at most 2048 * 2047 / 2 pairs, 34 MB
_FEW_PAIRS = 4  # per box: with no more than these, more boxes are decided in one step


def suppress(
    edges: Tensor,
    is_duplicate: Callable[[Tensor, Tensor], Tensor],
    groups: Tensor | None = None,
    sources: Tensor | None = None,
) -> Tensor:
    """Drop every box that repeats a better one that is kept itself.

    A box is compared with the kept boxes before it, of its own group and of other sources, so that
    what a source finds itself (a tile, whose model has suppressed its repetitions) never drops
    another of its own. Of A, B, C by falling score, where A and B are duplicates, B and C too, but
    A and C are not, A and C stay.

    Args:
        edges: (N, 4) float64 x1 y1 x2 y2 around the boxes, by falling score; boxes are no
            duplicates where these share no area.
        is_duplicate: takes two index tensors (P,) into the boxes, the better and the worse of each
            pair, and returns bool (P,).
        groups: (N,) integers, for example classes; None: all are of one group.
        sources: (N,) integers, for example tiles; None: each is of a source of its own.

    Returns:
        (K,) int64: indices of the kept boxes, rising.
    """

    def dropping(better: Tensor, worse: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield places (P,) in `better` and in `worse` of pairs whose first drops the second."""
        for rows, columns in overlapping_pairs(edges[better], edges[worse]):
            first, second = better[rows], worse[columns]
            wanted = first < second
            if groups is not None:
                wanted &= groups[first] == groups[second]
            if sources is not None:
                wanted &= sources[first] != sources[second]
            where = wanted.nonzero().squeeze(1)
            where = where[is_duplicate(first[where], second[where])]
            yield rows[where], columns[where]

    def pairs_among(block: Tensor) -> Tensor | None:
        """Return the places (2, P) of pairs in a block; None where they are too many for it."""
        parts, count = [block.new_empty(2, 0)], 0
        for pair in dropping(block, block):
            parts.append(torch.stack(pair))
            count += parts[-1].shape[1]
            if len(block) > _BLOCK and count > _FEW_PAIRS * len(block):
                return None
        return torch.cat(parts, dim=1)

    boxes = torch.arange(len(edges), device=edges.device)
    kept = boxes[:0]
    # Sources have suppressed their own repetitions: most often all fits into one step.
    size = _BLOCK if sources is None else len(boxes)
    while len(boxes):
        block = boxes[:size]
        dropped = torch.zeros(len(block), dtype=torch.bool, device=block.device)
        for _, columns in dropping(kept, block):
            dropped[columns] = True
        block = block[~dropped]
        pairs = pairs_among(block)
        if pairs is None:
            size = max(size // 4, _BLOCK)
            continue
        boxes = boxes[size:]
        chosen = _greedy(len(block), pairs.cpu().numpy())
        kept = torch.cat([kept, block[torch.from_numpy(chosen).to(block.device)]])
    return kept


def _greedy(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return the boxes (K,) that are left when each kept one, from the best on, drops its own.

    Args:
        count: number of boxes, the best first.
        pairs: (2, P) of (box, worse box that it drops if it is kept itself).
    """
    better, worse = pairs[:, np.argsort(pairs[0], kind="stable")]
    alive = np.ones(count, dtype=bool)
    starts = np.flatnonzero(np.diff(better, prepend=-1))
    for start, dropped in zip(starts, np.split(worse, starts)[1:], strict=True):
        if alive[better[start]]:
            alive[dropped] = False
    return np.flatnonzero(alive)
