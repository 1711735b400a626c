"""The order of equal scores."""

import numpy as np
import pytest

from maskrcnn_benchmark.dota.score_order import _part, falling_order


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 255, 256, 257, 300, 1000, 5001])
@pytest.mark.parametrize("decimals", [0, 1, 3, 9])
def test_it_is_a_falling_order(count, decimals):
    scores = np.random.default_rng(count).random(count).round(decimals)
    for some in (scores, np.sort(scores), -np.sort(-scores), np.ones(count)):
        order = falling_order(some)
        assert sorted(order.tolist()) == list(range(count))
        assert (np.diff(some[order]) <= 0).all()


def test_different_scores_have_one_order():
    scores = np.random.default_rng(0).permutation(700) / 700
    np.testing.assert_array_equal(falling_order(scores), np.argsort(-scores))


def test_network_by_hand():
    # keys -1 -1 -2 -2 at places 0 1 2 3. Runs of 2: both in order. Run of 4 from both ends:
    # (0, 3) exchanged, (1, 2) exchanged -> 3 2 1 0; neighbours are equal and stay
    assert falling_order(np.array([1.0, 1.0, 2.0, 2.0])).tolist() == [3, 2, 1, 0]
    # -1 -2 -2: (0, 1) exchanged -> 1 0 2; ends (1, 2) with 0 last: (0 : 2) -> 1 2 0
    assert falling_order(np.array([1.0, 2.0, 2.0])).tolist() == [1, 2, 0]


def plain_part(keys, pivot):
    """The partition as a vector processor does it: 8 numbers at a time, in blocks of four."""
    order = list(range(len(keys)))
    left, right = 0, len(order)
    for _ in range(len(order) % 32):
        if keys[order[left]] < pivot:
            left += 1
        else:
            right -= 1
            order[left], order[right] = order[right], order[left]
    blocks = [order[begin : begin + 32] for begin in range(left, right, 32)]
    first, *middle, last = blocks
    under, over = order[:left], order[right:]
    room_left, room_right = 32, 32  # read but not yet written over

    def store(block):
        nonlocal under, over
        for begin in range(0, 32, 8):
            vector = block[begin : begin + 8]
            under = under + [index for index in vector if keys[index] < pivot]
            over = [index for index in vector if keys[index] >= pivot] + over

    while middle:
        from_right = room_right < room_left
        before = len(under)
        store(middle.pop(-1 if from_right else 0))
        stored_left = len(under) - before
        room_left += (0 if from_right else 32) - stored_left
        room_right += (32 if from_right else 0) - (32 - stored_left)
    store(first)
    store(last)
    return under, over


@pytest.mark.parametrize("count", [257, 288, 300, 1000])
@pytest.mark.parametrize("pivot", [0.1, 0.5, 0.8])
def test_part_is_a_vector_processors(count, pivot):
    keys = np.random.default_rng(count).random(count).round(1)
    under, over = plain_part(keys, pivot)
    order = np.arange(count)
    assert _part(keys, order, pivot) == len(under) == (keys < pivot).sum()
    assert order.tolist() == under + over


def test_the_rule_does_not_change():
    scores = np.random.default_rng(4).random(600).round(1)
    weights = np.arange(600) % 97
    assert int((falling_order(scores) * weights).sum()) == 8418768  # a stable sort: another sum
    assert int((np.argsort(-scores, kind="stable") * weights).sum()) != 8418768
