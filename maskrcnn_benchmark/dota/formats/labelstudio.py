"""Label Studio's JSON, a list of tasks: FOLDER/labelstudio.json, and images/ beside it.

A "rectanglelabels" has x, y, width, height and rotation: (x, y) is the box's corner 1, its top left
before it is turned, also afterwards; the rotation is in degrees, clockwise on the screen, around
that corner. x and width are percents of the image's width, y and height of its height, also where
the box is turned. In an image of 200x100 a ship of 20x10 pixels whose corner 1 is (55, 30), turned
by 90 degrees, is x 27.5, y 30, width 10, height 10, rotation 90: its corners are (55, 30),
(55, 50), (45, 50), (45, 30). "polygonlabels" has points in percents, here the 4 corners in turn.

Writing: rectangles as such, other quadrilaterals (and corners that are not clockwise) as polygons.
label_config.xml is the project's labelling interface; the images are named for local storage whose
root is FOLDER (/data/local-files/?d=images/a.png). A difficult object has the note "difficult 1";
imagesource and gsd are in the task's data. Reading: of several annotations of a task the first that
was not cancelled; a task without one is left out, as are shapes of other kinds. The image is the
path's file name, without the eight characters that an upload puts before it.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

import numpy as np

from maskrcnn_benchmark.dota.annotations import DotaObject
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
from maskrcnn_benchmark.dota.formats.rectangles import (
    corners_to_rectangle,
    is_rectangle,
    rectangle_to_corners,
    smallest_rectangle,
)
from maskrcnn_benchmark.images.files import IMAGE_SUFFIXES

FILE, CONFIG = "labelstudio.json", "label_config.xml"
UPLOADED = re.compile(r"[0-9a-f]{8}-(?P<name>.+)")
DIFFICULT = re.compile(r"difficult (?P<flag>\d)")


def read(source: Source) -> Iterator[LabelledImage]:
    """Read the tasks of all JSON files.

    Raises:
        FileNotFoundError: there is none.
        ValueError: "path:key: ..." for what is malformed.
    """
    files = source.find_images()
    for path in source.find_documents(".json"):
        for task in read_json(path):
            name = _image_name(task["data"])
            result = _first_annotation(task, name, source.losses)
            if result is None:
                continue
            regions = [entry for entry in result if _is_region(entry, name, source.losses)]
            size = image_size(files.get(name), _stated_size(task, result), task.place)
            objects = [_read_region(entry, name, size, source.losses) for entry in regions]
            header = task["data"].texts(HEADER)
            yield LabelledImage(name, files.get(name), size, objects, header)


def write(
    folder: Path, images: Iterable[LabelledImage], classes: Sequence[str], losses: Losses
) -> None:
    """Write images/, labelstudio.json and label_config.xml; tasks as they come."""
    with (folder / FILE).open("w", encoding="utf-8", newline="\n") as stream:
        for number, item in enumerate(images, start=1):
            link_image(item.file, folder / "images")
            stream.write(("[" if number == 1 else ",") + "\n" + json.dumps(_task(number, item)))
        stream.write("\n]\n")
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
    for name, kind in (("box", "RectangleLabels"), ("corners", "PolygonLabels")):
        labels = ElementTree.SubElement(view, kind, name=name, toName="image")
        for each in classes:
            ElementTree.SubElement(labels, "Label", value=each)
    ElementTree.indent(view)
    text = ElementTree.tostring(view, encoding="unicode") + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")


def _image_name(data: Entry) -> str:
    """Return the name of a task's image from its path, address or upload."""
    candidates = [data["image"]] if data.get("image") else [data[key] for key in data.value]
    for entry in candidates:
        if not isinstance(entry.value, str):
            continue
        address = urlsplit(entry.value.replace("\\", "/"))
        path = PurePosixPath(unquote(parse_qs(address.query).get("d", [address.path])[0]))
        if path.suffix.lower() in IMAGE_SUFFIXES:
            uploaded = UPLOADED.fullmatch(path.stem) if "upload" in path.parts else None
            return uploaded["name"] if uploaded else path.stem
    raise ValueError(f"{data.place}: expected the path of an image ({', '.join(IMAGE_SUFFIXES)})")


def _first_annotation(task: Entry, name: str, losses: Losses) -> Entry | None:
    """Return the "result" of a task's first annotation that was not cancelled."""
    annotations = [
        entry
        for entry in task.get("annotations") or []
        if not (entry.get("was_cancelled") and entry["was_cancelled"].value)
    ]
    if not annotations:
        losses.add("tasks without an annotation are left out", name)
        return None
    losses.add("further annotations of a task are left out", name, len(annotations) - 1)
    return annotations[0]["result"]


def _is_region(entry: Entry, name: str, losses: Losses) -> bool:
    kind = entry["type"].string()
    if kind not in ("rectanglelabels", "polygonlabels"):
        losses.add(f"results of the type {kind} are left out", name)
        return False
    return True


def _stated_size(task: Entry, result: Entry) -> tuple[int, int] | None:
    """Return the image's size by its regions, or by the task's data, which `write` puts it into."""
    for entry in [*result, task["data"]]:
        if size := entry.size("original_width", "original_height"):
            return size
    return None


def _read_region(entry: Entry, name: str, size: tuple[int, int], losses: Losses) -> DotaObject:
    kind, value = entry["type"].string(), entry["value"]
    turned = entry.get("image_rotation")
    if turned is not None and turned.number() % 360:
        raise ValueError(f"{turned.place}: expected an image that is not turned")
    labels = [label.string() for label in value[kind]]
    if len(labels) != 1:
        raise ValueError(f"{value.place}.{kind}: expected one label, got {len(labels)}")
    corners = _read_corners(value, kind, name, np.array(size), losses)
    notes = (entry["meta"].get("text") if entry.get("meta") else None) or ()
    flags = [DIFFICULT.fullmatch(str(note.value)) for note in notes]
    return DotaObject(corners, labels[0], max((int(m["flag"]) for m in flags if m), default=0))


def _read_corners(
    value: Entry, kind: str, name: str, size: np.ndarray, losses: Losses
) -> np.ndarray:
    if kind == "polygonlabels":
        points = np.array(value["points"].points()).reshape(-1, 2) / 100 * size
        if len(points) == 4:
            return points
        if len(points) < 3:
            raise ValueError(f"{value.place}.points: expected corners, got {len(points)}")
        losses.add(OUTLINES, name)
        return smallest_rectangle(points)
    x, y, w, h = (value[key].number() for key in ("x", "y", "width", "height"))
    degrees = value["rotation"].number() if value.get("rotation") else 0.0
    sides, start = np.array([w, h]) / 100 * size, np.array([x, y]) / 100 * size
    corners = rectangle_to_corners((0.0, 0.0, sides[0], sides[1], math.radians(degrees)))
    return corners - corners[0] + start


def _task(number: int, item: LabelledImage) -> dict:
    width, height = item.size
    file_name = quote(item.file.name if item.file else f"{item.name}.png")
    data = {
        "image": f"/data/local-files/?d=images/{file_name}",
        "original_width": width,
        "original_height": height,
    }
    result = [
        {
            "id": f"{number}-{index}",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
        }
        | _region(each, np.array(item.size))
        for index, each in enumerate(item.objects, start=1)
    ]
    return {"id": number, "data": data | item.header, "annotations": [{"result": result}]}


def _region(item: DotaObject, size: np.ndarray) -> dict:
    percents = (item.corners / size * 100).tolist()
    if is_rectangle(item.corners):
        _, _, w, h, angle = corners_to_rectangle(item.corners)
        kind, from_name = "rectanglelabels", "box"
        value = {
            "x": percents[0][0],
            "y": percents[0][1],
            "width": w / size[0] * 100,
            "height": h / size[1] * 100,
            "rotation": math.degrees(angle),
        }
    else:
        kind, from_name = "polygonlabels", "corners"
        value = {"points": percents, "closed": True}
    region = {"type": kind, "from_name": from_name, "value": value | {kind: [item.name]}}
    if item.difficult:
        region["meta"] = {"text": [f"difficult {item.difficult}"]}
    return region
