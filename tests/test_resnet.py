import pytest
import torch
import torchvision

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.layers import DFConv2d, FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.backbone import build_backbone, resnet
from maskrcnn_benchmark.modeling.make_layers import set_group_norm_from_cfg
from maskrcnn_benchmark.utils.model_serialization import load_state_dict

NARROW = (
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 4),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 24),
)
GROUP_NORM = (
    *("MODEL.RESNETS.STEM_FUNC", "StemWithGN", "MODEL.RESNETS.TRANS_FUNC", "BottleneckWithGN"),
    *("MODEL.GROUP_NORM.NUM_GROUPS", 4, "MODEL.FPN.USE_GN", True),
)


def _cfg(conv_body: str, *options):
    cfg = global_cfg.clone()
    cfg.merge_from_list(["MODEL.BACKBONE.CONV_BODY", conv_body, *options])
    return cfg


@pytest.fixture(autouse=True)
def group_norm_of_the_global_config():
    yield
    set_group_norm_from_cfg(None)


@pytest.mark.parametrize(
    ("conv_body", "channels", "strides"),
    [
        ("R-50-C4", [64], [16]),
        ("R-50-C5", [128], [32]),
        ("R-50-FPN", [24] * 5, [4, 8, 16, 32, 64]),
        ("R-50-FPN-RETINANET", [24] * 5, [8, 16, 32, 64, 128]),
        ("R-101-C4", [64], [16]),
        ("R-152-FPN", [24] * 5, [4, 8, 16, 32, 64]),
    ],
)
def test_shapes_of_the_results(conv_body, channels, strides):
    backbone = build_backbone(_cfg(conv_body, *NARROW))
    assert backbone.out_channels == 24
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, 128, 256))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, 128 // s, 256 // s) for c, s in zip(channels, strides, strict=True)
    ]


def test_depths_and_widths_of_the_stages():
    body = resnet.ResNet(_cfg("R-152-FPN", *NARROW, "MODEL.RESNETS.NUM_GROUPS", 2))
    assert [len(getattr(body, name)) for name in body.stages] == [3, 8, 36, 3]
    last = body.layer4[0]
    assert last.conv2.weight.shape == (64, 32, 3, 3)  # 2 groups * 4 wide * 2^3
    assert last.conv3.weight.shape == (128, 64, 1, 1)  # 16 * 2^3
    assert last.conv1.stride == (2, 2) and last.conv2.stride == (1, 1)
    body = resnet.ResNet(_cfg("R-50-C4", *NARROW, "MODEL.RESNETS.STRIDE_IN_1X1", False))
    assert body.layer3[0].conv1.stride == (1, 1) and body.layer3[0].conv2.stride == (2, 2)
    assert body.layer3[1].conv2.stride == (1, 1)


def test_state_dict_names():
    names = set(build_backbone(_cfg("R-50-FPN", *NARROW)).state_dict())
    assert {
        "body.stem.conv1.weight",
        "body.stem.bn1.running_var",
        "body.layer1.0.downsample.0.weight",
        "body.layer1.0.downsample.1.bias",
        "body.layer4.2.bn3.weight",
        "fpn.fpn_inner1.weight",
        "fpn.fpn_layer4.bias",
    } <= names
    # 53 convolutions with 4 buffers per convolution, 8 FPN layers with weight and bias
    assert len(names) == 53 * 5 + 16
    names = set(build_backbone(_cfg("R-50-FPN", *NARROW, *GROUP_NORM)).state_dict())
    assert {"fpn.fpn_inner1.0.weight", "fpn.fpn_inner1.1.bias", "body.stem.bn1.weight"} <= names
    assert len(names) == 53 * 3 + 8 * 3


def test_same_numbers_as_torchvision():
    torch.manual_seed(0)
    reference = torchvision.models.resnet50(norm_layer=FrozenBatchNorm2d, width_per_group=64)
    for norm in (m for m in reference.modules() if isinstance(m, FrozenBatchNorm2d)):
        for buffer in norm.buffers():
            buffer.uniform_(0.3, 0.6)
    body = resnet.ResNet(
        _cfg(
            "R-50-C5", "MODEL.RESNETS.STRIDE_IN_1X1", False, "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0
        )
    )
    report = load_state_dict(body, reference.state_dict())
    assert not report.missing and not report.misfits
    reference.fc = reference.avgpool = torch.nn.Identity()
    x = torch.rand(1, 3, 64, 96)
    (ours,), theirs = body(x), reference(x).view(1, 2048, 2, 3)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
    ours.sum().backward()
    theirs.sum().backward()
    ours, theirs = body.layer2[0].conv2.weight.grad, reference.layer2[0].conv2.weight.grad
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize(
    ("freeze_at", "trained"),
    [
        (-1, ["stem", "layer1", "layer2", "layer3", "layer4"]),
        (0, ["stem", "layer1", "layer2", "layer3", "layer4"]),
        (1, ["layer1", "layer2", "layer3", "layer4"]),
        (3, ["layer3", "layer4"]),
        (5, []),
    ],
)
def test_freezing(freeze_at, trained):
    cfg = _cfg("R-50-FPN", *NARROW, "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", freeze_at)
    body = resnet.ResNet(cfg)
    parts = [name.split(".")[0] for name, p in body.named_parameters() if p.requires_grad]
    assert sorted(set(parts), key=trained.index) == trained


def test_initial_weights_are_kaiming_uniform():
    body = resnet.ResNet(_cfg("R-50-C4"))
    for conv, fan_in in (
        (body.stem.conv1, 3 * 49),
        (body.layer1[0].downsample[0], 64),
        (body.layer2[1].conv2, 128 * 9),
        (body.layer3[0].conv3, 256),
    ):
        bound = (3 / fan_in) ** 0.5
        assert conv.weight.abs().max().item() == pytest.approx(bound, rel=0.02)
        assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_group_norm_takes_the_settings_of_its_own_config():
    body = build_backbone(_cfg("R-50-FPN", *NARROW, *GROUP_NORM))
    assert body.body.stem.bn1.num_groups == 4  # the global config says 32
    assert body.fpn.fpn_layer1[1].num_groups == 4


def test_stages_with_deformable_convolutions():
    cfg = _cfg("R-50-FPN", *NARROW, "MODEL.RESNETS.STAGE_WITH_DCN", (False, False, True, True))
    body = resnet.ResNet(cfg)
    assert not isinstance(body.layer2[0].conv2, DFConv2d)
    assert isinstance(body.layer3[5].conv2, DFConv2d)
    assert not body.layer3[5].conv2.with_modulated_dcn
    assert [m.shape[2:] for m in body(torch.rand(1, 3, 64, 96))][-1] == (2, 3)


def test_head_of_the_last_stage():
    head = resnet.ResNetHead(
        "BottleneckWithFixedBatchNorm",
        [resnet.StageSpec(index=4, block_count=3, return_features=False)],
        width_per_group=4,
        res2_out_channels=16,
    )
    assert head.out_channels == 128 and list(head.state_dict())[0].startswith("layer4.0.")
    assert head(torch.rand(2, 64, 14, 12)).shape == (2, 128, 7, 6)
    dilated = resnet.ResNetHead(
        "BottleneckWithFixedBatchNorm",
        [resnet.StageSpec(4, 1, False)],
        width_per_group=4,
        res2_out_channels=16,
        dilation=2,
    )
    assert dilated(torch.rand(2, 64, 14, 12)).shape == (2, 128, 14, 12)
    unstrided = resnet.ResNetHead(
        "BottleneckWithFixedBatchNorm",
        (resnet.StageSpec(3, 1, False), resnet.StageSpec(4, 1, False)),
        width_per_group=4,
        stride_init=1,
        res2_out_channels=16,
    )
    assert unstrided(torch.rand(2, 32, 14, 12)).shape == (2, 128, 7, 6)


def test_gradients_reach_every_unfrozen_parameter():
    backbone = build_backbone(_cfg("R-50-FPN", *NARROW, *GROUP_NORM))
    sum(level.square().sum() for level in backbone(torch.rand(2, 3, 64, 96))).backward()
    without = [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_unknown_body_lists_the_known():
    with pytest.raises(ValueError, match="'R-51-FPN' is not registered; there are: .*R-50-FPN"):
        build_backbone(_cfg("R-51-FPN"))
