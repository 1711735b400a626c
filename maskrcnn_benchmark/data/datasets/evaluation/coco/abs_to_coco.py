"""Annotations of an AbstractDataset in COCO's format."""

import datetime
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import torch
from torch.utils.data import Dataset

from maskrcnn_benchmark.data.datasets.abstract import AbstractDataset
from maskrcnn_benchmark.data.loader import ForkingLoader


def convert_abstract_to_coco(
    dataset: AbstractDataset, num_workers: int | None = None, chunksize: int = 100
) -> dict[str, Any]:
    """Convert the annotations of a data set to the content of a COCO JSON file.

    Args:
        dataset: its `get_groundtruth` returns the objects of an image.
        num_workers: processes that read images; None or 0: this process reads them.
        chunksize: images per task of a process.

    Returns:
        a dict with info, type, images, annotations and categories.

    Raises:
        ValueError: `dataset` is no AbstractDataset.
    """
    if not isinstance(dataset, AbstractDataset):
        raise ValueError(f"expected an AbstractDataset, got a {type(dataset).__name__}")
    loader = ForkingLoader(
        _Converted(dataset),
        batch_size=chunksize,
        num_workers=num_workers or 0,
        collate_fn=list,
    )
    pairs = [pair for chunk in loader for pair in chunk]
    annotations = [annotation for _, of_image in pairs for annotation in of_image]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    logging.getLogger("maskrcnn_benchmark.inference").info(
        "%d images and %d objects in COCO's format", len(pairs), len(annotations)
    )
    return {
        "info": {
            "description": f"{type(dataset).__name__}, converted by maskrcnn_benchmark",
            "date_created": datetime.datetime.now().isoformat(" "),
        },
        "type": "instances",
        "images": [image for image, _ in pairs],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name} for number, name in dataset.id_to_name.items() if number
        ],
    }


class _Converted(Dataset):
    def __init__(self, dataset: AbstractDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> tuple[dict, list[dict]]:
        return process_single_image((self.dataset, idx))


def process_single_image(args: tuple[AbstractDataset, int]) -> tuple[dict, list[dict]]:
    """Return COCO's entries of an image and of its objects; the latter have no "id" yet.

    An object's area is the number of its mask's pixels or, without masks, the area of its box. A
    field "iscrowd" marks crowd regions, in which detections are not counted as false.

    Args:
        args: (data set, index of the image).
    """
    dataset, idx = args
    image = {"id": idx + 1, **dataset.get_img_info(idx)}
    target = dataset.get_groundtruth(idx)
    count = len(target)
    columns: dict[str, Sequence] = {
        "image_id": [image["id"]] * count,
        "category_id": target.get_field("labels").long().tolist(),
        "bbox": target.convert("xywh").bbox.tolist(),
        "area": target.area().tolist(),
        "iscrowd": [0] * count,
    }
    if target.has_field("iscrowd"):
        columns["iscrowd"] = [int(crowd) for crowd in target.get_field("iscrowd")]
    if target.has_field("masks"):
        masks = target.get_field("masks").convert("mask").instances.masks != 0  # [N, H, W]
        columns["segmentation"] = masks_to_rles(masks)
        columns["area"] = masks.sum(dim=(1, 2)).tolist()
    if target.has_field("keypoints"):
        points = target.get_field("keypoints").keypoints  # [N, K, 3]
        columns["keypoints"] = points.flatten(start_dim=1).tolist()
        columns["num_keypoints"] = (points[..., 2] > 0).sum(dim=1).tolist()
    rows = zip(*columns.values(), strict=True)
    return image, [dict(zip(columns, row, strict=True)) for row in rows]


def masks_to_rles(masks_tensor: torch.Tensor) -> list[dict]:
    """Return COCO's run-length codes of masks (N, H, W), with text as JSON needs it."""
    codes = [
        mask_util.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks_tensor
    ]
    return [{**code, "counts": code["counts"].decode("ascii")} for code in codes]
