"""What makes DOTA's server give result files zero, or less than they deserve.

RULES names each fault. A fatal one costs the whole submission: the server's scripts stop at it or
find nothing. The others cost a class, some images or some detections. Lines are taken as those
scripts take them: columns parted by one space, no empty line, no byte order mark.
"""

import re
import zipfile
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from maskrcnn_benchmark.dota.annotations import crosswise
from maskrcnn_benchmark.dota.classes import class_names
from maskrcnn_benchmark.dota.detections import LEAST_AREA
from maskrcnn_benchmark.dota.result_names import read_name
from maskrcnn_benchmark.dota.submission import COORDINATES
from maskrcnn_benchmark.dota.tiles import parse_tile_name
from maskrcnn_benchmark.images.files import IMAGE_SUFFIXES, list_images
from maskrcnn_benchmark.images.image_io import read_image_size
from maskrcnn_benchmark.structures.polygons import polygon_areas

RESULT_FILE = re.compile(r"Task(?P<task>[12])_(?P<name>.+)\.txt")
LEAST_ALIKE = 10  # results of a class: fewer may have one score by chance

Sizes = Mapping[str, tuple[int, int] | None]


@dataclass(frozen=True)
class Rule:
    """A fault: what it is, what to do, and whether it costs the whole submission."""

    text: str
    advice: str = ""
    fatal: bool = False


RULES = {
    "folders": Rule("files in a folder of the zip", "pack the files alone", fatal=True),
    "tasks": Rule("files of the other task", "make a zip for each", fatal=True),
    "missing": Rule(
        "classes without a file", "a class without results needs an empty one", fatal=True
    ),
    "malformed": Rule("malformed lines", "write `image score` and the coordinates", fatal=True),
    "not finite": Rule("lines with NaN or infinity", "take them out", fatal=True),
    "tiles": Rule("results of tiles", "merge them into results of images first", fatal=True),
    "unknown image": Rule("results of images that are not in the list", fatal=True),
    "empty": Rule("no results", "run the model on the images of the list", fatal=True),
    "undetected": Rule("images without any result", "were all images of the list searched?"),
    "unknown class": Rule("files of unknown classes", "is --dota-version right?"),
    "stranger": Rule("files that hold no results", "leave them out"),
    "outside": Rule("boxes whose centre lies off their image", "are the sizes right?"),
    "no area": Rule("boxes without area, or with least and greatest exchanged"),
    "crosswise": Rule("boxes whose sides cross", "write the corners in turn"),
    "alike": Rule("classes whose scores are all alike", "average precision lives on their order"),
    "score": Rule("scores outside 0 ... 1"),
    "too many": Rule("classes with more results than --most"),
}


@dataclass
class Finding:
    """What was found by one rule.

    Attributes:
        rule: its name in RULES.
        count: how often.
        places: the first of them: images, classes, files or `file:line: what stands there`.
    """

    rule: str
    count: int = 0
    places: list[str] = field(default_factory=list)

    @property
    def fatal(self) -> bool:
        """Say whether it costs the whole submission."""
        return RULES[self.rule].fatal

    def __str__(self) -> str:
        rule, more = RULES[self.rule], self.count - len(self.places)
        head = f"{'fatal' if rule.fatal else 'warning'}: {rule.text}: {self.count}"
        lines = [f"{head} ({rule.advice})" if rule.advice else head, *self.places]
        return "\n    ".join([*lines, f"... and {more} more"] if more else lines)


class _Findings(dict[str, Finding]):
    """Findings by rule; each keeps its first places."""

    def __init__(self, shown: int) -> None:
        super().__init__()
        self.shown = shown

    def add(self, rule: str, places: Iterable[str]) -> None:
        for place in places:
            finding = self.setdefault(rule, Finding(rule))
            finding.count += 1
            if len(finding.places) < self.shown:
                finding.places.append(place)


def read_image_list(path: str | Path) -> dict[str, tuple[int, int] | None]:
    """Read which images a submission is about.

    Args:
        path: a folder of images, or one that has them in images/; or a text file with a name per
            line, which the image's width and height in pixels may follow.

    Returns:
        (width, height) by name without suffix; None where the file does not say it.

    Raises:
        FileNotFoundError: there is no such file or folder, or no image in it.
        ValueError: "path:line: ..." for a line of another kind; or a file without names.
    """
    path = Path(path)
    if path.is_dir():
        folder = path / "images" if (path / "images").is_dir() else path
        return {image.stem: read_image_size(image) for image in list_images(folder)}
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of images")
    sizes: dict[str, tuple[int, int] | None] = {}
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if len(fields) not in (0, 1, 3) or not all(value.isdecimal() for value in fields[1:]):
            raise ValueError(
                f"{path}:{number}: expected an image's name, or name, width and height, got "
                f"{line.strip()!r}"
            )
        if fields:
            name = Path(read_name(fields[0]))
            stem = name.stem if name.suffix.lower() in IMAGE_SUFFIXES else name.name
            sizes[stem] = (int(fields[1]), int(fields[2])) if len(fields) == 3 else None
    if not sizes:
        raise ValueError(f"{path}: expected names of images, found none")
    return sizes


def check_submission(
    source: str | Path,
    task: int | None,
    images: Sizes,
    version: str = "1.0",
    most: int | None = None,
    shown: int = 5,
) -> list[Finding]:
    """Find what would cost a submission points.

    Args:
        source: a zip, or a folder of result files.
        task: 1 (oriented) or 2 (horizontal); of a folder, the other task's files do not count.
            None: the task of the files.
        images: which the results are of, by name, with sizes where known (`read_image_list`).
        version: DOTA's, which says the classes.
        most: how many results a class may have; None: any number.
        shown: how many places of a finding are named.

    Returns:
        the findings in the order of RULES; none if all is well.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a file that is no zip or cannot be unpacked, or an unknown version.
    """
    source, found = Path(source), _Findings(shown)
    expected = class_names(version)
    files: dict[int, dict[str, str]] = {1: {}, 2: {}}  # by task and class
    for entry in _list_entries(source):
        name = PurePosixPath(entry)
        match = RESULT_FILE.fullmatch(name.name)
        if match is None:
            found.add("stranger", [entry])
            continue
        files[int(match["task"])][read_name(match["name"])] = entry
        if len(name.parts) > 1:
            found.add("folders", [entry])
    if task is None:
        task = 1 if files[1] else 2
    if source.is_file():
        found.add("tasks", files[3 - task].values())
    found.add("missing", [name for name in expected if name not in files[task]])
    found.add("unknown class", [e for name, e in files[task].items() if name not in expected])
    detected: set[str] = set()
    for entry in tqdm(sorted(files[task].values()), "check", unit="file", disable=None):
        detected |= _check_file(entry, _read_entry(source, entry), task, images, most, found)
    if not detected:
        found.add("empty", [str(source)])
    found.add("undetected", [name for name in images if name not in detected])
    return [found[rule] for rule in RULES if rule in found]


def _list_entries(source: Path) -> list[str]:
    if source.is_dir():
        return sorted(path.name for path in source.glob("Task[12]_*.txt"))
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such zip or folder of result files")
    try:
        with zipfile.ZipFile(source) as archive:
            return [info.filename for info in archive.infolist() if not info.is_dir()]
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{source}: expected a zip, or a folder of result files: {error}"
        ) from None


def _read_entry(source: Path, entry: str) -> str:
    if source.is_dir():
        return (source / entry).read_text(encoding="utf-8", errors="replace")
    try:
        with zipfile.ZipFile(source) as archive:
            return archive.read(entry).decode("utf-8", errors="replace")
    except (zipfile.BadZipFile, RuntimeError, OSError) as error:  # damaged, or with a password
        raise ValueError(f"{source}: {entry} cannot be unpacked: {error}") from None


def _check_file(
    entry: str, text: str, task: int, images: Sizes, most: int | None, found: _Findings
) -> set[str]:
    """Check one class's results, and return the images that have some."""
    numbers, names, values = _parse(entry, text, 1 + COORDINATES[task], found)

    def add(rule: str, faulty: np.ndarray, shown: Iterable[object]) -> None:
        lines = zip(numbers[faulty], shown, strict=True)
        found.add(rule, [f"{entry}:{number}: {what}" for number, what in lines])

    finite = np.isfinite(values).all(axis=1)
    add("not finite", ~finite, values[~finite].tolist())
    numbers, names, values = numbers[finite], names[finite], values[finite]
    scores, coordinates = values[:, 0], values[:, 1:]
    strangers = {name for name in set(names.tolist()) if name not in images}
    tiles = {name for name in strangers if parse_tile_name(name)}
    for rule, these in (("tiles", tiles), ("unknown image", strangers - tiles)):
        faulty = np.array([name in these for name in names], dtype=bool)
        add(rule, faulty, map(repr, names[faulty]))
    wrong_scores = (scores < 0) | (scores > 1)
    add("score", wrong_scores, scores[wrong_scores])
    if len(scores) >= LEAST_ALIKE and np.ptp(scores) == 0:
        found.add("alike", [f"{entry}: {len(scores)} of {scores[0]:g}"])
    if most is not None and len(scores) > most:
        found.add("too many", [f"{entry}: {len(scores)}"])
    sizes = np.array([images.get(name) or (np.inf, np.inf) for name in names]).reshape(-1, 2)
    for rule, faulty in _box_faults(coordinates, sizes).items():
        add(rule, faulty, (" ".join(f"{value:g}" for value in row) for row in coordinates[faulty]))
    return set(names.tolist()) & set(images)


def _parse(
    entry: str, text: str, count: int, found: _Findings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read lines of a name and `count` numbers.

    Returns:
        the numbers (N,) of the well-formed lines, their names (N,) and their numbers (N, count).
    """
    numbers, names, values = [], [], array("d")
    for number, line in enumerate(text.splitlines(), start=1):
        name, *rest = line.strip().split(" ")
        plain = "".join(rest)  # Python alone takes 1_000 and digits of other alphabets
        try:
            row = [float(value) for value in rest] if plain.isascii() and "_" not in plain else []
        except ValueError:
            row = []
        if len(row) == count:
            numbers.append(number)
            names.append(read_name(name))
            values.extend(row)
        else:
            found.add("malformed", [f"{entry}:{number}: {line!r}"])
    return (
        np.array(numbers, dtype=int),
        np.array(names, dtype=object),
        np.array(values).reshape(-1, count),
    )


def _box_faults(coordinates: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Say per rule which boxes break it.

    Args:
        coordinates: (N, 8) corners of task 1, or (N, 4) edges of task 2, finite.
        sizes: (N, 2) width and height of the boxes' images.

    Returns:
        bool (N,) by rule.
    """
    points = coordinates.reshape(-1, coordinates.shape[1] // 2, 2)  # [N, 4, 2], or two ends
    center = points.mean(axis=1)
    outside = ((center < 0) | (center > sizes)).any(axis=1)
    if points.shape[1] == 2:
        return {"outside": outside, "no area": (points[:, 1] <= points[:, 0]).any(axis=1)}
    crossed = crosswise(points)
    areas = polygon_areas(points)
    return {"outside": outside, "no area": (areas < LEAST_AREA) & ~crossed, "crosswise": crossed}
