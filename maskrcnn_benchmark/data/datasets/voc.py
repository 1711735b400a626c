"""Data set of Pascal VOC's folders: Annotations, ImageSets and JPEGImages."""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import Dataset

from maskrcnn_benchmark.images.image_io import read_image
from maskrcnn_benchmark.structures.bounding_box import BoxList


class PascalVOCDataset(Dataset):
    """Images with Pascal VOC's annotations.

    Args:
        data_dir: the folder, such as VOC2007.
        split: name of a list in ImageSets/Main, such as "trainval".
        use_difficult: keep the objects that are marked as difficult.
        transforms: called with (BGR image, target), or None.

    Raises:
        FileNotFoundError: the list does not exist.
    """

    CLASSES = (
        "__background__ ",
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    )

    def __init__(
        self,
        data_dir: str,
        split: str,
        use_difficult: bool = False,
        transforms: Callable | None = None,
    ):
        self.root = data_dir
        self.image_set = split
        self.keep_difficult = use_difficult
        self.transforms = transforms
        list_file = os.path.join(data_dir, "ImageSets", "Main", f"{split}.txt")
        if not os.path.isfile(list_file):
            raise FileNotFoundError(f"no image list {list_file} for a Pascal VOC data set")
        with open(list_file) as file:
            self.ids = file.read().split()
        self.id_to_img_map = dict(enumerate(self.ids))
        self.categories = dict(enumerate(self.CLASSES))
        self.class_to_ind = {name: label for label, name in self.categories.items()}

    def __getitem__(self, index: int) -> tuple[Any, BoxList, int]:
        image: Any = read_image(self._image_path(index))
        target = self.get_groundtruth(index).clip_to_image(remove_empty=True)
        if self.transforms is not None:
            image, target = self.transforms(image, target)
        return image, target, index

    def __len__(self) -> int:
        return len(self.ids)

    def _image_path(self, index: int) -> str:
        return os.path.join(self.root, "JPEGImages", f"{self.ids[index]}.jpg")

    def _annotation_path(self, index: int) -> str:
        return os.path.join(self.root, "Annotations", f"{self.ids[index]}.xml")

    def get_groundtruth(self, index: int) -> BoxList:
        """Return the objects of an image, a BoxList with the fields labels and difficult.

        Raises:
            ValueError: an object's class is not in CLASSES.
        """
        path = self._annotation_path(index)
        try:
            anno = self._preprocess_annotation(ElementTree.parse(path).getroot())
        except KeyError as error:
            raise ValueError(
                f"{path}: unknown class {error}, expected one of {self.CLASSES[1:]}"
            ) from None
        height, width = anno["im_info"]
        target = BoxList(anno["boxes"], (width, height))
        target.image_name = self._image_path(index)
        for field in ("labels", "difficult"):
            target.add_field(field, anno[field])
        return target

    def _preprocess_annotation(self, target: ElementTree.Element) -> dict:
        boxes, labels, difficult = [], [], []
        for obj in target.iter("object"):
            is_difficult = obj.findtext("difficult", "0").strip() == "1"
            if is_difficult and not self.keep_difficult:
                continue
            corners = [obj.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
            # VOC numbers pixels from 1
            boxes.append([int(float(value)) - 1 for value in corners])
            labels.append(self.class_to_ind[obj.findtext("name").lower().strip()])
            difficult.append(is_difficult)
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "difficult": torch.tensor(difficult, dtype=torch.bool),
            "im_info": _image_hw(target),
        }

    def get_img_info(self, index: int) -> dict:
        """Return height, width (pixels) and file_name, read from the annotation."""
        height, width = _image_hw(ElementTree.parse(self._annotation_path(index)).getroot())
        return {"height": height, "width": width, "file_name": self._image_path(index)}

    def map_class_id_to_class_name(self, class_id: int) -> str:
        """Return the class name of a label."""
        return self.CLASSES[class_id]


def _image_hw(annotation: ElementTree.Element) -> tuple[int, int]:
    return tuple(int(annotation.findtext(f"size/{key}")) for key in ("height", "width"))
