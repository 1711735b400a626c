"""COCO's format: FOLDER/images/ and one JSON file with "images", "annotations" and "categories".

"bbox" is [x, y, width, height] in pixels, upright, (x, y) being the top left corner; "segmentation"
holds the oriented box, a list with one list [x1, y1, ..., x4, y4] of the corners in turn. There is
no angle. A ship from x = 10 to 30 and y = 5 to 15 is bbox [10, 5, 20, 10] and segmentation
[[10, 5, 30, 5, 30, 15, 10, 15]]. Categories are numbered from 1.

Reading: without "segmentation" the box is the object; an outline of other than 4 corners, or of
several parts, becomes the smallest rectangle around it; of a mask stored as run lengths the box is
taken; crowds ("iscrowd": 1) are left out. Writing: "difficult" of an annotation, "imagesource" and
"gsd" of an image are extra keys, which COCO's tools do not look at. The format "coco-upright" is
written without "segmentation", so that the orientation is lost.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from maskrcnn_benchmark.dota.annotations import DotaObject, stack_corners
from maskrcnn_benchmark.dota.formats.documents import Entry, read_json
from maskrcnn_benchmark.dota.formats.labelled_image import (
    HEADER,
    OUTLINES,
    LabelledImage,
    Losses,
    Source,
    image_size,
    link_image,
)
from maskrcnn_benchmark.dota.formats.rectangles import smallest_rectangle, upright_corners
from maskrcnn_benchmark.structures.polygons import polygon_areas

FILE = "annotations.json"
DECIMALS = 4


def class_names(source: Source) -> list[str]:
    """Return the categories' names, in the order of the file."""
    return list(_categories(_read_document(source)).values())


def read(source: Source) -> Iterator[LabelledImage]:
    """Read all images of the JSON file.

    Raises:
        FileNotFoundError: no JSON file.
        ValueError: several of them, or "path:key: ..." for what is malformed.
    """
    document, files = _read_document(source), source.find_images()
    names = _categories(document)
    images = {entry["id"].key(): entry for entry in document["images"]}
    annotations: dict[int | str, list[Entry]] = defaultdict(list)
    for entry in document["annotations"]:
        image_id = entry["image_id"].key()
        if image_id not in images:
            raise ValueError(f"{entry.place}.image_id: no image has the id {image_id}")
        annotations[image_id].append(entry)
    for image_id, image in images.items():
        name = PurePosixPath(image["file_name"].string().replace("\\", "/")).stem
        size = image_size(files.get(name), image.size("width", "height"), image.place)
        found = [_read_object(entry, names, name, source.losses) for entry in annotations[image_id]]
        header = image.texts(HEADER)
        objects = [item for item in found if item is not None]
        yield LabelledImage(name, files.get(name), size, objects, header)


def write(
    folder: Path,
    images: Iterable[LabelledImage],
    classes: Sequence[str],
    losses: Losses,
    oriented: bool = True,
) -> None:
    """Write images/ and annotations.json; annotations as they come, so that memory stays bounded.

    Args:
        folder: an empty one.
        images: to write.
        classes: in the order of the categories' ids.
        losses: are told what cannot be written.
        oriented: write "segmentation".
    """
    ids = {name: number for number, name in enumerate(classes, start=1)}
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    entries, count = [], 0
    with (folder / FILE).open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(f'{{"categories": {json.dumps(categories)},\n"annotations": [')
        for image_id, item in enumerate(images, start=1):
            link_image(item.file, folder / "images")
            width, height = item.size
            file_name = item.file.name if item.file else f"{item.name}.png"
            entry = {"id": image_id, "file_name": file_name, "width": width, "height": height}
            entries.append(entry | item.header)
            for each, shape in zip(item.objects, _shapes(item.objects, oriented), strict=True):
                count += 1
                annotation = {"id": count, "image_id": image_id, "category_id": ids[each.name]}
                annotation |= {"iscrowd": 0, "difficult": each.difficult} | shape
                stream.write(("," if count > 1 else "") + "\n" + json.dumps(annotation))
            if not oriented:
                turned = sum(not _is_upright(each.corners) for each in item.objects)
                losses.add(
                    "turned boxes and first corners are lost: upright boxes around",
                    item.name,
                    turned,
                )
        stream.write(f'],\n"images": {json.dumps(entries)}}}\n')


def _read_document(source: Source) -> Entry:
    paths = source.find_documents(".json")
    if len(paths) > 1:
        raise ValueError(
            f"{source.path}: holds {len(paths)} JSON files, {paths[0].name} and others: name the "
            "file instead of the folder"
        )
    return read_json(paths[0])


def _categories(document: Entry) -> dict[int | str, str]:
    return {entry["id"].key(): entry["name"].string() for entry in document["categories"]}


def _read_object(
    entry: Entry, names: dict[int | str, str], image: str, losses: Losses
) -> DotaObject | None:
    if (crowd := entry.get("iscrowd")) is not None and crowd.number():
        losses.add("crowds (iscrowd) are left out", image)
        return None
    category = entry["category_id"].key()
    if category not in names:
        raise ValueError(f"{entry.place}.category_id: no category has the id {category}")
    difficult = entry.get("difficult")
    flag = 0 if difficult is None else difficult.flag()
    return DotaObject(_read_corners(entry, image, losses), names[category], flag)


def _read_corners(entry: Entry, image: str, losses: Losses) -> np.ndarray:
    outline = entry.get("segmentation")
    if outline is not None and isinstance(outline.value, dict):
        losses.add("masks as run lengths: their upright boxes are taken", image)
    elif outline is not None and outline.value:
        parts = [np.array([value.number() for value in part]) for part in outline]
        if any(len(part) < 6 or len(part) % 2 for part in parts):
            raise ValueError(f"{outline.place}: expected lists [x1, y1, x2, y2, x3, y3, ...]")
        points = np.concatenate(parts).reshape(-1, 2)
        if len(points) == 5 and (points[0] == points[4]).all():  # the first one is repeated
            points = points[:4]
        if len(parts) == 1 and len(points) == 4:
            return points
        losses.add(OUTLINES, image)
        return smallest_rectangle(points)
    box = [value.number() for value in entry["bbox"]]
    if len(box) != 4:
        raise ValueError(f"{entry['bbox'].place}: expected [x, y, width, height], got {box}")
    x, y, width, height = box
    return upright_corners(x, y, x + width, y + height)


def _shapes(objects: Sequence[DotaObject], oriented: bool) -> Iterator[dict]:
    """Yield "bbox", "area" and, if oriented, "segmentation" of each object."""
    corners = stack_corners(objects)
    low, high = corners.min(axis=1), corners.max(axis=1)  # [N, 2]
    areas = (high - low).prod(axis=1)
    if oriented:
        areas = polygon_areas(corners)
    boxes = np.concatenate([low, high - low], axis=1)
    for box, area, points in zip(boxes, areas, corners.reshape(-1, 8), strict=True):
        shape = {"bbox": box.round(DECIMALS).tolist(), "area": round(float(area), DECIMALS)}
        if oriented:
            shape["segmentation"] = [points.round(DECIMALS).tolist()]
        yield shape


def _is_upright(corners: np.ndarray) -> bool:
    """Say whether corners (4, 2) are those of the box around them, in its order."""
    return bool((corners == upright_corners(*corners.min(axis=0), *corners.max(axis=0))).all())
