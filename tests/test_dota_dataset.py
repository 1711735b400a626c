import os
import shutil

import numpy as np
import pytest
import torch
from made_data import gradient, make_dota_folder, rectangle

from maskrcnn_benchmark.data import datasets as D
from maskrcnn_benchmark.data.datasets import dota as dota_module
from maskrcnn_benchmark.data.transforms import RandomHorizontalFlip
from maskrcnn_benchmark.dota.annotations import DotaObject
from maskrcnn_benchmark.dota.classes import class_names
from maskrcnn_benchmark.dota.split import split_folder
from maskrcnn_benchmark.images.image_io import write_image

CLASSES = ("plane", "ship")
# a square on its tip: 20 right and left of x = 50, 15 above and below y = 40
DIAMOND = DotaObject(np.array([[50.0, 25], [70, 40], [50, 55], [30, 40]]), "plane", 1)

UPRIGHT = [[3, 4], [13, 4], [13, 9], [3, 9]]


def dataset(folder, **options):
    options = {"tile": 64, "overlap": 16, **options}
    return D.DotaDataset(str(folder), CLASSES, **options)


@pytest.fixture
def crowd(tmp_path):
    """Make an image of 130 x 90, cut at x 0, 48, 66 and y 0, 26, and an empty one of 40 x 30."""
    objects = [
        rectangle(10, 5, 20, 15),  # wholly in the first tile only
        rectangle(60, 50, 70, 58, "plane"),  # 4 of its 10 columns in the tiles at x 0
    ]
    return make_dota_folder(tmp_path / "crowd", {"A": (130, 90, objects), "B": (40, 30, [])})


def test_sample_of_a_small_image(tmp_path):
    folder = make_dota_folder(tmp_path, {"A": (100, 80, [DIAMOND, rectangle(3, 4, 13, 9)])})
    image, target, index = dataset(folder, tile=1024, with_masks=True)[0]
    assert index == 0
    assert np.array_equal(image, gradient(100, 80))
    assert target.size == (100, 80)
    # the last pixel belongs to the box: 70 - 1, 55 - 1
    assert target.bbox.tolist() == [[30, 25, 69, 54], [3, 4, 12, 8]]
    assert target.get_field("labels").tolist() == [1, 2]
    assert target.get_field("difficult").tolist() == [1, 0]
    corners = target.get_field("corners")
    assert corners.size == (100, 80) and corners.points.dtype == torch.float32
    assert corners.points.tolist() == [DIAMOND.corners.tolist(), UPRIGHT]
    assert target.image_name == str(folder / "images" / "A.png")
    mask = target.get_field("masks").get_mask_tensor()[0]
    # half of the bounding 40 x 30
    assert mask.sum().item() == pytest.approx(600, rel=0.1)
    assert mask[40, 50] and not mask[26, 31]


def test_info_of_a_sample(crowd):
    info = dataset(crowd).get_img_info(2)
    assert info == {"height": 64, "width": 64, "file_name": str(crowd / "images" / "A.png")}
    assert dataset(crowd).get_img_info(6)["height"] == 30


def test_large_image_is_cut_on_the_grid(crowd):
    whole = gradient(130, 90)
    samples = dataset(crowd)
    assert len(samples) == 7
    for index, (x, y) in enumerate([(0, 0), (0, 26), (48, 0), (48, 26), (66, 0), (66, 26)]):
        image, target, _ = samples[index]
        sample = samples.samples[index]
        assert (sample.source, sample.x0, sample.y0) == ("A", x, y)
        assert np.array_equal(image, whole[y : y + 64, x : x + 64])
        assert target.size == (64, 64)
        assert target.image_name.endswith(f"A.png@{x},{y}")
    # at (48, 26): 60 - 48 = 12 … 70 - 48 - 1 = 21 and 50 - 26 = 24 … 58 - 26 - 1 = 31
    assert samples[3][1].bbox.tolist() == [[12, 24, 21, 31]]
    assert samples[3][1].get_field("labels").tolist() == [1]
    corners = samples[3][1].get_field("corners")
    assert corners.points.tolist() == [[[12, 24], [22, 24], [22, 32], [12, 32]]]
    assert samples[4][1].bbox.tolist() == [[0, 50, 3, 57]]


def test_tile_zero_never_cuts(crowd):
    assert [s.width for s in dataset(crowd, tile=0, overlap=0).samples] == [130, 40]


def test_training_leaves_out_fragments_and_empty_tiles_of_busy_images(crowd):
    # evaluation keeps the fragment at the border (4 of 10 columns) as difficult 2 …
    evaluated = dataset(crowd)
    fragments = [
        target.get_field("difficult").tolist()
        for _, target, _ in map(evaluated.__getitem__, (0, 1))
    ]
    assert fragments == [[0, 2], [2]]
    # … training drops it, and with it the tile (0, 26); (66, 0) and (66, 26) show 4 of 10 too.
    trained = dataset(crowd, is_train=True)
    assert [(s.source, s.x0, s.y0) for s in trained.samples] == [
        ("A", 0, 0),
        ("A", 48, 0),
        ("A", 48, 26),
        ("B", 0, 0),  # no object in the whole image: background
    ]
    assert [len(trained[i][1]) for i in range(4)] == [1, 1, 1, 0]


def test_empty_image_has_all_fields(crowd):
    _, target, _ = dataset(crowd, is_train=True, with_masks=True)[3]
    assert target.bbox.shape == (0, 4) and target.get_field("corners").points.shape == (0, 4, 2)
    assert target.get_field("labels").dtype == torch.int64
    assert len(target.get_field("masks")) == len(target.get_field("difficult")) == 0


def test_boxes_without_area_or_off_the_image_are_left_out(tmp_path):
    objects = [
        rectangle(20, 10, 20, 30),  # no width
        rectangle(-30, -20, -5, -2),  # outside
        rectangle(90, 70, 104, 83),  # cut by the border of 100 x 80
        rectangle(3, 4, 13, 9),
    ]
    folder = make_dota_folder(tmp_path, {"A": (100, 80, objects)})
    _, target, _ = dataset(folder, tile=1024, is_train=True)[0]
    assert target.bbox.tolist() == [[90, 70, 99, 79], [3, 4, 12, 8]]
    # corners are not cut
    cut = [[90, 70], [104, 70], [104, 83], [90, 83]]
    assert target.get_field("corners").points.tolist() == [cut, UPRIGHT]
    assert not target.has_field("masks")


def test_tiles_know_their_place_by_their_names(tmp_path):
    ship = [rectangle(3, 4, 13, 9)]
    folder = make_dota_folder(
        tmp_path, {"P01__1__48___26": (64, 64, ship), "P01__1__66___0": (100, 64, ship)}
    )
    samples = dataset(folder).samples
    # the second is larger than the tile and cut again: 100 - 64 = 36
    assert [(s.source, s.x0, s.y0, s.file_x0, s.is_cut) for s in samples] == [
        ("P01", 48, 26, 0, False),
        ("P01", 66, 0, 0, True),
        ("P01", 66 + 36, 0, 36, True),
    ]


def test_tiles_are_evaluated_as_images_unless_they_are_complete(tmp_path):
    folder = make_dota_folder(tmp_path, {"P01__1__48___26": (64, 64, []), "B": (100, 64, [])})
    loose = dataset(folder)
    assert loose.has_loose_tiles
    expected = [("B", 1, 0, 0), ("B", 1, 36, 0), ("P01__1__48___26", 1, 0, 0)]
    assert [loose.source_frame(i) for i in range(3)] == expected
    (folder / "tiles.json").write_text("{}")
    make_dota_folder(folder, {"P01": (112, 90, []), "B": (100, 64, [])}, "labelTxt-original")
    (folder / "images" / "P01.png").unlink()
    complete = dataset(folder)
    assert not complete.has_loose_tiles
    assert complete.source_frame(2) == ("P01", 1, 48, 26)


def test_an_image_is_decoded_once_for_all_its_tiles(crowd, monkeypatch):
    decoded = []

    def read(path):
        decoded.append(path)
        return gradient(130, 90)

    monkeypatch.setattr(dota_module, "read_image", read)
    samples = dataset(crowd)
    for index in range(6):
        samples[index][0][:] = 0  # what is handed out is nobody else's
    assert len(decoded) == 1
    assert samples[0][0].any()


def test_transforms_see_image_and_target(crowd):
    image, target, _ = dataset(crowd, transforms=RandomHorizontalFlip(1.0), with_masks=True)[0]
    assert np.array_equal(image, gradient(130, 90)[:64, 63::-1])
    # columns 10 … 19 of 64 become 44 … 53
    assert target.bbox[0].tolist() == [44, 5, 53, 14]
    mask = target.get_field("masks").get_mask_tensor()[0]
    assert mask[10, 48] and not mask[10, 15]


def test_categories_and_order_of_labels(crowd):
    assert dataset(crowd).categories == {1: "plane", 2: "ship"}


def test_folder_without_labels_can_only_be_predicted_on(crowd):
    for file in (crowd / "labelTxt").iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match="A.txt"):
        dataset(crowd)
    (crowd / "labelTxt").rmdir()
    assert not dataset(crowd).has_labels
    with pytest.raises(FileNotFoundError, match="labelTxt.*training needs"):
        dataset(crowd, is_train=True)


@pytest.mark.parametrize("is_train", [True, False])
def test_fault_an_image_without_a_label_file_counts_as_empty(crowd, caplog, is_train):
    """It was trained as background, and what was found in it counted as false."""
    (crowd / "labelTxt" / "B.txt").unlink()
    samples = dataset(crowd, is_train=is_train)
    assert {sample.source for sample in samples.samples} == {"A"}
    for _ in range(2):
        dataset(crowd, is_train=is_train)  # told once
    assert caplog.text.count("1 of 2 images have no label file") == 1
    assert "an image that shows no object needs an empty file (B.txt)" in caplog.text
    assert samples.summary().left_out["images without a label file"] == 1


def test_unlabelled_images_of_a_split_folder(crowd, tmp_path, caplog):
    (crowd / "labelTxt" / "B.txt").unlink()
    split_folder(crowd, tmp_path / "tiles", 64, 16, report=lambda _: None)
    for is_train in (True, False):
        samples = dataset(tmp_path / "tiles", is_train=is_train)
        assert {sample.source for sample in samples.samples} == {"A"}
        assert samples.summary().left_out["images without a label file"] == 1
    assert caplog.text.count("1 of 2 images have no label file") == 1
    assert "add an empty one to the folder that was split, and split it again" in caplog.text
    (tmp_path / "tiles" / "labelTxt" / "A__1__48___26.txt").unlink()
    with pytest.raises(FileNotFoundError, match="1 tiles lack .* A__1__48___26: run .* again"):
        dataset(tmp_path / "tiles")


def test_labels_without_an_image_are_told(crowd, caplog):
    for name in ("C", "D"):
        (crowd / "labelTxt" / f"{name}.txt").write_text("")
    assert len(dataset(crowd)) == 7
    assert "2 of 4 label files have no image and are not read, the first is C.txt" in caplog.text


def test_objects_wholly_outside_their_image_are_told(tmp_path, caplog):
    objects = [
        rectangle(-30, -20, 0, 10),  # ends at the border
        rectangle(100, 20, 120, 30),  # begins at the border of 100 x 80
        rectangle(90, 70, 104, 83),  # cut by it
    ]
    folder = make_dota_folder(tmp_path, {"A": (100, 80, objects), "B": (100, 80, [])})
    dataset(folder, tile=1024)
    told = "2 objects of 1 images lie wholly outside their image and can never be found, the first"
    assert f"{told} in A" in caplog.text


@pytest.mark.parametrize(
    "classes, renamed, found",
    [
        (class_names("1.0"), ["labelTxt-v1.0", "labelTxt-v1.5"], "labelTxt-v1.0"),
        (class_names("1.5"), ["labelTxt-v1.0", "labelTxt-v1.5"], "labelTxt-v1.5"),
        (class_names("1.0"), ["labelTxt-v1.0/labelTxt"], "labelTxt-v1.0/labelTxt"),
        (CLASSES, ["labelTxt-v2.0"], "labelTxt-v2.0"),
        (CLASSES, ["labelTxt-v2.0", "labelTxt"], "labelTxt"),
    ],
    ids=["1.0", "1.5", "folder inside", "classes of one's own", "labelTxt first"],
)
def test_dotas_own_names_of_the_label_folder(crowd, classes, renamed, found):
    (crowd / "labelTxt").rename(crowd / "labels")
    for name in renamed:
        shutil.copytree(crowd / "labels", crowd / name)
    samples = D.DotaDataset(str(crowd), classes)
    assert samples.files.label_folder == crowd / found
    assert len(samples.read_truth("A")) == 2


@pytest.mark.parametrize(
    "classes, names, message",
    [
        (class_names("1.0"), ["v1.5"], r"found labelTxt-v1\.5: set DOTA\.VERSION .* or rename"),
        (CLASSES, ["v1.0", "v1.5"], "expected a folder labelTxt, found labelTxt-v1.0, labelTxt-v1"),
    ],
    ids=["another version", "two versions"],
)
def test_a_label_folder_that_may_not_be_meant_is_refused(crowd, classes, names, message):
    (crowd / "labelTxt").rename(crowd / f"labelTxt-{names[0]}")
    for name in names[1:]:
        (crowd / f"labelTxt-{name}").mkdir()
    with pytest.raises(ValueError, match=message):
        D.DotaDataset(str(crowd), classes)


def test_a_label_folder_of_dota_with_archives_only_is_refused(crowd):
    (crowd / "labelTxt").rename(crowd / "labels")
    (crowd / "labelTxt-v1.0").mkdir()
    (crowd / "labelTxt-v1.0" / "labelTxt.zip").write_bytes(b"")
    with pytest.raises(
        FileNotFoundError, match="labelTxt-v1.0: expected label files .* found none"
    ):
        D.DotaDataset(str(crowd), class_names("1.0"))


def test_other_classes_are_left_out_where_the_config_says_so(crowd, caplog):
    with (crowd / "labelTxt" / "A.txt").open("a") as file:
        file.write("1 1 5 1 5 5 1 5 submarine 0\n" * 3 + "1 1 5 1 5 5 1 5 buoy 0\n")
    for is_train in (True, False):
        samples = dataset(crowd, ignore_other_classes=True, is_train=is_train)
        assert samples.summary().left_out["objects of other classes"] == 4
        assert set(samples.summary().classes) == set(CLASSES)
        assert [item.name for item in samples.read_truth("A")] == ["ship", "plane"]
    assert caplog.text.count("4 objects are left out, since DOTA.CLASSES does not list") == 1
    assert "submarine 3, buoy 1" in caplog.text
    assert "no object is labelled" not in caplog.text


def test_fault_a_mistyped_class_was_trained_without_objects(crowd, caplog):
    D.DotaDataset(str(crowd), ("ships", "plane"), ignore_other_classes=True)
    assert "ship 1; no object is labelled ships" in caplog.text


def test_an_image_of_other_classes_only_is_background(crowd):
    (crowd / "labelTxt" / "B.txt").write_text("1 1 5 1 5 5 1 5 submarine 0\n")
    trained = dataset(crowd, ignore_other_classes=True, is_train=True)
    assert [s.source for s in trained.samples] == ["A", "A", "A", "B"]
    assert len(trained[3][1]) == 0


def test_dark_images_are_told(crowd, caplog):
    write_image(crowd / "images" / "B.png", gradient(40, 30).astype(np.uint16) * 16)
    dataset(crowd)
    # the greatest of the gradient is 128, times 16
    assert "1 of 2 images looked at store 16 bits but hold no value above 2048" in caplog.text


def test_what_the_samples_show_is_counted(crowd):
    with (crowd / "labelTxt" / "A.txt").open("a") as file:
        file.write("52 30 60 30 60 40 52 40 ship 1\n")  # in four tiles: x 0, 48, y 0, 26
    # the plane is whole in the tile (48, 26) and shows 4 of its 10 columns in (0, 0), (0, 26),
    # (66, 0) and (66, 26), where it shows rows 50 to 58 of 0 ... 64 and 26 ... 90; whole, too, at
    # (48, 0). Evaluation: 1 ship at (10, 5) in one tile, the other in four.
    evaluated = dataset(crowd).summary()
    assert (evaluated.images, evaluated.samples) == (2, 7)
    assert evaluated.classes == {"plane": 2, "ship": 5}
    assert (evaluated.difficult, evaluated.cut_away, evaluated.empty) == (4, 4, 1)
    trained = dataset(crowd, is_train=True).summary()
    # the tiles at x 66 show nothing but a cut plane
    assert (trained.images, trained.samples) == (2, 5)
    assert trained.classes == evaluated.classes
    assert (trained.difficult, trained.cut_away, trained.empty) == (4, 0, 1)
    assert trained.left_out == {
        "images without a label file": 0,
        "objects cut away at the tiles' borders": 4,
        "tiles without an object": 2,
    }


def test_unknown_class_is_named_with_its_line(crowd):
    with (crowd / "labelTxt" / "A.txt").open("a") as file:
        file.write("1 1 5 1 5 5 1 5 submarine 0\n")
    with pytest.raises(ValueError, match=r"A\.txt:3: .*submarine.*DOTA\.VERSION or DOTA\.CLASSES"):
        dataset(crowd)


def test_wrong_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: expected a folder images/ in it, and la"):
        dataset(tmp_path / "nowhere")
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no image"):
        dataset(tmp_path)


def test_two_images_of_one_name(crowd):
    (crowd / "images" / "A.jpg").write_bytes((crowd / "images" / "A.png").read_bytes())
    with pytest.raises(ValueError, match="A.jpg and .*A.png have the same name"):
        dataset(crowd)


def test_overlap_must_be_smaller_than_the_tile(crowd):
    with pytest.raises(ValueError, match="overlap must be smaller"):
        dataset(crowd, tile=64, overlap=64)


def test_no_object_large_enough_in_any_tile(tmp_path):
    folder = make_dota_folder(
        tmp_path, {"P__1__0___0": (64, 64, [rectangle(0, 0, 3, 9, "ship", 2)])}
    )
    with pytest.raises(ValueError, match="no tile shows enough"):
        dataset(folder, is_train=True)


def test_several_folders_as_one(crowd, tmp_path):
    other = make_dota_folder(tmp_path / "other", {"C": (50, 60, [rectangle(1, 2, 9, 8)])})
    both = D.ConcatDataset([dataset(crowd), dataset(other)])
    assert len(both) == 8
    assert both.get_idxs(6) == (0, 6) and both.get_idxs(7) == (1, 0)
    assert both.get_img_info(7)["height"] == 60
    assert both[7][1].image_name.endswith("C.png")


def test_real_crowd(shared_data, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labelTxt").mkdir()
    for kind, suffix in (("images", "png"), ("labelTxt", "txt")):
        (tmp_path / kind / f"P0706.{suffix}").symlink_to(
            shared_data / "dota" / kind / f"P0706.{suffix}"
        )
    names = ("ship", "harbor")
    whole = D.DotaDataset(str(tmp_path), names, tile=0, overlap=0)
    assert len(whole) == 1
    image, target, _ = whole[0]
    assert image.shape == (1182, 1111, 3) and len(target) == 536
    tiles = D.DotaDataset(str(tmp_path), names, tile=1024, overlap=200, is_train=True)
    assert [(s.x0, s.y0) for s in tiles.samples] == [(0, 0), (0, 158), (87, 0), (87, 158)]
    shown = sum(len(tiles[index][1]) for index in range(4))
    assert 536 < shown < 4 * 536


def test_real_tiles(shared_data):
    tiles = D.DotaDataset(
        str(shared_data / "tiles_P0032"), ("plane", "large-vehicle", "small-vehicle")
    )
    places = {(sample.source, sample.x0, sample.y0) for sample in tiles.samples}
    assert places == {("P0032", x, y) for x in (0, 824, 1401) for y in (0, 665)}
    assert tiles.has_loose_tiles


def test_fault_a_name_that_results_cannot_hold_was_found_after_the_work(tmp_path):
    folder = make_dota_folder(tmp_path / "set", {"a": (33, 21, [])})
    (folder / "images" / "a.png").rename(folder / "images" / os.fsdecode(b"caf\xe9.png"))
    with pytest.raises(ValueError, match=r"caf\\udce9.png': the file's name is not UTF-8"):
        D.DotaDataset(str(folder), ("ship",))
