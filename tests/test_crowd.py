"""Matching in blocks: the same index for every anchor as the whole matrix gives, ties included."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.benchmarks.crowd import (
    Case,
    crowd_table,
    make_anchors,
    make_crowd,
    match_by_rows,
    match_dense,
    measure,
    run_case,
)
from maskrcnn_benchmark.modeling.crowd_matching import match_boxes
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.structures import crowd
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.pairwise_iou import blocks

WIDTH, HEIGHT = 320, 256
BLOCKS_MB = [0.02, 1, 64]


@pytest.fixture(autouse=True)
def _policy_restored():
    before = crowd.get_policy()
    yield
    crowd.set_policy(before)


def plain_iou(gt: torch.Tensor, boxes: torch.Tensor) -> np.ndarray:
    """Return the whole matrix, computed row by row."""
    rows = []
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    for box in gt:
        near = torch.max(box[:2], boxes[:, :2])
        sides = (torch.min(box[2:], boxes[:, 2:]) - near + 1).clamp(min=0)
        inter = sides[:, 0] * sides[:, 1]
        area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
        rows.append(inter / (area + areas - inter))
    return torch.stack(rows).numpy()


def plain_match(iou: np.ndarray, high: float, low: float, allow_low_quality: bool) -> torch.Tensor:
    """Match by the definition: NaN counts as no overlap, and a best IoU of 0 as no match."""
    iou = np.where(np.isnan(iou), -np.inf, iou)
    index, value = iou.argmax(axis=0), iou.max(axis=0)  # argmax: the first among equals
    matches = np.where(value >= high, index, np.where(value < low, -1, -2))
    if allow_low_quality:
        for row in iou:
            forced = (row == row.max()) & (row > 0)
            matches[forced] = index[forced]
    return torch.from_numpy(matches)


def stacked(corner: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    return torch.cat([corner, corner + sides], dim=1)


def scene(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ground truth and anchors, in random order."""
    generator = torch.Generator().manual_seed(len(name))

    def rand(count: int) -> torch.Tensor:
        return torch.rand(count, 2, generator=generator)

    anchors = make_anchors(WIDTH, HEIGHT).bbox[::19]
    anchors = anchors[torch.randperm(len(anchors), generator=generator)]
    gt = make_crowd(60, WIDTH, HEIGHT, seed=4).bbox
    if name == "whole numbers":  # many ties
        gt, anchors = (gt / 8).floor() * 8, (anchors / 8).floor() * 8
    elif name == "equal ground truth":
        gt = gt[torch.arange(len(gt)) // 7]
    elif name == "all boxes equal":
        gt, anchors = gt[:1].expand(60, 4), gt[:1].expand(1500, 4)
    elif name == "all overlap":
        gt = stacked(100 + rand(60), 50 + rand(60) * 100)
        anchors = stacked(90 + rand(1500) * 20, 30 + rand(1500) * 200)
    elif name == "one pile":
        gt = stacked(200 + rand(60) * 5, rand(60) * 12)
    elif name == "huge and tiny":
        gt = torch.cat([stacked(-1e6 * rand(30), 2e6 * rand(30)), stacked(rand(30) * 99, rand(30))])
        anchors = torch.cat([anchors, stacked(-1e7 * rand(300), 3e7 * rand(300))])
    elif name == "far apart":
        gt = gt + 1e5
    elif name == "anchors of any kind":
        bad = [float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 0, 40]
        picks = torch.randint(len(bad), (400, 4), generator=generator)
        anchors = torch.cat(
            [anchors, torch.tensor(bad)[picks], stacked(rand(300) * 99, -rand(300) * 9)]
        )
    elif name == "one anchor":
        anchors = gt[3:4] + 1
    return gt, anchors


SCENES = [
    "as usual",
    "whole numbers",
    "equal ground truth",
    "all boxes equal",
    "all overlap",
    "one pile",
    "huge and tiny",
    "far apart",
    "anchors of any kind",
    "one anchor",
]


RULES = [
    (0.7, 0.3, True),
    (0.7, 0.3, False),
    (0.2, 0.05, True),
    (0.5, 0.5, False),
    (0.4, 0.0, True),  # a threshold of 0: what overlaps nothing counts as well
    (0.0, 0.0, False),
]


@pytest.mark.parametrize("name", SCENES)
def test_same_indices_on_any_block_size_in_all_modes(name):
    gt, anchors = scene(name)
    iou = plain_iou(gt, anchors)
    size = (10**6, 10**6)
    for high, low, allow in RULES:
        expected = plain_match(iou, high, low, allow)
        for block_mb in BLOCKS_MB:
            crowd.set_policy(crowd.CrowdPolicy(block_mb=block_mb))
            assert torch.equal(match_boxes(gt, anchors, high, low, allow), expected)
        for mode in ("off", "cpu"):
            crowd.set_policy(crowd.CrowdPolicy(10, 10, mode, 0.05))
            matches = Matcher(high, low, allow)._match_valid(
                BoxList(gt, size), BoxList(anchors, size)
            )
            assert torch.equal(matches, expected)
    if name not in ("far apart", "all boxes equal", "one anchor"):
        assert len(set(plain_match(iou, 0.2, 0.05, True).tolist())) > 2


@pytest.mark.parametrize("name", ["as usual", "whole numbers", "all boxes equal", "one pile"])
def test_same_indices_as_the_original_where_all_ground_truth_overlaps(name):
    gt, anchors = scene(name)
    anchors = torch.cat([anchors, gt])  # every ground truth has an anchor
    expected = match_dense(gt, anchors)
    assert torch.equal(match_by_rows(gt, anchors), expected)
    for block_mb in BLOCKS_MB:
        crowd.set_policy(crowd.CrowdPolicy(block_mb=block_mb))
        assert torch.equal(match_boxes(gt, anchors, 0.7, 0.3, True), expected)


def test_a_crowd_of_an_fpn_tile():
    gt, anchors = make_crowd(300, 512, 384, seed=1).bbox, make_anchors(512, 384).bbox
    expected = match_by_rows(gt, anchors)
    assert (expected >= 0).sum() > 300 and (expected == -2).sum() > 300
    for block_mb in (1, 64):
        crowd.set_policy(crowd.CrowdPolicy(block_mb=block_mb))
        assert torch.equal(match_boxes(gt, anchors, 0.7, 0.3, True), expected)


def test_thousands_of_equal_ground_truths_in_one_place():
    gt = torch.tensor([[100.0, 80, 131, 111]]).expand(3000, 4)
    anchors = make_anchors(WIDTH, HEIGHT).bbox
    crowd.set_policy(crowd.CrowdPolicy(block_mb=8))
    matches = match_boxes(gt, anchors, 0.7, 0.3, True)
    assert torch.equal(matches, match_boxes(gt[:1], anchors, 0.7, 0.3, True))
    assert set(matches.tolist()) == {-2, -1, 0}


@pytest.mark.parametrize(("rows", "columns"), [(0, 7), (5, 0), (0, 0)])
def test_nothing_to_match(rows, columns):
    matches = match_boxes(torch.rand(rows, 4), torch.rand(columns, 4), 0.7, 0.3, True)
    assert matches.dtype == torch.int64 and matches.tolist() == [-1] * columns


def test_no_anchor_overlaps():
    gt, anchors = scene("far apart")
    crowd.set_policy(crowd.CrowdPolicy(block_mb=0.05))
    assert set(match_boxes(gt, anchors, 0.7, 0.3, True).tolist()) == {-1}


def test_touching_is_not_rounded_away():
    """The hull's test is at least as generous as the pair's, down to the last bit."""
    generator = torch.Generator().manual_seed(0)
    near = torch.rand(4000, generator=generator) * 1000
    gt = torch.stack([near, near * 0, near + 10, near * 0 + 9], dim=1)[::40]
    # anchors that end one pixel before a ground truth begins, give or take a rounding
    end = torch.nextafter(near - 1, near * 0 + 1e9)
    anchors = torch.stack([end - 7, near * 0, end, near * 0 + 9], dim=1)
    crowd.set_policy(crowd.CrowdPolicy(block_mb=0.05))
    expected = plain_match(plain_iou(gt, anchors), 0.7, 0.0, True)
    assert torch.equal(match_boxes(gt, anchors, 0.7, 0.0, True), expected)


def test_blocks_cover_the_matrix_once():
    for rows, columns, size in ((7, 5, 24), (7, 5, 24 * 12), (7, 5, 10**6), (0, 5, 24), (5, 0, 24)):
        seen = torch.zeros(rows, columns)
        for block in blocks(rows, columns, size, 24):
            seen[block] += 1
            assert seen[block].numel() * 24 <= max(size, 24)
        assert seen.eq(1).all()


def test_policy_from_config():
    keys = SimpleNamespace(IOU_ROWS=3, MATCH_ROWS=4, MODE="cpu", BLOCK_MB=5)
    crowd.set_policy_from_cfg(SimpleNamespace(MODEL=SimpleNamespace(CROWD=keys)))
    assert crowd.get_policy() == crowd.CrowdPolicy(3, 4, "cpu", 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"mode": "gpu"}, "MODE must be one of .* got 'gpu'"), ({"block_mb": 0}, "above 0, got 0")],
)
def test_bad_policy(change, message):
    with pytest.raises(ValueError, match=message):
        crowd.CrowdPolicy(**change)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError), crowd.one_thread(torch.device("cpu")):
            assert torch.get_num_threads() == 1
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_fault_memory_grows_with_ground_truth_times_anchors():
    """1,000 ground truths x 65,472 anchors: the whole matrix alone would be 262 MB."""
    case = measure("ours", 1000, 512, 512, seed=0, repeat=False)
    assert case.extra_mb < 48
    assert case.matches.shape == (65472,) and (case.matches >= 0).sum() > 1000


def test_benchmark_table(monkeypatch):
    monkeypatch.setattr("maskrcnn_benchmark.benchmarks.crowd.measure", run_case)
    table = list(crowd_table([3], 64, 48, seed=0))
    assert table[0].startswith("771 anchors on 64 x 48") and table[2].endswith("  yes")
    monkeypatch.setattr("maskrcnn_benchmark.benchmarks.crowd.available_bytes", lambda: 0)
    table = list(crowd_table([3], 64, 48, seed=0))
    assert table[2].split()[:3] == ["3", "not", "run"] and " yes (dense: no room)" in table[2]

    def wrong(method, *_, **__):
        return Case(1.0, 2.0, torch.zeros(3) if method == "ours" else torch.ones(3))

    monkeypatch.setattr("maskrcnn_benchmark.benchmarks.crowd.measure", wrong)
    monkeypatch.setattr("maskrcnn_benchmark.benchmarks.crowd.available_bytes", lambda: 10**12)
    assert list(crowd_table([3], 64, 48, seed=0))[2].split() == "3 1.00 1.000 1.0 2 2.0 NO".split()


@pytest.mark.slow
def test_benchmark_tool():
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "tools/benchmark.py", "crowd", "--counts", "4", "--size", "64x48"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split()[-1] == "yes"


@pytest.mark.slow
def test_memory_and_time_on_a_tile():
    """1024 x 1024 with 1,000 ground truths: at most 64 MB, and far less time than row by row."""
    ours = measure("ours", 1000, 1024, 1024, seed=0, repeat=True)
    plain = measure("rows", 1000, 1024, 1024, seed=0, repeat=False)
    assert torch.equal(ours.matches, plain.matches)
    assert ours.extra_mb <= 64
    assert ours.seconds < plain.seconds / 5
