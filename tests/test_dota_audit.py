"""What audit finds, on made sets with made faults."""

import json
import re

import numpy as np
import pytest
import torch
from made_data import make_dota_folder, rectangle

from maskrcnn_benchmark.data.anchor_audit import best_anchor_iou, count_anchors, grid_sizes
from maskrcnn_benchmark.dota.annotations import DotaObject
from maskrcnn_benchmark.dota.audit import label_faults, split_losses
from maskrcnn_benchmark.dota.fault_pictures import SIDE, draw_fault
from maskrcnn_benchmark.dota.image_files import ImageFile
from maskrcnn_benchmark.dota.shared_images import shared_images
from maskrcnn_benchmark.dota.split import split_folder
from maskrcnn_benchmark.dota.tiles import tile_grid
from maskrcnn_benchmark.images.charts import BAR_COLOR, WIDTH
from maskrcnn_benchmark.images.drawing import class_color
from maskrcnn_benchmark.images.image_io import read_image, write_image
from maskrcnn_benchmark.modeling.rpn.anchor_generator import AnchorGenerator
from maskrcnn_benchmark.structures.pairwise_iou import pairwise_iou


def quiet(_text):
    pass


def test_label_faults():
    good = rectangle(10, 20, 30, 28)
    same = DotaObject(np.roll(good.corners, 1, axis=0), "ship")  # begins at another corner
    objects = [
        good,
        same,
        rectangle(10, 20, 30, 28, "plane"),
        DotaObject(np.array([[0, 0], [9, 0], [9, 0], [0, 0]], dtype=float), "ship"),
        DotaObject(np.array([[40, 40], [60, 50], [60, 40], [40, 50]], dtype=float), "ship"),
        rectangle(100, 20, 120, 30),  # begins where the image ends
    ]
    found = {
        name: np.flatnonzero(rows).tolist() for name, rows in label_faults(objects, 100, 80).items()
    }
    expected = {
        "degenerate": [3],
        "crosswise": [4],
        "duplicate": [1],
        "two classes": [2],
        "outside": [3, 5],
    }
    assert found == expected
    assert all(len(rows) == 0 for rows in label_faults([], 100, 80).values())


def test_split_losses():
    # tiles of 100 with 20 of overlap on 180: 0 ... 100 and 80 ... 180
    tiles = tile_grid(180, 90, 100, 20)
    objects = [
        rectangle(85, 10, 99, 20),  # whole in both
        rectangle(70, 10, 110, 20),  # 30 of 40 columns in each: cut, and shown by both
        rectangle(60, 30, 120, 40),  # 40 of 60 in each, no more than 0.7
        rectangle(-30, 50, 20, 60),  # whole as far as the image goes
    ]
    cut, lost = split_losses(objects, tiles)
    assert cut.tolist() == [False, True, True, False]
    assert lost.tolist() == [False, False, True, False]


def test_fault_an_image_without_tiles_was_a_traceback():
    """`split` writes none where an image has no data and its objects lie outside."""
    cut, lost = split_losses([rectangle(200, 10, 220, 20)], [])
    assert cut.tolist() == lost.tolist() == [True]


def test_shared_images():
    sets = {
        "train": {"a": ["1"], "b": ["2", "f2"], "c": [], "e": ["5"]},
        "val": {"a": ["1"], "x": ["f2"], "c": ["9"], "d": ["7"], "g": ["5", "f5"]},
        "more": {"y": ["2", "f2"]},
    }
    assert shared_images(sets) == [
        {"by": "content", "images": ["train: b", "val: x", "more: y"]},
        {"by": "content", "images": ["train: a", "val: a"]},
        {"by": "content", "images": ["train: e", "val: g"]},
        {"by": "name", "images": ["train: c", "val: c"]},
    ]


@pytest.mark.parametrize("is_split", [False, True])
def test_fault_pixels_in_another_kind_of_file_were_another_image(run_dota, tmp_path, is_split):
    image = np.random.default_rng(0).integers(0, 255, (90, 180, 3), dtype=np.uint8)
    other = image.copy()
    other[89, 179] ^= 1
    contents = {
        "train": {"a.png": image, "b.png": other},
        "val": {"x.tif": image, "y.bmp": image[1:]},
    }
    for title, files in contents.items():
        for name, pixels in files.items():
            folder = make_dota_folder(tmp_path / title, {})
            write_image(folder / "images" / name, pixels)
            (folder / "labelTxt" / f"{name[0]}.txt").write_text("")
    folders = [tmp_path / "train", tmp_path / "val"]
    if is_split:
        split_folder(folders[0], tmp_path / "tiles", 100, 20, report=quiet)
        folders[0] = tmp_path / "tiles"
    out = tmp_path / "f.json"
    assert run_dota("audit", *folders, "--config-file", CONFIG, "--json", out, *OPTIONS)[0] == 1
    expected = [{"by": "content", "images": [f"{folders[0]}: a", f"{folders[1]}: x"]}]
    assert json.loads(out.read_text())["shared_images"] == expected


def test_images_of_a_size_of_their_own_are_not_decoded(run_dota, tmp_path):
    for name, width in (("a", 100), ("b", 99)):
        folder = make_dota_folder(tmp_path / name, {name: (width, 80, [])})
        path = folder / "images" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:-40])  # a whole header, and pixels cut short
    folders = (tmp_path / "a", tmp_path / "b")
    status, out, _ = run_dota("audit", *folders, "--config-file", CONFIG, *OPTIONS)
    assert status == 0 and "nothing that will hurt" in out


def test_fault_the_audit_ended_at_an_image_that_cannot_be_decoded(run_dota, tmp_path):
    for name in ("a", "b"):
        folder = make_dota_folder(tmp_path / name, {name: (100, 80, []), f"{name}2": (90, 70, [])})
    path = folder / "images" / "b.png"
    path.write_bytes(path.read_bytes()[:-40])
    folders, out_file = (tmp_path / "a", tmp_path / "b"), tmp_path / "f.json"
    status, out, _ = run_dota(
        "audit", *folders, "--config-file", CONFIG, "--json", out_file, *OPTIONS
    )
    assert status == 1 and "1 images that cannot be decoded" in out and str(path) in out
    figures = json.loads(out_file.read_text())
    # the others are compared all the same
    assert figures["shared_images"][0]["images"] == [f"{folders[0]}: a2", f"{folders[1]}: b2"]
    assert [entry["count"] for entry in figures["findings"]] == [1, 1]


def test_anchors_by_class_and_size(run_dota, tmp_path):
    # 32 x 32 is the anchors' least size; 2 x 2 lies in such a one
    objects = [rectangle(20, 30, 52, 62), rectangle(70, 10, 72, 12), rectangle(60, 40, 62, 42)]
    objects.append(rectangle(60, 45, 92, 77, "plane"))
    folder = make_dota_folder(tmp_path / "set", {"a": (100, 90, objects)})
    options = [*OPTIONS, "DOTA.CLASSES", "('ship', 'plane')"]
    out_file = tmp_path / "f.json"
    _, out, _ = run_dota("audit", folder, "--config-file", CONFIG, "--json", out_file, *options)
    anchors = json.loads(out_file.read_text())["sets"][str(folder)]["anchors"]
    counts = {
        name: {size: entry["objects"] for size, entry in own.items()}
        for name, own in anchors["classes_by_size"].items()
    }
    small, large = "below 16 px", "32 to 96 px"
    assert counts == {"ship": {small: 2, large: 1}, "plane": {large: 1}}
    assert anchors["classes_by_size"]["ship"][small]["matched"] == 0
    (row,) = [line.split() for line in out.splitlines() if re.match(r" +ship +0.0% of 2", line)]
    matched = anchors["classes_by_size"]["ship"][large]["matched"]
    assert row == ["ship", "0.0%", "of", "2", f"{matched:.1%}", "of", "1"]


def test_fault_different_images_of_one_name_were_said_to_hurt(run_dota, tmp_path):
    """Drawn scenes of two seeds have the same names."""
    for folder, width in (("a", 100), ("b", 99)):
        make_dota_folder(tmp_path / folder, {"T0000": (width, 80, [])})
    folders = (tmp_path / "a", tmp_path / "b")
    status, out, _ = run_dota("audit", *folders, "--config-file", CONFIG, *OPTIONS)
    assert status == 0 and "names that two sets use for different images: 1" in out


@pytest.mark.parametrize("straddle", [0, 7, -1])
@pytest.mark.parametrize("size", [(101, 75), (64, 60)])
def test_best_anchor_against_all_anchors(size, straddle):
    generator = AnchorGenerator((16, 40), (0.5, 1.0, 2.0), (8, 16), straddle)
    grids = grid_sizes(generator, size, 32)
    assert grids == [
        (-(-size[1] // 32) * 4, -(-size[0] // 32) * 4),
        (-(-size[1] // 32) * 2, -(-size[0] // 32) * 2),
    ]
    torch.manual_seed(0)
    corner = torch.rand(200, 2) * torch.tensor(size) * 0.9
    boxes = torch.cat([corner, corner + torch.rand(200, 2) * 50], dim=1)
    boxes[:, 2:] = torch.minimum(boxes[:, 2:], torch.tensor(size) - 1.0)
    anchors = torch.cat(generator.grid_anchors(grids))
    assert count_anchors(generator, grids) == len(anchors)
    if straddle >= 0:
        low, high = anchors[:, :2], anchors[:, 2:]
        inside = (low >= -straddle).all(1) & (high < torch.tensor(size) + straddle).all(1)
        anchors = anchors[inside]
    expected = pairwise_iou(boxes.double(), anchors.double()).amax(dim=1)
    torch.testing.assert_close(best_anchor_iou(generator, grids, boxes, size), expected)


CONFIG = "configs/dota/faster_rcnn_R_50_FPN_1x.yaml"
OPTIONS = ["--opts", "DOTA.CLASSES", "('ship',)", "DOTA.TILE", 100, "DOTA.OVERLAP", 20]
OPTIONS += ["INPUT.MIN_SIZE_TRAIN", "(100,)", "INPUT.MAX_SIZE_TRAIN", 100]


def test_a_good_set_has_no_finding(run_dota, tmp_path):
    objects = [rectangle(20, 30, 52, 62)]  # 32 x 32: the anchors' least size
    folder = make_dota_folder(tmp_path / "set", {"a": (100, 90, objects)})
    out_file = tmp_path / "f.json"
    status, out, _ = run_dota(
        "audit", folder, "--config-file", CONFIG, "--json", out_file, *OPTIONS
    )
    assert status == 0 and "nothing that will hurt" in out
    figures = json.loads(out_file.read_text())
    own = figures["sets"][str(folder)]
    # padded to 128 x 96: 24 x 32, 12 x 16, 6 x 8, 3 x 4 and 2 x 2 cells of 3 anchors
    assert own["crowded"] == [{"sample": "a", "objects": 1, "matching_bytes": 36 * 3 * 1024}]
    assert figures["findings"] == [] and own["anchors"]["classes"]["ship"]["objects"] == 1
    assert own["anchors"]["classes"]["ship"]["median"] > 0.7


def test_what_will_hurt_is_told(run_dota, tmp_path):
    ship = rectangle(20, 30, 52, 62)
    tiny = [rectangle(70 + 4 * k, 10, 72 + 4 * k, 12, difficult=1) for k in range(3)]
    lost = rectangle(60, 70, 120, 76)
    train = {"a": (180, 90, [ship, ship, lost, *tiny]), "b": (100, 80, [])}
    make_dota_folder(tmp_path / "train", train)
    make_dota_folder(tmp_path / "val", {"b": (100, 80, [])})
    split_folder(tmp_path / "train", tmp_path / "tiles", 100, 20, report=quiet)
    arguments = ["audit", tmp_path / "tiles", tmp_path / "val", "--config-file", CONFIG, *OPTIONS]
    status, out, _ = run_dota(*arguments)
    assert status == 1
    assert "1 objects that repeat another of their class (a:2): delete all but one" in out
    assert "1 objects lost by the split (a:3): give split an overlap of at least 60 " in out
    assert "1 images that stand in two sets with the same content" in out and "val: b" in out
    # 2 x 2 pixels in an anchor of 32 x 32: far below 0.3
    assert "of ship with less than 0.3 IoU" in out and "MODEL.RPN.ANCHOR_SIZES" in out


@pytest.mark.parametrize("mode", ["off", "stream"])
def test_memory_is_a_finding_only_without_the_crowd_path(run_dota, tmp_path, mode):
    ships = [rectangle(5 + 32 * k, 30, 37 + 32 * k, 62) for k in range(2)]
    folder = make_dota_folder(tmp_path / "set", {"a": (100, 90, ships)})
    limit = ["--memory", 0.0001, *OPTIONS, "MODEL.CROWD.MODE", mode]
    status, out, _ = run_dota("audit", folder, "--config-file", CONFIG, *limit)
    assert status == (1 if mode == "off" else 0)
    assert ("set MODEL.CROWD.MODE" in out) == (mode == "off")


def places_of(picture, color, tolerance=60):
    """Return columns and rows (N, 2) of the pixels of about a BGR colour."""
    away = np.abs(picture.astype(int) - color).max(axis=2)
    return np.argwhere(away <= tolerance)[:, ::-1]


@pytest.mark.parametrize(
    ("box", "expected", "shown"),
    [
        # in the middle of a picture of 480 pixels, at x 220 ... 260 and y 230 ... 250
        pytest.param((300, 300, 340, 320), (220, 230, 260, 250), (480, 480), id="inside"),
        # off the right border by 50: of 700 ... 740 the middle is 720 - 240 = 480
        pytest.param((700, 300, 740, 320), (245, 230, 285, 250), (195, 480), id="at the border"),
        # the image, 650 wide, and 1290 pixels beside it: a square of 1.25 * 2000, shrunk by 0.192
        pytest.param((1940, 250, 2000, 350), (420, 230, 432, 250), (125, 115), id="far off"),
    ],
)
def test_a_fault_is_drawn_where_it_lies(tmp_path, box, expected, shown):
    write_image(tmp_path / "a.png", np.full((600, 650, 3), 250, np.uint8))
    corners = np.stack([rectangle(20, 20, 40, 60).corners, rectangle(*box).corners])
    picture = draw_fault(corners, 1, "outside", [ImageFile(tmp_path / "a.png")])
    assert picture.shape == (SIDE, SIDE, 3)
    own = places_of(picture, class_color(2))
    own = own[own[:, 1] > 60]  # the legend has the colour, too
    ends = [*own.min(axis=0), *own.max(axis=0)]
    assert np.abs(np.array(ends) - expected).max() <= 3
    ground = places_of(picture, (250, 250, 250), 6)
    assert np.abs(np.array([len(set(line)) for line in ground.T.tolist()]) - shown).max() <= 30


@pytest.mark.parametrize("is_split", [False, True])
def test_pictures(run_dota, tmp_path, is_split):
    ship = rectangle(20, 30, 52, 62)
    crowd = [rectangle(120 + 20 * k, 20, 132 + 20 * k, 32) for k in range(3)]
    flat = DotaObject(np.array([[99, 50], [120, 50], [120, 50], [99, 50]], dtype=float), "ship")
    folder = make_dota_folder(tmp_path / "set", {"a": (180, 90, [ship, ship, *crowd, flat])})
    if is_split:
        split_folder(folder, tmp_path / "tiles", 100, 20, report=quiet)
        folder = tmp_path / "tiles"
    arguments = ["audit", folder, "--config-file", CONFIG, "--json", tmp_path / "f.json"]
    status, out, _ = run_dota(*arguments, "--pictures", tmp_path / "new" / "out", *OPTIONS)
    assert status == 1 and "out: 5 pictures" in out
    own = json.loads((tmp_path / "f.json").read_text())["sets"][str(folder)]
    places = {rule: found for rule, found in own["places"].items() if found}
    assert places == {"degenerate": [["a", 6]], "duplicate": [["a", 2]]}
    pictures = {path.name: read_image(path) for path in (tmp_path / "new" / "out").iterdir()}
    names = {"crowded_1.jpg", "crowded_2.jpg", "faults_degenerate.jpg", "faults_duplicate.jpg"}
    assert set(pictures) == names | {"anchors.png"}
    # the tile from x = 80 on has the crowd, the first one from 120 - 80 = 40 on
    assert pictures["crowded_1.jpg"].shape == (90, 100, 3)
    assert len(places_of(pictures["crowded_1.jpg"][15:37, 38:44], class_color(1), 100)) > 5
    assert len(places_of(pictures["faults_degenerate.jpg"], class_color(2))) > 20
    # all objects fit an anchor by 0.3 or none do, so that some bar is full: 100 is the whole width
    assert pictures["anchors.png"].shape[1] == 2 * WIDTH
    assert len(places_of(pictures["anchors.png"], BAR_COLOR, 5)) > 100


def test_pictures_of_two_sets_go_to_folders_of_their_own(run_dota, tmp_path):
    for name in ("x", "y"):
        make_dota_folder(tmp_path / name / "val", {name: (100, 80, [rectangle(20, 30, 52, 62)])})
    folders = [tmp_path / "x" / "val", tmp_path / "y" / "val"]
    run_dota("audit", *folders, "--config-file", CONFIG, "--pictures", tmp_path / "out", *OPTIONS)
    expected = {
        f"{number}_val/{name}" for number in (1, 2) for name in ("anchors.png", "crowded_1.jpg")
    }
    found = {str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/*/*")}
    assert found == expected
