"""The scales at which images are cut: several at once, or one size of pixels on the ground.

A rate of 0.5 halves an image's sides and its labels: the corner (10, 20) becomes (5, 10). The name
of a tile has the rate with up to six digits, and it is exactly that number which is used.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from maskrcnn_benchmark.dota.annotations import DotaObject, read_header
from maskrcnn_benchmark.dota.text_files import parse_numbers
from maskrcnn_benchmark.dota.tiles import GREATEST_RATE
from maskrcnn_benchmark.images.image_io import get_max_pixels

LEAST_RATE = 0.01


def as_named(rate: float) -> float:
    """Round a rate to what a tile's name can hold.

    Raises:
        ValueError: a rate that is not in LEAST_RATE ... GREATEST_RATE.
    """
    if not LEAST_RATE <= rate <= GREATEST_RATE:
        raise ValueError(f"expected a rate from {LEAST_RATE:g} to {GREATEST_RATE:g}, got {rate:g}")
    return float(f"{rate:g}")


def rates_of_images(
    names: Iterable[str],
    label_files: Mapping[str, Path],
    rates: Iterable[float],
    gsd: float | None,
    report: Callable[[str], None],
) -> dict[str, tuple[float, ...]]:
    """Say at which rates each image is cut.

    Args:
        names: of the images.
        label_files: of those that have one, by the images' names.
        rates: wanted of each image; with `gsd`, of the image that has these pixels.
        gsd: the size on the ground that pixels shall have, in the unit of the label files' line
            `gsd:` (meters); None: that which they have.
        report: is told of images whose gsd is not known; they count as having the one wanted.

    Raises:
        ValueError: an impossible rate or gsd, by the label file's name.
    """
    rates = tuple(dict.fromkeys(map(as_named, rates)))
    if gsd is None:
        return dict.fromkeys(names, rates)
    if not 0 < gsd < np.inf:
        raise ValueError(f"expected a ground-sample distance above 0, got {gsd:g}")
    found, unknown = {}, []
    for name in names:
        own = read_gsd(label_files[name]) if name in label_files else None
        if own is None:
            unknown.append(name)
            found[name] = rates
            continue
        try:
            found[name] = tuple(dict.fromkeys(as_named(rate * own / gsd) for rate in rates))
        except ValueError as error:
            raise ValueError(
                f"{label_files[name]}: its gsd is {own:g} and {gsd:g} is wanted: {error}"
            ) from None
    if unknown:
        report(
            f"{len(unknown)} of {len(found)} images have no line `gsd:NUMBER` at the top of their "
            f"label files, the first is {unknown[0]}: they are taken as having {gsd:g} already"
        )
    return found


def read_gsd(label_file: Path) -> float | None:
    """Read an image's ground-sample distance from its labels; None where no positive number is."""
    try:
        (gsd,) = parse_numbers([read_header(label_file)["gsd"]])
    except (KeyError, ValueError):
        return None
    return gsd if gsd > 0 else None


def scale_image(bgr: np.ndarray, rate: float) -> np.ndarray:
    """Resize an image so that the edge at x comes to x * rate, exactly.

    Shrunk pixels are the mean of what they cover; enlarged ones are interpolated (bicubic).

    Raises:
        ValueError: nothing would be left, or more pixels than `set_max_pixels` allows.
    """
    if rate == 1:
        return bgr
    height, width = (round(side * rate) for side in bgr.shape[:2])
    if min(width, height) < 1 or width * height > get_max_pixels():
        raise ValueError(
            f"at rate {rate:g} it would have {width}x{height} pixels, expected from 1 to "
            f"{get_max_pixels()} in all: choose another rate"
        )
    method = cv2.INTER_AREA if rate < 1 else cv2.INTER_CUBIC
    # by fx, not by the rounded size: else the last column would shift all others
    return cv2.resize(bgr, None, fx=rate, fy=rate, interpolation=method)


def scale_labels(objects: Iterable[DotaObject], rate: float) -> list[DotaObject]:
    """Return objects with their corners multiplied by a rate."""
    return [DotaObject(item.corners * rate, item.name, item.difficult) for item in objects]
