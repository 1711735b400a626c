"""What is said of data before training, evaluation, and after `split`."""

import pytest
from made_data import make_coco_folder, make_dota_folder, rectangle

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.dota.split import split_folder, summarize_tiles
from maskrcnn_benchmark.utils.data_summary import DataSummary


@pytest.fixture
def folder(tmp_path):
    """An image of 130 x 90, cut at x 0, 48, 66 and y 0, 26; an empty one; an unlabelled one."""
    objects = [
        rectangle(10, 5, 20, 15),  # wholly in the first tile only
        rectangle(60, 50, 70, 58, "plane", 1),  # 4 of its 10 columns in the tiles at x 0 and 66
    ]
    images = {"A": (130, 90, objects), "B": (40, 30, []), "C": (40, 30, None)}
    return make_dota_folder(tmp_path / "set", images)


def config(name, tmp_path):
    cfg = default_cfg.clone()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (name,)
    cfg.DOTA.CLASSES = ("plane", "ship", "harbor")
    cfg.DOTA.TILE, cfg.DOTA.OVERLAP = 64, 16
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (64,), 64
    cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES = 4
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER = 2, 1000
    cfg.TEST.IMS_PER_BATCH = 1
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    return cfg


def test_training_and_evaluation_open_with_a_summary(folder, tmp_path, caplog):
    caplog.set_level("INFO")
    cfg = config(f"dota:{folder}", tmp_path)
    make_data_loader(cfg)
    # the plane is whole in (48, 0) and (48, 26), a fragment in the four tiles at x 0 and 66: of
    # the seven tiles (48, 0), (48, 26), the ship's (0, 0) and B are left; B is seen at 64 / 30
    trained = f"""\
dota:{folder} (training): 2 images in 4 samples, 3 objects (2 of them difficult)
  classes: plane 2, ship 1, harbor 0
  samples without an object: 1
  left out: images without a label file 1, objects cut away at the tiles' borders 4, tiles without
    an object 3
  scale: 1.00 to 2.13
"""
    assert trained in caplog.text
    # 1000 iterations of 2 of 4 samples
    assert "training lasts 500.0 epochs: 1,000 iterations of 2 of 4 samples" in caplog.text
    caplog.clear()
    for _ in range(2):  # as evaluations during training do
        make_data_loader(cfg, is_train=False)
    evaluated = f"""\
dota:{folder} (evaluation): 2 images in 7 samples, 3 objects (2 of them difficult)
  classes: plane 2, ship 1, harbor 0
  samples without an object: 1
  objects cut away at the samples' borders: 4
  left out: images without a label file 1
  scale: 1.00 to 2.13
"""
    assert caplog.text.count(evaluated) == 1


def test_a_set_that_is_named_twice_counts_twice(folder, tmp_path, caplog):
    caplog.set_level("INFO")
    cfg = config(f"dota:{folder}", tmp_path)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TRAIN * 2
    make_data_loader(cfg)
    assert "250.0 epochs: 1,000 iterations of 2 of 8 samples" in caplog.text


def test_another_scale_than_the_tiles_is_told_with_it(folder, tmp_path, caplog):
    cfg = config(f"dota:{folder}", tmp_path)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (50,), 50
    for _ in range(2):
        make_data_loader(cfg)
    assert caplog.text.count("tiles of 64 pixels are trained at scale 0.78") == 1


def test_no_image_is_decoded_for_it(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("maskrcnn_benchmark.data.datasets.dota.read_image", None)
    make_data_loader(config(f"dota:{folder}", tmp_path))


@pytest.fixture
def coco(tmp_path):
    annotations = [
        {"image_id": 5, "category_id": 7, "bbox": [5, 6, 20, 10]},
        {"image_id": 5, "category_id": 3, "bbox": [50, 30, 40, 5]},
        {"image_id": 5, "category_id": 7, "bbox": [1, 1, 50, 30], "iscrowd": 1},
        {"image_id": 2, "category_id": 7, "bbox": [3, 4, 9, 9]},
    ]
    images = {5: (60, 40), 2: (44, 50), 9: (30, 20)}
    categories = {7: "ship", 3: "plane", 4: "harbor"}
    return make_coco_folder(tmp_path / "coco", images, categories, annotations)


@pytest.mark.parametrize(
    "is_train, images, empty, left_out", [(True, 2, 0, 1), (False, 3, 1, 0)], ids=["train", "test"]
)
def test_cocos_format(coco, is_train, images, empty, left_out):
    summary = COCODataset(*map(str, coco), remove_images_without_annotations=is_train).summary()
    assert (summary.images, summary.samples, summary.empty) == (images, images, empty)
    assert summary.classes == {"ship": 2, "plane": 1, "harbor": 0}
    expected = {"images without an object to train on": left_out, "crowd regions": 1}
    assert summary.left_out == expected


def test_a_category_that_is_not_listed_is_refused(tmp_path):
    objects = [{"image_id": 5, "category_id": 9, "bbox": [5, 6, 20, 10]}]
    coco = make_coco_folder(tmp_path / "coco", {5: (60, 40)}, {7: "ship"}, objects)
    with pytest.raises(ValueError, match="annotation 1: category_id 9 is not among the file's: 7"):
        COCODataset(*map(str, coco))


def test_split_counts_what_it_wrote(folder, tmp_path):
    split_folder(folder, tmp_path / "tiles", 64, 16, report=lambda _: None)
    summary = summarize_tiles(tmp_path / "tiles")
    # six tiles of A, one each of B and C; C has no label file
    assert (summary.images, summary.samples) == (3, 8)
    assert summary.classes == {"plane": 2, "ship": 1}
    assert (summary.difficult, summary.cut_away, summary.empty) == (2, 4, 1)
    assert summary.left_out == {"images without a label file": 1}


def test_what_is_not_there_is_not_said():
    summary = DataSummary(3, 3, {"ship": 1200}, left_out={"images without a label file": 0})
    assert summary.describe("set") == "set: 3 images, 1,200 objects\n  classes: ship 1,200"
    assert DataSummary(1, 4, None).describe("set", ["scale: 1.00"]) == (
        "set: 1 images in 4 samples, no labels\n  scale: 1.00"
    )
