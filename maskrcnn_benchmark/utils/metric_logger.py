"""Series of numbers, smoothed for the log."""

from collections import defaultdict, deque

import torch


class SmoothedValue:
    """A series of numbers, smoothed over its last values or over all of them.

    Args:
        window_size: how many of the last values `median` and `avg` are of.
    """

    def __init__(self, window_size: int = 20) -> None:
        self.deque: deque[float] = deque(maxlen=window_size)
        self.total = 0.0
        self.count = 0

    def update(self, value: float) -> None:
        """Add a value."""
        self.deque.append(value)
        self.count += 1
        self.total += value

    @property
    def median(self) -> float:
        """Return the window's median; of an even number of values, the lower middle one."""
        return sorted(self.deque)[(len(self.deque) - 1) // 2]

    @property
    def avg(self) -> float:
        """Return the mean of the window."""
        return sum(self.deque) / len(self.deque)

    @property
    def global_avg(self) -> float:
        """Return the mean of all values."""
        return self.total / self.count


class MetricLogger:
    """Named SmoothedValues: `meters.update(loss=0.5)`, then `meters.loss.median`, `str(meters)`.

    Args:
        delimiter: between the series in `str(meters)`.
    """

    def __init__(self, delimiter: str = "\t") -> None:
        self.meters: defaultdict[str, SmoothedValue] = defaultdict(SmoothedValue)
        self.delimiter = delimiter

    def update(self, **kwargs: float | torch.Tensor) -> None:
        """Add one number (or tensor with one element) to each named series."""
        for name, value in kwargs.items():
            number = value.item() if isinstance(value, torch.Tensor) else value
            if not isinstance(number, (float, int)):
                raise TypeError(f"{name} must be a number, got {type(value).__name__}")
            self.meters[name].update(number)

    def __getattr__(self, attr: str) -> SmoothedValue:
        # Called only for what is no ordinary attribute; `meters` itself is absent while unpickling.
        meters = self.__dict__.get("meters", {})
        if attr in meters:
            return meters[attr]
        raise AttributeError(f"no meter or attribute '{attr}'; meters: {', '.join(meters)}")

    def __str__(self) -> str:
        return self.delimiter.join(
            f"{name}: {meter.median:.4f} ({meter.global_avg:.4f})"
            for name, meter in self.meters.items()
        )
