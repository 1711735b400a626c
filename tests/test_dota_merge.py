"""Detections of overlapping tiles, merged into one image's."""

import numpy as np
import pytest

from maskrcnn_benchmark.dota.annotations import boxlist_xyxy_to_corners
from maskrcnn_benchmark.dota.merge import Detections, merge_tiles


def found(boxes, scores, labels=None, corners=None):
    return Detections(boxes, scores, labels or [1] * len(scores), corners)


def tile_each(boxes, scores, labels=None, corners=None):
    """Return the detections, each as found in a tile of its own."""
    all_of_them = found(boxes, scores, labels, corners)
    return [all_of_them.select([index]) for index in range(len(scores))]


def plain_nms(boxes, scores, labels, tiles, threshold):
    """One by one, with `+1`; returns kept indices by falling score."""
    kept = []
    for index in sorted(range(len(scores)), key=lambda i: -scores[i]):
        x1, y1, x2, y2 = boxes[index]
        area = (x2 - x1 + 1) * (y2 - y1 + 1)
        for other in kept:
            if labels[other] != labels[index] or tiles[other] == tiles[index]:
                continue
            u1, v1, u2, v2 = boxes[other]
            wide = max(0.0, min(x2, u2) - max(x1, u1) + 1)
            high = max(0.0, min(y2, v2) - max(y1, v1) + 1)
            both = wide * high
            if both / (area + (u2 - u1 + 1) * (v2 - v1 + 1) - both) > threshold:
                break
        else:
            kept.append(index)
    return kept


def test_same_object_in_two_tiles_is_kept_once():
    first = found([[700, 40, 739, 59]], [0.8]).moved(0, 100)
    # the same ship from the tile at (600, 100), and a neighbour
    second = found([[101, 40, 140, 59], [101, 70, 140, 89]], [0.9, 0.7]).moved(600, 100)
    merged = merge_tiles([first, second], 0.5, 0.1)
    assert merged.boxes_xyxy.tolist() == [[701, 140, 740, 159], [701, 170, 740, 189]]
    assert merged.scores.tolist() == [0.9, 0.7]
    assert merged.corners is None and merged.in_task1 is None


def test_iou_has_the_plus_one():
    # 10 and 10 pixels wide, 5 shared: 5 / 15 = 0.333; without +1 it would be 4 / 14 = 0.286
    boxes = [[0, 3, 9, 12], [5, 3, 14, 12]]
    assert len(merge_tiles(tile_each(boxes, [0.9, 0.8]), 0.34, 0.1)) == 2
    assert len(merge_tiles(tile_each(boxes, [0.9, 0.8]), 0.33, 0.1)) == 1


def test_classes_do_not_suppress_each_other():
    boxes = [[10, 20, 40, 50], [10, 20, 40, 50]]
    merged = merge_tiles(tile_each(boxes, [0.6, 0.9], [3, 1]), 0.5, 0.1)
    assert merged.labels.tolist() == [1, 3]


def test_against_plain_suppression():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 300, (400, 2))
    boxes = np.hstack([low, low + rng.uniform(5, 60, (400, 2))])
    scores, labels = rng.permutation(400) / 400, rng.integers(1, 4, 400)
    tile_of = rng.integers(0, 5, 400)
    tiles = [
        Detections(boxes[part], scores[part], labels[part])
        for part in (tile_of == number for number in range(5))
    ]
    merged = merge_tiles(tiles, 0.4, 0.1)
    kept = plain_nms(boxes, scores, labels, tile_of, 0.4)
    np.testing.assert_array_equal(merged.boxes_xyxy, boxes[kept])
    np.testing.assert_array_equal(merged.scores, scores[kept])
    np.testing.assert_array_equal(merged.labels, labels[kept])


def test_oriented_suppression_decides_task_1_only():
    # two diagonal ships side by side; the third is the first again, a little moved
    ship = np.array([[40, 0], [50, 10], [10, 50], [0, 40]], dtype=float)
    corners = np.array([ship, ship + [11, 11], ship + [4, 4]])
    boxes = [[0, 0, 49, 49], [200, 0, 249, 49], [300, 0, 349, 49]]  # far apart: none suppressed
    merged = merge_tiles(tile_each(boxes, [0.9, 0.8, 0.7], corners=corners), 0.5, 0.1)
    assert len(merged) == 3
    assert merged.in_task1.tolist() == [True, True, False]
    np.testing.assert_array_equal(merged.corners, corners)


def test_fault_true_neighbours_askew_were_lost_in_task_1():
    """Two bars side by side at 45 degrees: upright boxes that overlap much, polygons apart."""
    bar = np.array([[40, 0], [46, 6], [6, 46], [0, 40]], dtype=float)
    corners = np.array([bar, bar + [9, 9]])  # 8.5 wide, 12.7 apart
    boxes = [[0, 0, 45, 45], [9, 9, 54, 54]]  # 37 x 37 shared of 2 * 46 x 46 - 37 x 37: 0.478
    merged = merge_tiles(tile_each(boxes, [0.9, 0.8], corners=corners), 0.4, 0.1)
    assert merged.in_task1.tolist() == [True, True]
    assert merged.in_task2.tolist() == [True, False]


def test_fault_true_neighbours_in_a_tile_were_lost():
    """The bars again, in one tile: their upright boxes overlap by more than the threshold."""
    bar = np.array([[40, 0], [46, 6], [6, 46], [0, 40]], dtype=float)
    corners = np.array([bar, bar + [9, 9]])
    first = found([[0, 0, 45, 45], [9, 9, 54, 54]], [0.9, 0.7], corners=corners)
    second = found([[1, 1, 46, 46], [10, 10, 55, 55]], [0.8, 0.6], corners=corners + 1)
    merged = merge_tiles([first], 0.4, 0.1)
    assert merged.in_task1.tolist() == merged.in_task2.tolist() == [True, True]
    merged = merge_tiles([first, second], 0.5, 0.1)  # 37 x 37 shared: 0.478
    assert merged.scores.tolist() == [0.9, 0.7] and merged.in_task2.all()
    # the better bar of one tile still drops the neighbour that another tile found alone
    alone = second.select([1])
    assert merge_tiles([first.select([0]), alone], 0.4, 0.1).in_task2.tolist() == [True, False]


def test_what_repeats_in_both_tasks_is_dropped():
    bar = np.array([[40, 0], [46, 6], [6, 46], [0, 40]], dtype=float)
    corners = np.array([bar, bar + [1, 1]])
    boxes = [[0, 0, 45, 45], [1, 1, 46, 46]]
    merged = merge_tiles(tile_each(boxes, [0.9, 0.8], corners=corners), 0.5, 0.1)
    assert len(merged) == 1


def test_nothing_found():
    assert len(merge_tiles([], 0.5, 0.1)) == 0
    empty = merge_tiles([Detections.empty(True), Detections.empty(True)], 0.5, 0.1)
    assert empty.corners.shape == (0, 4, 2) and empty.in_task1.shape == (0,)


def test_moved_and_select():
    boxes = np.array([[1.0, 2, 3, 4], [5, 6, 8, 9]])
    tile = found(boxes, [0.5, 0.6], [1, 2], boxlist_xyxy_to_corners(boxes))
    image = tile.moved(100, 10).select(np.array([1]))
    assert image.boxes_xyxy.tolist() == [[105, 16, 108, 19]]
    assert image.corners[0, 2].tolist() == [109, 20]
    assert tile.boxes_xyxy.tolist() == boxes.tolist()


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="'boxes_xyxy': 1, 'scores': 2"):
        Detections(np.zeros((1, 4)), [0.5, 0.6], [1])


def test_tiles_with_and_without_corners_are_refused():
    boxes = np.array([[1.0, 2, 3, 4]])
    plain, oriented = found(boxes, [0.5]), found(boxes, [0.5], None, boxlist_xyxy_to_corners(boxes))
    with pytest.raises(ValueError, match="corners"):
        merge_tiles([oriented, plain], 0.5, 0.1)
    # but where nothing is found, none are missing
    assert merge_tiles([oriented, Detections.empty()], 0.5, 0.1).corners.shape == (1, 4, 2)
    assert merge_tiles([plain, Detections.empty()], 0.5, 0.1).corners is None
