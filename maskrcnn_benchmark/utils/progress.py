"""How far long work is: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import time

from tqdm import tqdm

LOG_PERIOD = 30  # seconds


class Progress:
    """Show how much of the work is done, on stderr if that is a terminal, else in the log.

    Args:
        total: of the work, in units.
        unit: what the work is counted in, such as "window".
        logger: for the lines.
    """

    def __init__(self, total: int, unit: str, logger: logging.Logger) -> None:
        self.done, self.total, self.unit, self.logger = 0, total, unit, logger
        self._bar = None
        self._start = self._told = time.monotonic()

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            self._bar = tqdm(total=self.total, unit=self.unit, dynamic_ncols=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def reach(self, done: int) -> None:
        """Say how many units are done by now."""
        step, self.done = done - self.done, done
        if self._bar is not None:
            self._bar.update(step)
            return
        now = time.monotonic()
        if step and now - self._told >= LOG_PERIOD:
            self._told = now
            left = (now - self._start) * (self.total - done) / done
            self.logger.info(
                "%d of %d %s done, about %s left",
                *(done, self.total, f"{self.unit}s", tqdm.format_interval(left)),
            )
