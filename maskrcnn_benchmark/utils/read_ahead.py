"""Reading beside computing: the next item is made while the present one is worked on."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """Pass items on, each of which a thread makes while the caller works on the one before.

    Args:
        items: asked for one item at a time, from that thread alone. An error in it is raised when
            its item's turn has come.

    Yields:
        the items. `close` waits for the one in work.
    """
    iterator = iter(items)
    end: Any = object()
    with ThreadPoolExecutor(1, thread_name_prefix="read_ahead") as thread:
        upcoming = thread.submit(next, iterator, end)
        while (item := upcoming.result()) is not end:
            upcoming = thread.submit(next, iterator, end)
            yield item
            del item  # the caller's only one, while the next is waited for
