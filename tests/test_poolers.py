"""The choice of the pyramid level and the pooling there, by torchvision and the fast way."""

import time

import pytest
import torch
import torch.nn.functional as F
import torchvision
from second_device import SecondDevice

from maskrcnn_benchmark.layers import ROIAlign
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
    turned = [level.to(memory_format=torch.channels_last) for level in features]
    assert Pooler((7, 7), (1 / 4, 1 / 8), 2)(features, [boxes()]).shape == (0, 3, 7, 7)
    assert Pooler((7, 7), (1 / 4, 1 / 8), 2, fast=True)(turned, [boxes()]).shape == (0, 3, 7, 7)


SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


def made_scene(count, channels, seed=0):
    """Features of two images, one level more than SCALES, and boxes; some leave their image."""
    generator = torch.Generator().manual_seed(seed)
    features = [
        torch.randn(2, channels, 320 // s, 416 // s, generator=generator)
        for s in (4, 8, 16, 32, 64)
    ]
    images = []
    for _ in features[0]:
        side = torch.exp(torch.rand(count, 2, generator=generator) * 5)  # 1 to 148 pixels
        side[0] = torch.tensor([400.0, 300.0])  # of the last level
        center = torch.rand(count, 2, generator=generator) * torch.tensor([440.0, 340.0]) - 10
        xyxy = torch.cat([center - side / 2, center + side / 2], dim=1)
        images.append(BoxList(xyxy, (416, 320)))
    images[0].bbox[3, 2:] = images[0].bbox[3, :2] - 5  # inverted
    images[0].bbox[4, 2] = images[0].bbox[4, 0] - 9  # along one side: the area is negative
    images[0].bbox[5] = float("nan")
    images[1].bbox[2] += 2000  # wholly outside
    return features, images


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fast_pooling_is_torchvisions_but_for_roundings(samples, layout):
    features, images = made_scene(count=40, channels=3)
    features = [level.to(memory_format=layout) for level in features]
    results = []
    for fast in (False, True):
        inputs = [level.clone().requires_grad_() for level in features]
        pooled = Pooler((7, 5), SCALES, samples, fast)(inputs, images)
        weight = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1))
        results.append((pooled, torch.autograd.grad((pooled * weight).sum(), inputs[:4])))
    (expected, expected_gradients), (found, gradients) = results
    assert found.shape == (80, 3, 7, 5)
    assert not torch.equal(found, expected)  # computed otherwise
    assert found[[4, 5, 42]].abs().max() == 0  # the impossible ones and the one outside
    found.view(80, -1)  # as some forks do
    assert torch.allclose(found, expected, atol=1e-4)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        assert torch.allclose(gradient, other, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fast_pooling_sums_half_precision_in_float32(dtype):
    """A crowd's gradients add up in a few pixels."""
    features, _ = made_scene(count=10, channels=3)
    level = features[0].to(dtype, memory_format=torch.channels_last)
    corner = 100 + 30 * torch.rand(300, 2, generator=torch.Generator().manual_seed(2))
    crowd = BoxList(torch.cat([corner, corner + 20], dim=1), (416, 320))
    results = []
    for fast in (False, True):
        image = level.clone().requires_grad_()
        pooled = ROIAlign((7, 7), 0.25, 2, fast)(image, F.pad(crowd.bbox, (1, 0)))
        weight = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1))
        results.append((pooled, torch.autograd.grad((pooled * weight).sum(), image)[0].float()))
    (expected, expected_gradient), (found, gradient) = results
    assert found.dtype == expected.dtype == torch.float32 and not torch.equal(found, expected)
    assert torch.allclose(found, expected, atol=1e-4)
    # one rounding of the whole sum
    limit = torch.finfo(dtype).eps * expected_gradient.abs() + 1e-3
    assert ((gradient - expected_gradient).abs() <= limit).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fast_pooling_keeps_the_features_precision(dtype):
    features, images = made_scene(count=10, channels=3)
    features = [level.to(dtype) for level in features]
    found = Pooler((7, 7), SCALES, 2, fast=True)(features, images)
    expected = Pooler((7, 7), SCALES, 2)(features, images)
    assert found.dtype == expected.dtype == dtype
    assert torch.allclose(found, expected, atol=0.05, equal_nan=True)


def test_a_map_is_not_turned_for_a_few_boxes():
    level = torch.randn(1, 3, 80, 104)
    roi = torch.tensor([[0.0, 10, 20, 110, 90]])
    plain, fast = (ROIAlign(7, 0.25, 2, fast) for fast in (False, True))
    assert torch.equal(fast(level, roi), plain(level, roi))
    # 8 x 22 boxes x 49 cells are more than 80 x 104 pixels
    assert not torch.equal(fast(level, roi.repeat(22, 1)), plain(level, roi.repeat(22, 1)))
    turned = level.to(memory_format=torch.channels_last)
    assert not torch.equal(fast(turned, roi), plain(turned, roi))


def test_samples_that_adapt_to_the_box_are_torchvisions():
    features, images = made_scene(count=10, channels=3)
    found = Pooler((7, 7), SCALES, 0, fast=True)(features, images)
    assert torch.equal(found, Pooler((7, 7), SCALES, 0)(features, images))


def test_other_devices_have_torchvisions_kernels():
    features, images = made_scene(count=10, channels=3)
    expected = Pooler((7, 7), SCALES, 2)(features, images)
    with SecondDevice():
        there = [level.to("fake") for level in features]
        found = Pooler((7, 7), SCALES, 2, fast=True)(there, [b.to("fake") for b in images])
        assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize(
    ("count", "layout"), [(250, torch.contiguous_format), (10, torch.channels_last)]
)
def test_fast_pooling_takes_a_part_of_the_time(count, layout):
    features, images = made_scene(count, channels=256)
    features = [level.to(memory_format=layout) for level in features]
    threads = torch.get_num_threads()

    def seconds(pooler):
        with torch.no_grad():
            start = time.process_time()
            pooler(features, images)
        return time.process_time() - start

    plain, fast = Pooler((7, 7), SCALES, 2), Pooler((7, 7), SCALES, 2, fast=True)
    torch.set_num_threads(1)  # others would be charged for waiting
    try:
        times = [(seconds(plain), seconds(fast)) for _ in range(4)]
    finally:
        torch.set_num_threads(threads)
    assert min(fast for _, fast in times) < 0.7 * min(plain for plain, _ in times)
