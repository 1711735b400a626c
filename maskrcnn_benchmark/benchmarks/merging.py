"""What the rule of merging tiles brings in average precision, on crowded toy scenes.

Scenes are as `dota/toy` lays them out, and the same with each slim object (vehicles, ships) parted
lengthwise into two neighbours, as boats are moored.

A detector is played: in each tile it sees the objects as training shows them (`clip_labels`),
misses some, finds the others a little moved, turned and resized, finds some twice, and some that
are not there. Its detections are merged by both rules: a better detection suppresses those of other
tiles only, or those of its own tile, too. As models that know orientation do, it compares polygons
within a tile, so that neighbours parked askew are both found.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from maskrcnn_benchmark.dota.annotations import DotaObject, stack_corners, upright_edges
from maskrcnn_benchmark.dota.average_precision import evaluate_detections
from maskrcnn_benchmark.dota.merge import upright_nms_between
from maskrcnn_benchmark.dota.submission import ClassResults
from maskrcnn_benchmark.dota.tiles import CUT_AWAY, clip_labels, tile_grid
from maskrcnn_benchmark.dota.toy.layout import KINDS, Placed, lay_out
from maskrcnn_benchmark.structures.oriented_boxes import oriented_nms

SIDE, TILE, OVERLAP = 1600, 800, 200  # pixels
THRESHOLDS = (0.1, 0.3, 0.5)
MISSED, TWICE, FALSE = 0.1, 0.05, 0.1  # shares of the objects that a tile shows
SLIM = 1.5  # length / width of objects that are parted
MOVED, TURNED = 0.06, 0.03  # deviations: of the short side; radians
NAMES = tuple(KINDS)


def merging_table(scenes: int, objects: int, seed: int) -> Iterator[str]:
    """Measure the mean area AP @0.5 by both rules, and yield the lines of the tables.

    Args:
        scenes: how many.
        objects: in each.
        seed: of the scenes and of the played detector.
    """
    for title, make in (("as drawn", _as_drawn), ("parted lengthwise", _parted)):
        labels, found = {}, {}
        for number in range(scenes):
            rng = np.random.default_rng([seed, number])
            placed = lay_out(rng, SIDE, SIDE, objects).objects
            labels[f"T{number}"] = [one for item in placed for one in make(item)]
            found[f"T{number}"] = play_detector(rng, labels[f"T{number}"])
        count = sum(map(len, labels.values()))
        detections = sum(len(scores) for _, scores, _, _ in found.values())
        yield f"{scenes} scenes {title}: {count:,} objects, {detections:,} detections on tiles"
        yield f"{'threshold':>9}{'task':>6}{'all':>8}{'different tiles':>17}"
        for threshold in THRESHOLDS:
            for task in (1, 2):
                old, new = (
                    _precision(labels, found, task, threshold, between) for between in (False, True)
                )
                yield f"{threshold:9}{task:6}{old:8.3f}{new:17.3f}"


def _as_drawn(item: Placed) -> list[DotaObject]:
    return [DotaObject(item.corners(), item.name)]


def _parted(item: Placed) -> list[DotaObject]:
    """Return an object's left and right half, if it is slim."""
    if item.length < SLIM * item.width:
        return _as_drawn(item)
    left_front, right_front, right_back, left_back = item.corners()
    front, back = (left_front + right_front) / 2, (left_back + right_back) / 2
    halves = [left_front, front, back, left_back], [front, right_front, right_back, back]
    return [DotaObject(np.array(half), item.name) for half in halves]


def play_detector(
    rng: np.random.Generator, objects: Sequence[DotaObject]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return corners (N, 4, 2) in the image, scores, labels and tiles (N,) of detections."""
    corners, scores, labels, tiles = [np.zeros((0, 4, 2))], [], [], []
    for tile, window in enumerate(tile_grid(SIDE, SIDE, TILE, OVERLAP)):
        shown = clip_labels(objects, window)
        count = len(shown)
        places = stack_corners(shown) + (window.x0, window.y0)
        label = np.array([NAMES.index(item.name) for item in shown], dtype=np.int64)
        quality = np.array([0.5 if item.difficult == CUT_AWAY else 1.0 for item in shown])
        hit = np.flatnonzero(rng.random(count) >= MISSED)
        twice = np.flatnonzero(rng.random(count) < TWICE)
        false = np.flatnonzero(rng.random(count) < FALSE)
        middle = places[false].mean(axis=1, keepdims=True)
        wrong = places[false] - middle + rng.uniform(0, TILE, middle.shape) + (window.x0, window.y0)
        corners += [_jitter(rng, places[hit], 1), _jitter(rng, places[twice], 5), wrong]
        scores += [
            quality[hit] * rng.beta(6, 2, len(hit)),
            quality[twice] * rng.beta(2, 6, len(twice)),
            rng.beta(2, 6, len(false)),
        ]
        labels.append(label[np.concatenate([hit, twice, false])])
        tiles.append(np.full(len(labels[-1]), tile))
    return np.concatenate(corners), *map(np.concatenate, (scores, labels, tiles))


def _jitter(rng: np.random.Generator, corners: np.ndarray, factor: float) -> np.ndarray:
    """Return corners (N, 4, 2) moved, turned and resized at random."""
    middle = corners.mean(axis=1, keepdims=True)
    sides = np.linalg.norm(np.diff(corners[:, :3], axis=1), axis=2)  # [N, 2]
    away = rng.normal(0, factor * MOVED, middle.shape) * sides.min(axis=1)[:, None, None]
    angle = rng.normal(0, TURNED, len(corners))
    turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], axis=1)
    size = rng.normal(1, MOVED, (len(corners), 1, 1))
    return middle + away + (corners - middle) @ turn.reshape(-1, 2, 2) * size


def _precision(
    labels: dict[str, list[DotaObject]], found: dict, task: int, threshold: float, between: bool
) -> float:
    """Return the mean area AP @0.5 of merged detections.

    Args:
        labels, found: per image.
        task: 1 (oriented) or 2 (horizontal).
        threshold: IoU above which detections are one.
        between: only of different tiles; else of any.
    """
    rows: dict[str, list[tuple[str, float, np.ndarray]]] = {name: [] for name in NAMES}
    for image, (corners, scores, classes, tiles) in found.items():
        sources = tiles if between else np.arange(len(tiles))
        edges = upright_edges(corners)
        if task == 1:
            kept = oriented_nms(corners, scores, threshold, classes, sources)
        else:
            kept = upright_nms_between(sources, edges, scores, threshold, classes)
        coordinates = corners.reshape(-1, 8) if task == 1 else edges
        for row in kept.tolist():
            rows[NAMES[classes[row]]].append((image, scores[row], coordinates[row]))
    results = {
        name: ClassResults(
            [image for image, _, _ in own],
            np.array([score for _, score, _ in own]),
            np.array([place for _, _, place in own]),
        )
        for name, own in rows.items()
        if own
    }
    return evaluate_detections(labels, results, task, 0.5, "area")["mAP"]
