"""The choice of a reader: TIFF by windows where rasterio is there, all else decoded whole."""

import importlib.util
import os

from maskrcnn_benchmark.images.bands import BandChoice
from maskrcnn_benchmark.images.geotiff import GeoTiffReader
from maskrcnn_benchmark.images.image_io import ImageSource
from maskrcnn_benchmark.images.image_reader import DecodedImage, ImageReader

TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0")  # the last one: files beyond 4 GB


def open_image(
    image: ImageSource, channel_order: str = "BGR", choice: BandChoice | None = None
) -> ImageReader:
    """Open an image of any kind, to be read by windows.

    Args:
        image, channel_order: as for `to_bgr`.
        choice: of a TIFF's bands and their range.

    Raises:
        FileNotFoundError, ValueError: as `read_image`, or a choice for what is no TIFF file.
        ImportError: a choice, and rasterio is not installed.
    """
    if isinstance(image, str | os.PathLike) and _is_tiff(image):
        if importlib.util.find_spec("rasterio"):
            reader = GeoTiffReader(image, choice or BandChoice())
            if reader.is_windowed:
                return reader
            whole = DecodedImage(image)
            whole.georeference = reader.georeference
            reader.close()
            return whole
        if choice:
            raise ImportError("--bands and --stretch need rasterio: pip install rasterio")
    if choice:
        raise ValueError(f"{image}: no TIFF file; --bands and --stretch are for these alone")
    return DecodedImage(image, channel_order)


def _is_tiff(path: str | os.PathLike) -> bool:
    if not os.path.isfile(path):
        return False  # what is wrong with it is told by `read_image`
    with open(path, "rb") as file:
        return file.read(4) in TIFF_HEADS
