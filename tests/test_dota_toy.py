"""Toy scenes: exact labels, no overlaps, the same bytes from the same seed, any crowd."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskrcnn_benchmark.dota.annotations import read_labels, stack_corners
from maskrcnn_benchmark.dota.classes import class_names
from maskrcnn_benchmark.dota.toy import TOY_CLASSES, draw_scene, write_toy_set
from maskrcnn_benchmark.dota.toy.drawing import draw_object
from maskrcnn_benchmark.dota.toy.layout import KINDS, Placed, lay_out
from maskrcnn_benchmark.images.image_io import read_image
from maskrcnn_benchmark.structures.oriented_boxes import oriented_iou

ROOT = Path(__file__).resolve().parent.parent


def scene(seed, width, height, count):
    return draw_scene(np.random.default_rng(seed), width, height, count)


def test_classes_are_dotas():
    assert 6 <= len(TOY_CLASSES) <= 8
    assert set(TOY_CLASSES) <= set(class_names("1.0"))


@pytest.mark.parametrize(
    "width, height, count", [(400, 320, 24), (300, 500, 60), (640, 480, 300), (200, 150, 1)]
)
def test_all_objects_fit_inside_and_apart(width, height, count):
    image, objects = scene(5, width, height, count)
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
    assert len(objects) == count
    corners = stack_corners(objects)
    assert corners.min() >= 0
    assert (corners.max(axis=(0, 1)) <= [width, height]).all()
    overlaps = oriented_iou(corners, corners)
    np.fill_diagonal(overlaps, 0)
    assert overlaps.max(initial=0) == 0


def test_every_class_appears_and_angles_differ():
    names, angles = set(), set()
    for seed in range(8):
        for item in lay_out(np.random.default_rng(seed), 640, 480, 60).objects:
            names.add(item.name)
            front_left, _, _, rear_left = item.corners()
            along = front_left - rear_left
            angles.add(int(np.degrees(np.arctan2(along[1], along[0])) // 15))
    assert names == set(TOY_CLASSES)
    assert len(angles) > 15


def test_corners_go_clockwise_from_the_front_left():
    # heading along +x (to the right on the screen): the left side is up
    placed = Placed("plane", 100, 50, 0.0, length=40, width=20)
    assert placed.corners().tolist() == [[120, 40], [120, 60], [80, 60], [80, 40]]
    # heading down the screen: the left side is to the right
    down = Placed("plane", 100, 50, np.pi / 2, length=40, width=20)
    np.testing.assert_allclose(
        down.corners(), [[110, 70], [90, 70], [90, 30], [110, 30]], atol=1e-9
    )


@pytest.mark.parametrize("name", TOY_CLASSES)
@pytest.mark.parametrize("heading", [0.0, 0.7, 2.9])
def test_drawn_pixels_reach_the_labels_sides_and_no_farther(name, heading):
    kind = KINDS[name]
    length, width = kind.length[1], kind.width[1] if name != "storage-tank" else kind.length[1]
    item = Placed(name, 90.3, 70.8, heading, length, width)
    for seed in range(4):
        image = np.zeros((150, 180, 3), np.uint8)
        draw_object(image, item, np.random.default_rng(seed))
        rows, columns = np.nonzero(image.max(axis=2) > 12)
        offset = np.stack([columns + 0.5, rows + 0.5], axis=1) - (item.x, item.y)
        cos, sin = np.cos(heading), np.sin(heading)
        own = offset @ np.array([[cos, -sin], [sin, cos]])
        sides = np.array([length, width]) / 2
        assert (np.abs(own.min(axis=0) + sides) < 1.8).all(), (own.min(axis=0), sides)
        assert (np.abs(own.max(axis=0) - sides) < 1.8).all(), (own.max(axis=0), sides)


def test_classes_look_different_from_the_ground():
    """What lies in the labels differs from what lies around them."""
    image, objects = scene(11, 640, 480, 60)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(float)
    inside = np.zeros(image.shape[:2], np.uint8)
    for item in objects:
        cv2.fillPoly(inside, [np.round(item.corners).astype(np.int32)], 1)
    assert np.linalg.norm(grey[inside > 0].mean(axis=0) - grey[inside == 0].mean(axis=0)) > 8


def test_same_seed_same_bytes_in_another_process(tmp_path):
    code = (
        "import sys; from maskrcnn_benchmark.dota.toy import write_toy_set;"
        "list(write_toy_set(sys.argv[1], 2, 300, 220, 20, 9))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=True, cwd=ROOT)
    list(write_toy_set(tmp_path / "b", 3, 300, 220, 20, 9))
    list(write_toy_set(tmp_path / "c", 1, 300, 220, 20, 10))
    for part in ("images/T0000.png", "images/T0001.png", "labelTxt/T0001.txt"):
        assert (tmp_path / "a" / part).read_bytes() == (tmp_path / "b" / part).read_bytes()
    other = (tmp_path / "c" / "images/T0000.png").read_bytes()
    assert other != (tmp_path / "a" / "images/T0000.png").read_bytes()


def test_files_hold_what_was_drawn(tmp_path):
    paths = list(write_toy_set(tmp_path, 2, 300, 220, 20, 4))
    assert [path.name for path in paths] == ["T0000.png", "T0001.png"]
    image, objects = scene([4, 1], 300, 220, 20)
    np.testing.assert_array_equal(read_image(paths[1]), image)
    labels = read_labels(tmp_path / "labelTxt" / "T0001.txt", TOY_CLASSES)
    np.testing.assert_allclose(stack_corners(labels), stack_corners(objects), atol=6e-5)
    assert [(item.name, item.difficult) for item in labels] == [(o.name, 0) for o in objects]
    # the same command again draws it anew
    assert len(list(write_toy_set(tmp_path, 2, 300, 220, 20, 4))) == 2


def test_too_many_objects_are_said_so(tmp_path):
    said = []
    list(write_toy_set(tmp_path, 1, 200, 160, 2000, 1, report=said.append))
    drawn = len(read_labels(tmp_path / "labelTxt" / "T0000.txt"))
    assert 10 < drawn < 2000
    assert said == [f"T0000: {drawn} of 2000 objects fit into 200x160"]


def test_no_objects():
    image, objects = scene(1, 200, 150, 0)
    assert objects == [] and image.std() > 3


@pytest.mark.parametrize(
    "images, width, objects, seed, message",
    [(0, 300, 5, 0, "at least 1 image"), (1, 300, -1, 0, "negative"), (1, 20, 5, 0, "20x220")],
)
def test_impossible_sets_are_refused(tmp_path, images, width, objects, seed, message):
    with pytest.raises(ValueError, match=message):
        list(write_toy_set(tmp_path, images, width, 220, objects, seed))


def test_folder_with_other_images_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "P0001.png").write_bytes(b"")
    with pytest.raises(ValueError, match="P0001"):
        list(write_toy_set(tmp_path, 1, 300, 220, 5, 0))


def test_thousands_of_objects():
    layout = lay_out(np.random.default_rng(2), 1500, 1200, 2000)
    assert len(layout.objects) == 2000
    assert min(item.width for item in layout.objects) > 4
