import re

import pytest

from maskrcnn_benchmark.config.dataset_names import (
    dataset_folder_name,
    dataset_folder_names,
    find_entry,
    resolve_dataset_name,
)
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog, ModelCatalog


@pytest.mark.parametrize(
    "name, factory, args",
    [
        (
            "coco_2014_minival",
            "COCODataset",
            {
                "root": "datasets/coco/val2014",
                "ann_file": "datasets/coco/annotations/instances_minival2014.json",
            },
        ),
        (
            "voc_2007_train_cocostyle",
            "COCODataset",
            {
                "root": "datasets/voc/VOC2007/JPEGImages",
                "ann_file": "datasets/voc/VOC2007/Annotations/pascal_train2007.json",
            },
        ),
        (
            "voc_2012_val",
            "PascalVOCDataset",
            {"data_dir": "datasets/voc/VOC2012", "split": "val"},
        ),
        (
            "cityscapes_mask_instance_minival",
            "CityScapesDataset",
            {
                "img_dir": "datasets/cityscapes/leftImg8bit",
                "ann_dir": "datasets/cityscapes/gtFine",
                "split": "val",
                "mode": "mask",
                "mini": 10,
            },
        ),
    ],
)
def test_original_names(name, factory, args):
    assert DatasetCatalog.get(name) == {"factory": factory, "args": args}


def test_every_entry_can_be_resolved():
    factories = {DatasetCatalog.get(name)["factory"] for name in DatasetCatalog.DATASETS}
    assert len(DatasetCatalog.DATASETS) == 30
    assert factories == {"COCODataset", "PascalVOCDataset", "CityScapesDataset"}


@pytest.mark.parametrize(
    "entry, factory",
    [
        pytest.param(
            {"factory": "PascalVOCDataset", "data_dir": "x", "split": "train"},
            "PascalVOCDataset",
            id="stated",
        ),
        pytest.param({"data_dir": "x", "split": "train"}, "PascalVOCDataset", id="by its keys"),
        pytest.param({"img_dir": "x", "ann_file": "y.json"}, "COCODataset", id="COCO by keys"),
        pytest.param({"factory": "MyDataset", "ann_file": "y"}, "MyDataset", id="one's own"),
    ],
)
def test_fault_dataset_class_by_substring_of_name(monkeypatch, entry, factory):
    """The original made a COCODataset of every name with "coco" in it."""
    for name in ("my_coconut_voc", "plain"):
        monkeypatch.setitem(DatasetCatalog.DATASETS, name, entry)
        assert DatasetCatalog.get(name)["factory"] == factory
        assert "factory" not in DatasetCatalog.get(name)["args"]


def test_asking_does_not_change_the_catalog():
    before = dict(DatasetCatalog.DATASETS["coco_2014_val"])
    DatasetCatalog.get("coco_2014_val")["args"]["root"] = "changed"
    assert DatasetCatalog.DATASETS["coco_2014_val"] == before


def test_unknown_names_are_named(monkeypatch):
    with pytest.raises(RuntimeError, match='"coco_1999".*dota:FOLDER.*coco_2014_val'):
        DatasetCatalog.get("coco_1999")
    monkeypatch.setitem(DatasetCatalog.DATASETS, "vague", {"img_dir": "x"})
    with pytest.raises(RuntimeError, match='"vague".*add "factory"'):
        DatasetCatalog.get("vague")


@pytest.mark.parametrize(
    "name, factory, args",
    [
        ("dota:/data/my set", "DotaDataset", {"folder": "/data/my set"}),
        ("dota:sets/coco:2", "DotaDataset", {"folder": "sets/coco:2"}),
        ("coco:a/b.json:c/d", "COCODataset", {"ann_file": "a/b.json", "root": "c/d"}),
        ("coco:a:1/b.json:c:2", "COCODataset", {"ann_file": "a:1/b.json", "root": "c:2"}),
        ("coco:annotations:images", "COCODataset", {"ann_file": "annotations", "root": "images"}),
    ],
)
def test_names_that_hold_their_paths(name, factory, args):
    expected = {"factory": factory, "args": args}
    assert resolve_dataset_name(name) == expected
    assert DatasetCatalog.get(name) == expected


@pytest.mark.parametrize("name", ["dota:", "coco:a.json", "coco:a.json:", "coco:", "coco::images"])
def test_a_missing_path_is_an_error(name):
    with pytest.raises(ValueError, match="expected"):
        resolve_dataset_name(name)


@pytest.mark.parametrize("name", ["coco_2014_val", "dota", "dota_v1", "my:set"])
def test_other_names_are_left_to_the_catalog(name):
    assert resolve_dataset_name(name) is None


def test_fault_a_forgotten_dota_is_a_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train.json").write_text("{}")
    with pytest.raises(ValueError, match='it is a folder: write "dota:data/train"'):
        find_entry("data/train", DatasetCatalog)
    with pytest.raises(ValueError, match='write "coco:data/train.json:IMAGES_FOLDER"'):
        find_entry("data/train.json", DatasetCatalog)
    with pytest.raises(ValueError, match='not available: "data/val". Use "dota:FOLDER"'):
        find_entry("data/val", DatasetCatalog)


def test_unknown_names_are_a_users_error():
    """One line, not a traceback, while code for the original may still catch RuntimeError."""
    for catalog in (DatasetCatalog, ModelCatalog):
        for kind in (ValueError, RuntimeError):
            with pytest.raises(kind, match="no_such_name"):
                catalog.get("no_such_name")


def test_known_names_are_found():
    for name in ("dota:a/b", "coco_2014_val"):
        assert find_entry(name, DatasetCatalog) == DatasetCatalog.get(name)


def test_folder_names():
    assert dataset_folder_name("dota:/data/my set/val-1.0") == "dota_data_my_set_val-1.0"
    assert dataset_folder_name("coco_2014_val") == "coco_2014_val"
    assert dataset_folder_name("dota:a/x") != dataset_folder_name("dota:b/x")
    long_names = [f"coco:/{letter}{'/folder' * 40}/b.json:/images" for letter in "ab"]
    folders = [dataset_folder_name(name) for name in long_names]
    assert [len(folder) for folder in folders] == [120, 120] and folders[0] != folders[1]
    assert folders[0].endswith("_b.json_images")


DETECTRON = "https://dl.fbaipublicfiles.com/detectron"
FASTER = (
    f"{DETECTRON}/35857345/12_2017_baselines/e2e_faster_rcnn_R-50-FPN_1x.yaml.01_36_30.cUF7QR7I/"
    "output/train/coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/model_final.pkl"
)
KEYPOINT = (
    f"{DETECTRON}/37697547/12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml.08_42_54.kdzV35ao/"
    "output/train/keypoints_coco_2014_train%3Akeypoints_coco_2014_valminusminival/"
    "generalized_rcnn/model_final.pkl"
)


@pytest.mark.parametrize(
    "name, address",
    [
        ("ImageNetPretrained/MSRA/R-50", f"{DETECTRON}/ImageNetPretrained/MSRA/R-50.pkl"),
        (
            "ImageNetPretrained/MSRA/R-101-GN",
            f"{DETECTRON}/ImageNetPretrained/47592356/R-101-GN.pkl",
        ),
        ("Caffe2Detectron/COCO/35857345/e2e_faster_rcnn_R-50-FPN_1x", FASTER),
        ("Caffe2Detectron/COCO/37697547/e2e_keypoint_rcnn_R-50-FPN_1x", KEYPOINT),
    ],
)
def test_addresses_of_weights(name, address):
    assert ModelCatalog.get(name) == address


@pytest.mark.parametrize("name", ["ImageNetPretrained/MSRA/R-18", "MSRA/R-50", ""])
def test_unknown_weights(name):
    with pytest.raises(RuntimeError, match="ImageNetPretrained/MSRA/R-50"):
        ModelCatalog.get(name)


def test_fault_two_sets_of_one_folder_name_replaced_each_others_results():
    names = ["dota:a/b", "dota:a_b", "dota:c", "dota:a b", "dota:a/b"]
    folders = dataset_folder_names(names)
    assert folders[::4] == ["dota_a_b"] * 2 and folders[2] == "dota_c"
    assert len(set(folders)) == 4
    for folder in (folders[1], folders[3]):
        assert re.fullmatch("dota_a_b_[0-9a-f]{8}", folder)
    assert dataset_folder_names(names[1:2]) == ["dota_a_b"]  # by itself it keeps its name
