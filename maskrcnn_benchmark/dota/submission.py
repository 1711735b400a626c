"""DOTA's result files, one per class: `Task1_ship.txt` (oriented) or `Task2_ship.txt` (horizontal).

A line is `image score x1 y1 x2 y2 x3 y3 x4 y4` in Task1 and `image score xmin ymin xmax ymax` in
Task2, in pixels of the whole image. Coordinates are edges: BoxList's box (10, 5, 19, 9), ten pixels
wide, is written `10.0 5.0 20.0 10.0`. Scores have 8 decimals, coordinates up to 2. What of a name
neither a line nor a file's name can hold: see dota/result_names.py.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.dota.result_names import class_to_file_part, image_to_field, read_name
from maskrcnn_benchmark.dota.text_files import format_number, parse_numbers
from maskrcnn_benchmark.utils.atomic_write import write_text, written_whole

SCORE_DECIMALS = 8
COORDINATE_DECIMALS = 2
COORDINATES = {1: 8, 2: 4}
_BLOCK = 4096  # lines that are parsed at once
_PLAIN = 1e13  # pixels: what is less has no power in Python's notation, to 2 decimals


@dataclass
class ClassResults:
    """All results of one class and task.

    Attributes:
        image_names: N names, without suffix.
        scores: float64 (N,).
        coordinates: float64 (N, 8) for task 1, (N, 4) for task 2.
    """

    image_names: list[str]
    scores: np.ndarray
    coordinates: np.ndarray

    def __len__(self) -> int:
        return len(self.image_names)


def results_by_class(
    detections: Mapping[str, Detections], class_names: Sequence[str], task: int
) -> dict[str, ClassResults]:
    """Sort detections by class, rounded as the files hold them, so that both give the same figures.

    Args:
        detections: per image name, in the pixels of the whole image.
        class_names: label k is the name at k - 1; every name gets an entry.
        task: 1 takes the corners, 2 the boxes.

    Raises:
        ValueError: task 1, and an image's detections have no corners.
    """
    parts: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {name: [] for name in class_names}
    for image_name, found in detections.items():
        labels, scores, coordinates = _task_arrays(image_name, found, _check_task(task))
        for label in np.unique(labels):
            chosen = labels == label
            part = (image_name, scores[chosen], coordinates[chosen])
            parts[class_names[label - 1]].append(part)
    return {name: _join(class_parts, task) for name, class_parts in parts.items()}


def write_task_files(
    folder: str | Path, detections: Mapping[str, Detections], class_names: Sequence[str]
) -> list[Path]:
    """Write `Task2_<class>.txt` and, where the detections have corners, `Task1_<class>.txt`.

    Args:
        folder: made if it does not exist.
        detections: per image name, in the pixels of the whole image.
        class_names: one file each, empty where nothing was found.

    Returns:
        the files' paths.
    """
    folder = Path(folder)
    oriented = any(found.corners is not None for found in detections.values())
    texts = {
        folder / f"Task{task}_{class_to_file_part(name)}.txt": format_results(results)
        for task in ((1, 2) if oriented else (2,))
        for name, results in results_by_class(detections, class_names, task).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():  # no file is replaced unless all can be made
        write_text(path, text)
    return list(texts)


def read_task_file(path: str | Path, task: int) -> ClassResults:
    """Read one class's result file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: "path:line: ..." for a malformed line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such result file")
    count = COORDINATES[_check_task(task)]
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    image_names, parts = [], [np.zeros((0, count + 1))]
    for start in range(0, len(lines), _BLOCK):
        block = [line.split() for line in lines[start : start + _BLOCK]]
        try:
            parts.append(_read_numbers(block, count + 1))
        except ValueError:
            number = start + 1 + next(k for k, row in enumerate(block) if not _is_row(row, count))
            raise ValueError(
                f"{path}:{number}: expected an image's name, a score and {count} coordinates, "
                f"got {lines[number - 1].strip()!r}"
            ) from None
        image_names += [read_name(row[0]) for row in block if row]
    values = np.concatenate(parts)
    return ClassResults(image_names, values[:, 0], values[:, 1:])


def read_task_folder(folder: str | Path, task: int) -> dict[str, ClassResults]:
    """Read all of a task's result files in a folder, by class name.

    Raises:
        FileNotFoundError: there is no such folder, or no result file of this task in it.
    """
    prefix = f"Task{_check_task(task)}_"
    paths = sorted(Path(folder).glob(f"{prefix}*.txt"))
    if not paths:
        other = f"Task{3 - task}_"
        found = f"only {other}*.txt" if any(Path(folder).glob(f"{other}*.txt")) else "none"
        raise FileNotFoundError(
            f"{folder}: expected result files {prefix}<class>.txt, found {found}"
        )
    return {read_name(path.stem[len(prefix) :]): read_task_file(path, task) for path in paths}


def task_of(folder: str | Path) -> int:
    """Return the task whose result files a folder holds: 1 if there are any of it, else 2."""
    return 1 if any(Path(folder).glob("Task1_*.txt")) else 2


def zip_task_files(folder: str | Path, zip_path: str | Path, task: int) -> None:
    """Pack a task's result files flat, as DOTA's evaluation server takes them.

    Raises:
        FileNotFoundError: no result file of this task in the folder.
        ValueError: there is a file of the zip's name already.
    """
    zip_path = Path(zip_path)
    paths = sorted(Path(folder).glob(f"Task{_check_task(task)}_*.txt"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no result files Task{task}_<class>.txt to pack")
    if zip_path.exists():
        raise ValueError(f"{zip_path}: is there already; name a new file, or delete it")
    with written_whole(zip_path) as part:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in paths:
                archive.write(path, path.name)


def _check_task(task: int) -> int:
    if task not in COORDINATES:
        raise ValueError(f"task must be 1 (oriented) or 2 (horizontal), got {task!r}")
    return task


def _task_arrays(
    image_name: str, found: Detections, task: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if task == 2:
        chosen = slice(None) if found.in_task2 is None else found.in_task2
        edges = found.boxes_xyxy[chosen] + np.array([0, 0, 1, 1])
        return found.labels[chosen], found.scores[chosen], edges
    if found.corners is None:
        if len(found):
            raise ValueError(f"{image_name}: task 1 needs corners, these detections have none")
        return found.labels, found.scores, np.zeros((0, 8))
    chosen = slice(None) if found.in_task1 is None else found.in_task1
    return found.labels[chosen], found.scores[chosen], found.corners[chosen].reshape(-1, 8)


def _join(parts: list[tuple[str, np.ndarray, np.ndarray]], task: int) -> ClassResults:
    names = [name for name, scores, _ in parts for _ in scores]
    scores = np.concatenate([np.zeros(0), *(scores for _, scores, _ in parts)])
    empty = np.zeros((0, COORDINATES[task]))
    coordinates = np.concatenate([empty, *(values for _, _, values in parts)])
    return ClassResults(names, scores.round(SCORE_DECIMALS), coordinates.round(COORDINATE_DECIMALS))


def format_results(results: ClassResults) -> str:
    """Lay out a result file."""
    values = results.coordinates
    write: Callable[[float], str] = partial(format_number, decimals=COORDINATE_DECIMALS)
    if (np.abs(values) < _PLAIN).all():  # several times as fast
        values, write = values.round(COORDINATE_DECIMALS) + 0.0, repr  # + 0.0: no -0.0
    fields = {name: image_to_field(name) for name in set(results.image_names)}
    rows = zip(results.image_names, results.scores.tolist(), values.tolist(), strict=True)
    return "".join(
        [
            f"{fields[name]} {score:.{SCORE_DECIMALS}f} {' '.join(map(write, row))}\n"
            for name, score, row in rows
        ]
    )


def _read_numbers(rows: Sequence[Sequence[str]], count: int) -> np.ndarray:
    """Read what stands behind the names of a file's lines, (N, count); empty lines are no rows.

    Raises:
        ValueError: some line has another number of fields, or something else than numbers.
    """
    if not {len(row) for row in rows} <= {0, count + 1}:
        raise ValueError(f"expected {count + 1} fields in each line")
    fields = [field for row in rows for field in row[1:]]
    return np.array(parse_numbers(fields), dtype=np.float64).reshape(-1, count)


def _is_row(row: Sequence[str], coordinates: int) -> bool:
    """Say whether a line's fields are nothing, or a name, a score and so many coordinates."""
    try:
        _read_numbers([row], coordinates + 1)
    except ValueError:
        return False
    return True
