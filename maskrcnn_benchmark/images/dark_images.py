"""16-bit images that hold 12 bits or fewer, and so turn almost black."""

from collections.abc import Callable, Sequence
from pathlib import Path

from maskrcnn_benchmark.images.bands import BandChoice
from maskrcnn_benchmark.images.geotiff import GeoTiffReader
from maskrcnn_benchmark.images.image_io import read_16_bit_maximum
from maskrcnn_benchmark.images.open_image import open_image

TWELVE_BITS = 4095
MOST_LOOKED_AT = 5  # images that are decoded for this


def report_dark_images(
    paths: Sequence[Path], report: Callable[[str], None], choice: BandChoice | None = None
) -> None:
    """Look at a few of the images, and report if 16-bit ones use no more than 12 bits.

    Args:
        paths: images; up to MOST_LOOKED_AT of them, evenly spread, are opened, and those of 16
            bits decoded.
        report: is told how many of them are dark, and what to do.
        choice: which bands of a TIFF are read; None: as open_image does.
    """
    chosen = paths[:: -(-len(paths) // MOST_LOOKED_AT)] if paths else []
    greatest = {path: _maximum(path, choice) for path in chosen}
    dark = {path: value for path, value in greatest.items() if value <= TWELVE_BITS}
    if dark:
        path, value = max(dark.items(), key=lambda item: item[1])
        report(
            f"{path.parent}: {len(dark)} of {len(chosen)} images looked at store 16 bits but hold "
            f"no value above {value:.0f} ({path.name}); 16-bit values are divided by 257, so that "
            f"these are almost black: say the range by --stretch 0,{TWELVE_BITS} (TIFF), or "
            f"convert them to 8 bits (gdal_translate -ot Byte -scale 0 {TWELVE_BITS} 0 255)"
        )


def _maximum(path: Path, choice: BandChoice | None) -> float:
    """Return a 16-bit image's greatest value; infinity for what is none, or cannot be read.

    Of what is read by windows, a sample is looked at.
    """
    try:
        with open_image(path, choice=choice) as reader:
            if isinstance(reader, GeoTiffReader):
                return reader.sample_16_bit_maximum()
        value = read_16_bit_maximum(path)
    except (OSError, ValueError):
        return float("inf")  # told when its turn to be read comes
    return float("inf") if value is None else value
