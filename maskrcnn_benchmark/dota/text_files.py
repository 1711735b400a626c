"""How numbers and text files are written: readable, and whole or not at all."""

import os
from pathlib import Path

import numpy as np


def format_number(value: float, decimals: int = 4) -> str:
    """Write a number with up to that many decimals and at least one: 12 -> "12.0"."""
    return np.format_float_positional(round(float(value), decimals) + 0.0, trim="0")


def write_text(path: Path, text: str) -> None:
    """Write a text file through a neighbour that takes its name, so that no half file is seen."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
