"""How far long work is: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import time

from tqdm import tqdm

LOG_PERIOD = 30  # seconds


class Progress:
    """Show how much of the work is done, on stderr if that is a terminal, else in the log.

    Args:
        total: of the work, in units; None: not known.
        unit: what the work is counted in, such as "window".
        logger: for the lines.
        done: by an earlier run, which says nothing of this one's speed.
    """

    def __init__(self, total: int | None, unit: str, logger: logging.Logger, done: int = 0) -> None:
        self.done, self.total, self.unit, self.logger = done, total, unit, logger
        self._earlier = done
        self._bar = None
        self._start = self._told = time.monotonic()

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=self.total, initial=self.done, unit=self.unit, dynamic_ncols=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def reach(self, done: int) -> None:
        """Say how many units are done by now; what has been said of more already is passed over."""
        if done < self.done:
            return
        step, self.done = done - self.done, done
        if self._bar is not None:
            self._bar.update(step)
            return
        now = time.monotonic()
        if step and now - self._told >= LOG_PERIOD:
            self._told = now
            self.logger.info("%s %d%s", self.unit, done, self._rest(now - self._start))

    def _rest(self, seconds: float) -> str:
        """Return how much there is in all and, by the time taken so far, how long is left."""
        if self.total is None:
            return ""
        here = self.done - self._earlier
        left = tqdm.format_interval(seconds / here * (self.total - self.done))
        return f" of {self.total}, about {left} left"
