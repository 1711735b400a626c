"""labelme's format: a JSON file per image, beside it: FOLDER/a.png and FOLDER/a.json.

A shape has "label", "shape_type" and "points" in pixels, x right, y down. Objects are polygons of 4
points, the corners in turn; there is no angle. A ship from x = 10 to 30 and y = 5 to 15 is
{"label": "ship", "shape_type": "polygon", "points": [[10, 5], [30, 5], [30, 15], [10, 15]]}.

Reading: polygons, and the oriented rectangles of newer versions and of X-AnyLabeling (4 points);
rectangles (2 points, any opposite corners); other polygons become the smallest rectangle around
them; circles, lines, points and masks are left out. The difficult flag is the shape's flag
"difficult", true or false, so that DOTA's 2 becomes 1. "imagesource" and "gsd" are extra keys of
the file, which labelme keeps. "imageData" is not read and not written: images stay files.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from maskrcnn_benchmark.dota.annotations import DotaObject
from maskrcnn_benchmark.dota.formats.documents import Entry, read_json
from maskrcnn_benchmark.dota.formats.labelled_image import (
    FLAG_CUT,
    HEADER,
    OUTLINES,
    LabelledImage,
    Losses,
    Source,
    image_size,
    link_image,
)
from maskrcnn_benchmark.dota.formats.rectangles import smallest_rectangle, upright_corners

POLYGONS = ("polygon", "rotation", "oriented_rectangle")


def read(source: Source) -> Iterator[LabelledImage]:
    """Read all JSON files.

    Raises:
        FileNotFoundError: there is none.
        ValueError: "path:key: ..." for what is malformed.
    """
    files = source.find_images()
    for path in source.find_documents(".json"):
        document = read_json(path)
        stated = document.size("imageWidth", "imageHeight")
        named = document["imagePath"].string().replace("\\", "/")
        file = files.get(PurePosixPath(named).stem, files.get(path.stem))
        found = [_read_shape(shape, path.stem, source.losses) for shape in document["shapes"]]
        objects = [item for item in found if item is not None]
        header = document.texts(HEADER)
        size = image_size(file, stated, str(path))
        yield LabelledImage(path.stem, file, size, objects, header)


def write(
    folder: Path, images: Iterable[LabelledImage], classes: Sequence[str], losses: Losses
) -> None:
    """Write the images and a JSON file beside each."""
    for item in images:
        link_image(item.file, folder)
        cut = sum(each.difficult > 1 for each in item.objects)
        losses.add(FLAG_CUT, item.name, cut)
        content: dict[str, object] = {
            "version": "5.0.0",
            "flags": {},
            "shapes": [_shape(each) for each in item.objects],
            "imagePath": item.file.name if item.file else f"{item.name}.png",
            "imageData": None,
            "imageHeight": item.size[1],
            "imageWidth": item.size[0],
        }
        text = json.dumps(content | item.header, ensure_ascii=False, indent=1)
        (folder / f"{item.name}.json").write_text(text + "\n", encoding="utf-8")


def _shape(item: DotaObject) -> dict:
    return {
        "label": item.name,
        "points": item.corners.round(4).tolist(),
        "group_id": None,
        "description": "",
        "shape_type": "polygon",
        "flags": {"difficult": True} if item.difficult else {},
    }


def _read_shape(shape: Entry, image: str, losses: Losses) -> DotaObject | None:
    kind = shape["shape_type"].string() if shape.get("shape_type") else "polygon"
    if kind not in ("rectangle", *POLYGONS):
        losses.add(f"shapes of the type {kind} are left out", image)
        return None
    corners = _read_corners(shape["points"], kind, image, losses)
    flags = shape.get("flags")
    marks = [shape.get("difficult"), flags and flags.get("difficult")]
    difficult = any(mark is not None and bool(mark.value) for mark in marks)
    return DotaObject(corners, shape["label"].string(), int(difficult))


def _read_corners(entry: Entry, kind: str, image: str, losses: Losses) -> np.ndarray:
    points = np.array(entry.points()).reshape(-1, 2)
    if len(points) == 4:  # X-AnyLabeling stores rectangles so, too
        return points
    if kind == "rectangle" and len(points) == 2:
        return upright_corners(*points.min(axis=0), *points.max(axis=0))
    if kind != "polygon" or len(points) < 3:
        raise ValueError(f"{entry.place}: expected the points of a {kind}, got {len(points)}")
    losses.add(OUTLINES, image)
    return smallest_rectangle(points)
