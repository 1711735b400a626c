import random

import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.data.transforms import (
    ColorJitter,
    Compose,
    Normalize,
    RandomDiagonalFlip,
    RandomHorizontalFlip,
    RandomVerticalFlip,
    Resize,
    ToTensor,
    build_transforms,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList

MEAN, STD = [102.9801, 115.9465, 122.7717], [1.0, 2.0, 4.0]


@pytest.fixture
def rgb():
    return np.random.default_rng(7).integers(0, 256, (41, 67, 3), dtype=np.uint8)


def both_kinds(rgb):
    """Return the same picture as a BGR array and as a PIL image."""
    return {"array": np.ascontiguousarray(rgb[:, :, ::-1]), "pil": Image.fromarray(rgb)}


def boxes_on(rgb, boxes=((10.0, 5.0, 29.0, 14.0),)):
    return BoxList(torch.tensor(boxes), (rgb.shape[1], rgb.shape[0]))


@pytest.mark.parametrize(
    "min_size, max_size, image_wh, expected_hw",
    [
        # 480 -> 800, 640 * 800 / 480 = 1066.7
        pytest.param(800, 1333, (640, 480), (800, 1066), id="wide"),
        pytest.param(800, 1333, (480, 640), (1066, 800), id="tall"),
        # 1000 / 300 * 800 = 2667 > 1333, so the short side is round(399.9) = 400
        pytest.param(800, 1333, (1000, 300), (400, 1333), id="limited by the long side"),
        pytest.param(800, 1333, (300, 1000), (1333, 400), id="limited, tall"),
        pytest.param(800, 1333, (800, 900), (900, 800), id="already right"),
        pytest.param(600, None, (100, 1000), (6000, 600), id="no limit"),
        pytest.param(1024, 1024, (451, 839), (1023, 550), id="shorter than the limit by rounding"),
        pytest.param(400, 600, (7, 7), (400, 400), id="square"),
        # 600 * 1 / 5000 rounds to 0; one pixel is left
        pytest.param(400, 600, (5000, 1), (1, 5000), id="one row"),
    ],
)
def test_new_size(min_size, max_size, image_wh, expected_hw):
    assert Resize(min_size, max_size).get_size(image_wh) == expected_hw


def test_one_of_several_sizes_is_drawn():
    resize = Resize((100, 200, 300), 1000)
    random.seed(1)
    assert {resize.get_size((50, 40))[0] for _ in range(60)} == {100, 200, 300}


@pytest.mark.parametrize("kind", ["array", "pil"])
def test_resize_gives_pils_pixels_and_keeps_the_kind(rgb, kind):
    image = both_kinds(rgb)[kind]
    resized, target = Resize(82, 500)(image, boxes_on(rgb))
    expected = np.asarray(Image.fromarray(rgb).resize((134, 82), Image.Resampling.BILINEAR))
    assert isinstance(resized, type(image))
    pixels = resized[:, :, ::-1] if kind == "array" else np.asarray(resized)
    assert np.array_equal(pixels, expected)
    assert target.size == (134, 82)
    assert target.bbox.tolist() == [[20.0, 10.0, 58.0, 28.0]]  # twice as large


@pytest.mark.parametrize("kind", ["array", "pil"])
@pytest.mark.parametrize(
    "flip, axis, expected_box",
    [
        # 67 columns: 66 - 29 = 37, 66 - 10 = 56
        pytest.param(RandomHorizontalFlip, 1, [37.0, 5.0, 56.0, 14.0], id="left-right"),
        # 41 rows: 40 - 14 = 26, 40 - 5 = 35
        pytest.param(RandomVerticalFlip, 0, [10.0, 26.0, 29.0, 35.0], id="top-bottom"),
        pytest.param(RandomDiagonalFlip, (0, 1), [37.0, 26.0, 56.0, 35.0], id="both at once"),
    ],
)
def test_flip_moves_pixels_and_boxes_alike(rgb, kind, flip, axis, expected_box):
    rgb[5:15, 10:30] = 255  # the box's pixels
    image, target = flip(1.0)(both_kinds(rgb)[kind], boxes_on(rgb))
    pixels = np.asarray(image)
    assert np.array_equal(pixels[:, :, ::-1] if kind == "array" else pixels, np.flip(rgb, axis))
    assert target.bbox.tolist() == [expected_box]
    x1, y1, x2, y2 = (int(value) for value in expected_box)
    assert (pixels[y1 : y2 + 1, x1 : x2 + 1] == 255).all()


def test_diagonal_flip_by_the_config(rgb):
    cfg = default_cfg.clone()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.PIXEL_MEAN = (41,), [0.0, 0.0, 0.0]
    cfg.INPUT.HORIZONTAL_FLIP_PROB_TRAIN = 0.0
    assert "Diagonal" not in repr(build_transforms(cfg))
    cfg.INPUT.DIAGONAL_FLIP_PROB_TRAIN = 1.0
    tensor, target = build_transforms(cfg)(both_kinds(rgb)["array"], boxes_on(rgb))
    turned = np.rot90(rgb[:, :, ::-1], 2).transpose(2, 0, 1)
    assert np.allclose(tensor.numpy(), turned, atol=1e-4)
    assert target.bbox.tolist() == [[37.0, 26.0, 56.0, 35.0]]


def test_flip_with_probability_zero_does_nothing(rgb):
    image = both_kinds(rgb)["array"]
    flipped, target = RandomHorizontalFlip(0.0)(image, boxes_on(rgb))
    assert np.array_equal(flipped, image)
    assert target.bbox.tolist() == [[10.0, 5.0, 29.0, 14.0]]


def test_color_jitter_is_the_same_on_arrays_and_pil_images(rgb):
    jitter = ColorJitter(0.5, 0.4, 0.3, 0.2)
    outcomes = {}
    for kind, image in both_kinds(rgb).items():
        torch.manual_seed(3)
        outcomes[kind] = np.asarray(jitter(image, None)[0])
    assert np.array_equal(outcomes["array"][:, :, ::-1], outcomes["pil"])
    assert not np.array_equal(outcomes["pil"], rgb)


def test_color_jitter_that_is_off_draws_nothing(rgb):
    before = torch.get_rng_state()
    image = both_kinds(rgb)["array"]
    assert ColorJitter(0.0, None, 0.0, 0.0)(image, None)[0] is image
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["array", "pil"])
def test_tensor_is_rgb_between_0_and_1(rgb, kind):
    rgb[2, 3] = (255, 51, 0)
    tensor, _ = ToTensor()(both_kinds(rgb)[kind], None)
    assert tensor.shape == (3, 41, 67)
    assert tensor[:, 2, 3].tolist() == pytest.approx([1.0, 0.2, 0.0])


def test_grey_array_becomes_three_equal_channels():
    tensor, _ = ToTensor()(np.full((4, 6), 51, dtype=np.uint8), None)
    assert tensor.shape == (3, 4, 6)
    assert torch.equal(tensor, torch.full((3, 4, 6), 51.0) / 255)


@pytest.mark.parametrize(
    "to_bgr255, expected",
    [
        # blue (0 - 10) / 1, green (0.5 * 255 - 20) / 2, red (255 - 30) / 4
        pytest.param(True, [-10.0, 53.75, 56.25], id="BGR in 0-255"),
        # red (1 - 10) / 1, green (0.5 - 20) / 2, blue (0 - 30) / 4
        pytest.param(False, [-9.0, -9.75, -7.5], id="RGB in 0-1"),
    ],
)
def test_normalize(to_bgr255, expected):
    rgb = torch.tensor([1.0, 0.5, 0.0]).reshape(3, 1, 1)
    normalized = Normalize([10, 20, 30], [1, 2, 4], to_bgr255=to_bgr255)(rgb)
    assert normalized.flatten().tolist() == pytest.approx(expected)
    assert rgb.flatten().tolist() == [1.0, 0.5, 0.0]  # what came in is left alone


@pytest.mark.parametrize("kind", ["array", "pil"])
@pytest.mark.parametrize("to_bgr255", [True, False])
def test_whole_chain_against_plain_numpy(rgb, kind, to_bgr255):
    cfg = default_cfg.clone()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (30,), 1000
    cfg.INPUT.HORIZONTAL_FLIP_PROB_TRAIN = 1.0
    cfg.INPUT.TO_BGR255, cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD = to_bgr255, MEAN, STD
    tensor, target = build_transforms(cfg, is_train=True)(both_kinds(rgb)[kind], boxes_on(rgb))

    small = np.asarray(Image.fromarray(rgb).resize((49, 30), Image.Resampling.BILINEAR))
    values = np.float32(small[:, ::-1]) / np.float32(255)
    if to_bgr255:
        values = values[:, :, ::-1] * np.float32(255)
    values = (values - np.float32(MEAN)) / np.float32(STD)
    assert np.array_equal(tensor.numpy(), values.transpose(2, 0, 1))
    assert target.size == (49, 30)


def test_evaluation_changes_nothing_at_random(rgb):
    cfg = default_cfg.clone()
    cfg.INPUT.HORIZONTAL_FLIP_PROB_TRAIN = cfg.INPUT.VERTICAL_FLIP_PROB_TRAIN = 1.0
    cfg.INPUT.BRIGHTNESS = 0.9
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 41, 67
    cfg.INPUT.PIXEL_MEAN = [0.0, 0.0, 0.0]
    tensor, target = build_transforms(cfg, is_train=False)(both_kinds(rgb)["array"], boxes_on(rgb))
    assert np.allclose(tensor.numpy(), rgb[:, :, ::-1].transpose(2, 0, 1), atol=1e-4)
    assert target.bbox.tolist() == [[10.0, 5.0, 29.0, 14.0]]


def test_without_a_target(rgb):
    cfg = default_cfg.clone()
    cfg.INPUT.BRIGHTNESS, cfg.INPUT.MIN_SIZE_TRAIN = 0.5, (41,)
    cfg.INPUT.HORIZONTAL_FLIP_PROB_TRAIN = cfg.INPUT.VERTICAL_FLIP_PROB_TRAIN = 1.0
    tensor, target = build_transforms(cfg, is_train=True)(both_kinds(rgb)["array"], None)
    assert target is None and tensor.shape == (3, 41, 67)
    # as in the original these two give the image alone
    assert Resize(82, 500)(Image.fromarray(rgb)).size == (134, 82)
    assert Normalize(MEAN, STD)(tensor).shape == (3, 41, 67)


def test_compose_names_its_steps():
    text = repr(Compose([ToTensor()]))
    assert text.startswith("Compose(") and "ToTensor" in text


def test_real_photograph_is_the_same_through_both_doors(shared_data):
    from maskrcnn_benchmark.images.image_io import read_image

    path = sorted((shared_data / "tiny_coco" / "val2017").glob("*.jpg"))[0]
    chain = build_transforms(default_cfg, is_train=False)
    from_array, _ = chain(read_image(path), None)
    from_pil, _ = chain(Image.open(path).convert("RGB"), None)
    assert torch.equal(from_array, from_pil)
