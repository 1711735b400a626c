"""Cityscapes' objects in COCO's format, for the catalog's "cityscapes_fine_…_cocostyle" sets."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from .cityscapes import INSTANCE_CLASSES, UNJUDGED_CLASSES, numbers_in, read_instance_ids

# category ids are 1 to 8, in this order, in every file
CATEGORIES = [name for name in INSTANCE_CLASSES if name not in UNJUDGED_CLASSES]
_ENDING = "_instanceIds.png"


def convert_cityscapes_instance_only(data_dir: str, out_dir: str) -> list[str]:
    """Write instancesonly_filtered_gtFine_SPLIT.json for each split that is there.

    Objects are the outlines of their visible pixels, an outline of less than three points left
    out. An image's "file_name" has no folder, as the catalog's flat folder of images expects.

    Args:
        data_dir: Holds gtFine, or gtFine_trainvaltest/gtFine, with the splits.
        out_dir: Made if it does not exist.

    Returns:
        The files' paths.

    Raises:
        FileNotFoundError: There is no split.
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
                            # pycocotools takes an object of the number 0 for none
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
        imageFileList: One path or several.
        verbose: Print the number of files done.

    Returns:
        For each absolute path a dict from class to objects, each with instID, labelID, pixelCount,
        medDist and distConf (which no file says: -1 and 0), and contours (flat lists x1 y1 x2 y2 …
        of pixels on the outer rims).
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
