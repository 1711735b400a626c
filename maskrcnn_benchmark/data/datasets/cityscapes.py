"""Data set of Cityscapes' folders: leftImg8bit/SPLIT/CITY/… and gtFine/SPLIT/CITY/…"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from maskrcnn_benchmark.images.image_io import read_image, read_image_size
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

from .abstract import AbstractDataset

# The classes whose objects are distinguished, with their numbers in *_instanceIds.png. There a
# pixel's value is number * 1000 + k for the k-th object, and the number alone for a group of
# objects or for other classes.
INSTANCE_CLASSES = {
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "caravan": 29,
    "trailer": 30,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
NOT_EVALUATED = ("caravan", "trailer")  # the official evaluation leaves these classes out
SPLITS = ("train", "val", "test")
_ENDINGS = {"mask": "instanceIds.png", "poly": "polygons.json"}

Boxes = Sequence[Sequence[int]]


class CityScapesDataset(AbstractDataset):
    """Images with Cityscapes' annotations. An image without objects has an empty target.

    Args:
        img_dir: leftImg8bit, the folder of the splits.
        ann_dir: gtFine or gtCoarse.
        split: "train", "val" or "test".
        mode: "mask": objects are the visible pixels in *_instanceIds.png; "poly": the outlines in
            *_polygons.json, which include hidden parts of an object.
        transforms: called with (BGR image, target), or None.
        min_area: least (x2 - x1) * (y2 - y1) of an object's box, square pixels; others are left
            out.
        mini: greatest number of images, taken evenly from the split; None: all images.

    Raises:
        FileNotFoundError: a folder or the annotation of an image does not exist.
        ValueError, NotImplementedError: an unknown split or mode.
    """

    def __init__(
        self,
        img_dir: str,
        ann_dir: str,
        split: str,
        mode: str = "mask",
        transforms: Callable | None = None,
        min_area: int = 0,
        mini: int | None = None,
    ):
        super().__init__()
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        if mode not in _ENDINGS:
            raise NotImplementedError(f"mode must be 'mask' or 'poly', got {mode!r}")
        images, self.ann_dir = Path(img_dir, split).absolute(), str(Path(ann_dir, split).absolute())
        for folder in (images, Path(self.ann_dir)):
            if not folder.is_dir():
                raise FileNotFoundError(f"no folder {folder} for a Cityscapes data set")
        self.split, self.mode, self.transforms, self.min_area = split, mode, transforms, min_area
        self.CLASSES = ["__background__", *INSTANCE_CLASSES]
        self.initMaps()
        self.categories = self.id_to_name
        self.cityscapesID_to_ind = {
            number: self.name_to_id[name] for name, number in INSTANCE_CLASSES.items()
        }
        paths = sorted(images.glob("*/*_leftImg8bit.png"))
        if mini:
            paths = paths[:: len(paths) // mini + 1]
        self.img_paths = [str(path) for path in paths]
        self.ann_paths = [self._find_annotation(path, _ENDINGS[mode]) for path in paths]

    def _find_annotation(self, image: Path, ending: str) -> str:
        stem = image.name.removesuffix("leftImg8bit.png")
        found = sorted(Path(self.ann_dir, image.parent.name).glob(f"{stem}gt*_{ending}"))
        if not found:
            raise FileNotFoundError(
                f"no annotation {self.ann_dir}/{image.parent.name}/{stem}gt…_{ending} for {image}"
            )
        return str(found[0])

    def __getitem__(self, idx: int) -> tuple[Any, BoxList, int]:
        image: Any = read_image(self.img_paths[idx])
        target = self.get_groundtruth(idx).clip_to_image(remove_empty=True)
        if self.transforms is not None:
            image, target = self.transforms(image, target)
        return image, target, idx

    def get_groundtruth(self, index: int) -> BoxList:
        """Return the objects of an image, a BoxList with the fields labels and masks."""
        path = self.ann_paths[index]
        if self.mode == "mask":
            pixels = read_instance_ids(path)
            size = pixels.shape[::-1]
            objects = self._processBinayMasks(torch.from_numpy(pixels))
        else:
            with open(path, encoding="utf-8") as file:
                annotation = json.load(file)
            size = (annotation["imgWidth"], annotation["imgHeight"])
            objects = self._processPolygons(annotation)
        boxes, outlines, labels = self._filterGT(*objects)
        target = BoxList(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), size)
        target.image_name = self.img_paths[index]
        target.add_field("labels", torch.tensor(labels, dtype=torch.int64))
        target.add_field("masks", SegmentationMask(outlines, size, mode=self.mode))
        return target

    def instance_ids_path(self, index: int) -> str | None:
        """Return the path of an image's *_instanceIds.png, the official ground truth, or None."""
        path = Path(self.ann_paths[index].replace(_ENDINGS["poly"], _ENDINGS["mask"]))
        return str(path) if path.is_file() else None

    def _filterGT(
        self, boxes: Boxes, segmentations: Sequence[Any], labels: Sequence[int]
    ) -> tuple[list, list, list]:
        """Return the boxes of at least `min_area`, and their segmentations and labels."""
        kept = [
            number
            for number, (x1, y1, x2, y2) in enumerate(boxes)
            if (x2 - x1) * (y2 - y1) >= self.min_area
        ]
        return tuple([items[number] for number in kept] for items in (boxes, segmentations, labels))

    def _processPolygons(self, ann: dict) -> tuple[list, list, list]:
        """Return boxes xyxy, outlines and labels of the objects in a *_polygons.json."""
        objects = [
            (np.array(entry["polygon"]), self.name_to_id[entry["label"]])
            for entry in ann["objects"]
            if entry["label"] in INSTANCE_CLASSES and not entry.get("deleted", 0)
        ]
        boxes = [
            [*map(int, points.min(axis=0)), *map(int, points.max(axis=0))] for points, _ in objects
        ]
        outlines = [[points.reshape(-1).tolist()] for points, _ in objects]
        return boxes, outlines, [label for _, label in objects]

    def _processBinayMasks(self, ann: torch.Tensor) -> tuple[list, list, list]:
        """Return boxes xyxy, masks and labels of the objects in instance ids (H, W)."""
        pixels, boxes, masks, labels = ann.numpy(), [], [], []
        for number in numbers_in(pixels):
            if number // 1000 in self.cityscapesID_to_ind:  # otherwise a group or no object
                mask = pixels == number
                boxes.append(list(mask_bounds(mask)))
                masks.append(torch.from_numpy(mask))
                labels.append(self.cityscapesID_to_ind[number // 1000])
        return boxes, masks, labels

    def __len__(self) -> int:
        return len(self.img_paths)

    def get_img_info(self, index: int) -> dict:
        """Return the size of an image in pixels, read from its header, and its files' paths."""
        path = self.img_paths[index]
        width, height = read_image_size(path)
        return {
            "height": height,
            "width": width,
            "idx": index,
            "file_name": path,
            "img_path": path,
            "ann_path": self.ann_paths[index],
        }


def read_instance_ids(path: str) -> np.ndarray:
    """Read an *_instanceIds.png, int32 (H, W)."""
    # 16-bit numbers, which read_image would scale to 8 bits
    with Image.open(path, formats=("PNG",)) as image:
        return np.array(image, dtype=np.int32)


def numbers_in(pixels: np.ndarray) -> list[int]:
    """Return the instance ids that occur, in rising order."""
    return np.flatnonzero(np.bincount(pixels.reshape(-1))).tolist()  # faster than np.unique


def mask_bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box xyxy around the pixels of a mask, bool (H, W); (0, 0, -1, -1) if empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return 0, 0, -1, -1
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
