"""Converting a set: round trips over all formats, what is refused, what is drawn."""

import json
from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import pytest
from made_data import make_dota_folder, rectangle

from maskrcnn_benchmark.dota.annotations import DotaObject, stack_corners
from maskrcnn_benchmark.dota.convert import convert_labels, order_classes
from maskrcnn_benchmark.dota.formats import FORMATS, Source
from maskrcnn_benchmark.dota.formats.rectangles import rectangle_to_corners
from maskrcnn_benchmark.images.drawing import WHITE
from maskrcnn_benchmark.images.image_io import read_image, read_image_size

EXACT = [kind for kind in FORMATS if kind != "coco-upright"]
NO_FLAG = {"yolo-obb"}
REAL = ("P0003", "P0706", "P0770", "P1478__1__853___962")  # corners off the image, flags 0, 1, 2


def turned(rng, count, width, height):
    """Return rectangles at any angle, with any of their corners first."""
    objects = []
    for _ in range(count):
        center = rng.uniform(0.3, 0.7, 2) * (width, height)
        values = (*center, *rng.uniform(2, 0.2 * height, 2), rng.uniform(0, 6.28))
        corners = np.round(np.roll(rectangle_to_corners(values), rng.integers(4), axis=0), 4)
        objects.append(DotaObject(corners, rng.choice(["ship", "plane"]), int(rng.integers(2))))
    return objects


def make_set(folder):
    """Write a DOTA-format folder of three images, one of them without objects."""
    rng = np.random.default_rng(8)
    images = {
        "P1": (301, 203, turned(rng, 30, 301, 203)),
        "P2.x__1": (150, 220, [rectangle(3, 5, 40, 9), *turned(rng, 9, 150, 220)]),
        "empty": (90, 60, []),
    }
    return make_dota_folder(folder, images)


@pytest.fixture
def folder(tmp_path):
    return make_set(tmp_path / "made")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Return the made set in each format, and what was told of it."""
    made = {}
    root = tmp_path_factory.mktemp("sets")
    folder = make_set(root / "made")
    for kind in EXACT:
        told = []
        convert_labels(Source(folder), "dota", root / kind, kind, told.append)
        made[kind] = root / kind, told
    return made


def labels_of(folder, kind="dota"):
    return {item.name: item.objects for item in FORMATS[kind].read(Source(folder))}


def assert_same(found, expected, tolerance=0.01):
    assert sorted(found) == sorted(expected)
    for name in expected:
        assert [(item.name, item.difficult) for item in found[name]] == [
            (item.name, item.difficult) for item in expected[name]
        ]
        corners, others = stack_corners(found[name]), stack_corners(expected[name])
        np.testing.assert_allclose(corners, others, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("first", "second"), list(product(EXACT, EXACT)))
def test_all_pairs_hold_the_same(sets, tmp_path, first, second):
    source, told = sets[first][0], list(sets[first][1])
    assert convert_labels(Source(source), first, tmp_path / "out", second, told.append) == 3
    expected = labels_of(sets["dota"][0])
    flags = sum(item.difficult for items in expected.values() for item in items)
    if {first, second} & NO_FLAG:
        assert told == [f"difficult flags are lost: {flags}, first in P1"]
        expected = {
            name: [replace(item, difficult=0) for item in items] for name, items in expected.items()
        }
    else:
        assert told == []
    assert_same(labels_of(tmp_path / "out", second), expected)
    for image in (sets["dota"][0] / "images").iterdir():
        (copy,) = (tmp_path / "out").rglob(image.name)
        assert copy.samefile(image)


def test_upright_boxes_of_coco(folder, tmp_path):
    told = []
    convert_labels(Source(folder), "dota", tmp_path / "coco", "coco-upright", told.append)
    assert told == [
        "turned boxes and first corners are lost: upright boxes around: 39, first in P1"
    ]
    convert_labels(Source(tmp_path / "coco"), "coco", tmp_path / "back", "dota", told.append)
    for name, items in labels_of(tmp_path / "back").items():
        for item, other in zip(items, labels_of(folder)[name], strict=True):
            low, high = other.corners.min(axis=0), other.corners.max(axis=0)
            upright = [low, [high[0], low[1]], high, [low[0], high[1]]]
            np.testing.assert_allclose(item.corners, upright, atol=0.01)


@pytest.mark.parametrize("kind", EXACT)
def test_real_labels(shared_data, tmp_path, kind):
    source = tmp_path / "real"
    for part in ("images", "labelTxt"):
        (source / part).mkdir(parents=True)
        for name in REAL:
            for path in (shared_data / "dota" / part).glob(f"{name}.*"):
                (source / part / path.name).symlink_to(path)
    convert_labels(Source(source), "dota", tmp_path / "out", kind, lambda line: None)
    found, expected = labels_of(tmp_path / "out", kind), labels_of(source)
    for name, items in expected.items():
        for item in items:
            if kind == "yolo-obb":
                size = read_image_size(next((source / "images").glob(f"{name}.*")))
                item.corners, item.difficult = item.corners.clip(0, size), 0
            elif kind in ("labelme", "rolabelimg"):
                item.difficult = min(item.difficult, 1)
    # DOTA's quadrilaterals are rectangles to some pixels only
    assert_same(found, expected, tolerance=0.01 if kind != "rolabelimg" else 1000)


def test_headers_travel_where_there_is_room(folder, tmp_path):
    path = folder / "labelTxt" / "P1.txt"
    path.write_text("imagesource:GF-2\ngsd:0.25\n" + path.read_text())
    for kind in EXACT:
        told = []
        convert_labels(Source(folder), "dota", tmp_path / kind, kind, told.append)
        source, back = Source(tmp_path / kind), tmp_path / f"{kind} back"
        convert_labels(source, kind, back, "dota", told.append)
        kept = (back / "labelTxt" / "P1.txt").read_text().startswith("imagesource:GF-2\ngsd:0.25\n")
        assert kept == ("imagesource and gsd are lost: 1, first in P1" not in told)
        assert kept == (kind not in ("yolo-obb", "rolabelimg"))


@pytest.mark.parametrize(
    ("found", "stated", "expected"),
    [
        ({"ship", "plane"}, [], ["plane", "baseball-diamond"]),
        ({"container-crane"}, [], ["plane", "baseball-diamond"]),
        ({"ship", "boat"}, [], ["boat", "ship"]),
        ({"ship", "boat"}, ["ship", "car", "boat"], ["ship", "car", "boat"]),
        ({"storage tank", "b"}, ["b"], ["b", "storage tank"]),
    ],
)
def test_order_of_classes(found, stated, expected):
    order = order_classes(found, stated)
    assert order[: len(expected)] == expected
    assert len(order) == {("plane", 2): 15}.get((order[0], len(found)), len(order))
    assert set(found) <= set(order)


def test_nothing_is_overwritten_and_nothing_half_done_stays(folder, tmp_path, monkeypatch):
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="out: expected a new or empty folder"):
        convert_labels(Source(folder), "dota", target, "coco")
    (target / "mine.txt").unlink()
    label = folder / "labelTxt" / "P2.x__1.txt"
    good = label.read_text()
    label.write_text(good + "1 2 3\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="P2.x__1.txt:11: expected 8 coordinates"):
        convert_labels(Source(folder), "dota", target, "labelme")
    assert sorted(tmp_path.rglob("*")) == before
    label.write_text(good)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("maskrcnn_benchmark.dota.formats.coco.json.dumps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert_labels(Source(folder), "dota", tmp_path / "new" / "er", "coco")
    assert [path for path in (tmp_path / "new").iterdir()] == []
    monkeypatch.undo()
    assert convert_labels(Source(folder), "dota", target, "coco") == 3


def test_two_images_of_one_name(folder, tmp_path):
    convert_labels(Source(folder), "dota", tmp_path / "coco", "coco")
    path = tmp_path / "coco" / "annotations.json"
    content = json.loads(path.read_text())
    content["images"].append(content["images"][0] | {"id": 9, "file_name": "other/P1.jpg"})
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="has two images named P1"):
        convert_labels(Source(tmp_path / "coco"), "coco", tmp_path / "out", "dota")


def test_the_command_converts_and_draws(run_dota, folder, tmp_path):
    out = tmp_path / "coco"
    arguments = ("--from", "dota", "--to", "coco", "--draw", 2)
    status, text, _ = run_dota("convert", folder, out, *arguments)
    assert status == 0 and f"{out}: 3 images with labels" in text
    assert sorted(path.name for path in (out / "drawn").iterdir()) == [
        "P1_labels.jpg",
        "P2.x__1_labels.jpg",
    ]
    (tmp_path / "elsewhere").mkdir()
    for image in (out / "images").iterdir():
        image.rename(tmp_path / "elsewhere" / image.name)
    status, text, _ = run_dota("convert", out, tmp_path / "1", "--from", "coco", "--to", "dota")
    assert (
        status == 0 and "images not found (--image-folder)" in text and ": 3, first in P1" in text
    )
    images = ("--image-folder", tmp_path / "elsewhere")
    status, text, _ = run_dota(
        "convert", out, tmp_path / "2", "--from", "coco", "--to", "dota", *images
    )
    assert status == 0 and "not found" not in text
    assert_same(labels_of(tmp_path / "2"), labels_of(folder))
    status, _, err = run_dota("draw", out, "--from", "coco", "--out", tmp_path / "3")
    assert status == 2 and "found no labelled image to draw" in err
    status, _, err = run_dota("draw", folder, "--images", 0)
    assert status == 2 and "expected at least 1 image to draw, got 0" in err
    status, _, err = run_dota("convert", folder, tmp_path / "2", "--from", "dota", "--to", "coco")
    assert status == 2 and "expected a new or empty folder" in err


def test_labels_of_several_versions(run_dota, folder, tmp_path):
    (folder / "labelTxt").rename(folder / "labelTxt-v1.0")
    make_dota_folder(folder, {"P1": (301, 203, [rectangle(9, 9, 20, 30)])}, "labelTxt-v1.5")
    arguments = ("convert", folder, tmp_path / "out", "--from", "dota", "--to", "labelme")
    status, _, err = run_dota(*arguments)
    assert status == 2 and "labelTxt-v1.0, labelTxt-v1.5" in err
    assert run_dota(*arguments, "--dota-version", "1.5")[0] == 0
    content = json.loads((tmp_path / "out" / "P1.json").read_text())
    assert [shape["points"][0] for shape in content["shapes"]] == [[9, 9]]


def test_pictures_mark_the_first_corner(run_dota, tmp_path):
    corners = np.array([[140, 80], [60, 80], [60, 30], [140, 30]], float)  # begins bottom right
    black = {"P1": (240, 130, [DotaObject(corners, "ship")])}
    folder = make_dota_folder(tmp_path / "made", black)
    cv2.imwrite(str(folder / "images" / "P1.png"), np.zeros((130, 240, 3), np.uint8))
    status, text, _ = run_dota("draw", folder, "--images", 9, "--out", tmp_path / "drawn")
    assert status == 0 and "drawn: 1 pictures, the first is P1_labels.jpg" in text
    picture = read_image(tmp_path / "drawn" / "P1_labels.jpg").astype(int)
    assert np.abs(picture[80, 140] - WHITE).max() < 60  # the dot, wider than the line
    assert np.abs(picture[81, 141] - WHITE).max() < 90 and picture[80, 60].max() < 250
    along_first, along_third = picture[80, 70:130], picture[30, 70:130]
    assert along_first.min() > 150  # white; antialiased, and through JPEG
    assert along_third.max(axis=1).min() > 90 and along_third.min(axis=1).max() < 90  # coloured
