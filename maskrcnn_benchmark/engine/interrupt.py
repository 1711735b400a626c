"""Ctrl-C and SIGTERM as a request, so that a training iteration is finished and saved first."""

import os
import signal
from types import FrameType


class StopRequest:
    """Notes the first Ctrl-C or SIGTERM; the second one acts as usual.

    Use as a context manager; `requested` says whether a signal came. To be entered before
    the data loader's workers start: they inherit the handler, so that Ctrl-C, which a
    terminal sends to every process, does not take the data away from the last iteration.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = False
        self._pid = os.getpid()
        self._previous: dict[int, object] = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return
        self.requested = True
        self._restore()
        # not print: the signal may have come in the middle of one
        os.write(2, b"\nstopping after this iteration; once more to stop at once\n")

    def _restore(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        try:
            self._previous = {s: signal.signal(s, self._note) for s in self.SIGNALS}
        except ValueError:  # not the main thread, which alone may set handlers
            self._previous = {}
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._restore()
