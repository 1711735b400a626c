"""Cityscapes' data set, on a made one."""

import pytest
from made_cityscapes import HEIGHT, SCENES, WIDTH, make_cityscapes

from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data.build import build_dataset
from maskrcnn_benchmark.data.datasets import CityScapesDataset
from maskrcnn_benchmark.data.datasets.cityscapes import INSTANCE_CLASSES, NOT_EVALUATED

CAR, PERSON, BICYCLE = 3, 1, 10


@pytest.fixture
def dataset(cityscapes_folders):
    return CityScapesDataset(*cityscapes_folders, "val")


def test_masks_are_the_visible_pixels(dataset):
    image, target, index = dataset[0]
    assert image.shape == (HEIGHT, WIDTH, 3) and index == 0 and target.size == (WIDTH, HEIGHT)
    assert target.get_field("labels").tolist() == [PERSON, PERSON, CAR, CAR]
    assert target.bbox.tolist() == [
        [70, 8, 81, 47],
        [90, 10, 97, 19],
        [5, 10, 34, 29],
        [25, 20, 54, 44],
    ]
    masks = target.get_field("masks").get_mask_tensor()
    assert masks.sum(dim=(1, 2)).tolist() == [12 * 40, 8 * 10, 30 * 20 - 10 * 10, 30 * 25]
    assert masks[2, 19, 34] and not masks[2, 20, 34]
    assert target.image_name.endswith("aachen_000000_000019_leftImg8bit.png")


def test_polygons_go_on_behind_what_hides_them(cityscapes_folders):
    dataset = CityScapesDataset(*cityscapes_folders, "val", mode="poly")
    _, target, _ = dataset[0]
    assert target.get_field("labels").tolist() == [CAR, CAR, PERSON, PERSON]
    assert target.bbox.tolist() == [
        list(row[1:]) for row in SCENES["aachen/aachen_000000_000019"][:4]
    ]
    outlines = target.get_field("masks")
    assert outlines.mode == "poly" and len(outlines) == 4
    # as COCO draws the outline from pixel to pixel, its last row and column are outside
    assert outlines.get_mask_tensor()[0].sum() == 29 * 19


def test_images_without_objects_have_an_empty_target(dataset):
    """The original gave the next image under this one's number instead."""
    image, target, index = dataset[1]
    assert index == 1 and len(target) == 0 and image.shape == (HEIGHT, WIDTH, 3)
    assert target.image_name.endswith("aachen_000001_000019_leftImg8bit.png")
    assert set(target.fields()) == {"labels", "masks"}


def test_sizes_are_those_of_the_files(dataset):
    """The original said 1024 x 2048 of every image."""
    info = dataset.get_img_info(2)
    assert (info["width"], info["height"], info["idx"]) == (WIDTH, HEIGHT, 2)
    assert info["img_path"].endswith("bochum_000000_000313_leftImg8bit.png")
    assert info["ann_path"].endswith("bochum_000000_000313_gtFine_instanceIds.png")


def test_small_boxes_and_most_images_can_be_left_out(cityscapes_folders):
    # 8 x 10 pixels are 7 * 9 = 63, 12 x 40 are 11 * 39 = 429
    dataset = CityScapesDataset(*cityscapes_folders, "val", min_area=429)
    assert dataset[0][1].get_field("labels").tolist() == [PERSON, CAR, CAR]
    few = CityScapesDataset(*cityscapes_folders, "val", mini=2)
    assert [path[-33:-16] for path in few.img_paths] == [
        "achen_000000_000019"[-17:],
        "bochum_000000_000313"[-17:],
    ]


def test_labels_have_names(dataset):
    assert dataset.CLASSES == ["__background__", *INSTANCE_CLASSES]
    assert dataset.id_to_name[CAR] == "car" and dataset.name_to_id["bicycle"] == BICYCLE
    assert dataset.cityscapesID_to_ind[26] == CAR


def test_numbers_are_those_of_cityscapesscripts():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    assert INSTANCE_CLASSES == {entry.name: entry.id for entry in labels if entry.hasInstances}
    assert NOT_EVALUATED == tuple(
        entry.name for entry in labels if entry.hasInstances and entry.ignoreInEval
    )


def test_what_is_not_there_is_named(cityscapes_folders, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*/train for a Cityscapes"):
        CityScapesDataset(*cityscapes_folders, "train")
    with pytest.raises(ValueError, match="train, val, test, got 'dev'"):
        CityScapesDataset(*cityscapes_folders, "dev")
    with pytest.raises(NotImplementedError, match="'mask' or 'poly', got 'box'"):
        CityScapesDataset(*cityscapes_folders, "val", mode="box")
    broken = make_cityscapes(tmp_path)
    (tmp_path / "gtFine/val/bochum/bochum_000000_000313_gtFine_instanceIds.png").unlink()
    with pytest.raises(FileNotFoundError, match="bochum_000000_000313_gt…_instanceIds.png for"):
        CityScapesDataset(*broken, "val")
    assert len(CityScapesDataset(*broken, "val", mode="poly")) == 3


def test_catalog_names_build_it(tmp_path, monkeypatch):
    for split in ("train", "val"):
        make_cityscapes(tmp_path / "cityscapes", split)
    monkeypatch.setattr(DatasetCatalog, "DATA_DIR", str(tmp_path))
    names = [name for name in DatasetCatalog.DATASETS if "_instance_" in name]
    assert len(names) == 6
    made = build_dataset(names, None, DatasetCatalog, is_train=False)
    assert [(each.split, each.mode, len(each)) for each in made] == [
        (split, mode, 3) for mode in ("poly", "mask") for split in ("train", "val", "val")
    ]
