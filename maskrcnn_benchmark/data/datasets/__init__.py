"""The data sets, by the names that a catalog's `factory` gives."""

from .abstract import AbstractDataset
from .cityscapes import CityScapesDataset
from .coco import COCODataset
from .concat_dataset import ConcatDataset
from .dota import DotaDataset
from .list_dataset import ListDataset
from .voc import PascalVOCDataset

__all__ = [
    "AbstractDataset",
    "COCODataset",
    "CityScapesDataset",
    "ConcatDataset",
    "DotaDataset",
    "ListDataset",
    "PascalVOCDataset",
]
