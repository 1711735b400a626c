"""Data set of annotations in COCO's format: boxes, polygons and keypoints."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchvision
from pycocotools.coco import COCO

from maskrcnn_benchmark.data.datasets.coco_file import read_coco_file
from maskrcnn_benchmark.images.image_io import read_image
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.utils.data_summary import DataSummary

min_keypoints_per_image = 10


def _count_visible_keypoints(anno: Sequence[dict]) -> int:
    """Count the labelled keypoints of all objects of an image."""
    flags = (flag for obj in anno for flag in obj["keypoints"][2::3])
    return sum(flag > 0 for flag in flags)


def _has_only_empty_bbox(anno: Sequence[dict]) -> bool:
    """Return whether no box is both wider and higher than one pixel."""
    return not any(min(obj["bbox"][2:]) > 1 for obj in anno)


def has_valid_annotation(anno: Sequence[dict]) -> bool:
    """Return whether an image has objects to train on.

    Args:
        anno: the image's annotations in COCO's format. If they have keypoints, at least
            `min_keypoints_per_image` of these must be labelled.
    """
    if _has_only_empty_bbox(anno):
        return False
    return "keypoints" not in anno[0] or _count_visible_keypoints(anno) >= min_keypoints_per_image


class COCODataset(torchvision.datasets.coco.CocoDetection):
    """Images with annotations in COCO's format.

    Labels number the categories from 1, in the order of the file. Crowd regions are left out of
    the targets.

    Args:
        ann_file: JSON file of the annotations.
        root: folder of the images.
        remove_images_without_annotations: leave out images without objects to train on.
        transforms: called with (BGR image, target), or None.

    Raises:
        FileNotFoundError: the file or the folder does not exist.
        ValueError: the file does not hold what `read_coco_file` expects.
    """

    def __init__(
        self,
        ann_file: str,
        root: str,
        remove_images_without_annotations: bool = False,
        transforms: Callable | None = None,
    ):
        if not os.path.isdir(root):
            raise FileNotFoundError(f"no image folder {root} for a COCO data set")
        # in place of CocoDetection's, which indexes whatever the file holds
        torchvision.datasets.VisionDataset.__init__(self, root)
        self.coco = COCO()
        self.coco.dataset = read_coco_file(ann_file)
        self.coco.createIndex()
        self.ann_file = ann_file
        self.ids = sorted(self.coco.imgs)
        if remove_images_without_annotations:
            self.ids = [
                image_id
                for image_id in self.ids
                if has_valid_annotation(self._load_target(image_id))
            ]
        self.categories = {cat["id"]: cat["name"] for cat in self.coco.cats.values()}
        self.contiguous_category_id_to_json_id = dict(enumerate(self.coco.getCatIds(), start=1))
        self.json_category_id_to_contiguous_id = {
            json_id: label for label, json_id in self.contiguous_category_id_to_json_id.items()
        }
        self.id_to_img_map = dict(enumerate(self.ids))
        self._any_annotation: dict = next(iter(self.coco.anns.values()), {})
        self._transforms = transforms

    def __getitem__(self, idx: int) -> tuple[Any, BoxList, int]:
        image_id = self.ids[idx]
        path = os.path.join(self.root, self.coco.imgs[image_id]["file_name"])
        image: Any = read_image(path)
        height, width = image.shape[:2]
        target = self._make_target(self._load_target(image_id), (width, height))
        target.image_name = path
        target = target.clip_to_image(remove_empty=True)
        if self._transforms is not None:
            image, target = self._transforms(image, target)
        return image, target, idx

    def _make_target(self, annotations: Sequence[dict], size: tuple[int, int]) -> BoxList:
        objects = [obj for obj in annotations if not obj["iscrowd"]]
        boxes_xywh = torch.as_tensor([obj["bbox"] for obj in objects], dtype=torch.float32)
        target = BoxList(boxes_xywh.reshape(-1, 4), size, mode="xywh").convert("xyxy")
        to_label = self.json_category_id_to_contiguous_id
        labels = [to_label[obj["category_id"]] for obj in objects]
        target.add_field("labels", torch.tensor(labels, dtype=torch.int64))
        # an image without objects has the same fields as the others, of length 0
        fields = objects[0] if objects else self._any_annotation
        if "segmentation" in fields:
            polygons = [self._polygons_of(obj) for obj in objects]
            target.add_field("masks", SegmentationMask(polygons, size, mode="poly"))
        if "keypoints" in fields:
            numbers = [obj["keypoints"] for obj in objects]
            points = torch.tensor(numbers, dtype=torch.float32)
            points = points.reshape(-1, len(fields["keypoints"]) // 3, 3)  # [N, K, 3]
            target.add_field("keypoints", PersonKeypoints(points, size))
        return target

    def _polygons_of(self, annotation: dict) -> list:
        polygons = annotation["segmentation"]
        if isinstance(polygons, dict):
            raise ValueError(
                f"{self.ann_file}: annotation {annotation['id']}: expected polygons, got run "
                "lengths, which are read of crowd regions (iscrowd 1) and in evaluation only"
            )
        return polygons

    def summary(self) -> DataSummary:
        """Count what the samples show."""
        counts = dict.fromkeys(self.json_category_id_to_contiguous_id, 0)
        empty = crowds = 0
        for image_id in self.ids:
            annotations = self.coco.imgToAnns[image_id]
            objects = [obj["category_id"] for obj in annotations if not obj["iscrowd"]]
            for category_id in objects:
                counts[category_id] += 1
            empty += not objects
            crowds += len(annotations) - len(objects)
        return DataSummary(
            images=len(self.ids),
            samples=len(self.ids),
            classes={self.categories[json_id]: count for json_id, count in counts.items()},
            empty=empty,
            left_out={
                "images without an object to train on": len(self.coco.imgs) - len(self.ids),
                "crowd regions": crowds,
            },
        )

    def get_img_info(self, index: int) -> dict:
        """Return the image's entry in the JSON file: height and width in pixels, file_name, ..."""
        return self.coco.imgs[self.id_to_img_map[index]]
