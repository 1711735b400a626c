"""Conversion of Cityscapes' objects to COCO's format.

It makes the annotations of the data sets "cityscapes_fine_…_cocostyle" in paths_catalog.py.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from .cityscapes import INSTANCE_CLASSES, NOT_EVALUATED, numbers_in, read_instance_ids

# category ids are 1 to 8, in this order, in every file
CATEGORIES = [name for name in INSTANCE_CLASSES if name not in NOT_EVALUATED]
_ENDING = "_instanceIds.png"


def convert_cityscapes_instance_only(data_dir: str, out_dir: str) -> list[str]:
    """Write instancesonly_filtered_gtFine_SPLIT.json for each split that exists.

    An object's segmentation is the outlines of its visible pixels; outlines of less than three
    points are left out. An image's "file_name" has no folder, since the catalog's data sets expect
    all images in one folder.

    Args:
        data_dir: folder of gtFine, or of gtFine_trainvaltest/gtFine, with the splits.
        out_dir: folder of the files to write; it is made if it does not exist.

    Returns:
        the paths of the files.

    Raises:
        FileNotFoundError: there is no split.
    """
    places = [Path(data_dir, "gtFine_trainvaltest", "gtFine"), Path(data_dir, "gtFine")]
    truths = next((place for place in places if place.is_dir()), None)
    splits = [s for s in ("val", "train", "test") if truths is not None and (truths / s).is_dir()]
    if truths is None or not splits:
        raise FileNotFoundError(f"none of val, train and test in {' or '.join(map(str, places))}")
    os.makedirs(out_dir, exist_ok=True)
    written = []
    for split in splits:
        content = _convert_split(sorted((truths / split).glob(f"*/*{_ENDING}")))
        written.append(os.path.join(out_dir, f"instancesonly_filtered_gtFine_{split}.json"))
        with open(written[-1], "w", encoding="utf-8") as file:
            json.dump(content, file)
        logging.getLogger(__name__).info(
            *("%s: %d images, %d objects", written[-1], len(content["images"])),
            len(content["annotations"]),
        )
    return written


def _convert_split(paths: Sequence[Path]) -> dict:
    images, annotations = [], []
    for image_id, path in enumerate(paths, start=1):
        height, width = read_instance_ids(str(path)).shape
        stem = path.name.removesuffix(_ENDING).rpartition("_")[0]
        images.append(
            {
                "id": image_id,
                "width": width,
                "height": height,
                "file_name": f"{stem}_leftImg8bit.png",
                "seg_file_name": path.name,
            }
        )
        (instances,) = instances2dict_with_polygons([str(path)]).values()
        for category_id, name in enumerate(CATEGORIES, start=1):
            for instance in instances[name]:
                polygons = [ring for ring in instance["contours"] if len(ring) >= 6]
                if polygons:
                    annotations.append(
                        {
                            # from 1 on: pycocotools treats the id 0 as "no object"
                            "id": len(annotations) + 1,
                            "image_id": image_id,
                            "category_id": category_id,
                            "segmentation": polygons,
                            "area": instance["pixelCount"],
                            "bbox": xyxy_to_xywh(poly_to_box(polygons)),
                            "iscrowd": 0,
                        }
                    )
    categories = [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def instances2dict_with_polygons(
    imageFileList: str | Sequence[str], verbose: bool = False
) -> dict[str, dict[str, list[dict]]]:
    """Return the objects of *_instanceIds.png files.

    Args:
        imageFileList: one path, or several.
        verbose: print the number of files that are done.

    Returns:
        per absolute path a dict from class to objects. An object has instID, labelID, pixelCount,
        contours (flat lists x1 y1 x2 y2 … of the pixels on its outer borders), and medDist and
        distConf, which are always -1 and 0, since these files do not state distances.
    """
    paths = [imageFileList] if isinstance(imageFileList, str) else imageFileList
    result = {}
    for done, path in enumerate(paths, start=1):
        pixels = read_instance_ids(path)
        instances: dict[str, list[dict]] = {name: [] for name in INSTANCE_CLASSES}
        for number in numbers_in(pixels):
            for name in (n for n, label in INSTANCE_CLASSES.items() if label == number // 1000):
                instances[name].append(_describe(pixels, number))
        result[os.path.abspath(path)] = instances
        if verbose:
            print(f"\r{done} of {len(paths)} images", end="", flush=True)
    return result


def _describe(pixels: np.ndarray, number: int) -> dict:
    mask = (pixels == number).astype(np.uint8)
    rings = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[-2]
    return {
        "instID": number,
        "labelID": number // 1000,
        "pixelCount": int(mask.sum()),
        "medDist": -1,
        "distConf": 0.0,
        "contours": [ring.reshape(-1).tolist() for ring in rings],
    }


def poly_to_box(poly: Sequence[Sequence[float]]) -> list[float]:
    """Return the box xyxy around an object's polygons, flat lists x1 y1 x2 y2 …"""
    xs = [x for ring in poly for x in ring[0::2]]
    ys = [y for ring in poly for y in ring[1::2]]
    return [min(xs), min(ys), max(xs), max(ys)]


def xyxy_to_xywh(xyxy_box: Sequence[float]) -> tuple[float, float, float, float]:
    """Return x, y, width, height of a box whose both ends are inside."""
    x1, y1, x2, y2 = xyxy_box
    return x1, y1, x2 - x1 + 1, y2 - y1 + 1
