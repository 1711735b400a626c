"""One interface to the pixels of an image: its size, and what a window of it shows.

`DecodedImage` holds the whole image; `geotiff.GeoTiffReader` never does. `open_image.open_image`
chooses.
"""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from maskrcnn_benchmark.images.georeference import GeoReference
from maskrcnn_benchmark.images.image_io import ImageSource, read_image, read_image_size, to_bgr


@dataclass(frozen=True)
class Window:
    """A tile's place in its source image: first column, first row, size; pixels."""

    x0: int
    y0: int
    width: int
    height: int


class ImageReader(ABC):
    """The pixels of an image; a context manager that closes its file.

    Attributes:
        size: (width, height), pixels.
        georeference: where the image lies on the earth; None: not known.
    """

    size: tuple[int, int]
    georeference: GeoReference | None = None

    @abstractmethod
    def read(self, window: Window) -> np.ndarray:
        """Return a window's pixels, uint8 (height, width, 3) BGR, not to be written to."""

    @abstractmethod
    def read_reduced(self, width: int, height: int) -> np.ndarray:
        """Return the whole image in another size, uint8 (height, width, 3) BGR, to draw on."""

    def has_data(self, window: Window) -> bool:
        """Say whether any pixel of a window is not marked as one without data."""
        return True

    def prepare(self) -> None:  # noqa: B027
        """Do what the first `read` would have to, so that it need not."""

    def close(self) -> None:  # noqa: B027
        """Close the file, if one is open."""

    def __enter__(self) -> "ImageReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DecodedImage(ImageReader):
    """An image in memory; a file is decoded when pixels are first asked for.

    Args:
        image, channel_order: as for `to_bgr`.
    """

    def __init__(self, image: ImageSource, channel_order: str = "BGR") -> None:
        if isinstance(image, str | os.PathLike):
            self._path = image
            self.size = read_image_size(image)
        else:
            self._bgr = to_bgr(image, channel_order)
            self.size = (self._bgr.shape[1], self._bgr.shape[0])

    @cached_property
    def _bgr(self) -> np.ndarray:
        return read_image(self._path)

    def prepare(self) -> None:
        """Decode the file."""
        _ = self._bgr

    def read(self, window: Window) -> np.ndarray:
        """Return a view of the window."""
        rows = slice(window.y0, window.y0 + window.height)
        return self._bgr[rows, window.x0 : window.x0 + window.width]

    def read_reduced(self, width: int, height: int) -> np.ndarray:
        """Return a copy of the whole image in another size."""
        if (width, height) == self.size:
            return self._bgr.copy()
        return cv2.resize(self._bgr, (width, height), interpolation=cv2.INTER_AREA)
