"""Reading one item ahead, in a thread: what is read when, errors, the end."""

import threading

import pytest

from maskrcnn_benchmark.utils.read_ahead import one_ahead

SECONDS = 60  # far more than anything here takes


def test_the_next_item_is_made_while_the_present_one_is_worked_on():
    worked_on, threads = [threading.Event() for _ in range(3)], set()

    def items():
        for k in range(3):
            if k:  # made only if the caller has the one before in hand
                assert worked_on[k - 1].wait(SECONDS)
            threads.add(threading.current_thread())
            yield k

    for k in one_ahead(items()):
        worked_on[k].set()
    assert k == 2 and threading.current_thread() not in threads and len(threads) == 1


def test_one_item_and_no_more_is_made_ahead():
    asked = []
    made = one_ahead(asked.append(k) or k for k in range(100))
    assert [next(made), next(made)] == [0, 1]
    made.close()  # waits for the one in work
    assert asked == [0, 1, 2]
    assert list(one_ahead([])) == []


def test_an_error_comes_in_its_turn():
    def items():
        yield "first"
        raise ValueError("the second is broken")

    made = one_ahead(items())
    assert next(made) == "first"
    with pytest.raises(ValueError, match="the second is broken"):
        next(made)


def test_the_callers_own_error_ends_the_thread():
    before = threading.active_count()
    made = one_ahead(range(5))
    with pytest.raises(KeyError):
        made.throw(KeyError) if next(made) == 0 else None
    assert threading.active_count() == before
