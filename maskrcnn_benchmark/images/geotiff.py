"""TIFF and GeoTIFF files, tiled or in strips, read window by window through rasterio.

Memory does not grow with the image: it is a window, and GDAL's cache of CACHE_BYTES. What is read
is what `image_io.read_image` would give: stored pixel order, BGR, 16 bits divided by 257.
"""

import itertools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from maskrcnn_benchmark.images.bands import BandChoice, to_8_bits
from maskrcnn_benchmark.images.georeference import GeoReference
from maskrcnn_benchmark.images.image_io import get_max_pixels, to_bgr
from maskrcnn_benchmark.images.image_reader import ImageReader, Window
from maskrcnn_benchmark.images.tiff_layout import (
    COMPRESSION,
    STRIP_HEIGHT,
    TILE_OFFSETS,
    UNCOMPRESSED,
    check_tiff_layout,
)

# 1024 rows of 30,000 pixels of 8 bits take 92 MB; of 16 bits, some are read twice
CACHE_BYTES = 128 * 2**20
SAMPLE_SIDE = 1024  # pixels of an image from which a range is taken, per side
WINDOWS_PER_SIDE, WINDOW_SIDE = 4, 256  # of an image, and pixels, for a look at its range
REDUCED_ROWS = 256  # of a reduced image, read at once
PLAIN = {"uint8", "uint16"}  # types whose range is known


class GeoTiffReader(ImageReader):
    """A TIFF file.

    Args:
        path: of the file.
        choice: of its bands and their range.

    Attributes:
        is_windowed: False: a kind that `read_image` alone knows (palette, CMYK, bilevel, white is
            0, 32 bits), and nothing was chosen; it must be decoded whole.

    Raises:
        ValueError: damaged, bands that it lacks, or strips or tiles of more than INPUT.MAX_PIXELS.
    """

    def __init__(self, path: str | os.PathLike, choice: BandChoice) -> None:
        import rasterio

        self._path, self._choice = path, choice
        self._kept: tuple[tuple[int, int], np.ndarray] | None = None  # rows, and what is in them
        with self._reading(), warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            self._file = rasterio.open(path, driver="GTiff")
        self.size = (self._file.width, self._file.height)
        with self._reading():
            crs = self._file.crs
            on_earth = crs and (crs.is_geographic or crs.is_projected)  # a building site's is not
            if on_earth and not self._file.transform.is_identity:
                self.georeference = GeoReference(crs.to_string(), self._file.transform[:6])
        self.is_windowed = bool(choice) or self._is_plain()
        if self.is_windowed:
            with self._reading():
                self._check_layout()
                self._bands = self._choose_bands()

    def read(self, window: Window) -> np.ndarray:
        """Read and convert what the window shows."""
        rows, columns = _slices(window)
        with self._reading():
            if not self._is_one_strip:
                return self._to_bgr(self._file.read(self._bands, window=(rows, columns)))
            if self._kept is None or self._kept[0] != rows:
                self._kept = rows, self._file.read(self._bands, window=(rows, (0, self.size[0])))
            return self._to_bgr(self._kept[1][:, :, slice(*columns)])

    def read_reduced(self, width: int, height: int) -> np.ndarray:
        """Read the whole image in a smaller size, averaged; in strips, since GDAL keeps a lot."""
        from rasterio.enums import Resampling

        bgr = np.empty((height, width, 3), np.uint8)
        scale = self.size[1] / height
        for top in range(0, height, REDUCED_ROWS):
            rows = bgr[top : top + REDUCED_ROWS]
            place = ((top * scale, (top + len(rows)) * scale), (0, self.size[0]))
            shape = (len(self._bands), len(rows), width)
            with self._reading():
                values = self._file.read(
                    self._bands, window=place, out_shape=shape, resampling=Resampling.average
                )
                rows[:] = self._to_bgr(values)
        return bgr

    def has_data(self, window: Window) -> bool:
        """Look at the file's mask, alpha channel or value for no data, if it has any."""
        from rasterio.enums import MaskFlags

        if all(MaskFlags.all_valid in flags for flags in self._file.mask_flag_enums):
            return True
        with self._reading():
            return bool(self._file.dataset_mask(window=_slices(window)).any())

    def sample_16_bit_maximum(self) -> float:
        """Return the greatest value in a sample of 16-bit pixels; infinity for other depths.

        The sample is a grid of windows, so that of a large file few blocks are unpacked.
        """
        if "uint16" not in self._file.dtypes:
            return float("inf")
        if self._is_one_strip:  # is unpacked from its head for each window
            with self._reading():
                return float(self._sample().filled(0).max())
        rows, columns = (
            [(start, min(start + WINDOW_SIDE, side)) for start in _spread(side)]
            for side in self.size[::-1]
        )
        with self._reading():
            return max(
                float(self._file.read(self._bands, window=window, masked=True).filled(0).max())
                for window in itertools.product(rows, columns)
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _is_plain(self) -> bool:
        """Say whether the stored values are brightnesses that `read_image` would keep."""
        from rasterio.enums import ColorInterp

        file = self._file
        depths = {file.tags(band, ns="IMAGE_STRUCTURE").get("NBITS") for band in file.indexes}
        return (
            set(file.dtypes) <= PLAIN | {"float32", "float64"}  # refused with what to choose
            and depths <= {None, "8", "16"}
            and "MINISWHITE" not in file.tags(ns="IMAGE_STRUCTURE")
            and not {ColorInterp.palette, ColorInterp.cyan} & set(file.colorinterp)
        )

    def _check_layout(self) -> None:
        rows, columns = self._file.block_shapes[0]
        if rows * columns > get_max_pixels():
            raise ValueError(
                f"strips or tiles of {columns} x {rows} pixels, more than INPUT.MAX_PIXELS "
                f"({get_max_pixels()}; for split, --max-pixels)"
            )
        tags = _read_tags(self._path)
        check_tiff_layout(tags, os.path.getsize(self._path), sparse=True)
        # GDAL unpacks one from its head at each read, so whole rows are read, and kept for the
        # windows beside: 4.8 s of CPU instead of 43 for 8,000 x 8,000 pixels
        height = self.size[1]
        is_striped = TILE_OFFSETS not in tags and tags.get(COMPRESSION) != UNCOMPRESSED
        self._is_one_strip = is_striped and tags.get(STRIP_HEIGHT, height) >= height

    def _choose_bands(self) -> list[int]:
        from rasterio.enums import ColorInterp

        choice, count, colours = self._choice, self._file.count, list(self._file.colorinterp)
        rgb = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        if choice.stretch is None and not set(self._file.dtypes) <= PLAIN:
            raise ValueError(f"{self._file.dtypes[0]} pixels have no stated range: use --stretch")
        if choice.bands is not None:
            if max(choice.bands) > count:
                raise ValueError(f"--bands {choice.bands}: it has {count} bands")
            return list(choice.bands)
        if set(rgb) <= set(colours):
            return [colours.index(colour) + 1 for colour in rgb]
        if count > 4:
            raise ValueError(f"it has {count} bands: say which by --bands, such as --bands 4,3,2")
        return [1, 2, 3] if count > 2 else [1]

    def _sample(self) -> np.ma.MaskedArray:
        """Return the bands (K, H, W) as stored, at a grid of pixels; those without data masked."""
        width, height = (min(side, SAMPLE_SIDE) for side in self.size)
        shape = (len(self._bands), height, width)
        return self._file.read(self._bands, out_shape=shape, masked=True)

    @cached_property
    def _limits(self) -> np.ndarray | None:
        """Return the values (K, 2) that become 0 and 255; None: those of 8 or 16 bits."""
        stretch = self._choice.stretch
        if stretch is None:
            return None
        limits = (stretch.low, stretch.high)
        if not stretch.is_percent:
            return np.array([limits] * len(self._bands))
        values = [band.compressed() for band in np.ma.masked_invalid(self._sample())]
        return np.array([np.percentile(v, limits) if v.size else (0, 1) for v in values])

    def _to_bgr(self, values: np.ndarray) -> np.ndarray:
        if self._limits is not None:
            values = to_8_bits(values, self._limits)
        return to_bgr(np.moveaxis(values, 0, 2), "RGB")  # one band becomes grey

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Bound GDAL's cache, and name the file in its errors."""
        import rasterio

        try:
            with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
                yield
        except Exception as error:  # damaged tags raise all kinds, of GDAL's and of Python's own
            message = str(error.__cause__ or error)
            raise ValueError(f"{self._path}: cannot be read as an image: {message}") from error


def _spread(side: int) -> list[int]:
    """Return where up to WINDOWS_PER_SIDE windows start that lie evenly along a side."""
    last = max(side - WINDOW_SIDE, 0)
    return sorted({last * k // (WINDOWS_PER_SIDE - 1) for k in range(WINDOWS_PER_SIDE)})


def _slices(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    return (window.y0, window.y0 + window.height), (window.x0, window.x0 + window.width)


def _read_tags(path: str | os.PathLike) -> ImageFileDirectory_v2:
    """Read the first directory of a TIFF file, of a kind that Pillow cannot decode too."""
    with open(path, "rb") as file:
        head = file.read(8)
        is_big = 43 in head[2:4]
        tags = ImageFileDirectory_v2(head + file.read(8) if is_big else head)
        file.seek(tags.next)
        tags.load(file)
        return tags
