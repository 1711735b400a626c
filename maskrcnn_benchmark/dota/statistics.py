"""What the labels of a DOTA-format folder hold: counts, sizes, shapes, directions, density.

Size is the square root of the polygon's area, pixels. Aspect is the longer side through the shorter
one, each the mean of two opposite sides. Direction is that of the longer side, degrees clockwise on
the screen from the x axis, 0 ... 180, in bins around 0, 15, ... 165: the first has -7.5 ... 7.5. An
object whose aspect is below LEAST_ASPECT has none. Example: corners (0, 0), (40, 0), (40, 10),
(0, 10) have size 20, aspect 4 and direction 0.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from maskrcnn_benchmark.dota.annotations import DotaObject, read_labels, stack_corners
from maskrcnn_benchmark.dota.folders import read_folder
from maskrcnn_benchmark.dota.rates import read_gsd
from maskrcnn_benchmark.images.image_io import read_image_size

LEAST_ASPECT = 1.2
DIRECTION_DEG = 15
QUANTILES = {"5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95}
SIZE_LIMITS = (4, 8, 16, 32, 64, 128, 256, 512)  # pixels
ASPECT_LIMITS = (1.2, 1.5, 2, 3, 5, 10)
COUNT_LIMITS = (1, 10, 30, 100, 300, 1000)  # objects per image
MOST_CROWDED = 5


@dataclass
class _Objects:
    """Properties of the objects of one class, an entry each."""

    sizes: list[np.ndarray] = field(default_factory=list)
    aspects: list[np.ndarray] = field(default_factory=list)
    directions: list[np.ndarray] = field(default_factory=list)
    images: int = 0
    difficult: int = 0


def collect_statistics(folder: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Read all labels of a folder and measure them; images are opened for their sizes only.

    Args:
        folder: as `read_folder` reads it.
        report: is told of images without labels and the like.

    Returns:
        "images" (of tiles: the tiles), "unlabelled", "empty", "whole_images" (a split folder's
        objects per whole image; else None), "objects_per_image", "objects_per_megapixel", "gsd",
        "all" and "classes": {name: …}, each with "objects", "images", "difficult", "size",
        "aspect" and histograms [[title, count], …].

    Raises:
        FileNotFoundError, ValueError: as `read_folder` and `read_labels` do; or no labels.
    """
    files = read_folder(folder, None, report)
    if files.label_folder is None:
        raise FileNotFoundError(f"{folder}: has no labelTxt, so there is nothing to count")
    classes: dict[str, _Objects] = {}
    counts, densities, gsds = {}, [], []
    bar = tqdm(files.label_files.items(), "stats", unit="image", disable=None)
    for name, path in bar:
        objects = read_labels(path)
        width, height = read_image_size(files.images[name])
        counts[name] = len(objects)
        densities.append(len(objects) / (width * height / 1e6))
        gsds.append(read_gsd(path))
        _add(classes, objects)
    known = [gsd for gsd in gsds if gsd is not None]
    return {
        "images": len(counts),
        "unlabelled": len(files.images) - len(counts),
        "empty": sum(count == 0 for count in counts.values()),
        "whole_images": None if files.plan is None else _per_image(_whole_counts(files)),
        "objects_per_image": _per_image(counts),
        "objects_per_megapixel": _spread(np.array(densities)),
        "gsd": {"known": len(known)} | _spread(np.array(known)),
        "all": _describe(_joined(classes.values(), len(counts) - _empty(counts))),
        "classes": {
            name: _describe(own)
            for name, own in sorted(classes.items(), key=lambda item: -_count(item[1]))
        },
    }


def measure_shapes(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure quadrilaterals.

    Args:
        corners: (N, 4, 2), pixels.

    Returns:
        sizes (N,), aspects (N,; infinite where a side is 0) and directions (N,), see the module.
    """
    sides = np.roll(corners, -1, axis=1) - corners  # [N, 4, 2]
    x, y = corners[..., 0], corners[..., 1]
    twice = (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)
    axes = (sides[:, :2] - sides[:, 2:]) / 2  # [N, 2, 2]: opposite sides run opposite ways
    lengths = np.linalg.norm(sides, axis=2)
    lengths = (lengths[:, :2] + lengths[:, 2:]) / 2  # [N, 2]
    longer = lengths.argmax(axis=1)
    axis = np.take_along_axis(axes, longer[:, None, None], axis=1)[:, 0]  # [N, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        aspects = np.where(lengths.max(axis=1) > 0, lengths.max(axis=1) / lengths.min(axis=1), 1.0)
    directions = np.degrees(np.arctan2(axis[:, 1], axis[:, 0])) % 180
    return np.sqrt(np.abs(twice) / 2), aspects, directions


def histogram(values: np.ndarray, limits: tuple[float, ...]) -> list[list]:
    """Count values below the first limit, between two and from the last on, with titles."""
    counts = np.bincount(np.digitize(values, limits), minlength=len(limits) + 1).tolist()
    middle = [f"{low:g}-{high:g}" for low, high in zip(limits, limits[1:], strict=False)]
    titles = [f"<{limits[0]:g}", *middle, f"{limits[-1]:g}+"]
    return [list(pair) for pair in zip(titles, counts, strict=True)]


def format_statistics(title: str, figures: Mapping[str, Any]) -> str:
    """Lay the figures out as text."""
    rows = figures["classes"] | {"all": figures["all"]}
    width = max(map(len, [*rows, "class"]))
    head = "objects  images  difficult   size px: 5 %  median   95 %   aspect: median   95 %"
    lines = [
        f"{title}: {figures['images']:,} labelled images or tiles",
        f"{'class':{width}}  {head}",
    ]
    for name, row in rows.items():
        size, aspect = row["size"], row["aspect"]
        line = f"{name:{width}}{row['objects']:9,}{row['images']:8,}{row['difficult']:11,}"
        if row["objects"]:
            line += f"{size['5 %']:16.1f}{size['median']:8.1f}{size['95 %']:7.1f}"
            line += f"{aspect['median']:17.2f}{aspect['95 %']:7.2f}"
        lines.append(line)
    lines.append(
        f"without objects: {figures['empty']:,}; without label file: {figures['unlabelled']:,}"
    )
    for key, what in (("objects_per_image", "file"), ("whole_images", "whole image")):
        if figures[key] is not None:
            entry = figures[key]
            lines.append(f"objects per {what}: {_spread_text(entry)}; most: {_most(entry)}")
    lines.append(f"objects per megapixel: {_spread_text(figures['objects_per_megapixel'])}")
    directions = ", ".join(f"{angle} {count:,}" for angle, count in figures["all"]["directions"])
    lines.append(f"direction of the longer side, degrees: {directions}")
    gsd = figures["gsd"]
    known = f", {_spread_text(gsd)}" if gsd["known"] else ""
    lines.append(f"gsd: known of {gsd['known']:,}{known}")
    return "\n".join(lines)


def _add(classes: dict[str, _Objects], objects: list[DotaObject]) -> None:
    """Add one image's objects."""
    sizes, aspects, directions = measure_shapes(stack_corners(objects))
    names = np.array([item.name for item in objects])
    difficult = np.array([item.difficult != 0 for item in objects], dtype=bool)
    for name in dict.fromkeys(names.tolist()):
        own, rows = classes.setdefault(name, _Objects()), names == name
        own.sizes.append(sizes[rows])
        own.aspects.append(aspects[rows])
        own.directions.append(directions[rows & (aspects >= LEAST_ASPECT)])
        own.images += 1
        own.difficult += int(difficult[rows].sum())


def _joined(classes: Iterable[_Objects], images: int) -> _Objects:
    joined = _Objects(images=images)
    for own in classes:
        joined.sizes += own.sizes
        joined.aspects += own.aspects
        joined.directions += own.directions
        joined.difficult += own.difficult
    return joined


def _describe(own: _Objects) -> dict[str, Any]:
    nothing = [np.zeros(0)]
    sizes = np.concatenate(own.sizes or nothing)
    aspects = np.concatenate(own.aspects or nothing)
    directions = np.concatenate(own.directions or nothing)
    bins = np.floor((directions + DIRECTION_DEG / 2) % 180 / DIRECTION_DEG).astype(int)
    turns = np.bincount(bins, minlength=180 // DIRECTION_DEG).tolist()
    finite = aspects[np.isfinite(aspects)]
    return {
        "objects": len(sizes),
        "images": own.images,
        "difficult": own.difficult,
        "size": _spread(sizes),
        "aspect": _spread(finite if len(finite) else np.ones(min(len(aspects), 1))),
        "sizes": histogram(sizes, SIZE_LIMITS),
        "aspects": histogram(aspects, ASPECT_LIMITS),
        "directions": [[DIRECTION_DEG * index, count] for index, count in enumerate(turns)],
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    """Return quantiles and the greatest value; nothing of nothing."""
    if len(values) == 0:
        return {}
    quantiles = np.quantile(values, list(QUANTILES.values())).tolist()
    return dict(zip(QUANTILES, quantiles, strict=True)) | {"most": float(values.max())}


def _spread_text(spread: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {spread[key]:.3g}" for key in ("5 %", "median", "95 %") if key in spread
    )


def _per_image(counts: Mapping[str, int]) -> dict[str, Any]:
    values = np.array(list(counts.values()), dtype=float)
    return _spread(values) | {
        "crowded": [list(pair) for pair in Counter(counts).most_common(MOST_CROWDED)],
        "histogram": histogram(values, COUNT_LIMITS),
    }


def _most(entry: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in entry["crowded"]) or "none"


def _whole_counts(files: Any) -> dict[str, int]:
    paths = {name: files.truth_file(name) for name in files.plan["sources"]}
    return {name: len(read_labels(path)) for name, path in paths.items() if path.is_file()}


def _count(own: _Objects) -> int:
    return sum(map(len, own.sizes))


def _empty(counts: Mapping[str, int]) -> int:
    return sum(count == 0 for count in counts.values())
