"""Which class is taken for which: a confusion matrix of detections, with background."""

import numpy as np

from maskrcnn_benchmark.dota.overlaps import Overlaps


def confusion_matrix(table: Overlaps, iou: float, score: float) -> np.ndarray:
    """Count which class's objects were found as which.

    Detections of any class are taken by falling score. Each takes the object, of any class and not
    yet taken, that it overlaps most, if by more than the threshold. One that so meets a difficult
    object is not counted; nor are difficult objects.

    Args:
        table: objects, detections and which overlap.
        iou: the threshold that must be exceeded.
        score: the least score of the detections that count.

    Returns:
        int (C + 1, C + 1): a row per class of the objects, a column per class of the detections;
        the last row counts detections that took no object, the last column objects not taken.
    """
    background = len(table.class_names)
    matrix = np.zeros((background + 1, background + 1), dtype=int)
    free = (table.scores >= score).tolist()  # detections without an object so far
    taken = [False] * len(table.corners)
    chosen = table.pair_iou > iou
    pairs = zip(
        table.pair_detection[chosen].tolist(), table.pair_object[chosen].tolist(), strict=True
    )
    for detection, item in pairs:
        if not free[detection] or taken[item]:
            continue
        free[detection] = False
        if not table.difficult[item]:
            taken[item] = True
            matrix[table.object_class[item], table.detection_class[detection]] += 1
    untaken = ~np.array(taken, dtype=bool) & ~table.difficult
    np.add.at(matrix, (table.object_class[untaken], background), 1)
    np.add.at(matrix, (background, table.detection_class[np.array(free, dtype=bool)]), 1)
    return matrix
