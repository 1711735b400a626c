"""Whole models: the original's parameters, training and detection on made images."""

import hashlib
from pathlib import Path

import pytest
import torch
from tiny_models import FPN_BODY, FPN_MASK, made_batch, make_cfg, tiny_mask_rcnn

from maskrcnn_benchmark.config.settings import given_keys, load_config
from maskrcnn_benchmark.data.num_classes import settle_num_classes
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures import crowd

ROOT = Path(__file__).resolve().parents[1]
WIDE = ["MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 256, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 16]
GN = [
    *("MODEL.RESNETS.STEM_FUNC", "StemWithGN", "MODEL.RESNETS.TRANS_FUNC", "BottleneckWithGN"),
    *("MODEL.FPN.USE_GN", True, "MODEL.ROI_BOX_HEAD.USE_GN", True),
    *("MODEL.ROI_MASK_HEAD.USE_GN", True),
    *("MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR", "FPNXconv1fcFeatureExtractor"),
]
# number of entries and SHA-256 (first 16 digits) of the original's sorted "name shape" lines
ORIGINAL = {
    "faster_R50_FPN": (FPN_BODY + WIDE, 300, "0cbfddc080e82e53"),
    "mask_R50_FPN": (FPN_BODY + FPN_MASK + WIDE, 312, "f561141622aa9c6b"),
    "mask_R50_FPN_agnostic": (
        [*FPN_BODY, *FPN_MASK, *WIDE, "MODEL.CLS_AGNOSTIC_BBOX_REG", True],
        *(312, "2a2627adb884c276"),
    ),
    "faster_R50_C4": (["MODEL.ROI_BOX_HEAD.NUM_CLASSES", 16], 276, "6e5d7729424e4027"),
    "mask_R50_C4": (
        ["MODEL.ROI_BOX_HEAD.NUM_CLASSES", 16, "MODEL.MASK_ON", True],
        *(330, "e7d06e907f443878"),
    ),
    "rpn_R50_FPN": ([*FPN_BODY, *WIDE, "MODEL.RPN_ONLY", True], 292, "b7ba5619d84ef34d"),
    "mask_R50_FPN_GN": (FPN_BODY + FPN_MASK + WIDE + GN, 228, "cf0a92e925d7f0a7"),
}

# the same of models that the original's own files describe
SIXTEEN = ["MODEL.ROI_BOX_HEAD.NUM_CLASSES", 16, "MODEL.RETINANET.NUM_CLASSES", 16]
WIDE_LAST = ["MODEL.FBNET.DET_HEAD_LAST_SCALE", -1.0]
ORIGINAL_OF_FILES = {
    "keypoint_R50_FPN": ("e2e_keypoint_rcnn_R_50_FPN_1x", [], 318, "b1eb7a0a2b0bb75e"),
    "retinanet_R50_FPN": ("retinanet/retinanet_R-50-FPN_1x", SIXTEEN, 306, "d791356ced33ee32"),
    "retinanet_P5": ("retinanet/retinanet_R-50-FPN_P5_1x", SIXTEEN, 306, "bd37f6e58cfa4394"),
    "faster_X101_FPN": ("e2e_faster_rcnn_X_101_32x8d_FPN_1x", SIXTEEN, 555, "0fe4504da2c2d857"),
    "faster_fbnet": ("e2e_faster_rcnn_fbnet", WIDE_LAST, 281, "9185cebb7db2d641"),
}


@pytest.mark.parametrize("name", [*ORIGINAL, *ORIGINAL_OF_FILES])
def test_parameter_names_and_shapes_are_the_originals(name):
    cfg = make_cfg()
    if name in ORIGINAL:
        options, count, digest = ORIGINAL[name]
    else:
        file, options, count, digest = ORIGINAL_OF_FILES[name]
        cfg.merge_from_file(str(ROOT / "configs" / f"{file}.yaml"))
    cfg.merge_from_list(options)
    with torch.device("meta"):
        model = build_detection_model(cfg)
    lines = sorted(f"{key} {tuple(value.shape)}" for key, value in model.state_dict().items())
    assert len(lines) == count
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize(
    "config", sorted((ROOT / "configs/dota").glob("*.yaml")), ids=lambda p: p.stem
)
def test_dota_configs_build_their_models(config):
    cfg = settle_num_classes(load_config(str(config), []), given_keys(str(config), []))
    with torch.device("meta"):
        model = build_detection_model(cfg)
    classes = 1 if config.stem == "airplanes_cpu" else 15
    assert model.roi_heads.box.predictor.cls_score.out_features == classes + 1
    assert config.read_text().startswith("#") and "tools/train_net.py" in config.read_text()


def test_training_gives_the_five_losses_and_a_gradient_for_every_parameter():
    model = tiny_mask_rcnn("MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0)
    losses = model(*made_batch())
    assert set(losses) == {
        *("loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg")
    }
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


VARIANTS = {
    "ResNeXt": ["MODEL.RESNETS.NUM_GROUPS", 4, "MODEL.RESNETS.WIDTH_PER_GROUP", 4],
    "deformable": ["MODEL.RESNETS.STAGE_WITH_DCN", (False, True, True, True)],
    "modulated": [
        *("MODEL.RESNETS.STAGE_WITH_DCN", (False, True, True, True)),
        *("MODEL.RESNETS.WITH_MODULATED_DCN", True, "MODEL.RESNETS.DEFORMABLE_GROUPS", 2),
    ],
    "GroupNorm": [*GN, "MODEL.GROUP_NORM.NUM_GROUPS", 4, "MODEL.ROI_BOX_HEAD.CONV_HEAD_DIM", 8],
    "agnostic": ["MODEL.CLS_AGNOSTIC_BBOX_REG", True],
    "RPN only": ["MODEL.RPN_ONLY", True, "MODEL.MASK_ON", False],
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_of_model_gives_each_parameter_a_gradient_and_boxes_inside_the_image(name):
    model = tiny_mask_rcnn("MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0, *VARIANTS[name])
    images, targets = made_batch()
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        results = model.eval()(images)
    for found in results:
        x1, y1, x2, y2 = found.bbox.unbind(dim=1)
        assert 0 <= min(x1.min(), y1.min()) and x2.max() <= 127 and y2.max() <= 95


def test_fault_batch_without_ground_truth_trains_as_background():
    model = tiny_mask_rcnn("MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0)
    losses = model(*made_batch(counts=(0, 0)))
    sum(losses.values()).backward()
    values = {name: float(v.detach()) for name, v in losses.items()}
    assert values["loss_mask"] == values["loss_box_reg"] == values["loss_rpn_box_reg"] == 0
    assert values["loss_classifier"] > 0 and values["loss_objectness"] > 0
    # every process must have a gradient for every parameter, with any images
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_bad_ground_truth_changes_no_loss():
    images, targets = made_batch()
    model = tiny_mask_rcnn()
    torch.manual_seed(7)
    clean = model(images, targets)
    images, targets = made_batch()
    bad = [[30.0, 30.0, 20.0, 40.0], [float("nan"), 0, 5, 5], [500.0, 500.0, 520.0, 530.0]]
    for target in targets:
        target.bbox = torch.cat([target.bbox, torch.tensor(bad)])
        target.add_field("labels", torch.cat([target.get_field("labels"), torch.ones(3).long()]))
        old = target.get_field("masks")
        outlines = [[p.tolist() for p in m.polygons] for m in old.instances.polygons]
        outlines += [[[1.0, 1.0, 5.0, 1.0, 5.0, 5.0]]] * 3
        target.add_field("masks", type(old)(outlines, old.size, mode="poly"))
    torch.manual_seed(7)
    spoilt = model(images, targets)
    assert {k: float(v.detach()) for k, v in spoilt.items()} == {
        k: float(v.detach()) for k, v in clean.items()
    }


@pytest.mark.parametrize("mode", ["cpu", "off"])
def test_every_crowd_mode_gives_the_same_losses(mode):
    images, targets = made_batch(counts=(120, 4))
    before = crowd.get_policy()
    try:
        results = []
        for chosen in ("stream", mode):
            model = tiny_mask_rcnn("MODEL.CROWD.MODE", chosen, "MODEL.CROWD.BLOCK_MB", 1)
            torch.manual_seed(7)
            results.append({k: float(v.detach()) for k, v in model(images, targets).items()})
    finally:
        crowd.set_policy(before)
    assert results[0] == results[1]


def test_detection_returns_boxes_scores_labels_and_masks():
    model = tiny_mask_rcnn("MODEL.ROI_HEADS.SCORE_THRESH", 0.0).eval()
    images, _ = made_batch()
    with torch.no_grad():
        results = model(images)
    assert [r.size for r in results] == [(128, 96), (128, 96)]
    for result in results:
        assert len(result) > 0
        assert sorted(result.fields()) == ["labels", "mask", "scores"]
        assert result.get_field("mask").shape[1:] == (1, 28, 28)
        assert set(result.get_field("labels").tolist()) <= {1, 2, 3}
        assert result.bbox.min() >= 0 and result.bbox[:, 2].max() <= 127


def test_batches_give_what_single_images_give():
    model = tiny_mask_rcnn("MODEL.ROI_HEADS.SCORE_THRESH", 0.1).eval()
    images, _ = made_batch()
    with torch.no_grad():
        together, alone = model(images), [model([image])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert len(a) == len(b)
        # layers round the last bits of another shape otherwise, and later layers enlarge that
        torch.testing.assert_close(a.bbox, b.bbox, atol=1e-3, rtol=0)


def test_proposals_alone_are_sorted_by_objectness():
    model = tiny_mask_rcnn("MODEL.RPN_ONLY", True, "MODEL.MASK_ON", False)
    images, targets = made_batch()
    assert set(model(images, targets)) == {"loss_objectness", "loss_rpn_box_reg"}
    with torch.no_grad():
        scores = model.eval()(images)[0].get_field("objectness")
    assert len(scores) > 10 and torch.equal(scores, scores.sort(descending=True).values)


def test_a_model_in_training_needs_targets():
    with pytest.raises(ValueError, match="needs targets"):
        tiny_mask_rcnn()(made_batch()[0])


def test_unknown_architecture_is_named():
    with pytest.raises(ValueError, match="'Nothing'; known: GeneralizedRCNN"):
        build_detection_model(make_cfg("MODEL.META_ARCHITECTURE", "Nothing"))


def test_mixed_precision_stays_close():
    images, targets = made_batch()
    model = tiny_mask_rcnn()
    torch.manual_seed(7)
    exact = model(images, targets)
    torch.manual_seed(7)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(images, targets)
    for name, value in exact.items():
        torch.testing.assert_close(rough[name].float(), value, rtol=0.2, atol=0.05)
