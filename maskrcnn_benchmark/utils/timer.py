import datetime
import time


def get_time_str(time_diff: float) -> str:
    """Return seconds as h:mm:ss."""
    return str(datetime.timedelta(seconds=time_diff))


class Timer:
    """Stopwatch: `tic()` starts, `toc()` stops; times in seconds of wall clock, summed up."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.calls = 0
        self.total_time = self.diff = self.start_time = 0.0

    @property
    def average_time(self) -> float:
        """Mean seconds of a call; 0 before the first."""
        return self.total_time / max(self.calls, 1)

    def tic(self) -> None:
        self.start_time = time.perf_counter()

    def toc(self, average: bool = True) -> float:
        """Stop; return the average so far, else this call's seconds."""
        self.add(time.perf_counter() - self.start_time)
        return self.average_time if average else self.diff

    def add(self, time_diff: float) -> None:
        """Count one call of `time_diff` seconds."""
        self.calls += 1
        self.diff = time_diff
        self.total_time += time_diff

    def avg_time_str(self) -> str:
        return get_time_str(self.average_time)
