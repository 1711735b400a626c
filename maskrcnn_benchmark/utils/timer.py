"""Measurement of time."""

import datetime
import time


def get_time_str(time_diff: float) -> str:
    """Return seconds as h:mm:ss."""
    return str(datetime.timedelta(seconds=time_diff))


class Timer:
    """Stopwatch that adds up wall-clock times, in seconds, between `tic()` and `toc()`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all times."""
        self.calls = 0
        self.total_time = self.diff = self.start_time = 0.0

    @property
    def average_time(self) -> float:
        """Return the mean seconds per call; 0 before the first call."""
        return self.total_time / max(self.calls, 1)

    def tic(self) -> None:
        """Start a call."""
        self.start_time = time.perf_counter()

    def toc(self, average: bool = True) -> float:
        """End a call; return the mean seconds per call or, if not `average`, this call's."""
        self.add(time.perf_counter() - self.start_time)
        return self.average_time if average else self.diff

    def add(self, time_diff: float) -> None:
        """Count one call of `time_diff` seconds."""
        self.calls += 1
        self.diff = time_diff
        self.total_time += time_diff

    def avg_time_str(self) -> str:
        """Return the mean time per call as h:mm:ss."""
        return get_time_str(self.average_time)
