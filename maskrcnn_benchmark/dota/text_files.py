"""How numbers stand in DOTA's text files."""

import numpy as np


def format_number(value: float, decimals: int = 4) -> str:
    """Write a number with up to that many decimals and at least one: 12 -> "12.0"."""
    return np.format_float_positional(round(float(value), decimals) + 0.0, trim="0")
