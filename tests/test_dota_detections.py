"""From a model's prediction on a window to detections in the image's pixels."""

import numpy as np
import pytest
import torch
from made_data import boxlist

from maskrcnn_benchmark.dota.detections import to_detections
from maskrcnn_benchmark.dota.tiles import Window
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.mask_pasting import Masker

WINDOW = Window(100, 30, 64, 48)


def prediction(boxes_xyxy, size=(128, 96), **fields):
    """Detections of class 2 on the window, which the network saw enlarged to twice its size."""
    count = len(boxes_xyxy)
    scores = torch.linspace(0.75, 0.5, count, dtype=torch.float64)
    return boxlist(boxes_xyxy, size, labels=torch.full((count,), 2), scores=scores, **fields)


def test_boxes_and_masks_come_to_the_image():
    # halved: (10, 5) to (29, 14), as pixel indices; edges (10, 5) to (30, 15): 20 x 10
    masks = torch.ones(1, 1, 28, 28, dtype=torch.float16)
    found = to_detections(prediction([[20, 10, 58, 28]], mask=masks), WINDOW)
    assert found.boxes_xyxy.tolist() == [[110, 35, 129, 44]]
    assert found.labels.tolist() == [2] and found.scores.tolist() == [0.75]
    corners = found.corners[0][np.lexsort(found.corners[0].T)]
    assert corners == pytest.approx(np.array([[110, 35], [130, 35], [110, 45], [130, 45]]))


def test_prediction_without_masks_has_no_corners():
    found = to_detections(prediction([[20, 10, 58, 28]]), WINDOW)  # RetinaNet's
    assert len(found) == 1 and found.corners is None


def test_nothing_found_has_the_corners_that_a_mask_head_would_give():
    masks = torch.zeros(0, 1, 28, 28)
    assert to_detections(prediction([], mask=masks), WINDOW).corners.shape == (0, 4, 2)
    empty = to_detections(prediction([]), WINDOW)
    assert empty.boxes_xyxy.shape == (0, 4) and empty.corners is None


def test_pasted_masks_and_proposals_are_refused():
    found = prediction([[20, 10, 58, 28]])
    (pasted,) = Masker()([torch.ones(1, 1, 28, 28)], found)
    found.add_field("mask", pasted)
    with pytest.raises(ValueError, match="pasted.*POSTPROCESS_MASKS to False"):
        to_detections(found, WINDOW)
    with pytest.raises(ValueError, match="boxes without scores.*RPN_ONLY"):
        to_detections(boxlist([[1, 2, 3, 4]], (64, 48), objectness=torch.ones(1)), WINDOW)


def test_oriented_detections_keep_their_corners_and_lines_are_no_objects():
    """A window of 100 x 60 pixels that is seen at half its size."""
    corners = torch.tensor(
        [[[10.0, 4], [20, 9], [17, 15], [7, 10]], [[10, 4], [20, 9], [20, 9], [10, 4]]]
    )
    prediction = BoxList(torch.tensor([[7.0, 4, 19, 14], [10, 4, 19, 8]]), (50, 30))
    prediction.add_field("scores", torch.tensor([0.9, 0.8]))
    prediction.add_field("labels", torch.tensor([2, 1]))
    prediction.add_field("corners", corners)
    found = to_detections(prediction, Window(200, 30, 100, 60))
    assert found.corners.tolist() == [[[220, 38], [240, 48], [234, 60], [214, 50]]]
    assert found.labels.tolist() == [2] and len(found) == 1
    # edges 7 .. 20 and 4 .. 15, twice as large: 14 .. 40 and 8 .. 30
    assert found.boxes_xyxy.tolist() == [[214, 38, 239, 59]]
