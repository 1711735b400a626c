"""Tiles at several scales, and of one ground-sample distance."""

import json

import numpy as np
import pytest
import torch
from made_data import make_dota_folder, rectangle

from maskrcnn_benchmark.data.datasets.dota import DotaDataset
from maskrcnn_benchmark.data.datasets.evaluation.dota import dota_evaluation
from maskrcnn_benchmark.dota.annotations import read_labels, write_labels
from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.dota.rates import as_named, scale_image
from maskrcnn_benchmark.dota.seams import planned_tiles
from maskrcnn_benchmark.dota.split import split_folder
from maskrcnn_benchmark.dota.tiles import Window
from maskrcnn_benchmark.images.image_io import get_max_pixels, read_image_size, set_max_pixels
from maskrcnn_benchmark.structures.bounding_box import BoxList


def quiet(_text):
    pass


def split(source, tiles, report=quiet, **options):
    return split_folder(source, tiles, 64, 24, report=report, **options)


def tile_sizes(tiles):
    return {path.stem: read_image_size(path) for path in (tiles / "images").iterdir()}


@pytest.fixture
def source(tmp_path):
    objects = [rectangle(10, 20, 30, 28), rectangle(60, 32, 84, 48, difficult=1)]
    images = {"a.b__c": (101, 60, objects), "blank": (40, 30, []), "unknown": (50, 40, None)}
    return make_dota_folder(tmp_path / "source", images)


def test_each_image_is_cut_at_each_rate(source, tmp_path):
    tiles = tmp_path / "tiles"
    count = split(source, tiles, rates=(0.5, 1, 1.5))
    # a.b__c: 50 x 30 (50.5 rounds to even), 101 x 60 at x = 0 and 37, 152 x 90 (151.5) at
    # x = 0, 40, 80, 88 and y = 0, 26; blank: 20 x 15, 40 x 30, 60 x 45; unknown: 25 x 20, 50 x 40,
    # 75 x 60 at x = 0 and 11
    expected = {"a.b__c__0.5__0___0": (50, 30), "blank__0.5__0___0": (20, 15)}
    expected |= {f"a.b__c__1__{x}___0": (64, 60) for x in (0, 37)}
    expected |= {f"a.b__c__1.5__{x}___{y}": (64, 64) for x in (0, 40, 80, 88) for y in (0, 26)}
    expected |= {"blank__1__0___0": (40, 30), "blank__1.5__0___0": (60, 45)}
    expected |= {"unknown__0.5__0___0": (25, 20), "unknown__1__0___0": (50, 40)}
    expected |= {f"unknown__1.5__{x}___0": (64, 60) for x in (0, 11)}
    assert tile_sizes(tiles) == expected and count == len(expected)
    labelled = {path.stem for path in (tiles / "labelTxt").iterdir()}
    assert labelled == {name for name in expected if not name.startswith("unknown")}
    small = read_labels(tiles / "labelTxt" / "a.b__c__0.5__0___0.txt")
    found = [(*item.corners[0], *item.corners[2], item.difficult) for item in small]
    assert found == [(5, 10, 15, 14, 0), (30, 16, 42, 24, 1)]
    # the second at 1.5: 90 ... 126 x 48 ... 72, in the tile at (88, 26): 2 ... 38 x 22 ... 46
    large = read_labels(tiles / "labelTxt" / "a.b__c__1.5__88___26.txt")
    assert [(*item.corners[0], *item.corners[2]) for item in large] == [(2, 22, 38, 46)]
    plan = json.loads((tiles / "tiles.json").read_text())
    assert plan["rates"] == [0.5, 1, 1.5] and "gsd" not in plan


def test_other_rates_into_the_same_folder_are_refused(source, tmp_path):
    split(source, tmp_path / "tiles", rates=(0.5, 1))
    with pytest.raises(
        ValueError, match=r"overlap 24, rates \[0.5, 1\], not tile 64, overlap 24\)"
    ):
        split(source, tmp_path / "tiles")
    split(source, tmp_path / "one")
    assert split(source, tmp_path / "one", rates=(1.0,)) == 4  # the same settings


@pytest.mark.parametrize("rate", [0.5, 0.37, 1.5])
def test_pixels_stay_where_their_labels_go(rate):
    """A box's edges in the picture, from what is bright in it, against its corners times rate."""
    image = np.zeros((61, 101, 3), np.uint8)
    image[20:40, 30:76] = 200  # to the right of the middle: a scale of 50 / 101 would show
    scaled = scale_image(image, rate).astype(float) / 200
    assert scaled.shape == (round(61 * rate), round(101 * rate), 3)
    across, down = scaled[int(30 * rate), :, 0], scaled[:, int(53 * rate), 0]
    for profile, low, high in ((across, 30, 76), (down, 20, 40)):
        center = (profile * (np.arange(len(profile)) + 0.5)).sum() / profile.sum()
        # cubic interpolation overshoots at an edge, and is cut at 0 outside
        assert center == pytest.approx((low + high) / 2 * rate, abs=0.1)
        assert profile.sum() == pytest.approx((high - low) * rate, abs=0.5)


@pytest.mark.parametrize("rate", [0, -1, 0.001, 17, float("nan"), float("inf")])
def test_impossible_rates_are_refused(source, tmp_path, rate):
    with pytest.raises(ValueError, match="expected a rate from 0.01 to 16, got"):
        split(source, tmp_path / "tiles", rates=(1, rate))


def test_a_rate_is_what_the_name_holds():
    assert as_named(1 / 3) == 0.333333 and as_named(1.5) == 1.5


@pytest.mark.parametrize(("rate", "limit"), [(0.01, 10**6), (2, 23_000)], ids=["none", "many"])
def test_an_image_without_pixels_or_with_too_many_is_named(source, tmp_path, rate, limit):
    before = get_max_pixels()
    set_max_pixels(limit)
    try:
        with pytest.raises(ValueError, match=r"images/.*png: at rate .* would have \d+x\d+ pixels"):
            split(source, tmp_path / "tiles", rates=(rate,))
    finally:
        set_max_pixels(before)


def set_gsd(source, name, value):
    path = source / "labelTxt" / f"{name}.txt"
    path.write_text(f"imagesource:GoogleEarth\ngsd:{value}\n" + path.read_text())


@pytest.fixture
def measured(source):
    set_gsd(source, "a.b__c", 0.15)
    set_gsd(source, "blank", "null")
    return source


def test_images_come_to_one_ground_sample_distance(measured, tmp_path):
    said = []
    split(measured, tmp_path / "tiles", said.append, gsd=0.3, rates=(1, 2))
    # 0.15 / 0.3 = 0.5; images without a gsd count as having 0.3
    expected = {"a.b__c__0.5": (50, 30), "a.b__c__1": (64, 60), "blank__1": (40, 30)}
    expected |= {"blank__2": (64, 60), "unknown__1": (50, 40), "unknown__2": (64, 64)}
    sizes = {name.rsplit("__", 2)[0]: size for name, size in tile_sizes(tmp_path / "tiles").items()}
    assert sizes == expected
    (line,) = [line for line in said if "gsd" in line]
    assert "2 of 3 images have no line `gsd:NUMBER`" in line and "the first is blank" in line
    assert json.loads((tmp_path / "tiles" / "tiles.json").read_text())["gsd"] == 0.3
    # another gsd in the labels: cut again
    path = measured / "labelTxt" / "a.b__c.txt"
    path.write_text(path.read_text().replace("0.15", "0.3"))
    split(measured, tmp_path / "tiles", gsd=0.3, rates=(1, 2))
    assert "a.b__c__0.5__0___0" not in tile_sizes(tmp_path / "tiles")


@pytest.mark.parametrize(
    ("gsd", "told"),
    [
        (0, "expected a ground-sample distance above 0, got 0"),
        (float("nan"), "above 0, got nan"),
        (0.001, r"a\.b__c\.txt: its gsd is 0.15 and 0.001 is wanted: expected a rate .* got 150"),
    ],
)
def test_impossible_ground_sample_distances_are_refused(measured, tmp_path, gsd, told):
    with pytest.raises(ValueError, match=told):
        split(measured, tmp_path / "tiles", gsd=gsd)


def test_a_detection_is_divided_by_the_rate_in_edges():
    # columns 3 ... 12 span 3 to 13; with the tile at x = 10, y = 20: 13 to 23, doubled 26 to 46,
    # which are the columns 26 ... 45; rows 4 ... 8 span 4 to 9: 24 to 29, 48 to 58
    corners = np.array([[[3, 4], [13, 4], [13, 9], [3, 9]]], dtype=float)
    found = Detections([[3, 4, 12, 8]], [0.5], [1], corners).moved(10, 20, 0.5)
    assert found.boxes_xyxy.tolist() == [[26, 48, 45, 57]]
    assert found.corners.tolist() == [[[26, 48], [46, 48], [46, 58], [26, 58]]]


def test_tiles_of_all_rates_are_evaluated_on_the_whole_image(source, tmp_path):
    split(source, tmp_path / "tiles", rates=(0.5, 1, 1.5))
    dataset = DotaDataset(str(tmp_path / "tiles"), ("ship",), tile=64, overlap=24)
    names = [sample.stem for sample in dataset.samples]
    index = names.index("a.b__c__1.5__88___26")
    assert dataset.source_frame(index) == ("a.b__c", 1.5, 88, 26)
    predictions = []
    for index in range(len(dataset)):
        target = dataset.get_groundtruth(index)
        target = target[torch.nonzero(target.get_field("difficult") != 2)[:, 0]]
        found = BoxList(target.bbox, target.size)
        found.add_field("corners", target.get_field("corners").points)
        found.add_field("labels", target.get_field("labels"))
        found.add_field("scores", torch.full((len(target),), 0.9))
        predictions.append(found.resize((target.size[0] * 2, target.size[1] * 2)))
    (tmp_path / "out").mkdir()
    metrics = dota_evaluation(dataset, predictions, str(tmp_path / "out"))
    for task in ("task1", "task2"):
        figures = metrics[task]["area@0.75"]
        # six objects found in six frames or more are merged to the one ship that counts
        assert figures["mAP"] == 1 and figures["classes"]["ship"]["npos"] == 1
        assert figures["classes"]["ship"]["ndet"] == 2


def test_tiles_of_a_rate_have_their_place_in_the_whole_image(source, tmp_path):
    split(source, tmp_path / "tiles", rates=(0.5, 1.5))
    windows = planned_tiles(json.loads((tmp_path / "tiles" / "tiles.json").read_text()))
    # at 0.5 the image's 101 columns are 50, all in one tile; at 1.5 152 and 90, tiles of 64
    assert windows["a.b__c"][0] == Window(0, 0, 101, 60)
    spans = [(0, 43), (27, 69), (53, 96), (59, 101)]  # 40 / 1.5 = 26.7, 104 / 1.5 = 69.3, ...
    expected = [Window(a, c, b - a, d - c) for a, b in spans for c, d in [(0, 43), (17, 60)]]
    assert windows["a.b__c"][1:] == expected


def test_an_image_that_is_not_cut_has_its_tile(source, tmp_path):
    split_folder(source, tmp_path / "tiles", 0, 0, report=quiet, rates=(0.5,))
    windows = planned_tiles(json.loads((tmp_path / "tiles" / "tiles.json").read_text()))
    assert windows["a.b__c"] == [Window(0, 0, 101, 60)]


def test_labels_are_written_without_a_changed_flag(tmp_path):
    item = rectangle(10, 20, 30, 28, difficult=1)
    folder = make_dota_folder(tmp_path / "one", {"a": (60, 40, None), "b": (60, 40, [])})
    write_labels(folder / "labelTxt" / "a.txt", [item])
    split(folder, tmp_path / "tiles", rates=(2,))
    (found,) = read_labels(tmp_path / "tiles" / "labelTxt" / "a__2__0___0.txt")
    assert (found.corners[2].tolist(), found.difficult) == ([60, 56], 1)


def test_command(run_dota, source, tmp_path):
    sizes = ("--size", 64, "--overlap", 24)
    status, out, _ = run_dota("split", source, tmp_path / "t", *sizes, "--rates", "0.5,1")
    assert status == 0 and "3 images in 7 samples" in out
    status, _, err = run_dota("split", source, tmp_path / "u", *sizes, "--rates", "0.5,0")
    assert status == 2 and "expected a rate from 0.01 to 16, got 0, in '0.5,0'" in err
