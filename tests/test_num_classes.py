"""NUM_CLASSES follows the data set, or is checked against it before anything is trained."""

import logging
import sys
from importlib import import_module

import pytest
from made_data import gradient, make_coco_folder, make_dota_folder, rectangle

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.config.settings import given_keys, load_config
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.num_classes import settle_num_classes
from maskrcnn_benchmark.images.image_io import write_image

BOX_KEY = "MODEL.ROI_BOX_HEAD.NUM_CLASSES"


def config(*options):
    cfg = default_cfg.clone()
    cfg.merge_from_list(list(options))
    return cfg


def coco_set(folder, *classes):
    """The name of a COCO-format set of one image with an object of each class."""
    categories = dict(enumerate(classes, start=3))
    objects = [{"image_id": 1, "category_id": c, "bbox": [5, 6, 20, 10]} for c in categories]
    annotations, images = make_coco_folder(folder, {1: (60, 40)}, categories, objects)
    return f"coco:{annotations}:{images}"


@pytest.fixture
def five(tmp_path):
    return coco_set(tmp_path / "five", "ship", "plane", "harbor", "bridge", "car")


@pytest.mark.parametrize(
    "options, expected",
    [
        (("DOTA.CLASSES", ("ship", "plane")), 3),
        (("DOTA.VERSION", 1.0), 16),
        (("DOTA.VERSION", 2.0), 19),
    ],
)
def test_fault_a_dota_set_needs_num_classes_by_hand(options, expected, caplog):
    caplog.set_level("INFO")
    cfg = config("DATASETS.TRAIN", ("dota:not/read",), *options)
    settled = settle_num_classes(cfg, given=[])
    assert settled.MODEL.ROI_BOX_HEAD.NUM_CLASSES == expected and settled.is_frozen()
    assert settled.MODEL.RETINANET.NUM_CLASSES == 81
    assert cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES == 81  # what came in is not touched
    assert f"{BOX_KEY} is set to {expected}: the {expected - 1} classes of dota:not/read" in (
        caplog.text
    )


def test_retinanets_key_follows_where_it_counts(five):
    cfg = config("DATASETS.TRAIN", (five,), "MODEL.RETINANET_ON", True, "MODEL.RPN_ONLY", True)
    settled = settle_num_classes(cfg, given=[BOX_KEY])
    assert settled.MODEL.RETINANET.NUM_CLASSES == 6
    assert settled.MODEL.ROI_BOX_HEAD.NUM_CLASSES == 81


def test_what_is_given_or_not_needed_stays(five):
    cfg = config("DATASETS.TRAIN", (five,))
    assert settle_num_classes(cfg, given=[BOX_KEY]) is cfg
    proposals = config("DATASETS.TRAIN", (five,), "MODEL.RPN_ONLY", True)
    assert settle_num_classes(proposals, given=[]) is proposals


def test_the_first_set_that_is_there_decides(five):
    """A model is evaluated where the sets that it was trained on are not."""
    absent = "coco:no/such.json:no/such"
    cfg = config("DATASETS.TRAIN", (absent, "coco_2014_train"), "DATASETS.TEST", (five,))
    assert settle_num_classes(cfg, given=[]).MODEL.ROI_BOX_HEAD.NUM_CLASSES == 6
    cfg = config("DATASETS.TRAIN", (absent,))
    assert settle_num_classes(cfg, given=[]) is cfg


@pytest.mark.parametrize(
    "name, classes",
    [("voc_2007_train", 20), ("cityscapes_mask_instance_val", 10)],
)
def test_sets_with_fixed_classes(name, classes):
    cfg = config("DATASETS.TRAIN", (name,))
    assert settle_num_classes(cfg, given=[]).MODEL.ROI_BOX_HEAD.NUM_CLASSES == classes + 1


def loader_config(tmp_path, name, *options):
    base = ["DATASETS.TRAIN", (name,), "DATASETS.TEST", (name,), "OUTPUT_DIR", str(tmp_path)]
    base += ["DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 1]
    return config(*base, *options)


@pytest.mark.parametrize(
    "key, options",
    [(BOX_KEY, ()), ("MODEL.RETINANET.NUM_CLASSES", ("MODEL.RETINANET_ON", True))],
)
def test_fault_more_classes_than_the_model_train_until_the_label_turns_up(
    five, tmp_path, key, options
):
    cfg = loader_config(tmp_path, five, key, 5, *options)
    message = f"{key} is 5, but coco:.* has 5 classes: set it to 6"
    with pytest.raises(ValueError, match=message):
        make_data_loader(cfg)
    with pytest.raises(ValueError, match=message):  # losses of the test set
        make_data_loader(cfg, is_train=False, is_for_period=True)


def test_evaluation_on_further_classes_is_told(five, tmp_path, caplog):
    cfg = loader_config(tmp_path, five, BOX_KEY, 5)
    assert len(make_data_loader(cfg, is_train=False)) == 1
    assert "has 5 classes: objects of the last ones are never found" in caplog.text


def test_fewer_classes_than_the_model_are_fine_in_cocos_format(five, tmp_path):
    for count in (6, 81):
        loader = make_data_loader(loader_config(tmp_path, five, BOX_KEY, count))
        assert len(loader.dataset) == 1


def test_sets_that_number_their_classes_differently_are_refused(five, tmp_path):
    other = coco_set(tmp_path / "other", "ship", "harbor")
    cfg = loader_config(tmp_path, five, BOX_KEY, 6)
    cfg.DATASETS.TRAIN = (five, other)
    with pytest.raises(ValueError, match='label 2 is "plane" in coco:.*five.* and "harbor" in'):
        make_data_loader(cfg)
    cfg.DATASETS.TRAIN = (five, coco_set(tmp_path / "start", "ship", "plane"), five)
    assert len(make_data_loader(cfg).dataset) == 3


def test_a_dota_set_with_a_subset_of_the_classes(tmp_path):
    objects = [rectangle(5, 6, 17, 20), rectangle(20, 6, 37, 20, "plane")]
    folder = make_dota_folder(tmp_path / "set", {"A": (60, 40, objects)})
    cfg = loader_config(tmp_path, f"dota:{folder}", "DOTA.CLASSES", ("plane",), BOX_KEY, 2)
    with pytest.raises(ValueError, match=r"A\.txt:1: unknown class 'ship'"):
        make_data_loader(cfg)
    cfg.DOTA.IGNORE_OTHER_CLASSES = True
    for loader in (make_data_loader(cfg), *make_data_loader(cfg, is_train=False)):
        _, (target,), _ = next(iter(loader))
        assert target.get_field("labels").tolist() == [1]
        assert [item.name for item in loader.dataset.read_truth("A")] == ["plane"]


@pytest.mark.parametrize("name", ["dota/faster_rcnn_R_50_FPN_1x", "dota/oriented_rcnn_R_50_FPN_1x"])
def test_fault_own_classes_needed_num_classes_beside_them(name):
    opts = ["DOTA.CLASSES", "('car', 'boat')"]
    cfg = load_config(f"{name}.yaml", opts)
    settled = settle_num_classes(cfg, given_keys(f"{name}.yaml", opts))
    assert settled.MODEL.ROI_BOX_HEAD.NUM_CLASSES == 3


class _Stop(Exception):
    """Ends a tool when what is looked for has come."""


@pytest.mark.parametrize(
    "tool, function, arguments",
    [
        ("train_net", "train", ["--skip-test"]),
        ("test_net", "build_detection_model", []),
        ("predict", "predict_files", ["--weights", "w.pth", "--out", "out", "scene.png"]),
    ],
)
def test_the_tools_build_models_with_the_settled_number(
    tmp_path, monkeypatch, tool, function, arguments
):
    """Before the model is built; train() writes the settings that it is given to config.yml."""
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "scene.png", gradient(40, 30))
    (tmp_path / "settings.yaml").write_text(
        "DATASETS:\n  TRAIN: ('dota:none',)\nDOTA:\n  CLASSES: ('ship', 'plane')\n"
        f"MODEL:\n  DEVICE: cpu\nOUTPUT_DIR: {tmp_path / 'run'}\n"
    )
    module = import_module(f"maskrcnn_benchmark.commands.{tool}")
    seen = []

    def stop(cfg, *_, **__):
        seen.append(cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES)
        raise _Stop

    if tool == "predict":
        monkeypatch.setattr(module.Predictor, "from_checkpoint", stop)
    else:
        monkeypatch.setattr(module, function, stop)
    monkeypatch.setattr(
        sys, "argv", [tool, "--config-file", str(tmp_path / "settings.yaml"), *arguments]
    )
    with pytest.raises(_Stop):
        module.main()
    logging.getLogger("maskrcnn_benchmark").handlers.clear()
    assert seen == [3]
