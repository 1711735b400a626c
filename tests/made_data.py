"""Small data sets, drawn by the tests."""

import json

import numpy as np
import torch

from maskrcnn_benchmark.dota.annotations import DotaObject, write_labels
from maskrcnn_benchmark.dota.submission import ClassResults
from maskrcnn_benchmark.images.image_io import write_image
from maskrcnn_benchmark.structures.bounding_box import BoxList


def gradient(width, height):
    """Return a BGR image whose pixels encode their place: blue is x, green is y, modulo 256."""
    image = np.full((height, width, 3), 128, dtype=np.uint8)
    image[:, :, 0] = np.arange(width)[None, :] % 256
    image[:, :, 1] = np.arange(height)[:, None] % 256
    return image


def rectangle(x1, y1, x2, y2, name="ship", difficult=0):
    """Return an upright DOTA object between these edges, corners clockwise from the top left."""
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float64)
    return DotaObject(corners, name, difficult)


def make_dota_folder(folder, images, label_folder="labelTxt"):
    """Write images/NAME.png and labelTxt/NAME.txt.

    Args:
        folder: made if it does not exist.
        images: dict from name to (width, height, list of DotaObject); None for no label file.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / label_folder).mkdir(exist_ok=True)
    for name, (width, height, objects) in images.items():
        write_image(folder / "images" / f"{name}.png", gradient(width, height))
        if objects is not None:
            write_labels(folder / label_folder / f"{name}.txt", objects)
    return folder


def make_coco_folder(folder, images, categories, annotations):
    """Write annotations.json and images/.

    Args:
        images: dict from id to (width, height); the files are images/ID.png.
        categories: dict from id to name, in the order of the file.
        annotations: list of dicts; id, area and iscrowd are filled in.
    """
    (folder / "images").mkdir(parents=True)
    for image_id, (width, height) in images.items():
        write_image(folder / "images" / f"{image_id}.png", gradient(width, height))
    content = {
        "images": [
            {"id": image_id, "width": width, "height": height, "file_name": f"{image_id}.png"}
            for image_id, (width, height) in images.items()
        ],
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
        "annotations": [
            {"id": number, "iscrowd": 0, "area": item["bbox"][2] * item["bbox"][3], **item}
            for number, item in enumerate(annotations, start=1)
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder / "annotations.json", folder / "images"


def boxlist(boxes_xyxy, size, **fields):
    """Return a BoxList with fields."""
    boxes = BoxList(torch.as_tensor(boxes_xyxy, dtype=torch.float32).reshape(-1, 4), size)
    for name, value in fields.items():
        boxes.add_field(name, value)
    return boxes


def class_results(rows, task=1):
    """Return ClassResults by class.

    Args:
        rows: (image, class, score, corners (4, 2)) each.
        task: 2 makes upright boxes of the corners.
    """
    results = {}
    for name in dict.fromkeys(row[1] for row in rows):
        own = [row for row in rows if row[1] == name]
        corners = np.array([row[3] for row in own], dtype=np.float64).reshape(-1, 4, 2)
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        coordinates = corners.reshape(-1, 8) if task == 1 else boxes
        scores = np.array([row[2] for row in own], dtype=np.float64)
        results[name] = ClassResults([row[0] for row in own], scores, coordinates)
    return results
