"""Pictures of a set's labels, in which classes and the order of corners can be seen."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from maskrcnn_benchmark.dota.annotations import stack_corners
from maskrcnn_benchmark.dota.formats import FORMATS, Source
from maskrcnn_benchmark.images.drawing import draw_detections, mark_first_corners
from maskrcnn_benchmark.images.image_io import read_image, write_image


def draw_labels(
    source: Source,
    source_format: str,
    out: str | Path,
    count: int,
    report: Callable[[str], None] = print,
) -> list[Path]:
    """Draw the labels of a set's first images, in their classes' colours.

    A dot marks each object's corner 1, and the side to corner 2 is white.

    Args:
        source: what to read.
        source_format: a key of FORMATS.
        out: a folder, made if it does not exist, for NAME_labels.jpg.
        count: how many images; those that were not found are passed over.
        report: is told of images that were not found.

    Returns:
        the pictures' paths.

    Raises:
        FileNotFoundError, ValueError: as reading the labels does; or there is no image to draw.
    """
    if count < 1:
        raise ValueError(f"expected at least 1 image to draw, got {count}")
    out = Path(out)
    paths: list[Path] = []
    colors: dict[str, int] = {}  # the same class has the same colour in all pictures
    images = FORMATS[source_format].read(source)
    for item in tqdm(islice(images, count), "draw", count, unit="image", disable=None):
        if item.file is None:
            report(f"{item.name}: its image was not found")
            continue
        labels = np.array(
            [colors.setdefault(each.name, len(colors) + 1) for each in item.objects], dtype=int
        )
        bgr, corners = read_image(item.file), stack_corners(item.objects)
        draw_detections(bgr, corners, labels, list(colors))
        mark_first_corners(bgr, corners)
        out.mkdir(parents=True, exist_ok=True)
        paths.append(out / f"{item.name}_labels.jpg")
        write_image(paths[-1], bgr)
    if not paths:
        raise ValueError(f"{source.path}: found no labelled image to draw")
    return paths
