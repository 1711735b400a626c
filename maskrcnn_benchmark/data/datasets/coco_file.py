"""Read files of annotations in COCO's format, with every entry checked before it is used.

{"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name"}],
"annotations": [{"id", "image_id", "category_id", "bbox": [x, y, width, height], "area", "iscrowd",
"segmentation", "keypoints"}]}, pixels. "annotations" may be missing, and in each of them the last
four entries; but where the first object has "segmentation" or "keypoints", all have.
"""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

GREATEST = 1_000_000  # pixels: no image is as wide; memory of an outline grows with its length


def read_coco_file(path: str | Path) -> dict[str, Any]:
    """Read a file of annotations.

    Returns:
        what the file holds. A missing "iscrowd" is filled in as 0, a missing "area" as that of the
        box.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: "path: annotation 7: ..." for an entry that is not as in this module's
            docstring; an id that occurs twice; an image or a category that is not in the file.
    """
    content = _read_json(path)
    if not isinstance(content.setdefault("annotations", []), list):
        raise ValueError(f'{path}: expected a list "annotations"')
    images = _check_entries(path, content, "images", "image", _wrong_image)
    if len(set(map(type, images))) > 1:
        raise ValueError(f"{path}: expected images' ids of one kind, got numbers and texts")
    categories = _check_entries(path, content, "categories", "category", _wrong_category)
    first = next(filter(_is_object, content["annotations"]), {})
    keypoints = first.get("keypoints")
    needed = [name for name in ("segmentation", "keypoints") if name in first]

    def wrong_annotation(item: dict) -> str:
        item.setdefault("iscrowd", 0)
        return (
            _wrong_reference(item, images, categories)
            or _wrong_shape(item, needed)
            or _wrong_keypoints(item, keypoints)
        )

    _check_entries(path, content, "annotations", "annotation", wrong_annotation)
    for item in content["annotations"]:
        item.setdefault("area", item["bbox"][2] * item["bbox"][3])
    return content


def count_categories(path: str | Path) -> int:
    """Count a file's categories.

    Raises:
        FileNotFoundError, ValueError: as read_coco_file does.
    """
    return len(_check_entries(path, _read_json(path), "categories", "category", _wrong_category))


def _read_json(path: str | Path) -> dict[str, Any]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no annotation file {path} for a COCO data set")
    try:
        content = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f'{path}: expected {{"images": …, "categories": …, "annotations": …}}')
    return content


def _check_entries(
    path: str | Path, content: Mapping, key: str, title: str, wrong: Callable[[dict], str]
) -> Collection:
    """Return the ids of a list's entries; raise ValueError for the first that is wrong."""
    entries = content.get(key)
    if not isinstance(entries, list):
        raise ValueError(f'{path}: expected a list "{key}", got {type(entries).__name__}')
    ids: dict[Any, None] = {}
    for place, entry in enumerate(entries):
        number = entry.get("id") if isinstance(entry, dict) else None
        if type(number) not in (int, str):
            raise ValueError(f"{path}: {key}[{place}]: expected an entry with an id")
        problem = "a second one of this id" if number in ids else wrong(entry)
        if problem:
            raise ValueError(f"{path}: {title} {number}: {problem}")
        ids[number] = None
    return ids


def _wrong_image(image: dict) -> str:
    name, size = image.get("file_name"), [image.get("width"), image.get("height")]
    if not isinstance(name, str) or not name or "\0" in name:
        return f"expected a file_name, got {name!r}"
    if not _are_numbers(size) or min(size) <= 0:
        return f"expected width and height in pixels, got {size}"
    return ""


def _wrong_category(category: dict) -> str:
    if type(category["id"]) is not int or not isinstance(category.get("name"), str):
        return f"expected a whole number as id and a name, got {category!r:.80}"
    return ""


def _is_object(annotation: Any) -> bool:
    return isinstance(annotation, dict) and not annotation.get("iscrowd")


def _wrong_reference(item: dict, images: Collection, categories: Collection) -> str:
    for key, known in (("image_id", images), ("category_id", categories)):
        number = item.get(key)
        if type(number) not in (int, str) or number not in known:
            some = ", ".join(map(str, [*known][:8])) + (", …" if len(known) > 8 else "")
            return f"{key} {number!r:.80} is not among the file's: {some}"
    return ""


def _wrong_shape(item: dict, needed: Collection[str]) -> str:
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not _are_numbers(box) or min(box[2:]) < 0:
        return f"expected bbox [x, y, width, height] in pixels, got {box!r:.80}"
    if item["iscrowd"] not in (0, 1):
        return f"iscrowd is 0 or 1, got {item['iscrowd']!r:.80}"
    area = item.get("area", 0)
    if type(area) not in (int, float) or not 0 <= area <= GREATEST**2:
        return f"expected an area in square pixels, got {area!r:.80}"
    if item["iscrowd"]:  # a region that is left out of training, in whatever form it is given
        return ""
    missing = [name for name in needed if name not in item]
    if missing:
        return f"no {missing[0]}, which the file's first object has"
    rings = item.get("segmentation", [])
    if isinstance(rings, dict) and {"size", "counts"} <= set(rings):  # run lengths, of bitmaps
        return ""
    if not isinstance(rings, list):
        return f"expected polygons or run lengths as segmentation, got {rings!r:.80}"
    for ring in rings:
        if not isinstance(ring, list) or len(ring) % 2 or (ring and not _are_numbers(ring)):
            return f"expected polygons [x1, y1, x2, y2, …] as segmentation, got {ring!r:.80}"
    return ""


def _wrong_keypoints(item: dict, first: Any) -> str:
    points = item.get("keypoints")
    if points is None:
        return ""
    if not isinstance(points, list) or not points or len(points) % 3 or not _are_numbers(points):
        return f"expected keypoints [x1, y1, v1, …], got {points!r:.80}"
    if first is not None and len(points) != len(first):
        return f"{len(points) // 3} keypoints, the file's first object has {len(first) // 3}"
    return ""


def _are_numbers(values: list) -> bool:
    """Say whether all of a list are numbers from -GREATEST to GREATEST; it must not be empty."""
    try:
        total = sum(values)  # NaN where one of them is
        return total == total and -GREATEST <= min(values) and max(values) <= GREATEST
    except (TypeError, OverflowError):  # the latter: whole numbers beyond floats
        return False
