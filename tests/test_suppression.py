"""Overlapping boxes against a plain comparison of all pairs; suppression between sources."""

import time

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.benchmarks.memory import LiveTensors
from maskrcnn_benchmark.structures import overlapping_boxes, suppression
from maskrcnn_benchmark.structures.oriented_boxes import oriented_nms
from maskrcnn_benchmark.structures.overlapping_boxes import overlapping_pairs
from maskrcnn_benchmark.structures.suppression import suppress


def boxes(count: int, seed: int, side: float, size: float = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator, dtype=torch.float64) * side - side / 3
    # whole numbers: many begin and end at the same places
    shape = torch.rand(count, 2, generator=generator, dtype=torch.float64) * size
    return torch.cat([low, low + shape], dim=1).round()


def plain_pairs(a: torch.Tensor, b: torch.Tensor) -> set[tuple[int, int]]:
    return {
        (i, k)
        for i, (x1, y1, x2, y2) in enumerate(a.tolist())
        for k, (u1, v1, u2, v2) in enumerate(b.tolist())
        if x1 < min(x2, u2) and u1 < min(x2, u2) and y1 < min(y2, v2) and v1 < min(y2, v2)
    }


def with_odd_ones(given: torch.Tensor) -> torch.Tensor:
    given[3] = torch.tensor([-100.0, -90, 900, 1000])  # over all strips
    given[5, 2] = given[5, 0]  # no area
    given[7] = given[7, [2, 3, 0, 1]]  # inverted
    given[9, 1] = torch.nan
    return given


@pytest.mark.parametrize("side", [30, 300, 3000])
@pytest.mark.parametrize("step", [7, 2**17])  # candidates at once
@pytest.mark.parametrize("few", [-1, 2**20])  # pairs up to which all are compared
def test_pairs_are_those_of_a_plain_loop(monkeypatch, side, step, few):
    monkeypatch.setattr(overlapping_boxes, "_CANDIDATES", step)
    monkeypatch.setattr(overlapping_boxes, "_FEW", few)
    a, b = with_odd_ones(boxes(120, 1, side)), with_odd_ones(boxes(90, 2, side))
    found = [
        pair
        for rows, columns in overlapping_pairs(a, b)
        for pair in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    expected = plain_pairs(a, b)
    assert len(found) == len(set(found)) and set(found) == expected and len(expected) > 20
    assert sum(len(rows) for rows, _ in overlapping_pairs(a[:0], b)) == 0


def test_sizes_of_parts_are_bounded(monkeypatch):
    monkeypatch.setattr(overlapping_boxes, "_FEW", -1)
    monkeypatch.setattr(overlapping_boxes, "_CANDIDATES", 500)
    same = torch.tensor([[10.0, 20, 30, 50]]).double().repeat(300, 1)
    sizes = [len(rows) for rows, _ in overlapping_pairs(same, same)]
    assert sum(sizes) == 300 * 300 and max(sizes) < 500 + 2 * 300  # a box lies in two strips


@pytest.mark.slow
def test_memory_does_not_grow_with_the_square():
    """4,000 equal boxes are 16 million pairs, which would take 256 MB as indices."""
    corners = torch.tensor([[10.0, 20], [40, 25], [38, 40], [8, 35]]).double().repeat(4000, 1, 1)
    scores, tiles = torch.linspace(1, 0, 4000).double(), torch.arange(4000) // 2000
    with LiveTensors() as live:
        assert oriented_nms(corners, scores, 0.1).tolist() == [0]
        each = torch.arange(4000)  # too many pairs for one step, which is given up
        assert oriented_nms(corners, scores, 0.1, sources=each).tolist() == [0]
    assert live.peak < 120e6
    # the first tile's are the better ones: all of them stay
    kept = oriented_nms(corners[::20], scores[::20], 0.1, sources=tiles[::20])
    assert kept.tolist() == list(range(100))


CHAIN = [[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]  # the ends share 2 of 18 columns


@pytest.mark.parametrize(
    ("sources", "groups", "expected"),
    [
        (None, None, [0, 2]),  # the second is dropped, and so does not drop the third
        ([0, 1, 2], None, [0, 2]),
        ([0, 1, 0], None, [0, 2]),
        ([0, 0, 1], None, [0, 1]),  # the first two are of one tile; the second drops the third
        ([0, 1, 1], None, [0, 2]),
        ([0, 0, 0], None, [0, 1, 2]),
        ([0, 1, 2], [0, 1, 1], [0, 1]),
    ],
)
def test_chains_of_duplicates(sources, groups, expected):
    edges = torch.tensor(CHAIN).double()
    low = lambda i, k: torch.minimum(edges[i, 2], edges[k, 2]) - edges[k, 0]  # noqa: E731
    kept = suppress(
        edges,
        lambda first, second: low(first, second) > 5,
        *(None if given is None else torch.tensor(given) for given in (groups, sources)),
    )
    assert kept.tolist() == expected


@pytest.mark.parametrize("few", [0, 2, 100])  # pairs per box of a step that is not given up
@pytest.mark.parametrize("tiles", [1, 4, 300])
def test_steps_of_any_size_keep_what_a_plain_loop_keeps(monkeypatch, few, tiles):
    monkeypatch.setattr(suppression, "_BLOCK", 16)
    monkeypatch.setattr(suppression, "_FEW_PAIRS", few)
    edges = boxes(300, 5, 90, 40)
    sources = torch.randint(tiles, (300,), generator=torch.Generator().manual_seed(0))

    def far_in(first, second):
        """By more than 8 columns and 8 rows."""
        low = torch.maximum(edges[first, :2], edges[second, :2])
        shared = torch.minimum(edges[first, 2:], edges[second, 2:]) - low
        return (shared > 8).all(dim=1)

    kept: list[int] = []
    for box in range(300):
        others = torch.tensor([k for k in kept if sources[k] != sources[box]], dtype=torch.int64)
        if not far_in(others, torch.full_like(others, box)).any():
            kept.append(box)
    assert suppress(edges, far_in, sources=sources).tolist() == kept
    assert (len(kept) == 300) == (tiles == 1)


def crowd(count: int, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Return corners and scores of detections, three of each object."""
    random = np.random.default_rng(0)
    center = random.uniform(0, side, (count // 3, 2))
    sides = random.uniform(12, 40, count // 3)[:, None] * [1, 0.45]
    angle = np.repeat(random.uniform(0, np.pi, count // 3), 3) + random.normal(0, 0.05, count)
    center = np.repeat(center, 3, axis=0) + random.normal(0, 1.5, (count, 2))
    sides = np.repeat(sides, 3, axis=0) / 2
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1) * sides[:, :1]
    across = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * sides[:, 1:]
    corners = [-along - across, along - across, along + across, across - along]
    return center[:, None] + np.stack(corners, axis=1), random.random(count)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "side", "limit"), [(19_998, 4000, 1.5), (60_000, 7000, 6)])
def test_seconds_of_a_crowd(count, side, limit):
    """A third to a fifth of the limits is usual (docs/measurements.md)."""
    corners, scores = crowd(count, side)
    start = time.process_time()
    kept = oriented_nms(corners, scores, 0.1)
    assert time.process_time() - start < limit
    assert count / 4 < len(kept) < count / 2.5
