"""Average precision among objects of one size, in one density of crowd, at one distance to a seam.

In a stratum, objects of other strata count as difficult ones: they need not be found, and finding
them counts for nothing. A false positive counts in the stratum of the object that another detection
has found before it; one that overlaps no object of its class by more than the threshold counts in
the stratum that it would be in as an object itself. The mean is over the classes that have objects
in the stratum.
"""

from dataclasses import dataclass

import numpy as np

from maskrcnn_benchmark.dota.annotations import upright_edges
from maskrcnn_benchmark.dota.overlaps import (
    Assignment,
    Overlaps,
    class_precisions,
    mean_precision,
)
from maskrcnn_benchmark.dota.seams import CUT, NOWHERE_WHOLE, Tiles, seam_distance
from maskrcnn_benchmark.structures.polygons import polygon_areas

SIZES = (16, 32, 96)  # pixels; the upper two are COCO's
CROWD_RADIUS = 100  # pixels
NEIGHBOURS = (3, 10, 30)
SEAM_PIXELS = 32
BLOCK = 256


@dataclass(frozen=True)
class Strata:
    """A division of objects and detections.

    Attributes:
        titles: S of them.
        objects: int (M,), each object's stratum; -1: in none.
        detections: int (N,), each detection's; -1: in none.
    """

    titles: tuple[str, ...]
    objects: np.ndarray
    detections: np.ndarray


def size_strata(table: Overlaps) -> Strata:
    """Divide by size, the square root of the area in pixels (task 2: of the upright box)."""
    low, middle, high = SIZES
    titles = (
        f"below {low} px",
        f"{low} to {middle} px",
        f"{middle} to {high} px",
        f"{high} px and more",
    )
    objects, detections = _sizes(table, table.corners), _sizes(table, table.detection_corners)
    return Strata(titles, np.digitize(objects, SIZES), np.digitize(detections, SIZES))


def crowd_strata(table: Overlaps) -> Strata:
    """Divide by the labelled objects of any class that have their centre within CROWD_RADIUS.

    Distances are from centre to centre, of upright boxes; an object is not its own neighbour.
    """
    low, middle, high = NEIGHBOURS
    titles = (
        f"0 to {low - 1} neighbours",
        f"{low} to {middle - 1}",
        f"{middle} to {high - 1}",
        f"{high} and more",
    )
    objects = np.zeros(len(table.corners), dtype=int)
    detections = np.zeros(len(table.scores), dtype=int)
    object_centers, detection_centers = (
        (corners.min(axis=1) + corners.max(axis=1)) / 2
        for corners in (table.corners, table.detection_corners)
    )
    for image in range(len(table.image_names)):
        own = table.object_image == image
        found = table.detection_image == image
        centers = object_centers[own]
        objects[own] = _count_near(centers, centers) - 1
        detections[found] = _count_near(detection_centers[found], centers)
    return Strata(titles, np.digitize(objects, NEIGHBOURS), np.digitize(detections, NEIGHBOURS))


def seam_strata(table: Overlaps, tiles: Tiles) -> Strata:
    """Divide by the distance of upright boxes to the nearest tile's border inside the image.

    Args:
        table: objects and detections.
        tiles: of each image; what lies in others is in no stratum.
    """
    titles = (
        "whole in no tile",
        "cut by a tile, whole in another",
        f"up to {SEAM_PIXELS} px from a seam",
        "farther",
    )
    edges = (CUT, np.nextafter(CUT, 1), SEAM_PIXELS)  # NOWHERE_WHOLE is below all
    assert edges[0] > NOWHERE_WHOLE
    objects = np.full(len(table.corners), np.inf)
    detections = np.full(len(table.scores), np.inf)
    known = np.array([bool(tiles.get(name)) for name in table.image_names], dtype=bool)
    for image in np.flatnonzero(known):
        name = table.image_names[image]
        own, found = table.object_image == image, table.detection_image == image
        objects[own] = seam_distance(upright_edges(table.corners[own]), tiles[name])
        detections[found] = seam_distance(
            upright_edges(table.detection_corners[found]), tiles[name]
        )
    return Strata(
        titles,
        np.where(known[table.object_image], np.digitize(objects, edges), -1),
        np.where(known[table.detection_image], np.digitize(detections, edges), -1),
    )


def precisions_by_stratum(
    table: Overlaps, assignment: Assignment, strata: Strata, metric: str
) -> list[dict]:
    """Compute the average precision in each stratum.

    Args:
        table: objects and detections.
        assignment: `assign`'s.
        strata: the division.
        metric: "voc07" or "area".

    Returns:
        per stratum {"title": …, "objects": to find, "found": at any score, "mAP": …, "classes":
        {name: {"ap": …, "npos": …}}}.
    """
    taken = assignment.object
    stratum = strata.detections.copy()
    stratum[taken >= 0] = strata.objects[taken[taken >= 0]]
    entries = []
    for number, title in enumerate(strata.titles):
        inside = strata.objects == number
        to_find = inside & ~table.difficult
        npos = np.bincount(table.object_class[to_find], minlength=len(table.class_names))
        chosen = stratum == number
        values = class_precisions(
            table.detection_class,
            assignment.true_positive & chosen,
            assignment.false_positive & chosen,
            npos,
            metric,
        )
        values = [value if count else None for value, count in zip(values, npos, strict=True)]
        classes = {
            name: {"ap": value, "npos": int(count)}
            for name, value, count in zip(table.class_names, values, npos, strict=True)
        }
        entries.append(
            {
                "title": title,
                "objects": int(to_find.sum()),
                "found": int((to_find & assignment.found).sum()),
                "mAP": mean_precision(values),
                "classes": classes,
            }
        )
    return entries


def _sizes(table: Overlaps, corners: np.ndarray) -> np.ndarray:
    if table.task == 1:
        areas = polygon_areas(corners)
    else:
        areas = np.ptp(corners, axis=1).prod(axis=1)
    return np.sqrt(areas)


def _count_near(centers: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Count the others (O, 2) within CROWD_RADIUS of each centre (K, 2)."""
    others = others[np.argsort(others[:, 0])]
    counts = np.zeros(len(centers), dtype=int)
    order = np.argsort(centers[:, 0])
    for start in range(0, len(order), BLOCK):  # blocks of neighbours in x meet few others
        block = order[start : start + BLOCK]
        low, high = centers[block[[0, -1]], 0] + (-CROWD_RADIUS, CROWD_RADIUS)
        first = np.searchsorted(others[:, 0], low)
        near = others[first : np.searchsorted(others[:, 0], high, side="right")]
        away = centers[block, None] - near  # [block, near, 2]
        counts[block] = ((away**2).sum(axis=2) <= CROWD_RADIUS**2).sum(axis=1)
    return counts
