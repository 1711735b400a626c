"""Result files of tiles become result files of the whole images.

Lines name tiles as DOTA's development kit does, `P0706__1__824___0`. A tile of an image enlarged by
a rate is divided by it, so that tiles of several rates can be merged. A line that names no tile is
of a whole image and stays beside the tiles. The rule of suppression: see dota/merge.py.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maskrcnn_benchmark.dota.merge import upright_nms_between
from maskrcnn_benchmark.dota.submission import (
    ClassResults,
    format_results,
    read_task_file,
)
from maskrcnn_benchmark.dota.tiles import parse_tile_name
from maskrcnn_benchmark.structures.oriented_boxes import oriented_nms
from maskrcnn_benchmark.utils.atomic_write import write_text
from maskrcnn_benchmark.utils.folder_lock import lock_folder


def merge_results(results: ClassResults, task: int, iou_threshold: float) -> ClassResults:
    """Bring one class's results of tiles to the images, and suppress what two tiles found.

    Args:
        results: of tiles.
        task: 1 compares polygons, 2 upright boxes (with the kit's `+1`).
        iou_threshold: results of two tiles with a greater IoU than this are the same object.

    Returns:
        results by image, in the order of their first lines, and by falling score in each.
    """
    names, tile = _numbered(results.image_names)
    places = [parse_tile_name(name) or (name, 1.0, 0, 0) for name in names]
    shift = np.array([(x, y) for _, _, x, y in places], dtype=np.float64).reshape(-1, 2)
    rate = np.array([place[1] for place in places], dtype=np.float64)
    corners = results.coordinates.shape[1] // 2
    points = results.coordinates.reshape(-1, corners, 2)  # [N, 4, 2], or two ends
    points = (points + shift[tile][:, None]) / rate[tile][:, None, None]
    images, image_of_tile = _numbered([place[0] for place in places])
    image = image_of_tile[tile]
    kept = []
    for rows in _rows_of_each(image):
        own, scores = points[rows], results.scores[rows]
        if task == 1:
            keep = oriented_nms(own, scores, iou_threshold, sources=tile[rows])
        else:
            edges = own.reshape(-1, 4) + np.array([0, 0, 1, 1])
            keep = upright_nms_between(tile[rows], edges, scores, iou_threshold)
        kept.append(rows[keep])
    index = np.concatenate([np.zeros(0, dtype=np.int64), *kept])
    coordinates = points.reshape(results.coordinates.shape)
    image_names = [images[number] for number in image[index].tolist()]
    return ClassResults(image_names, results.scores[index], coordinates[index])


def merge_folder(
    source: Path, destination: Path, nms_hbb: float, nms_obb: float
) -> Iterator[tuple[Path, int, int]]:
    """Merge all Task1_ and Task2_ files of a folder, one at a time.

    Args:
        source: folder of results of tiles.
        destination: another folder; made if it does not exist.
        nms_hbb, nms_obb: the thresholds of task 2 and of task 1.

    Yields:
        a file's path, when it is written, how many results were read and how many it holds.

    Raises:
        FileNotFoundError: the source holds no result files.
        ValueError: "path:line: ..." for a malformed line; or source and destination are the same.
        OSError: another process merges into the destination.
    """
    if source.resolve() == destination.resolve():
        raise ValueError(f"{destination}: expected another folder than that of the tiles' results")
    paths = [(task, path) for task in (1, 2) for path in sorted(source.glob(f"Task{task}_*.txt"))]
    if not paths:
        raise FileNotFoundError(
            f"{source}: expected result files Task1_<class>.txt or Task2_<class>.txt, found none"
        )
    with lock_folder(destination):
        for task, path in paths:
            found = read_task_file(path, task)
            merged = merge_results(found, task, nms_obb if task == 1 else nms_hbb)
            write_text(destination / path.name, format_results(merged))
            yield destination / path.name, len(found), len(merged)


def _numbered(names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the different names in the order in which they come, and the number (N,) of each."""
    numbers: dict[str, int] = {}
    places = [numbers.setdefault(name, len(numbers)) for name in names]
    return list(numbers), np.array(places, dtype=np.int64)


def _rows_of_each(numbers: np.ndarray) -> list[np.ndarray]:
    """Return the rows of 0, of 1, …, of which each occurs."""
    if len(numbers) == 0:
        return []
    ends = np.bincount(numbers).cumsum()[:-1]
    return np.split(np.argsort(numbers, kind="stable"), ends)
