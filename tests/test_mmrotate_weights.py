"""mmrotate's checkpoints: names, epsilon, background, and what is refused."""

import pytest
import torch
from oriented_models import oriented_cfg, oriented_model

from maskrcnn_benchmark.config.paths_catalog import ModelCatalog
from maskrcnn_benchmark.utils.checkpoint import DetectronCheckpointer, load_trained
from maskrcnn_benchmark.utils.mmrotate_weights import from_mmrotate

RGB = [
    *("INPUT.TO_BGR255", False, "INPUT.PIXEL_MEAN", [0.485, 0.456, 0.406]),
    *("INPUT.PIXEL_STD", [0.229, 0.224, 0.225]),
]
LEVELS = range(1, 5)
NAMES = {
    "backbone.conv1.weight": "backbone.body.stem.conv1.weight",
    "backbone.bn1.running_mean": "backbone.body.stem.bn1.running_mean",
    "backbone.layer3.5.bn2.bias": "backbone.body.layer3.5.bn2.bias",
    "backbone.layer2.0.downsample.1.weight": "backbone.body.layer2.0.downsample.1.weight",
    "neck.lateral_convs.0.conv.weight": "backbone.fpn.fpn_inner1.weight",
    "neck.fpn_convs.3.conv.bias": "backbone.fpn.fpn_layer4.bias",
    "rpn_head.rpn_conv.weight": "rpn.head.conv.weight",
    "rpn_head.rpn_cls.bias": "rpn.head.cls_logits.bias",
    "rpn_head.rpn_reg.weight": "rpn.head.bbox_pred.weight",
    "roi_head.bbox_head.shared_fcs.0.weight": "roi_heads.box.feature_extractor.fc6.weight",
    "roi_head.bbox_head.shared_fcs.1.bias": "roi_heads.box.feature_extractor.fc7.bias",
    "roi_head.bbox_head.fc_reg.bias": "roi_heads.box.predictor.bbox_pred.bias",
}


@pytest.mark.parametrize("theirs", NAMES)
def test_names(theirs):
    value = torch.arange(3.0)
    translated = from_mmrotate({theirs: value})
    assert list(translated) == [NAMES[theirs]] and torch.equal(translated[NAMES[theirs]], value)


def test_epsilon_background_and_counters():
    state = {
        "backbone.bn1.running_var": torch.tensor([0.25]),
        "backbone.bn1.num_batches_tracked": torch.tensor(7),
        "roi_head.bbox_head.fc_cls.bias": torch.tensor([10.0, 11, 12, 13]),  # 13: background
    }
    translated = from_mmrotate(state)
    assert translated["backbone.body.stem.bn1.running_var"].item() == pytest.approx(0.25001)
    scores = translated["roi_heads.box.predictor.cls_score.bias"]
    assert scores.tolist() == [13, 10, 11, 12] and len(translated) == 2


def to_mmrotate(state):
    """Our weights by mmrotate's names, the other way round than from_mmrotate."""
    names = {ours: theirs for theirs, ours in NAMES.items()}
    renamed = {}
    for name, value in state.items():
        if "cell_anchors" in name:
            continue
        for ours, theirs in (
            ("backbone.body.stem.", "backbone."),
            ("backbone.body.", "backbone."),
            *(
                (f"backbone.fpn.fpn_inner{k + 1}.", f"neck.lateral_convs.{k}.conv.")
                for k in range(4)
            ),
            *((f"backbone.fpn.fpn_layer{k + 1}.", f"neck.fpn_convs.{k}.conv.") for k in range(4)),
            ("rpn.head.conv.", "rpn_head.rpn_conv."),
            ("rpn.head.cls_logits.", "rpn_head.rpn_cls."),
            ("rpn.head.bbox_pred.", "rpn_head.rpn_reg."),
            ("roi_heads.box.feature_extractor.fc6.", "roi_head.bbox_head.shared_fcs.0."),
            ("roi_heads.box.feature_extractor.fc7.", "roi_head.bbox_head.shared_fcs.1."),
            ("roi_heads.box.predictor.cls_score.", "roi_head.bbox_head.fc_cls."),
            ("roi_heads.box.predictor.bbox_pred.", "roi_head.bbox_head.fc_reg."),
        ):
            if name.startswith(ours):
                theirs_name = names.get(name, theirs + name.removeprefix(ours))
                if "fc_cls" in theirs_name:
                    value = value.roll(-1, dims=0)
                renamed[theirs_name] = value - 1e-5 if "running_var" in name else value
                break
    return renamed


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint in mmrotate's form, its path, and the model whose weights it holds."""
    model = oriented_model("oriented_rcnn")
    content = {"meta": {"epoch": 12, "CLASSES": ("plane",)}}
    content["state_dict"] = to_mmrotate(model.state_dict())
    path = tmp_path / "oriented_rcnn_r50_fpn_1x_dota_le90.pth"
    torch.save(content, path)
    return content, str(path), model


def test_a_whole_checkpoint_loads(checkpoint):
    _, path, source = checkpoint
    torch.manual_seed(5)
    model = oriented_model("oriented_rcnn")
    torch.nn.init.zeros_(model.rpn.head.conv.weight)
    load_trained(oriented_cfg("oriented_rcnn", *RGB), model, path, use_latest=False)
    for name, value in source.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (RGB[2:], "INPUT.TO_BGR255: expected False"),
        (RGB[:2], "INPUT.PIXEL_MEAN: expected"),
        ([*RGB, "MODEL.RESNETS.STRIDE_IN_1X1", True], "STRIDE_IN_1X1: expected False, got True"),
        ([*RGB, "MODEL.ORIENTED.METHOD", ""], "METHOD: expected oriented_rcnn"),
    ],
    ids=["channel order", "mean", "stride", "method"],
)
def test_other_settings_are_refused(checkpoint, options, told):
    cfg = oriented_cfg("oriented_rcnn", *options)
    with pytest.raises(ValueError, match=told):
        DetectronCheckpointer(cfg, checkpoint[2]).load(checkpoint[1])


def test_parts_that_we_lack_are_named(checkpoint):
    content, path, model = checkpoint
    content["state_dict"]["roi_head.mask_head.convs.0.conv.weight"] = torch.zeros(3)
    torch.save(content, path)
    with pytest.raises(ValueError, match="1 parts .*: roi_head.mask_head.convs.0.conv.weight"):
        DetectronCheckpointer(oriented_cfg("oriented_rcnn", *RGB), model).load(path)


def test_fault_a_deeper_network_lost_its_blocks_silently(checkpoint):
    """Of an R-101's weights under an R-50's config, layer3's last 17 blocks were left out."""
    content, path, model = checkpoint
    state = content["state_dict"]
    further = {k.replace("layer3.5.", "layer3.6."): v for k, v in state.items() if "layer3.5." in k}
    state.update(further)
    torch.save(content, path)
    told = "deeper network: 15 parts, such as backbone.body.layer3.6.conv1.weight, .* 'R-50-FPN'"
    with pytest.raises(ValueError, match=told):
        DetectronCheckpointer(oriented_cfg("oriented_rcnn", *RGB), model).load(path)


def test_the_public_file_is_in_the_catalog():
    address = ModelCatalog.get("mmrotate/oriented_rcnn_r50_fpn_1x_dota_le90")
    assert address.startswith("https://download.openmmlab.com/mmrotate/v0.1.0/oriented_rcnn/")
    assert address.endswith("/oriented_rcnn_r50_fpn_1x_dota_le90-6d2b2ce0.pth")


def test_the_figures_weights_load_whole(figures, tmp_path):
    known = figures("oriented_rcnn")
    path = str(tmp_path / "known.pth")
    torch.save({"state_dict": known.state_dict(), "meta": {}}, path)
    model = oriented_model("oriented_rcnn")
    load_trained(oriented_cfg("oriented_rcnn", *RGB), model, path, use_latest=False)
    found = model.state_dict()["backbone.fpn.fpn_inner3.weight"]
    assert torch.equal(found, known["sd/neck.lateral_convs.2.conv.weight"])
