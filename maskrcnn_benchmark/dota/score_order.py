"""The order in which equal scores are judged, the same on every machine.

DOTA's development kit sorts with numpy's default argsort. That is not stable, and which of two
detections with equal scores it puts first depends on the processor; on files whose scores have
three decimals an AP moves by 0.01 with it. Published figures and ours should be comparable, so one
of numpy's orders is taken for the rule: that of numpy 2 on a processor with AVX-512, computed here
without one. Up to 256 numbers it sorts by a bitonic network; more it parts by a pivot, in blocks of
4 vectors of 8 numbers, until 256 are left. Where no two scores are equal there is but one order.
"""

import numpy as np

LANES = 8
BLOCK = 4 * LANES
NETWORK = 256


def falling_order(scores: np.ndarray) -> np.ndarray:
    """Sort by falling score.

    Args:
        scores: finite, (N,).

    Returns:
        int64 (N,): indices into `scores`.
    """
    keys = -np.asarray(scores, dtype=np.float64)
    if len(np.unique(keys)) == len(keys):
        return np.argsort(keys)
    order = np.arange(len(keys))
    parts = [(0, len(keys), 2 * (len(keys).bit_length() - 1))]
    while parts:
        start, stop, patience = parts.pop()
        values = keys[order[start:stop]]
        if patience == 0:  # the pivots do not help; here numpy's own way is not followed
            order[start:stop] = order[start:stop][np.argsort(values, kind="stable")]
            continue
        if stop - start <= NETWORK:
            order[start:stop] = _network_sort(keys, order[start:stop])
            continue
        step = (stop - start - 1) // LANES
        pivot = np.sort(values[step : LANES * step + 1 : step])[LANES // 2]
        middle = start + _part(keys, order[start:stop], pivot)
        if pivot != values.min():
            parts.append((start, middle, patience - 1))
        if pivot != values.max():
            parts.append((middle, stop, patience - 1))
    return order


def _network_sort(keys: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Sort indices by their keys with a bitonic network; equal keys are not exchanged."""
    count = len(members)
    size = 1 << max(count - 1, 0).bit_length()
    place = np.arange(size)
    values = np.concatenate([keys[members], np.full(size - count, np.inf)])
    members = np.concatenate([members, np.zeros(size - count, dtype=members.dtype)])
    run = 2
    while run <= size:
        _exchange(values, members, place, place ^ (run - 1))  # from both ends of each run inwards
        stride = run // 4
        while stride:
            _exchange(values, members, place, place ^ stride)
            stride //= 2
        run *= 2
    return members[:count]


def _exchange(
    values: np.ndarray, members: np.ndarray, place: np.ndarray, partner: np.ndarray
) -> None:
    first = place[place < partner]
    second = partner[first]
    wrong = values[first] > values[second]
    first, second = first[wrong], second[wrong]
    for array in (values, members):
        array[first], array[second] = array[second], array[first]


def _part(keys: np.ndarray, order: np.ndarray, pivot: float) -> int:
    """Bring, in place, the indices of keys under the pivot before the others.

    Returns:
        How many are under the pivot.
    """
    left, right = 0, len(order)
    for _ in range(len(order) % BLOCK):
        if keys[order[left]] < pivot:
            left += 1
        else:
            right -= 1
            order[left], order[right] = order[right], order[left]
    source = order.copy()
    over = keys[source] >= pivot
    low, high = left, right  # what lies outside of low ... high is done

    def store(begin: int) -> None:
        nonlocal low, high
        block, is_over = source[begin : begin + BLOCK], over[begin : begin + BLOCK]
        under_pivot = block[~is_over]
        # each vector of 8 goes before the one stored last
        backwards = block.reshape(-1, LANES)[::-1][is_over.reshape(-1, LANES)[::-1]]
        order[low : low + len(under_pivot)] = under_pivot
        order[high - len(backwards) : high] = backwards
        low += len(under_pivot)
        high -= len(backwards)

    first, last = left, right - BLOCK  # stored at the end: their room is needed before
    left, right = left + BLOCK, right - BLOCK
    while left < right:
        if high - right < left - low:
            right -= BLOCK
            store(right)
        else:
            store(left)
            left += BLOCK
    store(first)
    store(last)
    return low
