"""What a prediction on files leaves: pictures, DOTA's text files and one JSON file in a folder."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn_benchmark.dota.annotations import boxlist_xyxy_to_corners
from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.dota.result_names import class_to_file_part
from maskrcnn_benchmark.dota.submission import write_task_files
from maskrcnn_benchmark.engine.geo_results import (
    Feature,
    to_features,
    write_geojson,
    write_geopackage,
)
from maskrcnn_benchmark.images.drawing import draw_detections
from maskrcnn_benchmark.images.image_io import write_image
from maskrcnn_benchmark.images.image_reader import ImageReader
from maskrcnn_benchmark.utils.atomic_write import write_text

DRAWING = "_detections.jpg"  # behind the image's name
RESULTS = "detections.json"
FEATURES = "detections"  # .geojson, .gpkg and the layers
UNFINISHED = "unfinished"
JPEG_SIDE = 65500  # the greatest that libjpeg writes, pixels
PICTURE_PIXELS = 2**26  # 8192 x 8192, which take 0.4 GB while they are read

_package = logging.getLogger("maskrcnn_benchmark")


class PredictionResults:
    """The results of a prediction, made in FOLDER/unfinished and moved to FOLDER when whole.

    As a context manager: pictures are written one by one, the text files and the JSON file at the
    end of the block. If that is an error or Ctrl-C, all stay in FOLDER/unfinished, and earlier
    results in FOLDER; so do these if no image has a result.

    Args:
        folder: made if it does not exist.
        class_names: label 1 first.
        about: the head of the JSON file.
        geopackage: whether a GeoPackage is written beside GeoJSON.

    Attributes:
        written: names of the files that were moved to FOLDER.

    Raises:
        ValueError: a class's name is too long for a file's name.
    """

    def __init__(
        self,
        folder: str | Path,
        class_names: Sequence[str],
        about: dict[str, Any],
        geopackage: bool = False,
    ) -> None:
        self.folder, self.class_names = Path(folder), class_names
        self.unfinished = self.folder / UNFINISHED
        self.about = {**about, "classes": {name: class_to_file_part(name) for name in class_names}}
        self._found: dict[str, Detections] = {}
        self._entries: dict[str, dict[str, Any]] = {}
        self._features: dict[bool, list[Feature]] = {}  # on the earth, or not
        self.geopackage = geopackage
        self.pictures: set[Path] = set()
        self.written: set[str] = set()

    def __len__(self) -> int:
        """Return how many images have a result."""
        return len(self._found)

    def __enter__(self) -> "PredictionResults":
        self.unfinished.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if len(self):
            texts = self._write_texts()
            if error is None:
                self._replace_earlier(texts)
        if not any(self.unfinished.iterdir()):
            self.unfinished.rmdir()
        else:
            _package.warning("%s holds what a prediction did that did not end", self.unfinished)

    def add(self, path: Path, reader: ImageReader, detections: Detections) -> None:
        """Take what was found in an image."""
        # this first: it may fail, and what is told as skipped must be in none of the files
        features = to_features(path.stem, reader.georeference, detections, self.class_names)
        self._entries[path.stem] = _entry(path, reader, detections, self.class_names)
        self._found[path.stem] = detections
        self._features.setdefault(reader.georeference is not None, []).extend(features)

    def draw(self, path: Path, reader: ImageReader, detections: Detections) -> None:
        """Write an image's picture."""
        picture = self._picture(path)
        _write_picture(picture, reader, detections, self.class_names)
        self.pictures.add(picture)

    def has_picture(self, path: Path) -> bool:
        """Say whether an image's picture was written."""
        return self._picture(path) in self.pictures

    def is_whole(self, path: Path, with_picture: bool) -> bool:
        """Say whether an image has a result and, if one is wanted, a picture."""
        return path.stem in self._found and (self.has_picture(path) or not with_picture)

    def _picture(self, path: Path) -> Path:
        return self.unfinished / f"{path.stem}{DRAWING}"

    def _write_texts(self) -> list[Path]:
        paths = write_task_files(self.unfinished, self._found, self.class_names)
        paths.append(self.unfinished / RESULTS)
        content = {**self.about, "images": self._entries}
        write_text(paths[-1], json.dumps(content, indent=1))
        return paths + self._write_features()

    def _write_features(self) -> list[Path]:
        """Write GeoJSON, of images on the earth and of others; and the GeoPackage."""
        names = {True: FEATURES, False: f"{FEATURES}_pixels"}
        layers = {names[kind]: found for kind, found in self._features.items()}
        paths = [self.unfinished / f"{name}.geojson" for name in layers]
        for path, features in zip(paths, layers.values(), strict=True):
            write_geojson(path, features)
        layers = {name: found for name, found in layers.items() if found}
        if self.geopackage and layers:
            paths.append(self.unfinished / f"{FEATURES}.gpkg")
            write_geopackage(paths[-1], layers)
        elif self.geopackage:
            _package.warning("no GeoPackage: nothing was found")
        return paths

    def _replace_earlier(self, texts: Sequence[Path]) -> None:
        for name in self._name_earlier():  # there may be no such images or classes any more
            (self.folder / name).unlink(missing_ok=True)
        for path in texts:
            os.replace(path, self.folder / path.name)
            self.written.add(path.name)
        for path in tuple(self.pictures):
            if path.name.removesuffix(DRAWING) not in self._found:
                path.unlink(missing_ok=True)  # process 0 failed at what another one could draw
                continue
            try:
                os.replace(path, self.folder / path.name)
                self.written.add(path.name)
            except OSError as error:
                self.pictures.remove(path)
                _package.error("no picture: %s", error)

    def _name_earlier(self) -> list[str]:
        """Name the files that an earlier prediction in the folder may have left."""
        names = [f"{FEATURES}.geojson", f"{FEATURES}_pixels.geojson", f"{FEATURES}.gpkg"]
        try:
            earlier = json.loads((self.folder / RESULTS).read_bytes())
            names += [f"{stem}{DRAWING}" for stem in earlier["images"]]
            parts = earlier["classes"].values()
            names += [f"Task{task}_{part}.txt" for task in (1, 2) for part in parts]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return names  # there is none, or it is somebody's own
        return [name for name in names if Path(name).name == name]


def _write_picture(
    path: Path, reader: ImageReader, detections: Detections, class_names: Sequence[str]
) -> None:
    """Draw detections on an image, oriented where that is known, and write it as JPEG.

    An image beyond JPEG_SIDE pixels per side or PICTURE_PIXELS in all is reduced.
    """
    if detections.in_task1 is not None:
        detections = detections.select(detections.in_task1)
    corners = detections.corners
    if corners is None:
        corners = boxlist_xyxy_to_corners(detections.boxes_xyxy)
    width, height = reader.size
    share = min(1.0, JPEG_SIDE / max(width, height), (PICTURE_PIXELS / (width * height)) ** 0.5)
    size = max(round(width * share), 1), max(round(height * share), 1)
    if share < 1:
        corners = corners * np.divide(size, (width, height))
        _package.warning(
            "%s: the image of %d x %d pixels is reduced to %d x %d, since a picture holds no more "
            "than %d per side and %d million in all; the other files keep the image's pixels",
            *(path.name, width, height, *size, JPEG_SIDE, PICTURE_PIXELS // 10**6),
        )
    bgr = reader.read_reduced(*size)
    draw_detections(bgr, corners, detections.labels, class_names, detections.scores)
    write_image(path, bgr)


def _entry(
    path: Path, reader: ImageReader, detections: Detections, class_names: Sequence[str]
) -> dict[str, Any]:
    """Return what the JSON file says of an image.

    Boxes are xmin, ymin, xmax, ymax as in Task2 files. Beside corners stands for each task whether
    its files have the object, or leave it out since it repeats a better one.
    """
    upright = boxlist_xyxy_to_corners(detections.boxes_xyxy)  # [N, 4, 2]
    objects: list[dict[str, Any]] = [
        {
            "class": class_names[label - 1],
            "score": round(float(score), 6),
            "box": [round(float(v), 2) for v in (*corners[0], *corners[2])],
        }
        for label, score, corners in zip(detections.labels, detections.scores, upright, strict=True)
    ]
    if detections.corners is not None:
        for number, item in enumerate(objects):
            item["corners"] = np.round(detections.corners[number], 2).tolist()
            for task, flags in ((1, detections.in_task1), (2, detections.in_task2)):
                item[f"in_task{task}"] = flags is None or bool(flags[number])
    width, height = reader.size
    entry: dict[str, Any] = {"file": str(path), "width": width, "height": height}
    if reader.georeference is not None:
        entry |= asdict(reader.georeference)
    return entry | {"detections": objects}
