"""Faults of labels that training would meet silently.

Nothing here knows networks; see data/anchor_audit.py for what depends on anchors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from maskrcnn_benchmark.dota.annotations import (
    DotaObject,
    crosswise,
    outside,
    stack_corners,
    upright_edges,
)
from maskrcnn_benchmark.dota.seams import NOWHERE_WHOLE, seam_distance
from maskrcnn_benchmark.dota.statistics import measure_shapes
from maskrcnn_benchmark.dota.tiles import CUT_AWAY, MIN_AREA, Window, clip_labels

EXAMPLES = 5
# rule: (what is wrong, what to do)
FAULTS = {
    "degenerate": ("objects without area", "delete these lines: nothing can match them"),
    "crosswise": ("objects whose sides cross", "put their corners in turn around the object"),
    "duplicate": ("objects that repeat another of their class", "delete all but one of each"),
    "two classes": ("objects with the very corners of one of another class", "keep one class"),
    "outside": ("objects wholly outside their image", "do labels and image belong together?"),
}


@dataclass
class Finding:
    """One thing that will hurt.

    Attributes:
        what: is wrong.
        advice: what to do.
        count: how often.
        examples: up to EXAMPLES places.
    """

    what: str
    advice: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, place: str, count: int = 1) -> None:
        """Count some more."""
        self.count += count
        if count and len(self.examples) < EXAMPLES:
            self.examples.append(place)

    def describe(self) -> str:
        """Return it as one line."""
        places = f" ({', '.join(self.examples)}{', …' if self.count > EXAMPLES else ''})"
        return f"{self.count:,} {self.what}{places if self.examples else ''}: {self.advice}"


def label_faults(objects: Sequence[DotaObject], width: int, height: int) -> dict[str, np.ndarray]:
    """Say which objects of an image have which fault.

    Args:
        objects: of the whole image, in its pixels.
        width, height: the image's, pixels.

    Returns:
        by a key of FAULTS, bool (N,); of a group of repeated objects, all but the first.
    """
    corners = stack_corners(objects)
    sizes, _, _ = measure_shapes(corners)
    is_crosswise = crosswise(corners)
    # the same corners in another order are the same object
    places = [tuple(sorted(map(tuple, item.round(2).tolist()))) for item in corners]
    seen: dict[tuple, set[str]] = {}
    repeated = np.zeros((2, len(objects)), dtype=bool)
    for number, (place, item) in enumerate(zip(places, objects, strict=True)):
        names = seen.setdefault(place, set())
        repeated[:, number] = item.name in names, bool(names - {item.name})
        names.add(item.name)
    return {
        "degenerate": (sizes**2 < MIN_AREA) & ~is_crosswise,
        "crosswise": is_crosswise,
        "duplicate": repeated[0],
        "two classes": repeated[1] & ~repeated[0],
        "outside": outside(corners, width, height),
    }


def split_losses(
    objects: Sequence[DotaObject], tiles: Sequence[Window]
) -> tuple[np.ndarray, np.ndarray]:
    """Say which objects of an image the tiles do not show.

    Args:
        objects: in the pixels of the image.
        tiles: all tiles of the image, in its pixels; none where the image has no data.

    Returns:
        cut (N,): no tile shows the object whole; lost (N,): none even shows enough of it to be
        trained on (`tiles.clip_labels`).
    """
    if not tiles:
        return np.ones(len(objects), dtype=bool), np.ones(len(objects), dtype=bool)
    corners = stack_corners(objects)
    cut = seam_distance(upright_edges(corners), tiles) == NOWHERE_WHOLE
    lost = cut.copy()
    for window in tiles:
        rows = np.flatnonzero(lost)
        numbered = [DotaObject(corners[row], str(row)) for row in rows]
        for part in clip_labels(numbered, window):
            if part.difficult != CUT_AWAY:
                lost[int(part.name)] = False
    return cut, lost
