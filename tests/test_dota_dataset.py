import numpy as np
import pytest
import torch
from made_data import gradient, make_dota_folder, rectangle

from maskrcnn_benchmark.data import datasets as D
from maskrcnn_benchmark.data.datasets import dota as dota_module
from maskrcnn_benchmark.data.transforms import RandomHorizontalFlip
from maskrcnn_benchmark.dota.annotations import DotaObject

CLASSES = ("plane", "ship")
# a square on its tip: 20 right and left of x = 50, 15 above and below y = 40
DIAMOND = DotaObject(np.array([[50.0, 25], [70, 40], [50, 55], [30, 40]]), "plane", 1)


def dataset(folder, **options):
    options = {"tile": 64, "overlap": 16, **options}
    return D.DotaDataset(str(folder), CLASSES, **options)


@pytest.fixture
def crowd(tmp_path):
    """An image of 130 x 90, cut at x 0, 48, 66 and y 0, 26, and an empty one of 40 x 30."""
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
    assert target.bbox.shape == (0, 4)
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


def test_tiles_are_judged_as_images_unless_they_are_complete(tmp_path):
    folder = make_dota_folder(tmp_path, {"P01__1__48___26": (64, 64, []), "B": (100, 64, [])})
    loose = dataset(folder)
    assert loose.has_loose_tiles
    expected = [("B", 0, 0), ("B", 36, 0), ("P01__1__48___26", 0, 0)]
    assert [loose.source_frame(i) for i in range(3)] == expected
    (folder / "tiles.json").write_text("{}")
    complete = dataset(folder)
    assert not complete.has_loose_tiles
    assert complete.source_frame(2) == ("P01", 48, 26)


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


def test_some_missing_label_files_are_told(crowd, caplog):
    (crowd / "labelTxt" / "B.txt").unlink()
    assert len(dataset(crowd)) == 7
    assert "1 of 2 images have no label file" in caplog.text and "B.txt" in caplog.text


def test_unknown_class_is_named_with_its_line(crowd):
    with (crowd / "labelTxt" / "A.txt").open("a") as file:
        file.write("1 1 5 1 5 5 1 5 submarine 0\n")
    with pytest.raises(ValueError, match=r"A\.txt:3: .*submarine.*DOTA\.VERSION or DOTA\.CLASSES"):
        dataset(crowd)


def test_wrong_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere/images.*labelTxt"):
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
