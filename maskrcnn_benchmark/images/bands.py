"""Which bands of a file become red, green and blue, and which of their values black and white."""

import re
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stretch:
    """The values that become 0 and 255.

    Attributes:
        low, high: values, or percentages of a band's pixels that are no greater.
        is_percent: which of both.
    """

    low: float
    high: float
    is_percent: bool


@dataclass(frozen=True)
class BandChoice:
    """How a file's bands become a picture.

    Attributes:
        bands: three for red, green and blue, or one for grey; the first is 1. None: the file's own
            red, green and blue, or its only band.
        stretch: None: 8 bits stay as they are, 16 bits are divided by 257.
    """

    bands: tuple[int, ...] | None = None
    stretch: Stretch | None = None

    def __bool__(self) -> bool:
        """Say whether anything was chosen."""
        return bool(self.bands or self.stretch)

    @classmethod
    def parse(cls, bands: str | None, stretch: str | None) -> "BandChoice":
        """Read a choice from a command line.

        Args:
            bands: such as "4,3,2" or "1".
            stretch: two values such as "0,4095", or two percentages such as "2%,98%".

        Raises:
            ValueError: anything else.
        """
        return cls(
            None if bands is None else _parse_bands(bands),
            None if stretch is None else _parse_stretch(stretch),
        )


def to_8_bits(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Map values linearly to 0-255, rounded; what lies outside the limits becomes 0 or 255.

    Args:
        values: (K, H, W) of any number type; NaN becomes 0.
        limits: (K, 2), per band the values that become 0 and 255.
    """
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    share = (values.astype(np.float32) - low) / np.maximum(high - low, 1e-12)
    return np.rint(np.clip(np.nan_to_num(share, nan=0.0), 0, 1) * 255).astype(np.uint8)


def _parse_bands(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*,[1-9]\d*)?", text):
        raise ValueError(
            f"--bands {text}: expected the numbers of three bands for red, green and blue, such as "
            "4,3,2, or of one for grey; the first is 1"
        )
    return tuple(map(int, text.split(",")))


def _parse_stretch(text: str) -> Stretch:
    number = r"([-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?)"
    match = re.fullmatch(rf"{number}(%?),{number}(%?)", text, re.IGNORECASE)
    if match and match[2] == match[4]:
        low, high, is_percent = float(match[1]), float(match[3]), bool(match[2])
        if low < high and (not is_percent or 0 <= low and high <= 100):
            return Stretch(low, high, is_percent)
    raise ValueError(
        f"--stretch {text}: expected the values that become black and white, the lower first: "
        "0,4095, or percentages of the pixels: 2%,98%"
    )
