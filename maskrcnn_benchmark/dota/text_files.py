"""How numbers stand in DOTA's text files."""

import math
from collections.abc import Sequence

import numpy as np


def format_number(value: float, decimals: int = 4) -> str:
    """Write a number with up to that many decimals and at least one: 12 -> "12.0"."""
    rounded = round(float(value), decimals) + 0.0
    text = repr(rounded)  # twice as fast as NumPy's, but 1e-05 and 1e+16 have a power
    return np.format_float_positional(rounded, trim="0") if "e" in text else text


def parse_numbers(fields: Sequence[str]) -> list[float]:
    """Read finite decimal numbers, such as -3, 12.5 or 1e-05.

    Raises:
        ValueError: anything else, also what Python alone takes for a number: 1_000, nan, digits of
            other alphabets.
    """
    text = "".join(fields)
    try:
        numbers = [float(field) for field in fields] if text.isascii() and "_" not in text else []
    except ValueError:
        numbers = []
    if len(numbers) != len(fields):
        raise ValueError(f"expected {len(fields)} numbers, got {' '.join(fields)}")
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"expected finite numbers, got {' '.join(fields)}")
    return numbers
