"""A predictor over image files: pictures, DOTA's text files and one JSON file in a folder."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from maskrcnn_benchmark.dota.annotations import boxlist_xyxy_to_corners
from maskrcnn_benchmark.dota.merge import Detections
from maskrcnn_benchmark.dota.submission import write_task_files
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.images.drawing import draw_detections
from maskrcnn_benchmark.images.files import by_stem, list_images
from maskrcnn_benchmark.images.image_io import read_image, write_image
from maskrcnn_benchmark.utils.atomic_write import write_text


def find_images(places: Sequence[str]) -> list[Path]:
    """Lists image files.

    Args:
        places: files, taken as they are, and folders, of which the images directly inside are
            taken.

    Raises:
        FileNotFoundError: nothing there, or a folder without images.
        ValueError: two files of the same stem, by which DOTA's text files name images.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            found += list_images(place)
        elif place.is_file():
            found.append(place)
        else:
            raise FileNotFoundError(f"{place}: no such image or folder")
    return list(by_stem(dict.fromkeys(found)).values())


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    out: str | Path,
    class_names: Sequence[str],
    score: float,
    tile: int | None,
    overlap: int | None,
    about: dict[str, Any],
) -> int:
    """Finds objects in files; one that fails is told and passed over.

    Args:
        predictor: for whole images.
        images: with different stems.
        out: folder; made if it does not exist. Pictures are written one by one, the text files
            and the JSON at the end, also where that is an error or Ctrl-C.
        class_names: label 1 first.
        score: detections below it are dropped.
        tile, overlap: as Predictor.detect takes them.
        about: put at the head of the JSON file.

    Returns:
        How many files failed.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    package = logging.getLogger("maskrcnn_benchmark")
    found: dict[str, Detections] = {}
    entries: dict[str, dict[str, Any]] = {}
    failed = 0
    try:
        with logging_redirect_tqdm([package]):
            for path in tqdm(images, unit="image", disable=not sys.stderr.isatty()):
                try:
                    bgr = read_image(path)
                except (ValueError, OSError) as error:
                    package.error("skipped: %s", error)
                    failed += 1
                    continue
                detections = predictor.detect(bgr, tile=tile, overlap=overlap)
                detections = detections.select(detections.scores >= score)
                found[path.stem] = detections
                entries[path.stem] = _entry(path, bgr, detections, class_names)
                _draw(bgr, detections, class_names)
                write_image(out / f"{path.stem}_detections.jpg", bgr)
                package.info("%s: %d objects", path.name, len(detections))
    finally:
        write_task_files(out, found, class_names)
        _write_json(out / "detections.json", {**about, "images": entries})
    package.info("%d of %d images done, results are in %s", len(found), len(images), out)
    return failed


def _draw(bgr: np.ndarray, detections: Detections, class_names: Sequence[str]) -> None:
    """Outlines the detections in place, oriented where that is known."""
    if detections.in_task1 is not None:
        detections = detections.select(detections.in_task1)
    corners = detections.corners
    if corners is None:
        corners = boxlist_xyxy_to_corners(detections.boxes_xyxy)
    draw_detections(bgr, corners, detections.labels, class_names, detections.scores)


def _entry(
    path: Path, bgr: np.ndarray, detections: Detections, class_names: Sequence[str]
) -> dict[str, Any]:
    """What the JSON file says of an image; boxes are xmin, ymin, xmax, ymax as in Task2 files."""
    upright = boxlist_xyxy_to_corners(detections.boxes_xyxy)  # [N, 4, 2]
    objects = [
        {
            "class": class_names[label - 1],
            "score": round(float(score), 6),
            "box": [round(float(v), 2) for v in (*corners[0], *corners[2])],
        }
        for label, score, corners in zip(detections.labels, detections.scores, upright, strict=True)
    ]
    if detections.corners is not None:
        for item, corners in zip(objects, detections.corners, strict=True):
            item["corners"] = np.round(corners, 2).tolist()
    height, width = bgr.shape[:2]
    return {"file": str(path), "width": width, "height": height, "detections": objects}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1))
