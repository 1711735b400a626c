"""Files that hold an image or a part of it, and which of them shows a place."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskrcnn_benchmark.images.image_io import read_image_size


@dataclass(frozen=True)
class ImageFile:
    """A file that holds an image or a part of it.

    Attributes:
        path: of the file.
        x0, y0: its first column and row in the image enlarged by the rate, pixels.
        rate: how much the image was enlarged before the file was cut out of it.
    """

    path: Path
    x0: int = 0
    y0: int = 0
    rate: float = 1.0


def least_scaled(files: Sequence[ImageFile]) -> list[ImageFile]:
    """Return those of an image's files, at least one, whose rate is nearest to 1."""
    rate = min((file.rate for file in files), key=lambda rate: abs(np.log(rate)))
    return [file for file in files if file.rate == rate]


def file_around(center: np.ndarray, files: Sequence[ImageFile]) -> tuple[ImageFile, int, int]:
    """Return the file whose middle is nearest to a place, its width and its height.

    Args:
        center: (2,) x and y in the image enlarged by the files' rate.
        files: of the image and of one rate, at least one.

    Raises:
        FileNotFoundError, ValueError: a file cannot be read.
    """
    sizes = {file: read_image_size(file.path) for file in files}

    def away(file: ImageFile) -> float:
        middle = np.array([file.x0, file.y0]) + np.array(sizes[file]) / 2
        return float(np.abs(middle - center).max())

    nearest = min(sizes, key=away)
    return nearest, *sizes[nearest]
