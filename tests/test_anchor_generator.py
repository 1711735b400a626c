"""Anchors against numbers by hand and a plain loop."""

import pytest
import torch
from tiny_models import make_cfg

from maskrcnn_benchmark.modeling.rpn.anchor_generator import (
    AnchorGenerator,
    generate_anchors,
    make_anchor_generator,
)
from maskrcnn_benchmark.structures.image_list import to_image_list


def test_cell_anchors_by_hand():
    # stride 16, size 128, ratio 0.5: width round(sqrt(512)) = 23, height round(11.5) = 12 (half
    # even); both x 8 = 184 x 96 around 7.5: 7.5 -+ 91.5, 7.5 -+ 47.5 ratio 2: width
    # round(sqrt(128)) = 11, height 22; x 8 = 88 x 176
    anchors = generate_anchors(16, (128,), (0.5, 2))
    assert anchors.tolist() == [[-84.0, -40.0, 99.0, 55.0], [-36.0, -80.0, 51.0, 95.0]]


def test_grid_is_row_by_row_with_all_anchors_of_a_cell_together():
    generator = AnchorGenerator((16, 32), (0.5, 1.0), (4, 8), straddle_thresh=0)
    grids = generator.grid_anchors([(3, 5), (2, 3)])
    for grid, stride, cell, (height, width) in zip(
        grids, (4, 8), generator.cell_anchors, [(3, 5), (2, 3)], strict=True
    ):
        expected = [
            (anchor + torch.tensor([x, y, x, y]) * stride).tolist()
            for y in range(height)
            for x in range(width)
            for anchor in cell
        ]
        assert grid.tolist() == expected


@pytest.mark.parametrize(("slack", "visible"), [(0, [4]), (1, range(9)), (-1, range(9))])
def test_visibility(slack, visible):
    # 3 x 3 cells of 8 pixels: the 10-pixel anchors of the outer cells reach 1 pixel beyond the
    # image
    generator = AnchorGenerator((10,), (1.0,), (8,), straddle_thresh=slack)
    images = to_image_list([torch.zeros(3, 24, 24)])
    (level,) = generator(images, [torch.zeros(1, 1, 3, 3)])[0]
    assert level.bbox[0].tolist() == [-1.0, -1.0, 8.0, 8.0]
    assert level.get_field("visibility").nonzero().flatten().tolist() == list(visible)


def test_counts_of_strides_and_sizes_must_agree():
    with pytest.raises(ValueError, match="one anchor size per stride"):
        AnchorGenerator((16, 32, 64), (1.0,), (4, 8))
    cfg = make_cfg("MODEL.RPN.USE_FPN", True, "MODEL.RPN.ANCHOR_STRIDE", (4, 8))
    with pytest.raises(ValueError, match="one entry per pyramid level"):
        make_anchor_generator(cfg)
