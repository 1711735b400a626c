"""Areas of polygons, polygons cut to rectangles, and outlines that reach far off the image."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.structures.mask_cropping import crop_masks
from maskrcnn_benchmark.structures.polygons import (
    FAR,
    clip_polygon,
    cut_far_parts,
    hull_area,
    polygon_areas,
)
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.utils.process_memory import forget_peak, memory_mb, peak_memory_mb

LOW, HIGH = np.array([2.0, 1.0]), np.array([10.0, 6.0])


@pytest.mark.parametrize(
    ("polygon", "area", "hull"),
    [
        pytest.param([[3, 2], [9, 2], [9, 5], [3, 5]], 18, 18, id="rectangle"),
        pytest.param([[3, 5], [9, 5], [9, 2], [3, 2]], 18, 18, id="the other way round"),
        pytest.param([[3, 2], [9, 5], [9, 2], [3, 5]], 0, 18, id="crosswise"),
        # the notch is a triangle of base 6 and height 2
        pytest.param([[3, 2], [6, 4], [9, 2], [9, 5], [3, 5]], 12, 18, id="notched"),
        pytest.param([[3, 2], [9, 2], [6, 5]], 9, 9, id="triangle"),
        pytest.param([[3, 2], [9, 4], [6, 3], [3, 2]], 0, 0, id="line"),
        pytest.param([[3, 2]] * 4, 0, 0, id="point"),
        pytest.param([[3, 2], [9, 4]], 0, 0, id="two corners"),
    ],
)
def test_areas_by_hand(polygon, area, hull):
    polygon = np.array(polygon, dtype=np.float64) + 1e6
    assert polygon_areas(polygon) == area and hull_area(polygon) == hull
    assert hull_area(np.zeros((0, 2))) == 0


@pytest.mark.parametrize(
    ("polygon", "expected"),
    [
        ([[3, 2], [9, 2], [9, 5], [3, 5]], [[3, 2], [9, 2], [9, 5], [3, 5]]),
        ([[0, 2], [4, 2], [4, 9], [0, 9]], [[2, 2], [4, 2], [4, 6], [2, 6]]),
        # the side from (8, 3) to (12, 5) meets x = 10 at y = 4, that from (12, 1) to (8, 3) at 2
        ([[8, 3], [12, 1], [12, 5]], [[10, 2], [10, 4], [8, 3]]),
        ([[11, 2], [12, 2], [12, 3]], []),
    ],
    ids=["inside", "two borders", "triangle", "outside"],
)
def test_what_is_left_of_a_polygon(polygon, expected):
    part = clip_polygon(np.array(polygon, dtype=np.float64), LOW, HIGH)
    assert sorted(part.tolist()) == sorted(expected)


def test_a_ring_that_is_near_stays_the_same_array():
    ring = np.array([-FAR, 0, 40 + FAR, 0, 40, 30 + FAR], dtype=np.float64)
    assert cut_far_parts(ring, 40, 30) is ring
    cut = cut_far_parts(ring - [1, 0, 0, 0, 0, 0], 40, 30)
    assert cut.reshape(-1, 2)[:, 0].min() == -FAR and len(cut) == 8


# a strip that covers the rows 10 ... 19 and runs from x = 30 to far beyond the right border
STRIP = [[30.0, 10.0, 2e7, 10.0, 2e7, 20.0, 30.0, 20.0]]


def far_masks():
    """Return a strip's pixels on an image of 60x40, and in a box of 20x20 at (20, 10), halved."""
    masks = SegmentationMask([STRIP], (60, 40), mode="poly")
    box = torch.tensor([[20.0, 10.0, 40.0, 30.0]])
    return masks.get_mask_tensor(), crop_masks(masks, [0], box, 10)[0]


def test_fault_an_outline_to_the_horizon_took_gigabytes():
    forget_peak()
    before = memory_mb()
    drawn, cropped = far_masks()
    assert peak_memory_mb() - before < 100
    expected = torch.zeros(40, 60, dtype=torch.uint8)
    expected[10:20, 30:] = 1
    assert torch.equal(drawn, expected)
    in_box = torch.zeros(10, 10, dtype=torch.uint8)
    in_box[:5, 5:] = 1  # half a cell per pixel
    assert torch.equal(cropped, in_box)


def test_an_outline_wholly_far_off_has_no_pixels():
    ring = [[5e8, 1.0, 6e8, 1.0, 6e8, 9.0]]
    assert not SegmentationMask([ring], (60, 40), mode="poly").get_mask_tensor().any()
