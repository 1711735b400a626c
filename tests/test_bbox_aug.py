"""Test-time augmentation: views, merging, the other heads, and all ways that lead to it."""

import numpy as np
import pytest
import torch
from made_data import boxlist, gradient, make_coco_folder, make_dota_folder, rectangle
from PIL import Image
from tiny_models import FPN_BODY, FPN_KEYPOINT, FPN_MASK, NARROW, make_cfg

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.collate_batch import BatchCollator
from maskrcnn_benchmark.engine.bbox_aug import (
    View,
    im_detect_bbox,
    im_detect_bbox_aug,
    im_detect_bbox_hflip,
    im_detect_bbox_scale,
    make_bbox_aug,
)
from maskrcnn_benchmark.engine.inference import compute_on_dataset, run_test
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.image_list import to_image_list

CPU = torch.device("cpu")
ALL_VIEWS = [
    *("TEST.BBOX_AUG.ENABLED", True, "TEST.BBOX_AUG.H_FLIP", True),
    *("TEST.BBOX_AUG.SCALES", (60, 100), "TEST.BBOX_AUG.SCALE_H_FLIP", True),
    *("TEST.BBOX_AUG.MAX_SIZE", 120),
]
SETTINGS = [
    *(*FPN_BODY, *NARROW, "MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16),
    *("MODEL.ROI_BOX_HEAD.NUM_CLASSES", 3, "MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 10),
    *("INPUT.MIN_SIZE_TEST", 80, "INPUT.MAX_SIZE_TEST", 130, "DATALOADER.NUM_WORKERS", 0),
    *("TEST.IMS_PER_BATCH", 2, "DATALOADER.SIZE_DIVISIBILITY", 32),
    *("MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 50),
]


def model_of(cfg):
    torch.manual_seed(0)
    return build_detection_model(cfg).eval()


def images():
    """Two BGR images, (width, height) 90 x 60 and 50 x 100, with noise over a gradient."""
    generator = np.random.default_rng(0)
    found = []
    for width, height in ((90, 60), (50, 100)):
        noise = generator.integers(0, 100, (height, width, 3))
        found.append((gradient(width, height) // 2 + noise).astype(np.uint8))
    return found


class FindsBrightPatch(torch.nn.Module):
    """A model that detects background and two classes on the pixels above 100.

    The score of class 1 falls with the width of the image, so that the views can be told apart.
    """

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, batch):
        results = []
        for image, (height, width) in zip(batch.tensors, batch.image_sizes, strict=True):
            self.seen.append((int(width), int(height)))
            y, x = (image[0] > 100).nonzero().float().unbind(dim=1)
            box = [x.min(), y.min(), x.max(), y.max()]
            pairs = boxlist([box] * 3, (int(width), int(height)))
            pairs.add_field("scores", torch.tensor([0.9, 1 - int(width) / 400, 0.01]))
            results.append(pairs)
        return results


def patch_image():
    """Return a black image, 100 x 80, with a white patch in columns 10 … 39 and rows 20 … 59."""
    image = np.zeros((80, 100, 3), np.uint8)
    image[20:60, 10:40] = 255
    return image


def test_views_follow_the_settings():
    cfg = make_cfg("INPUT.MIN_SIZE_TEST", 80, "INPUT.MAX_SIZE_TEST", 130, *ALL_VIEWS)
    assert make_bbox_aug(cfg).views == [
        *(View(80, 130, False), View(80, 130, True)),
        *(View(60, 120, False), View(60, 120, True)),
        *(View(100, 120, False), View(100, 120, True)),
    ]
    cfg.merge_from_list(["TEST.BBOX_AUG.H_FLIP", False, "TEST.BBOX_AUG.SCALE_H_FLIP", False])
    assert make_bbox_aug(cfg).views == [View(80, 130), View(60, 120), View(100, 120)]


def test_views_are_brought_back_and_merged():
    cfg = make_cfg(*SETTINGS, *ALL_VIEWS, "INPUT.PIXEL_MEAN", [0.0, 0, 0])
    model = FindsBrightPatch()
    (found,) = make_bbox_aug(cfg)(model, [patch_image()], CPU)
    # 100 x 80 with a short side of 80, 60, and 100, which the long side's 120 cut to 96
    assert model.seen == [(100, 80)] * 2 + [(75, 60)] * 2 + [(120, 96)] * 2
    # six boxes on one place: the best, seen 75 wide, suppresses the others; class 2 is too unsure
    assert found.size == (100, 80) and found.get_field("labels").tolist() == [1]
    assert found.get_field("scores").item() == pytest.approx(1 - 75 / 400)
    torch.testing.assert_close(found.bbox, torch.tensor([[10.0, 20, 39, 59]]), atol=1.5, rtol=0)


def test_a_mirrored_box_is_mirrored_back():
    cfg = make_cfg(*SETTINGS, *ALL_VIEWS, "INPUT.PIXEL_MEAN", [0.0, 0, 0])
    augment = make_bbox_aug(cfg)
    plain, mirrored = (
        augment.detect_view(FindsBrightPatch(), [patch_image()], CPU, View(80, 130, flip))[0]
        for flip in (False, True)
    )
    assert plain.bbox[0].tolist() == mirrored.bbox[0].tolist() == [10, 20, 39, 59]


def test_one_view_is_plain_detection():
    """Without further views the detections, masks and keypoints are the plain model's."""
    heads = [*FPN_MASK, *FPN_KEYPOINT, *NARROW]
    plain = model_of(make_cfg(*SETTINGS, *heads))
    cfg = make_cfg(*SETTINGS, *heads, "TEST.BBOX_AUG.ENABLED", True)
    augment = make_bbox_aug(cfg)
    shown = to_image_list([augment.to_network(image)[0] for image in resized(cfg)], 32)
    with torch.no_grad():
        expected = plain(shown)
        found = augment(model_of(cfg), images(), CPU)
    for a, b in zip(found, expected, strict=True):
        assert a.size == b.size and len(a) == len(b) > 0 and set(a.fields()) == set(b.fields())
        torch.testing.assert_close(a.bbox, b.bbox)
        for name in ("scores", "labels", "mask"):
            torch.testing.assert_close(a.get_field(name), b.get_field(name))
        points = [boxes.get_field("keypoints").keypoints for boxes in (a, b)]
        torch.testing.assert_close(*points)


def resized(cfg):
    """Return the images in the plain model's size, resized by PIL."""
    for image, size in zip(images(), [(120, 80), (65, 130)], strict=True):
        yield np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def test_arrays_and_pil_images_are_the_same():
    cfg = make_cfg(*SETTINGS, *ALL_VIEWS)
    model, augment = model_of(cfg), make_bbox_aug(cfg)
    pictures = [Image.fromarray(image[:, :, ::-1]) for image in images()]
    view = View(50, 70, is_flipped=True)
    with torch.no_grad():
        both = [augment.detect_view(model, given, CPU, view) for given in (images(), pictures)]
    for a, b in zip(*both, strict=True):
        assert len(a) > 0 and torch.equal(a.bbox, b.bbox)


def test_fault_masks_with_augmentation():
    """The original's mask head gets boxes without labels and raises a KeyError.

    Ours gets the merged boxes in the first view.
    """
    cfg = make_cfg(*SETTINGS, *FPN_MASK, *NARROW, *ALL_VIEWS)
    model = model_of(cfg)
    calls = []
    model.roi_heads.mask.register_forward_hook(lambda _, given, __: calls.append(given[1]))
    with torch.no_grad():
        found = make_bbox_aug(cfg)(model, images(), CPU)
    (given,) = calls
    for boxes, result in zip(given, found, strict=True):
        assert torch.equal(boxes.bbox, result.bbox) and len(result) > 0
        assert result.get_field("mask").shape == (len(result), 1, 28, 28)


def test_the_original_functions_read_the_global_settings(monkeypatch):
    cfg = make_cfg(*SETTINGS, *ALL_VIEWS, "TEST.BBOX_AUG.SCALES", ())
    model = model_of(cfg)
    for section in ("INPUT", "TEST", "MODEL", "DATALOADER"):
        monkeypatch.setitem(global_cfg, section, cfg[section])
    augment = make_bbox_aug(cfg)
    with torch.no_grad():
        expected, found = augment(model, images(), CPU), im_detect_bbox_aug(model, images(), CPU)
        views = {
            View(60, 90): [im_detect_bbox, im_detect_bbox_scale],
            View(60, 90, True): [
                im_detect_bbox_hflip,
                lambda *args: im_detect_bbox_scale(*args, hflip=True),
            ],
        }
        for view, functions in views.items():
            pairs = augment.detect_view(model, images(), CPU, view)
            for function in functions:
                for a, b in zip(pairs, function(model, images(), 60, 90, CPU), strict=True):
                    assert torch.equal(a.bbox, b.bbox) and a.size == b.size
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a.bbox, b.bbox)
    kept = compute_on_dataset(model, [(images(), [None] * 2, [3, 5])], CPU, bbox_aug=True)
    assert torch.equal(kept[5].bbox, expected[1].bbox)


@pytest.mark.parametrize("kind", ["RPN_ONLY", "RETINANET_ON"])
def test_models_without_a_box_head_are_refused(kind):
    with pytest.raises(ValueError, match="TEST.BBOX_AUG.ENABLED .* set it to False"):
        build_detection_model(make_cfg(*SETTINGS, *ALL_VIEWS, f"MODEL.{kind}", True))


def test_a_model_built_without_augmentation_is_refused():
    cfg = make_cfg(*SETTINGS, *ALL_VIEWS)
    model = model_of(make_cfg(*SETTINGS))
    with torch.no_grad(), pytest.raises(ValueError, match=r"fields \['scores', 'labels'\]"):
        make_bbox_aug(cfg)(model, images(), CPU)


@pytest.fixture
def coco(tmp_path):
    """Return the name of a data set of two images."""
    annotations = [
        {
            **dict(image_id=image_id, category_id=1, bbox=[10, 9, 30, 21]),
            "segmentation": [[10, 9, 40, 9, 40, 30, 10, 30]],
        }
        for image_id in (4, 6)
    ]
    categories = {1: "a", 2: "b"}
    file, folder = make_coco_folder(
        tmp_path / "coco", {4: (90, 60), 6: (50, 100)}, categories, annotations
    )
    return f"coco:{file}:{folder}"


def test_coco_set_is_evaluated(coco, tmp_path):
    cfg = make_cfg(*SETTINGS, *FPN_MASK, *NARROW, *ALL_VIEWS, "DATASETS.TEST", (coco,))
    ((results, rows),) = run_test(cfg, model_of(cfg), False, output_dir=str(tmp_path)).values()
    assert 0 <= results.results["segm"]["AP"] < 1
    assert {row["image_id"] for row in rows["segm"]} == {4, 6}
    assert len(rows["bbox"]) == len(rows["segm"]) >= 10


def test_losses_while_training_goes_on_are_not_augmented(coco):
    cfg = make_cfg(*SETTINGS, *ALL_VIEWS, "DATASETS.TEST", (coco,))
    loader = make_data_loader(cfg, is_train=False, is_for_period=True)
    assert isinstance(loader.collate_fn, BatchCollator)
    batch, _, _ = next(iter(loader))
    assert batch.tensors.shape[1] == 3


@pytest.fixture
def tiles(tmp_path):
    """Make a folder with an image of 150 x 90, two tiles of 100."""
    objects = [rectangle(12, 20, 40, 41), rectangle(80, 30, 99, 60, "plane")]
    return make_dota_folder(tmp_path / "dota", {"P1": (150, 90, objects)})


def test_dota_tiles_are_evaluated_and_predicted(tiles, tmp_path):
    cfg = make_cfg(
        *(*SETTINGS, *FPN_MASK, *NARROW, *ALL_VIEWS, "DATASETS.TEST", (f"dota:{tiles}",)),
        *("DOTA.CLASSES", ("ship", "plane"), "DOTA.TILE", 100, "DOTA.OVERLAP", 20),
    )
    model = model_of(cfg)
    (metrics,) = run_test(cfg, model, False, output_dir=str(tmp_path / "out")).values()
    assert set(metrics) == {"task1", "task2"}
    (folder,) = (tmp_path / "out" / "inference").glob("[!.]*")
    lines = [
        line.split()
        for name in ("ship", "plane")
        for line in (folder / f"Task1_{name}.txt").read_text().splitlines()
    ]
    assert len(lines) > 0 and {line[0] for line in lines} == {"P1"}

    found = Predictor(cfg, model).predict(tiles / "images" / "P1.png")
    assert found.size == (150, 90) and found.has_field("corners")
    # the same network on the same two windows: what is written is what is predicted
    task2 = [
        float(line.split()[1])
        for name in ("ship", "plane")
        for line in (folder / f"Task2_{name}.txt").read_text().splitlines()
    ]
    assert sorted(task2) == pytest.approx(sorted(found.get_field("scores").tolist()), abs=1e-5)
