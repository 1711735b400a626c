"""DOTA-format folders, raw or split, as samples that fit a network.

An image larger than the tile is cut in memory on `dota.tiles`' grid, so a sample is a window of a
file; a file named like `P0706__0.5__824___0` is itself a tile of P0706, shrunk to half its sides.
The tiles of a folder that `tools/dota.py split` made (see dota/folders.py) are merged and evaluated
on the whole images.
"""

import logging
from collections import Counter, defaultdict
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
    outside,
    read_labels,
    stack_corners,
)
from maskrcnn_benchmark.dota.classes import version_of
from maskrcnn_benchmark.dota.detections import Detections, to_detections
from maskrcnn_benchmark.dota.folders import read_folder, report_outside
from maskrcnn_benchmark.dota.image_files import ImageFile
from maskrcnn_benchmark.dota.tiles import CUT_AWAY, Window, clip_labels, parse_tile_name, tile_grid
from maskrcnn_benchmark.images.dark_images import report_dark_images
from maskrcnn_benchmark.images.image_io import read_image, read_image_size
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.corners import Corners
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.utils.data_summary import UNLABELLED, DataSummary
from maskrcnn_benchmark.utils.told_once import tell_once


@dataclass(frozen=True)
class DotaSample:
    """A window of an image file.

    Attributes:
        path: the image file.
        source: name of the image that the file is, or is a tile of.
        rate: how much that image was enlarged before it was cut.
        x0, y0: first column and row of the sample in the image so enlarged, pixels.
        file_x0, file_y0: first column and row of the sample in the file.
        width, height: pixels.
        is_cut: the sample is only a part of the file.
    """

    path: str
    source: str
    rate: float
    x0: int
    y0: int
    file_x0: int
    file_y0: int
    width: int
    height: int
    is_cut: bool

    @property
    def stem(self) -> str:
        """Return the file's name without folder and suffix."""
        return Path(self.path).stem

    @property
    def title(self) -> str:
        """Return a name for people: the file's, and behind it the place of a part of the file."""
        return self.stem + (f"@{self.file_x0},{self.file_y0}" if self.is_cut else "")


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

    An image without a label file is left out; an empty label file says that an image shows no
    object. Training also leaves out objects of which a tile shows too little (difficult 2), and
    tiles without an object whose image has objects elsewhere; an image without any object stays,
    as background.

    Args:
        folder: holds images/ and labelTxt/ (or DOTA's own name, see dota/folders.py); without
            labels it can only be predicted on.
        class_names: names in the order of the labels; label 0 is the background, 1 the first name.
        tile: side above which an image is cut, pixels; 0 never cuts.
        overlap: pixels that neighbouring tiles share.
        with_masks: add the objects' outlines as the field "masks".
        is_train: whether samples are for training.
        transforms: called with (BGR image, target), or None.
        nms_hbb, nms_obb: IoU above which results of neighbouring tiles are the same object, for
            upright and oriented boxes; evaluation merges by them.
        ignore_other_classes: leave out objects of classes that are not named; else they are errors.

    Raises:
        FileNotFoundError: the folder, its images or, in training, its labels are not there.
        ValueError: a label file has an error (given as path:line).
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
        ignore_other_classes: bool = False,
    ):
        self.folder = Path(folder)
        self.class_names = tuple(class_names)
        self.categories = dict(enumerate(self.class_names, start=1))
        self.with_masks = with_masks
        self.nms_hbb = nms_hbb
        self.nms_obb = nms_obb
        self.ignore_other_classes = ignore_other_classes
        self.is_train = is_train
        self.transforms = transforms
        self.files = read_folder(self.folder, version_of(self.class_names), _tell)
        self.has_labels = self.files.label_folder is not None
        self.tiles_are_complete = self.files.plan is not None
        self.samples: list[DotaSample] = []
        self._labels: list[_Labels] = []
        self._left_out = {UNLABELLED: self.files.unlabelled}
        self._decoded: tuple[str, np.ndarray] | None = None
        if is_train and not self.has_labels:
            raise FileNotFoundError(
                f"no label folder {self.folder / 'labelTxt'}: training needs a label file there "
                "for each image in images/"
            )
        report_dark_images(list(self.files.images.values()), _tell)
        self._load(tile, overlap)
        if is_train:
            self._select_for_training()
        elif self.has_labels:
            self._check_truth()

    def _load(self, tile: int, overlap: int) -> None:
        """Make the samples, and tell what of the labels does not fit the images."""
        outside_counts, own, others = {}, set[str](), Counter[str]()
        for name, path in self.files.images.items():
            objects = []
            if self.has_labels:
                if name not in self.files.label_files:
                    continue
                objects, other = self._read_labels(self.files.label_files[name])
                own.update(item.name for item in objects)
                others.update(other)
            width, height = read_image_size(path)
            outside_counts[name] = int(outside(stack_corners(objects), width, height).sum())
            for sample in _samples_of(path, width, height, tile, overlap):
                self.samples.append(sample)
                self._labels.append(self._labels_of(sample, objects))
        report_outside(self.folder, outside_counts, _tell)
        if others:
            named = ", ".join(f"{name} {count}" for name, count in others.most_common())
            absent = [name for name in self.class_names if name not in own]
            if absent:
                named += f"; no object is labelled {', '.join(absent)}"
            _tell(
                f"{self.folder}: {sum(others.values())} objects are left out, since DOTA.CLASSES "
                f"does not list their classes (DOTA.IGNORE_OTHER_CLASSES): {named}"
            )
            self._left_out["objects of other classes"] = sum(others.values())

    def _read_labels(self, path: Path) -> tuple[list[DotaObject], Counter[str]]:
        """Read a label file; return its objects, and how many there are of classes left out."""
        if not self.ignore_other_classes:
            return read_labels(path, self.class_names), Counter()
        objects = read_labels(path)
        others = Counter(item.name for item in objects if item.name not in self.class_names)
        return [item for item in objects if item.name in self.class_names], others

    def _labels_of(self, sample: DotaSample, objects: list[DotaObject]) -> _Labels:
        if sample.is_cut:
            window = Window(sample.file_x0, sample.file_y0, sample.width, sample.height)
            objects = clip_labels(objects, window)
        return _Labels(
            stack_corners(objects),
            np.array([self.class_names.index(o.name) + 1 for o in objects], dtype=np.int64),
            np.array([o.difficult for o in objects], dtype=np.int64),
        )

    def _check_truth(self) -> None:
        """Refuse a split folder without the whole images' labels, before anything is evaluated."""
        if not self.tiles_are_complete:
            return
        for name in sorted({sample.source for sample in self.samples}):
            file = self.files.truth_file(name)
            if not file.is_file():
                raise FileNotFoundError(
                    f"no label file {file} of the whole image: run `tools/dota.py split` again, or "
                    "delete tiles.json to evaluate each tile as an image"
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
        before = sum(int((labels.difficult == CUT_AWAY).sum()) for _, labels in pairs)
        self._left_out["objects cut away at the tiles' borders"] = before
        self._left_out["tiles without an object"] = len(pairs) - len(self.samples)
        cut = {sample.path for sample in self.samples if sample.is_cut}
        if cut:
            logging.getLogger(__name__).info(
                "%d images are larger than DOTA.TILE and are decoded anew for each tile; "
                "`tools/dota.py split` once makes training faster",
                len(cut),
            )

    def summary(self) -> DataSummary:
        """Count what the samples show."""
        labels = np.concatenate([np.zeros(0, np.int64), *(item.labels for item in self._labels)])
        flags = np.concatenate([np.zeros(0, np.int64), *(item.difficult for item in self._labels)])
        counts = np.bincount(labels[flags != CUT_AWAY], minlength=len(self.class_names) + 1)
        return DataSummary(
            images=len({sample.source for sample in self.samples}),
            samples=len(self.samples),
            classes=dict(zip(self.class_names, counts[1:].tolist(), strict=True))
            if self.has_labels
            else None,
            difficult=int(((flags != 0) & (flags != CUT_AWAY)).sum()),
            cut_away=int((flags == CUT_AWAY).sum()),
            empty=sum(not len(item) for item in self._labels) if self.has_labels else 0,
            left_out=self._left_out,
        )

    def read_truth(self, image: str) -> list[DotaObject]:
        """Read the objects of an image that `source_frame` names, in its pixels."""
        return self._read_labels(self.files.truth_file(image))[0]

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
            BoxList with the fields labels, difficult, corners (Corners) and, if the data set has
            them, masks.
        """
        sample, labels = self.samples[index], self._labels[index]
        size = (sample.width, sample.height)
        boxes_xyxy = torch.from_numpy(corners_to_boxlist_xyxy(labels.corners))
        target = BoxList(boxes_xyxy.to(torch.float32), size)
        place = f"@{sample.file_x0},{sample.file_y0}" if sample.is_cut else ""
        target.image_name = sample.path + place
        target.add_field("labels", torch.from_numpy(labels.labels))
        target.add_field("difficult", torch.from_numpy(labels.difficult))
        target.add_field("corners", Corners(torch.from_numpy(labels.corners).float(), size))
        if self.with_masks:
            outlines = [[corners.ravel().tolist()] for corners in labels.corners]
            target.add_field("masks", SegmentationMask(outlines, size, mode="poly"))
        return target

    def source_frame(self, index: int) -> tuple[str, float, int, int]:
        """Return the image that a sample is evaluated as a part of, and the sample's place there.

        Tiles are evaluated on their whole image if tiles.json says that they are complete, else
        each tile as an image.

        Returns:
            (image, rate, x, y): pixel column x of the image enlarged by the rate is the sample's
            first.
        """
        sample = self.samples[index]
        if self.tiles_are_complete:
            return sample.source, sample.rate, sample.x0, sample.y0
        return sample.stem, 1.0, sample.file_x0, sample.file_y0

    def image_files(self) -> dict[str, list[ImageFile]]:
        """Return the files of each image that `source_frame` names."""
        files: dict[str, dict[ImageFile, None]] = defaultdict(dict)  # once, however often cut
        for index, sample in enumerate(self.samples):
            image, rate, x, y = self.source_frame(index)
            file = ImageFile(Path(sample.path), x - sample.file_x0, y - sample.file_y0, rate)
            files[image][file] = None
        return {image: list(own) for image, own in files.items()}

    def reduce_prediction(self, index: int, prediction: BoxList) -> Detections:
        """Return what evaluation needs of a prediction, so that masks need not stay in memory.

        Args:
            index: number of the sample.
            prediction: on the sample, resized, as `to_detections` takes it.

        Returns:
            detections in the pixels of the image that `source_frame` names.
        """
        sample = self.samples[index]
        _, rate, x, y = self.source_frame(index)
        return to_detections(prediction, Window(x, y, sample.width, sample.height), rate)

    @property
    def has_loose_tiles(self) -> bool:
        """Say whether files are tiles by their names, but nothing says that they are complete."""
        is_tile = (sample.stem != sample.source for sample in self.samples)
        return not self.tiles_are_complete and any(is_tile)

    def get_img_info(self, index: int) -> dict:
        """Return height, width (of the sample, pixels) and file_name."""
        sample = self.samples[index]
        return {"height": sample.height, "width": sample.width, "file_name": sample.path}


def _tell(message: str) -> None:
    tell_once(logging.getLogger(__name__), message)


def _samples_of(path: Path, width: int, height: int, tile: int, overlap: int) -> list[DotaSample]:
    """Cut an image file of so many pixels into samples."""
    source, rate, tile_x0, tile_y0 = parse_tile_name(path.stem) or (path.stem, 1.0, 0, 0)
    windows = tile_grid(width, height, tile, overlap)
    return [
        DotaSample(
            str(path),
            source,
            rate,
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
