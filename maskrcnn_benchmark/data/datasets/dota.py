"""DOTA-format folders, raw or split, as samples that fit a network.

FOLDER/images holds the images and FOLDER/labelTxt one label file for each. An image larger than
the tile is cut in memory on `dota.tiles`' grid, so a sample is a window of a file; a file named
like `P0706__1__824___0` is itself a tile of P0706. FOLDER/tiles.json, which `tools/dota.py split`
writes, says that the tiles are complete: they can be merged and judged on the whole images, whose
labels lie in FOLDER/labelTxt-original.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from maskrcnn_benchmark.dota.annotations import (
    DotaObject,
    corners_to_boxlist_xyxy,
    read_labels,
    stack_corners,
)
from maskrcnn_benchmark.dota.tiles import CUT_AWAY, Window, clip_labels, parse_tile_name, tile_grid
from maskrcnn_benchmark.images.files import by_stem, list_images
from maskrcnn_benchmark.images.image_io import read_image, read_image_size
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


@dataclass(frozen=True)
class DotaSample:
    """A window of an image file.

    Attributes:
        path: The image file.
        source: Name of the image that the file is, or is a tile of.
        x0, y0: First column and row of the sample in that image, pixels.
        file_x0, file_y0: First column and row of the sample in the file.
        width, height: Pixels.
        is_cut: The sample is only a part of the file.
    """

    path: str
    source: str
    x0: int
    y0: int
    file_x0: int
    file_y0: int
    width: int
    height: int
    is_cut: bool

    @property
    def stem(self) -> str:
        """The file's name without folder and suffix."""
        return Path(self.path).stem


@dataclass(frozen=True)
class _Labels:
    """The objects of one sample: corners (N, 4, 2) in its pixels, labels and difficult (N,)."""

    corners: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


class DotaDataset(Dataset):
    """Samples of a DOTA-format folder.

    Training leaves out objects of which a tile shows too little (difficult 2), and tiles without
    an object whose image has objects elsewhere; an image without any object stays, as background.

    Args:
        folder: Holds images/ and labelTxt/; without labelTxt it can only be predicted on.
        class_names: Names in the order of the labels; label 0 is the background, 1 the first name.
        tile: Side above which an image is cut, pixels; 0 never cuts.
        overlap: Pixels that neighbouring tiles share.
        with_masks: Add the objects' outlines as the field "masks".
        is_train: Whether samples are for training.
        transforms: Called with (BGR image, target), or None.
        nms_hbb, nms_obb: IoU above which results of neighbouring tiles are the same object, for
            upright and oriented boxes; evaluation merges by them.

    Raises:
        FileNotFoundError: The folder, its images or, in training, its labels are not there.
        ValueError: A label file has an error (given as path:line).
    """

    def __init__(
        self,
        folder: str,
        class_names: Sequence[str],
        tile: int = 1024,
        overlap: int = 200,
        with_masks: bool = False,
        is_train: bool = False,
        transforms: Callable | None = None,
        nms_hbb: float = 0.5,
        nms_obb: float = 0.1,
    ):
        self.folder = Path(folder)
        self.class_names = tuple(class_names)
        self.categories = dict(enumerate(self.class_names, start=1))
        self.with_masks = with_masks
        self.nms_hbb = nms_hbb
        self.nms_obb = nms_obb
        self.is_train = is_train
        self.transforms = transforms
        self.tiles_are_complete = (self.folder / "tiles.json").is_file()
        self.has_labels = (self.folder / "labelTxt").is_dir()
        self.samples: list[DotaSample] = []
        self._labels: list[_Labels] = []
        self._decoded: tuple[str, np.ndarray] | None = None
        self._load(tile, overlap)

    def _load(self, tile: int, overlap: int) -> None:
        images = _find_images(self.folder)
        if self.is_train and not self.has_labels:
            raise FileNotFoundError(
                f"no label folder {self.folder / 'labelTxt'}: training needs a label file there "
                "for each image in images/"
            )
        without_file = []
        for path in images:
            label_file = self.folder / "labelTxt" / f"{path.stem}.txt"
            objects = []
            if label_file.is_file():
                objects = read_labels(label_file, self.class_names)
            else:
                without_file.append(label_file)
            for sample in _samples_of(path, tile, overlap):
                self.samples.append(sample)
                self._labels.append(self._labels_of(sample, objects))
        if self.has_labels and without_file:
            self._report_missing(without_file, len(images))
        if self.is_train:
            self._select_for_training()

    def _report_missing(self, label_files: list[Path], image_count: int) -> None:
        if len(label_files) == image_count:
            raise FileNotFoundError(
                f"no image in {self.folder / 'images'} has a label file: expected, for example, "
                f"{label_files[0]}"
            )
        logging.getLogger(__name__).warning(
            "%d of %d images have no label file and count as empty, the first is %s",
            len(label_files),
            image_count,
            label_files[0],
        )

    def _labels_of(self, sample: DotaSample, objects: list[DotaObject]) -> _Labels:
        if sample.is_cut:
            window = Window(sample.file_x0, sample.file_y0, sample.width, sample.height)
            objects = clip_labels(objects, window)
        return _Labels(
            stack_corners(objects),
            np.array([self.class_names.index(o.name) + 1 for o in objects], dtype=np.int64),
            np.array([o.difficult for o in objects], dtype=np.int64),
        )

    def _select_for_training(self) -> None:
        pairs = list(zip(self.samples, self._labels, strict=True))
        with_objects = {sample.source for sample, labels in pairs if len(labels)}
        self.samples, self._labels = [], []
        for sample, labels in pairs:
            shown = labels.difficult != CUT_AWAY
            if not shown.any() and sample.source in with_objects:
                continue
            self.samples.append(sample)
            self._labels.append(
                _Labels(labels.corners[shown], labels.labels[shown], labels.difficult[shown])
            )
        if not self.samples:
            raise ValueError(f"{self.folder}: no tile shows enough of any object to train on")
        cut = {sample.path for sample in self.samples if sample.is_cut}
        if cut:
            logging.getLogger(__name__).info(
                "%d images are larger than DOTA.TILE and are decoded anew for each tile; "
                "`tools/dota.py split` once makes training faster",
                len(cut),
            )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, idx: int) -> tuple[Any, BoxList, int]:
        image: Any = self._read(self.samples[idx])
        target = self.get_groundtruth(idx).clip_to_image(remove_empty=True)
        if self.transforms is not None:
            image, target = self.transforms(image, target)
        return image, target, idx

    def _read(self, sample: DotaSample) -> np.ndarray:
        if not sample.is_cut:
            return read_image(sample.path)
        # tiles of one image follow each other in evaluation: decode it once
        if self._decoded is None or self._decoded[0] != sample.path:
            self._decoded = None
            self._decoded = (sample.path, read_image(sample.path))
        rows = slice(sample.file_y0, sample.file_y0 + sample.height)
        columns = slice(sample.file_x0, sample.file_x0 + sample.width)
        return self._decoded[1][rows, columns].copy()

    def get_groundtruth(self, index: int) -> BoxList:
        """Return a sample's objects in its own pixels, not cut at its border.

        Returns:
            BoxList with the fields labels, difficult and, if the data set has them, masks.
        """
        sample, labels = self.samples[index], self._labels[index]
        size = (sample.width, sample.height)
        boxes_xyxy = torch.from_numpy(corners_to_boxlist_xyxy(labels.corners))
        target = BoxList(boxes_xyxy.to(torch.float32), size)
        place = f"@{sample.file_x0},{sample.file_y0}" if sample.is_cut else ""
        target.image_name = sample.path + place
        target.add_field("labels", torch.from_numpy(labels.labels))
        target.add_field("difficult", torch.from_numpy(labels.difficult))
        if self.with_masks:
            outlines = [[corners.ravel().tolist()] for corners in labels.corners]
            target.add_field("masks", SegmentationMask(outlines, size, mode="poly"))
        return target

    def source_frame(self, index: int) -> tuple[str, int, int]:
        """Return the image that a sample is evaluated as a part of, and the sample's x and y in it.

        Tiles are evaluated on their whole image if tiles.json says that they are complete, else
        each tile as an image.
        """
        sample = self.samples[index]
        if self.tiles_are_complete:
            return sample.source, sample.x0, sample.y0
        return sample.stem, sample.file_x0, sample.file_y0

    @property
    def has_loose_tiles(self) -> bool:
        """Whether files are tiles by their names, but nothing says that they are complete."""
        is_tile = (sample.stem != sample.source for sample in self.samples)
        return not self.tiles_are_complete and any(is_tile)

    def get_img_info(self, index: int) -> dict:
        """Return height, width (of the sample, pixels) and file_name."""
        sample = self.samples[index]
        return {"height": sample.height, "width": sample.width, "file_name": sample.path}


def _find_images(folder: Path) -> list[Path]:
    image_folder = folder / "images"
    if not image_folder.is_dir():
        raise FileNotFoundError(
            f"no folder {image_folder}: a data set named dota:FOLDER needs FOLDER/images and "
            "FOLDER/labelTxt"
        )
    return list(by_stem(list_images(image_folder)).values())


def _samples_of(path: Path, tile: int, overlap: int) -> list[DotaSample]:
    width, height = read_image_size(path)
    source, _, tile_x0, tile_y0 = parse_tile_name(path.stem) or (path.stem, 1.0, 0, 0)
    windows = tile_grid(width, height, tile, overlap)
    return [
        DotaSample(
            str(path),
            source,
            tile_x0 + window.x0,
            tile_y0 + window.y0,
            window.x0,
            window.y0,
            window.width,
            window.height,
            is_cut=len(windows) > 1,
        )
        for window in windows
    ]
