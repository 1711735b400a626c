"""DOTA label files, and the way between DOTA's corners and BoxList's boxes.

A label line is `x1 y1 x2 y2 x3 y3 x4 y4 class difficult`: float pixels, x right, y down, clockwise
on the screen from the object's front left where it has one; a missing `difficult` is 0. Corners are
places on the edge, without `+1`: a box that covers the pixels 10 ... 19 in x and 5 ... 9 in y has
corners 10 ... 20 and 5 ... 10. In BoxList's convention (the last pixel belongs to the box, so that
width = x2 - x1 + 1) the same box is (10, 5, 19, 9).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskrcnn_benchmark.dota.text_files import format_number, parse_numbers
from maskrcnn_benchmark.utils.atomic_write import write_text

HEADERS = ("imagesource:", "gsd:")
GREATEST = 1_000_000  # pixels: no image is as wide; memory of an outline grows with its length


@dataclass
class DotaObject:
    """One labelled object.

    Attributes:
        corners: (4, 2) float64, pixels.
        name: its class.
        difficult: 0; 1 where the annotator said so; 2 where a tile shows too little of it.
    """

    corners: np.ndarray
    name: str
    difficult: int = 0


def read_labels(path: str | Path, class_names: Collection[str] | None = None) -> list[DotaObject]:
    """Read a label file.

    Args:
        path: a file of lines as in this module's docstring; blank lines and the lines
            `imagesource:...` and `gsd:...` are passed over.
        class_names: the classes that may occur; None admits any.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: "path:line: ..." for a malformed line or an unknown class.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such label file")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    objects = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or line.strip().lower().startswith(HEADERS):
            continue
        try:
            objects.append(_parse_fields(fields, class_names))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    return objects


def read_header(path: str | Path) -> dict[str, str]:
    """Read what a label file says of its image above the objects.

    Returns:
        "imagesource" and "gsd" (pixels' size on the ground, meters), as far as they are there;
        without those that are empty or "null".
    """
    header = {}
    with Path(path).open(encoding="utf-8-sig", errors="replace") as stream:
        for line in stream:
            key, separator, value = line.strip().partition(":")
            if f"{key.lower()}{separator}" not in HEADERS:
                break
            if value.strip().lower() not in ("", "null", "none"):
                header[key.lower()] = value.strip()
    return header


def write_labels(
    path: str | Path, objects: Iterable[DotaObject], header: Mapping[str, str] | None = None
) -> None:
    """Write a label file, coordinates to a ten-thousandth of a pixel.

    Args:
        path: of the file.
        objects: a line each.
        header: as `read_header` returns it; a line each above the objects.
    """
    lines = [f"{key}:{value}\n" for key, value in (header or {}).items()]
    for item in objects:
        numbers = " ".join(format_number(value) for value in item.corners.ravel())
        lines.append(f"{numbers} {item.name} {item.difficult}\n")
    write_text(Path(path), "".join(lines))


def stack_corners(objects: Iterable[DotaObject]) -> np.ndarray:
    """Gather objects' corners into one float64 array (N, 4, 2), N = 0 included."""
    return np.array([item.corners for item in objects], dtype=np.float64).reshape(-1, 4, 2)


def outside(corners: np.ndarray, width: int, height: int) -> np.ndarray:
    """Say which objects lie wholly outside an image.

    Args:
        corners: (N, 4, 2).
        width, height: the image's, pixels.

    Returns:
        bool (N,).
    """
    corners = corners.reshape(-1, 4, 2)
    low, high = corners.min(axis=1), corners.max(axis=1)  # [N, 2]
    return ((high <= 0) | (low >= (width, height))).any(axis=1)


def crosswise(corners: np.ndarray) -> np.ndarray:
    """Say which quadrilaterals have two sides that cross, as where corners are not in turn.

    Args:
        corners: (N, 4, 2).

    Returns:
        bool (N,).
    """
    a, b, c, d = np.moveaxis(np.asarray(corners, dtype=np.float64).reshape(-1, 4, 2), 1, 0)
    # two sides cross where the ends of each lie on different sides of the other
    abc, abd, acd, bcd = _turn(a, b, c), _turn(a, b, d), _turn(a, c, d), _turn(b, c, d)
    ab_crosses_cd = (abc * abd < 0) & (acd * bcd < 0)
    bc_crosses_da = (abc * bcd < 0) & (abd * acd < 0)
    return ab_crosses_cd | bc_crosses_da


def upright_edges(corners: np.ndarray) -> np.ndarray:
    """Return the upright boxes (N, 4), x1 y1 x2 y2 in edges, around corners (N, 4, 2)."""
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def corners_to_boxlist_xyxy(corners: np.ndarray) -> np.ndarray:
    """Bound polygons by boxes in BoxList's convention.

    Args:
        corners: (N, 4, 2), edges.

    Returns:
        float64 (N, 4): x1, y1, x2, y2 with x2 = greatest x - 1 and y2 = greatest y - 1.
    """
    corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4, 2)
    return upright_edges(corners) - (0, 0, 1, 1)


def boxlist_xyxy_to_corners(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Turn boxes (N, 4) of BoxList's convention into corners (N, 4, 2), clockwise from top left."""
    x1, y1, x2, y2 = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4).T
    right, bottom = x2 + 1, y2 + 1
    return np.stack([x1, y1, right, y1, right, bottom, x1, bottom], axis=1).reshape(-1, 4, 2)


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return twice the areas (N,) of triangles of points (N, 2), positive where clockwise."""
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def _parse_fields(fields: list[str], class_names: Collection[str] | None) -> DotaObject:
    yolo = _yolo_kind(fields)
    if yolo is not None:
        raise ValueError(
            f"expected `x1 y1 x2 y2 x3 y3 x4 y4 class difficult` in pixels, got what looks like "
            f"{yolo}: multiply x by the image's width and y by its height, write 4 corners and, "
            f"after them, the class's name ({fields[0]} is its number)"
        )
    if len(fields) not in (9, 10):
        raise ValueError(
            "expected 8 coordinates, a class and a difficult flag (which may be missing), "
            f"got {len(fields)} fields"
        )
    corners = np.array(parse_numbers(fields[:8])).reshape(4, 2)
    if np.abs(corners).max() > GREATEST:
        raise ValueError(
            f"expected coordinates of at most {GREATEST} pixels, got {' '.join(fields[:8])}"
        )
    name = fields[8]
    if class_names is not None and name not in class_names:
        raise ValueError(
            f"unknown class {name!r}, expected one of {', '.join(class_names)}; "
            "set DOTA.VERSION or DOTA.CLASSES, or DOTA.IGNORE_OTHER_CLASSES True to leave out "
            "what they do not list"
        )
    difficult = fields[9] if len(fields) == 10 else "0"
    if difficult not in ("0", "1", "2"):
        raise ValueError(f"expected a difficult flag 0, 1 or 2, got {difficult}")
    return DotaObject(corners, name, int(difficult))


def _yolo_kind(fields: list[str]) -> str | None:
    """Name YOLO's format of a line `class x y ...` with coordinates in 0 ... 1, None for others."""
    if len(fields) < 5 or len(fields) % 2 == 0 or not fields[0].isdecimal():
        return None
    try:
        coordinates = [float(field) for field in fields[1:]]
    except ValueError:
        return None
    # objects that reach over the border have corners a little outside
    if not all(-0.5 <= value <= 1.5 for value in coordinates):
        return None
    kinds = {5: "YOLO's boxes (class x y width height)", 9: "YOLO-OBB (class and 4 corners)"}
    return kinds.get(len(fields), "YOLO's outlines (class and corners)")
