"""Rotation of images, and what follows them."""

import math
import random
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from made_data import boxlist, make_dota_folder, rectangle
from oriented_models import corners_target, oriented_model, oriented_target
from PIL import Image
from tiny_models import make_cfg

from maskrcnn_benchmark.data.datasets import DotaDataset
from maskrcnn_benchmark.data.samplers import TrainingSamples
from maskrcnn_benchmark.data.transforms import RandomRotation, build_transforms
from maskrcnn_benchmark.data.transforms.rotation import rotate
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.structures.rotated_boxes import rotated_to_corners
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

ANGLES = [7.0, -63.5, 90.0, 149.0, -180.0]


def corners_of(target):
    return target.get_field("corners").points


def test_worked_numbers():
    """90 degrees on 40 x 30: 10 above the centre becomes 10 right of it."""
    corners = torch.tensor([[[20.0, 5], [22, 5], [22, 8], [20, 8]]])
    target = corners_target(corners, torch.tensor([4]), (40, 30))
    image, rotated = rotate(np.zeros((30, 40, 3), np.uint8), target, 90)
    assert image.shape == (30, 40, 3) and rotated.size == (40, 30)
    assert corners_of(rotated).tolist() == [[[30, 15], [30, 17], [27, 17], [27, 15]]]
    assert rotated.bbox.tolist() == [[27, 15, 29, 16]]
    assert rotated.get_field("labels").tolist() == [4]


@pytest.mark.parametrize("degrees", ANGLES)
def test_corners_follow_the_pixels_to_a_thousandth(degrees):
    """An image whose pixels hold their place says where each place went."""
    width, height = 131, 94
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5  # the pixels' centres, in edges
    image = np.stack([x, y, np.ones_like(x)], axis=2)
    boxes = torch.tensor([[60.0, 40, 50, 8, 0.3], [80, 55, 20, 20, -1.2]])
    target = oriented_target(boxes, torch.tensor([1, 2]), (width, height))
    rotated, moved = rotate(image, target, degrees)
    whole = cv2.erode(np.float32(rotated[..., 2] > 0.9999), np.ones((3, 3))) > 0
    assert whole.sum() > 4000
    # least squares: the affine map from the places in the pixels to those of the pixels
    affine = np.linalg.lstsq(rotated[whole].astype(float), np.stack([x, y], 2)[whole], rcond=None)
    before = torch.cat([corners_of(target), torch.ones(2, 4, 1)], dim=2).double()
    expected = before @ torch.from_numpy(affine[0])
    assert (corners_of(moved) - expected).abs().max() < 1e-3


@pytest.mark.parametrize("degrees", ANGLES)
def test_a_drawn_bar_is_found_where_its_corners_are(degrees):
    box = torch.tensor([66.0, 50, 40, 11, 0.4])
    image = np.full((94, 131), 30, np.uint8)
    points = np.round(rotated_to_corners(box).numpy() * 16 - 8).astype(np.int32)
    cv2.fillPoly(image, [points], 220, cv2.LINE_AA, 4)
    image = np.repeat(image[..., None], 3, axis=2)
    target = oriented_target(box[None], torch.tensor([1]), (131, 94))
    rotated, moved = rotate(image, target, degrees)
    inside = np.argwhere(rotated[..., 0] > 125)[:, ::-1] + 0.5  # the pixels' centres, x y
    corners = corners_of(moved)[0].numpy()
    assert np.abs(inside.mean(axis=0) - corners.mean(axis=0)).max() < 0.1
    # the outermost centres lie half a pixel within the edges
    found = cv2.boxPoints(cv2.minAreaRect(inside.astype(np.float32)))
    off = np.linalg.norm(found[:, None] - corners[None], axis=2).min(axis=0)
    assert off.max() < 1.5
    x1, y1, x2, y2 = moved.bbox[0].tolist()
    low, high = inside.min(axis=0) - 0.5, inside.max(axis=0) + 0.5
    assert np.abs(np.array([x1, y1, x2 + 1, y2 + 1]) - [*low, *high]).max() < 1.1


@pytest.mark.parametrize("kind", ["array", "pil"])
@pytest.mark.parametrize("degrees", [90, 180, 270, -90])
def test_quarter_turns_of_a_square_image_are_exact(kind, degrees):
    pixels = np.random.default_rng(3).integers(0, 200, (41, 41, 3), dtype=np.uint8)
    pixels[5:15, 10:30] = 255
    image = Image.fromarray(pixels) if kind == "pil" else pixels
    rotated, target = rotate(image, boxlist([[10, 5, 29, 14]], (41, 41)), degrees)
    assert isinstance(rotated, type(image))
    rotated = np.asarray(rotated)
    assert np.array_equal(rotated, np.rot90(pixels, -degrees // 90))
    x1, y1, x2, y2 = (int(v) for v in target.bbox[0].tolist())
    assert (rotated[y1 : y2 + 1, x1 : x2 + 1] == 255).all()
    assert (x2 - x1 + 1) * (y2 - y1 + 1) == 10 * 20


def test_half_a_turn_is_exact():
    pixels = np.random.default_rng(3).integers(1, 256, (41, 66, 3), dtype=np.uint8)
    assert np.array_equal(rotate(pixels, None, 180)[0], pixels[::-1, ::-1])


@pytest.mark.parametrize("degrees", [90, -90])
@pytest.mark.parametrize("size", [(67, 41), (66, 41), (41, 66)], ids=["even", "odd", "high"])
def test_fault_quarter_turns_were_interpolated(size, degrees):
    """An object's pixels are moved as they are, and its corners by whole pixels."""
    width, height = size
    pixels = np.random.default_rng(3).integers(1, 256, (height, width, 3), dtype=np.uint8)
    x, y = width // 2, height // 2
    corners = torch.tensor([[x - 9.0, y - 4], [x + 5, y - 4], [x + 5, y + 7], [x - 9, y + 7]])
    target = corners_target(corners[None].double(), torch.tensor([1]), size)
    rotated, moved = rotate(pixels, target, degrees)
    (x1, y1), (x2, y2) = corners_of(moved)[0].min(0).values, corners_of(moved)[0].max(0).values
    assert (x2 - x1, y2 - y1) == (11, 14) and x1 % 1 == y1 % 1 == 0
    shown = pixels[y - 4 : y + 7, x - 9 : x + 5]
    found = rotated[int(y1) : int(y2), int(x1) : int(x2)]
    assert np.array_equal(found, np.rot90(shown, -degrees // 90))
    side = min(size)  # what is turned beyond the image is lost, and as much becomes black
    assert (rotated > 0).all(axis=2).sum() == side * side


def test_what_becomes_free_is_black():
    rotated, _ = rotate(np.full((40, 60, 3), 255, np.uint8), None, 45.0)
    assert not rotated[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert (rotated[18:22, 28:32] == 255).all()


def test_objects_whose_centre_leaves_the_image_are_dropped():
    corners = torch.tensor(
        [
            # centre 12 right of (20, 10): 12 below it after a quarter turn, at y = 22 of 20,
            # though its corners reach from y = 17 to 27
            [[27.0, 6], [37, 6], [37, 14], [27, 14]],
            # centre 9 right: stays at y = 19, its corners from y = 14 to 24
            [[24.0, 8], [34, 8], [34, 12], [24, 12]],
            [[18.0, 2], [22, 2], [22, 4], [18, 4]],  # 7 above: 7 right of it
        ]
    )
    target = corners_target(corners, torch.tensor([1, 2, 3]), (40, 20))
    target.add_field("difficult", torch.tensor([0, 1, 0]))
    target.image_name = "P0001.png"
    _, rotated = rotate(np.zeros((20, 40, 3), np.uint8), target, 90)
    assert rotated.get_field("labels").tolist() == [2, 3]
    assert rotated.get_field("difficult").tolist() == [1, 0]
    assert rotated.image_name == "P0001.png"
    # corners are not cut, boxes are: rows 14 .. 19
    assert corners_of(rotated)[0].tolist() == [[22, 14], [22, 24], [18, 24], [18, 14]]
    assert rotated.bbox.tolist() == [[18, 14, 21, 19], [26, 8, 27, 11]]


def test_upright_boxes_become_the_boxes_around_them():
    # 8 x 8 edges around the centre: half a diagonal is 4 * sqrt(2) = 5.657
    _, rotated = rotate(np.zeros((40, 40, 3), np.uint8), boxlist([[16, 16, 23, 23]], (40, 40)), 45)
    reach = 4 * math.sqrt(2)
    expected = [20 - reach, 20 - reach, 19 + reach, 19 + reach]
    assert rotated.bbox[0].tolist() == pytest.approx(expected, abs=1e-4)


def test_polygons_follow_the_pixels():
    box = torch.tensor([66.0, 50, 40, 14, 0.4])
    target = oriented_target(box[None], torch.tensor([1]), (131, 94))
    outline = corners_of(target)[0].flatten().tolist()
    target.add_field("masks", SegmentationMask([[outline]], target.size))
    before = target.get_field("masks").get_mask_tensor().numpy()
    image = np.repeat(before[..., None] * 200, 3, axis=2)
    rotated, moved = rotate(image, target, -63.5)
    polygon = moved.get_field("masks").instances.polygons[0].polygons[0]
    torch.testing.assert_close(polygon.view(4, 2), corners_of(moved)[0])
    mask, seen = moved.get_field("masks").get_mask_tensor().numpy() > 0, rotated[..., 0] > 100
    assert (mask & seen).sum() / (mask | seen).sum() > 0.93
    assert mask.sum() == pytest.approx(40 * 14, rel=0.03)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("masks", SegmentationMask(torch.zeros(1, 20, 40), (40, 20), "mask"), "mode 'mask'"),
        ("keypoints", PersonKeypoints(torch.zeros(1, 17, 3), (40, 20)), "type PersonKeypoints"),
    ],
)
def test_what_cannot_follow_is_refused(name, value, message):
    target = boxlist([[3, 4, 12, 8]], (40, 20), **{name: value})
    with pytest.raises(ValueError, match=f"{message}.*set INPUT.ROTATE_PROB_TRAIN to 0"):
        rotate(np.zeros((20, 40, 3), np.uint8), target, 10.0)


def drawn_angles(rotation, label, count=200):
    """Return the angles in degrees, 0 to 360, that a transform turns an object by."""
    image, angles = np.zeros((60, 60, 3), np.uint8), []
    random.seed(5)
    upright = torch.tensor([[30.0, 30, 20, 10, 0]])
    target = oriented_target(upright, torch.tensor([label]), (60, 60))
    for _ in range(count):
        first, second = corners_of(rotation(image, target)[1])[0, :2]
        x, y = (second - first).tolist()
        angles.append(math.degrees(math.atan2(y, x)) % 360)
    return np.array(angles)


def test_angles_are_drawn_evenly_either_way():
    angles = (drawn_angles(RandomRotation(1.0, 30, (2,)), label=1) + 180) % 360 - 180
    assert np.abs(angles).max() <= 30
    shares = np.histogram(angles, bins=6, range=(-30, 30))[0]
    assert shares.min() > 15  # 33 of 200 expected
    everywhere = drawn_angles(RandomRotation(1.0), label=1)
    assert np.histogram(everywhere, bins=6, range=(0, 360))[0].min() > 15


def test_some_classes_turn_by_quarters():
    counts = Counter(drawn_angles(RandomRotation(1.0, 30, (2,)), label=2).tolist())
    assert set(counts) == {90, 180, 270}
    assert min(counts.values()) > 40  # 67 of 200 expected


def test_some_images_stay():
    angles = drawn_angles(RandomRotation(0.25), label=1)
    assert 30 < (angles != 0).sum() < 70  # 50 of 200 expected
    image = np.zeros((20, 40, 3), np.uint8)
    assert RandomRotation(0.0)(image, None) == (image, None)


def test_an_image_without_a_target_turns():
    random.seed(1)
    image = np.random.default_rng(3).integers(1, 256, (20, 40, 3), dtype=np.uint8)
    rotated, target = RandomRotation(1.0, 180, (1,))(image, None)
    assert target is None and rotated.shape == image.shape and (rotated != image).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1.5,), "0 to 1, got 1.5"), ((0.5, 200), "0 to 180 degrees, got 200"), ((0.5, -1), "got -1")],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomRotation(*arguments)


def rotation_of(*options):
    """Return the rotation that a config builds, None where there is none."""
    steps = build_transforms(make_cfg(*options)).transforms
    return next((step for step in steps if isinstance(step, RandomRotation)), None)


def test_rotation_by_the_config():
    assert rotation_of() is None
    built = rotation_of("INPUT.ROTATE_PROB_TRAIN", 0.5, "INPUT.ROTATE_DEGREES", 20)
    assert (built.prob, built.degrees, built.quarter_turn_labels) == (0.5, 20, frozenset())


def test_quarter_turn_classes_by_name_and_by_label():
    options = ["INPUT.ROTATE_PROB_TRAIN", 0.5, "INPUT.ROTATE_QUARTER_TURN_CLASSES"]
    both = ("storage-tank", "roundabout")
    assert rotation_of(*options, both).quarter_turn_labels == {10, 12}  # of DOTA-v1.0's 15
    assert rotation_of(*options, (3, "plane")).quarter_turn_labels == {1, 3}
    # a class of DOTA that the set leaves out does not occur
    classes = ["DOTA.CLASSES", ("boat", "storage-tank")]
    assert rotation_of(*options, both, *classes).quarter_turn_labels == {2}
    with pytest.raises(ValueError, match="QUARTER_TURN_CLASSES: no class 'tank'.*boat, storage-t"):
        rotation_of(*options, ("tank",), *classes)


@pytest.fixture
def samples(tmp_path):
    """Training samples of one image of 120 x 90 with three objects, rotated always."""
    objects = [
        rectangle(10, 15, 40, 35),
        rectangle(60, 50, 90, 62, "plane"),
        rectangle(98, 4, 118, 20),  # in a corner, which most rotations take out of the image
    ]
    folder = make_dota_folder(tmp_path / "set", {"A": (120, 90, objects)})
    cfg = make_cfg("INPUT.ROTATE_PROB_TRAIN", 1.0, "INPUT.MIN_SIZE_TRAIN", (90,))
    transforms = build_transforms(cfg)
    return TrainingSamples(
        DotaDataset(str(folder), ("ship", "plane"), is_train=True, transforms=transforms)
    )


def test_a_seed_decides_the_rotation(samples):
    first, other = samples[0, 7], samples[0, 8]
    random.random()
    again = samples[0, 7]
    assert torch.equal(first[0], again[0])
    assert torch.equal(corners_of(first[1]), corners_of(again[1]))
    assert not torch.equal(first[0], other[0])
    # no longer upright
    assert (corners_of(first[1])[:, 0, 1] != corners_of(first[1])[:, 1, 1]).all()


def test_boxes_of_rotated_samples_surround_their_corners(samples):
    seen = 0
    for seed in range(20):
        image, target, _ = samples[0, seed]
        assert image.shape == (3, 90, 120) and target.size == (120, 90)
        corners = corners_of(target)
        limits = torch.tensor([119.0, 89])
        low = corners.amin(dim=1).clamp(min=0)
        high = (corners.amax(dim=1) - 1).minimum(limits)
        torch.testing.assert_close(target.bbox, torch.cat([low, high], dim=1))
        seen += len(target)
    assert 20 < seen < 55  # of 60


def test_an_oriented_model_trains_on_rotated_samples(samples):
    image, target, _ = samples[0, 3]
    model = oriented_model("oriented_rcnn").train()
    losses = model(to_image_list([image], 32), [target])
    assert all(loss.isfinite() for loss in losses.values()) and losses["loss_rpn_box_reg"] > 0
