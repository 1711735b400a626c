"""The choice of the pyramid level and the pooling there."""

import pytest
import torch
import torchvision

from maskrcnn_benchmark.modeling.poolers import LevelMapper, Pooler
from maskrcnn_benchmark.structures.bounding_box import BoxList


def boxes(*xyxy, size=(1200, 900)):
    return BoxList(torch.tensor(xyxy, dtype=torch.float32).reshape(-1, 4), size)


@pytest.mark.parametrize(
    ("side", "level"),
    [(10, 2), (56, 2), (111, 2), (112, 3), (223, 3), (224, 4), (448, 5), (890, 5)],
)
def test_level_by_hand(side, level):
    # floor(4 + log2(side / 224)), between 2 and 5; side counts both ends
    mapper = LevelMapper(2, 5)
    assert mapper([boxes([3, 5, 3 + side - 1, 5 + side - 1])]).tolist() == [level - 2]


def test_pools_each_box_from_its_level_in_the_order_of_the_boxes():
    torch.manual_seed(0)
    features = [torch.randn(2, 3, 900 // s, 1200 // s) for s in (4, 8, 16, 32)]
    images = [boxes([10, 20, 60, 50], [100, 90, 700, 800]), boxes([5, 6, 200, 190])]
    pooler = Pooler((7, 5), (1 / 4, 1 / 8, 1 / 16, 1 / 32), 2)
    pooled = pooler(features, images)
    assert pooled.shape == (3, 3, 7, 5)
    plan = [(0, 0, images[0].bbox[0]), (3, 0, images[0].bbox[1]), (1, 1, images[1].bbox[0])]
    for row, (level, image, box) in zip(pooled, plan, strict=True):
        roi = torch.cat([torch.tensor([float(image)]), box])[None]
        expected = torchvision.ops.roi_align(features[level], roi, (7, 5), 1 / (4 * 2**level), 2)
        assert torch.equal(row, expected[0])


def test_no_boxes_at_all():
    features = [torch.randn(1, 3, 20, 30), torch.randn(1, 3, 10, 15)]
    assert Pooler((7, 7), (1 / 4, 1 / 8), 2)(features, [boxes()]).shape == (0, 3, 7, 7)
