"""Ctrl-C and SIGTERM as a request, so that a training iteration is finished and saved first."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Note the first Ctrl-C or SIGTERM; the second one acts as usual.

    Use as a context manager; `requested` says whether a signal came.
    """

    def __init__(self) -> None:
        self.requested = False
        self._pid = os.getpid()
        self._previous: dict[int, object] = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a process that was forked off
            return
        self.requested = True
        self._restore()
        with suppress(OSError):  # Ctrl-C also ends a tee behind the program: nobody reads it then
            # not print: the signal may have come in the middle of one
            os.write(2, b"\nstopping after this iteration; once more to stop at once\n")

    def _restore(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        try:
            self._previous = {s: signal.signal(s, self._note) for s in SIGNALS}
        except ValueError:  # not the main thread, which alone may set handlers
            self._previous = {}
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._restore()


@contextmanager
def shielded_children() -> Iterator[None]:
    """Spare processes started in the block both signals, which come back to this one after it.

    A terminal's Ctrl-C and a scheduler's SIGTERM reach loading processes too; without them the
    last iteration would have no data. `heed_parent` lets them end when their parent does.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def heed_parent(_worker_id: int = 0) -> None:
    """Let this shielded process end at its parent's SIGTERM, and at no one else's.

    For `worker_init_fn` of a data loader. Python ends a program only after its children: it sends
    them SIGTERM and waits, which would last for ever for a child that is spared the signal.
    """
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        threading.Thread(target=_end_at_parents_signal, daemon=True).start()


def _end_at_parents_signal() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)  # status 0: PyTorch would tell of any other as of a worker that crashed


def end_with_parent() -> None:
    """Let this process, which multiprocessing started, end as soon as its parent has.

    One that waits for work would else stay for ever after a kill of its parent.
    """
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = parent_process()
    assert parent is not None, "only in a process that multiprocessing started"
    parent.join()
    os._exit(1)
