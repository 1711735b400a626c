"""Whether two results differ by more than the choice of images explains.

A paired bootstrap: as many images as there are, are drawn with replacement many times; each time
both results are evaluated on the images drawn. The middle 95 % of the differences are the interval.
What an image's detections match does not depend on the other images, so that they are matched once,
and a drawn set only counts each image as often as it was drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from maskrcnn_benchmark.dota.average_precision import VOC07_RECALLS
from maskrcnn_benchmark.dota.overlaps import Overlaps, assign

LEVEL = 0.95
FEW_IMAGES = 30
LEAST_IMAGES = 5  # with objects of a class: of fewer, drawn sets say nothing
BLOCK = 2**22  # detections times drawn sets that are computed with at once


@dataclass(frozen=True)
class Difference:
    """A figure of two results and the interval of the difference, None where it has no value.

    Attributes:
        a, b: the figure of either result.
        low, high: the interval of b - a.
        images: how many have objects of the class; of the mean: all.
    """

    a: float | None
    b: float | None
    low: float | None
    high: float | None
    images: int

    @property
    def verdict(self) -> str:
        """Say "A is better", "B is better", "too few images", or "noise": the interval has 0."""
        if self.low is None or self.high is None:
            return "not known"
        if self.low <= 0 <= self.high:
            return "noise"
        if self.images < LEAST_IMAGES:
            return "too few images"
        return "B is better" if self.low > 0 else "A is better"


def compare(
    table_a: Overlaps, table_b: Overlaps, iou: float, metric: str, resamples: int, seed: int
) -> dict[str, Difference]:
    """Compare two results on the same labels.

    Classes without objects have no figures and are not in the mean, whatever was detected.

    Args:
        table_a, table_b: of `find_overlaps`, with the same labels.
        iou: the threshold that a true positive must exceed.
        metric: "voc07" or "area".
        resamples: how many sets of images are drawn.
        seed: of the draws.

    Returns:
        per class, and last under "mAP".

    Raises:
        ValueError: no image, or less than 1 resample.
    """
    images = len(table_a.image_names)
    if images == 0 or resamples < 1:
        raise ValueError(f"expected at least 1 image and 1 resample, got {images} and {resamples}")
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples)
    counts = np.concatenate([np.ones((1, images), dtype=int), draws])  # the first: all as they are
    names = [name for name, n in zip(table_a.class_names, table_a.npos, strict=True) if n]
    of_a, of_b = (
        dict(zip(table.class_names, _resampled(table, counts, iou, metric), strict=True))
        for table in (table_a, table_b)
    )
    compared = {
        name: _difference(of_a[name], of_b[name], _count_images(table_a, name)) for name in names
    }
    nothing = np.full((1, resamples + 1), np.nan)
    mean_a, mean_b = (
        _mean(np.concatenate([nothing, *(values[name][None] for name in names)]))
        for values in (of_a, of_b)
    )
    return compared | {"mAP": _difference(mean_a, mean_b, images)}


def _count_images(table: Overlaps, class_name: str) -> int:
    """Count the images that have objects of a class to find."""
    own = table.object_class == table.class_names.index(class_name)
    return len(np.unique(table.object_image[own & ~table.difficult]))


def _difference(a: np.ndarray, b: np.ndarray, images: int) -> Difference:
    """Summarize a figure of all images (first) and of the drawn sets, (R + 1,) each."""
    tail = (1 - LEVEL) / 2
    change = (b - a)[1:]
    change = change[~np.isnan(change)]
    low, high = np.quantile(change, [tail, 1 - tail]) if len(change) else (np.nan, np.nan)
    of_a, of_b, low, high = (None if np.isnan(v) else float(v) for v in (a[0], b[0], low, high))
    return Difference(of_a, of_b, low, high, images)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean (R,) over the rows of (C, R) that are not NaN."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    return np.where(
        count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan
    )


def _resampled(
    table: Overlaps, counts: np.ndarray, iou: float, metric: str
) -> Iterator[np.ndarray]:
    """Yield, class after class, the average precision (R,) on sets that have images so often.

    Args:
        table: objects, detections and which overlap.
        counts: int (R, images).
        iou, metric: as in `compare`.
    """
    assignment = assign(table, iou)
    counted = assignment.true_positive | assignment.false_positive
    for number in range(len(table.class_names)):
        own = counted & (table.detection_class == number)
        to_find = ~table.difficult & (table.object_class == number)
        per_image = np.bincount(table.object_image[to_find], minlength=counts.shape[1])
        images, true = table.detection_image[own], assignment.true_positive[own]
        step = max(BLOCK // max(len(images), 1), 1)
        parts = [
            _weighted_precision(
                counts[start : start + step, images],
                true,
                counts[start : start + step] @ per_image,
                metric,
            )
            for start in range(0, len(counts), step)
        ]
        yield np.concatenate(parts)


def _weighted_precision(
    weights: np.ndarray, true: np.ndarray, npos: np.ndarray, metric: str
) -> np.ndarray:
    """Compute average precisions (R,) where detections count several times or not at all.

    Args:
        weights: int (R, N), how often each detection counts, by falling score.
        true: bool (N,).
        npos: (R,) objects to find; NaN comes of 0.
        metric: "voc07" or "area".
    """
    rank = np.cumsum(weights, axis=1)[:, true]  # at true positives: recall rises at no other
    found = np.cumsum(weights[:, true], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = found / npos[:, None].astype(float)
        precision = np.where(rank > 0, found / rank, 0.0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    if metric == "area":
        value = (np.diff(recall, axis=1, prepend=0.0) * best).sum(axis=1)
    else:
        best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
        rows = np.arange(len(best))
        places = ((recall < level).sum(axis=1) for level in VOC07_RECALLS)
        value = np.mean([best[rows, place] for place in places], axis=0)
    return np.where(npos > 0, value, np.nan)
