"""A predictor over image files: pictures, DOTA's text files and one JSON file in a folder."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm.contrib.logging import logging_redirect_tqdm

from maskrcnn_benchmark.dota.annotations import boxlist_xyxy_to_corners
from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.dota.submission import write_task_files
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.images.drawing import draw_detections
from maskrcnn_benchmark.images.files import by_stem, list_images
from maskrcnn_benchmark.images.image_io import read_image, read_image_size, write_image
from maskrcnn_benchmark.utils.atomic_write import write_text
from maskrcnn_benchmark.utils.progress import Progress

JPEG_SIDE = 65500  # the greatest that libjpeg writes, pixels

_package = logging.getLogger("maskrcnn_benchmark")


def find_images(places: Sequence[str]) -> list[Path]:
    """List image files.

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
    about: dict[str, Any],
) -> int:
    """Find objects in files; one that cannot be read is told and passed over.

    Args:
        predictor: for whole images.
        images: with different stems.
        out: folder, made if it does not exist. Pictures are written one by one, the text files
            and the JSON file at the end, also where that is an error or Ctrl-C.
        class_names: label 1 first.
        score: detections below it are dropped.
        about: put at the head of the JSON file, and told first.

    Returns:
        how many files have no picture, since they cannot be read or it cannot be written.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    windows = {path: _count_windows(predictor, path) for path in images}
    _package.info(_summary(predictor, windows, class_names, {**about, "results": out}))
    found: dict[str, Detections] = {}
    entries: dict[str, dict[str, Any]] = {}
    pictures, total = 0, sum(windows.values())
    try:
        with logging_redirect_tqdm([_package]), Progress(total, "window", _package) as progress:
            for path, count in windows.items():
                start = progress.done
                bgr = _read(path)
                if bgr is not None:
                    detections = predictor.detect(bgr, progress=_counted_from(start, progress))
                    detections = detections.select(detections.scores >= score)
                    found[path.stem] = detections
                    entries[path.stem] = _entry(path, bgr, detections, class_names)
                    _package.info("%s: %d objects", path.name, len(detections))
                    pictures += _write_picture(out, path.stem, bgr, detections, class_names)
                progress.reach(start + count)
    finally:
        write_task_files(out, found, class_names)
        write_text(out / "detections.json", json.dumps({**about, "images": entries}, indent=1))
    _package.info("%d of %d images done, results are in %s", len(found), len(images), out)
    return len(images) - pictures


def _count_windows(predictor: Predictor, path: Path) -> int:
    """Return how many windows an image is cut into; 0 where the file is no image."""
    try:
        return len(predictor.windows(*read_image_size(path)))
    except (ValueError, OSError):
        return 0  # why is told when it is read


def _summary(
    predictor: Predictor,
    windows: dict[Path, int],
    class_names: Sequence[str],
    about: dict[str, Any],
) -> str:
    """Say what is about to be done, a line per topic."""
    tile = "images are not cut"
    if predictor.tile:
        tile = f"{predictor.tile} pixels, overlap {predictor.overlap}"
    lines = {
        "images": f"{len(windows)}, in {sum(windows.values())} windows",
        "tile": tile,
        "classes": f"{len(class_names)}: {', '.join(class_names)}",
        **about,
    }
    return "\n".join(["predicting:", *(f"  {name}: {value}" for name, value in lines.items())])


def _read(path: Path) -> np.ndarray | None:
    """Read an image; None, and a line in the log, where that cannot be done."""
    try:
        return read_image(path)
    except (ValueError, OSError) as error:
        _package.error("skipped: %s", error)
        return None


def _counted_from(start: int, progress: Progress) -> Callable[[int, int], None]:
    """Return what turns the progress in one image into that in all, `start` windows on."""
    return lambda done, _: progress.reach(start + done)


def _write_picture(
    out: Path, name: str, bgr: np.ndarray, detections: Detections, class_names: Sequence[str]
) -> bool:
    """Draw detections on an image in place, oriented where that is known, and write it as JPEG.

    A JPEG holds no more than 65,500 pixels per side; a larger image is reduced.

    Returns:
        whether the picture could be written; why not is in the log.
    """
    path = out / f"{name}_detections.jpg"
    if detections.in_task1 is not None:
        detections = detections.select(detections.in_task1)
    corners = detections.corners
    if corners is None:
        corners = boxlist_xyxy_to_corners(detections.boxes_xyxy)
    height, width = bgr.shape[:2]
    if max(height, width) > JPEG_SIDE:
        share = JPEG_SIDE / max(height, width)
        size = max(round(width * share), 1), max(round(height * share), 1)
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
        corners = corners * np.divide(size, (width, height))
        _package.warning(
            "%s: the image of %d x %d pixels is reduced to %d x %d, since a JPEG holds no more "
            "than %d per side; the text files and the JSON file keep the image's pixels",
            *(path, width, height, *size, JPEG_SIDE),
        )
    draw_detections(bgr, corners, detections.labels, class_names, detections.scores)
    try:
        write_image(path, bgr)
    except (ValueError, OSError) as error:
        _package.error("no picture: %s", error)
        return False
    return True


def _entry(
    path: Path, bgr: np.ndarray, detections: Detections, class_names: Sequence[str]
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
    height, width = bgr.shape[:2]
    return {"file": str(path), "width": width, "height": height, "detections": objects}
