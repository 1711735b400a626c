"""FBNet: blocks, tables and builder against hand computations; whole models on made images."""

import hashlib
import json

import pytest
import torch
from tiny_models import FBNET, made_batch, make_cfg, tiny_fbnet
from torch.nn import functional as F

from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.backbone import build_backbone, fbnet
from maskrcnn_benchmark.modeling.backbone import fbnet_builder as blocks
from maskrcnn_benchmark.modeling.backbone.fbnet_modeldef import (
    MODEL_ARCH,
    MODEL_ARCH_CHAM,
    add_archs,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList

OPS = """
    skip basic_block shift_5x5 shuffle ir_k1 ir_k3 ir_k5 ir_k7 ir_k3_sep ir_k7_sep
    ir_k3_e1 ir_k3_e3 ir_k3_e6 ir_k3_s2 ir_k3_s4 ir_k5_e1 ir_k5_e3 ir_k5_e6 ir_k5_s2 ir_k5_s4
    ir_k3_e1_se ir_k3_e3_se ir_k3_e6_se ir_k3_s2_se ir_k3_s4_se
    ir_k5_e1_se ir_k5_e3_se ir_k5_e6_se ir_k5_s2_se ir_k5_s4_se
    ir_k33_e1 ir_k33_e3 ir_k33_e6 ir_k7_e1 ir_k7_e3 ir_k7_e6
    ir_k7_sep_e1 ir_k7_sep_e3 ir_k7_sep_e6
""".split()
MASK = [
    *("MODEL.MASK_ON", True, "MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR", False),
    *("MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR", "FBNet.roi_head_mask"),
    *("MODEL.ROI_MASK_HEAD.PREDICTOR", "MaskRCNNConv1x1Predictor"),
    *("MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", 6, "MODEL.ROI_MASK_HEAD.RESOLUTION", 12),
]


# --- blocks


def test_every_op_keeps_its_promise_of_channels_and_size():
    assert set(blocks.PRIMITIVES) == set(OPS)
    for name, op in blocks.PRIMITIVES.items():
        assert op(16, 32, 4, 1)(torch.randn(2, 16, 7, 5)).shape == (2, 32, 7, 5), name
        rows = 7 if name == "ir_k1" else 4  # without a depthwise convolution there is no stride
        assert op(16, 32, 4, 2)(torch.randn(2, 16, 7, 5)).shape[:3] == (2, 32, rows), name


def test_every_op_takes_an_empty_batch_and_keeps_its_statistics():
    for name, op in blocks.PRIMITIVES.items():
        block = op(16, 32, 4, 1)
        before = {k: v.clone() for k, v in block.state_dict().items() if "running" in k}
        out = block(torch.zeros(0, 16, 7, 5))
        assert out.shape == (0, 32, 7, 5), name
        out.sum().backward()
        after = block.state_dict()
        assert all(torch.equal(after[k], v) for k, v in before.items()), name


def plain_layer(x, layer, **geometry):
    """Convolution, batch norm by its running statistics, ReLU where there is one."""
    x = F.conv2d(x, layer.conv.weight, **geometry)
    if hasattr(layer, "bn"):
        shape = (1, -1, 1, 1)
        mean, var = layer.bn.running_mean.view(shape), layer.bn.running_var.view(shape)
        x = (x - mean) / (var + 1e-5).sqrt() * layer.bn.weight.view(shape)
        x = x + layer.bn.bias.view(shape)
    return x.clamp(min=0) if hasattr(layer, "relu") else x


def randomise(module):
    generator = torch.Generator().manual_seed(4)
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.1)
    return module.eval()


def test_inverted_residual_against_a_plain_computation():
    block = blocks.IRFBlock(
        *(8, 8, 2, 1), kernel=5, shuffle_type="mid", pw_group=2, se=True, dw_skip_bn=True
    )
    randomise(block)
    x = torch.rand(2, 8, 6, 5)
    y = plain_layer(x, block.pw, groups=2)
    y = torch.stack([y[:, :8], y[:, 8:]], dim=2).flatten(1, 2)  # a b of the two groups in turn
    assert not hasattr(block.dw, "bn") and hasattr(block.dw, "relu")
    y = plain_layer(y, block.dw, groups=16, padding=2)
    y = plain_layer(y, block.pwl, groups=2) + x
    _, squeeze, _, excite, _ = block.se4.op
    scale = F.conv2d(y.mean(dim=(2, 3), keepdim=True), squeeze.weight, squeeze.bias).clamp(min=0)
    scale = F.conv2d(scale, excite.weight, excite.bias).sigmoid()
    torch.testing.assert_close(block(x), y * scale)


def test_two_depthwise_convolutions_skip_norm_and_relu_behind_the_second_only():
    block = blocks.IRFBlock(4, 6, 3, 2, cdw=True, dw_skip_bn=True, dw_skip_relu=True)
    assert [name for name, _ in block.dw.dw1.named_children()] == ["conv", "bn", "relu"]
    assert [name for name, _ in block.dw.dw2.named_children()] == ["conv"]
    assert block.dw.dw1.conv.stride == (2, 2) and block.dw.dw2.conv.stride == (1, 1)


def test_negative_strides_enlarge_by_repeating():
    block = randomise(blocks.IRFBlock(4, 6, 2, -2))
    x = torch.rand(1, 4, 3, 5)
    y = plain_layer(x, block.pw).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    y = plain_layer(plain_layer(y, block.dw, groups=8, padding=1), block.pwl)
    torch.testing.assert_close(block(x), y)
    assert blocks.IRFBlock(4, 6, 2, (-4, -2))(x).shape == (1, 6, 12, 10)


def test_shift_moves_channels_by_the_cells_of_the_window():
    shift = blocks.Shift(11, 3, 1, 1)
    # 11 channels over 9 cells: one each, and the middle cell (channels 4, 5, 6) has the two others
    x = torch.arange(11 * 4 * 5.0).view(1, 11, 4, 5)
    y = shift(x)
    assert torch.equal(y[0, 4:7], x[0, 4:7])
    assert torch.equal(y[0, 0, 1:, 1:], x[0, 0, :-1, :-1]) and not y[0, 0, 0].any()
    assert torch.equal(y[0, 10, :-1, :-1], x[0, 10, 1:, 1:]) and not y[0, 10, -1].any()
    assert not shift.kernel.requires_grad


def test_channels_are_dealt_out_in_turn():
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert blocks.ChannelShuffle(2)(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    with pytest.raises(ValueError, match="6 channels cannot be cut into 4 groups"):
        blocks.ChannelShuffle(4)(x)


def test_identity_and_cascade():
    x = torch.rand(2, 4, 7, 5)
    assert blocks.Identity(4, 4, 1)(x) is x
    assert blocks.Identity(4, 6, 2)(x).shape == (2, 6, 4, 3)
    cascade = randomise(blocks.CascadeConv3x3(4, 4, 1))
    plain = torch.nn.Sequential(*cascade.children())
    torch.testing.assert_close(cascade(x), plain(x) + x)
    assert not blocks.CascadeConv3x3(4, 4, 2).res_connect


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: blocks.ConvBNRelu(3, 4, 3, 3, 1, True, "relu", "bn"), "stride 1, 2 or 4"),
        (lambda: blocks.ConvBNRelu(3, 4, 3, 1, 1, True, "relu", "gn"), r"\('gn', groups\)"),
        (lambda: blocks.IRFBlock(4, 4, 1, 3), "a stride is 1, 2, 4"),
        (lambda: blocks.IRFBlock(4, 4, 1, 1, kernel=4), "kernel is 1, 3, 5 or 7, got 4"),
        (lambda: blocks.CascadeConv3x3(4, 4, 4), "stride of CascadeConv3x3 is 1 or 2, got 4"),
        (lambda: blocks.Shift(9, 3, 3, 1), "stride of Shift is 1 or 2, got 3"),
    ],
    ids=["conv stride", "norm", "block stride", "kernel", "cascade stride", "shift stride"],
)
def test_blocks_refuse_what_does_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- builder and tables


def test_widths_are_multiples_of_the_divisor_with_halves_upwards():
    builder = blocks.FBNetBuilder(0.5, width_divisor=8)
    # 24 * 0.5 = 12 = 1.5 * 8, upwards: 16; 40 * 0.5 = 20 = 2.5 * 8: 24; 32 * 0.5 = 16 stays
    widths = [builder.add_first([c, 2]).conv.out_channels for c in (24, 40, 32)]
    assert widths == [16, 24, 16] and builder.last_depth == 16
    # the original's rule for widths that round to 0: 6 * 0.5 = 3 channels become 8 * 8
    assert builder.add_first([6, 2]).conv.out_channels == 64


def test_first_and_last_layers():
    builder = blocks.FBNetBuilder(1.5, bn_type="af", width_divisor=1)
    first = builder.add_first([20, 4, 5], dim_in=2)
    assert first.conv.weight.shape == (30, 2, 5, 5)
    assert first.conv.stride == (4, 4) and first.conv.padding == (2, 2)
    assert type(first.bn).__name__ == "FrozenBatchNorm2d" and first.conv.bias is None
    assert len(builder.add_last([40, 0.0])) == 0 and builder.last_depth == 30
    assert builder.add_last([40, 0.5]).conv.weight.shape[:2] == (30, 30)  # 40 * 1.5 * 0.5
    assert builder.add_last([40, -2.0]).conv.weight.shape[:2] == (60, 30)  # 30 * 2
    narrow = blocks.FBNetBuilder(0.5)
    narrow.last_depth = 7
    assert narrow.add_last([40, 1.0]).conv.out_channels == 40  # ratios below one do not count


def test_stages_are_spelt_out_block_by_block():
    stages = [[[6, 24, 2, 2]], [[4, 8, 1, -2], [3, 16, 2, 1]]]
    assert blocks.expand_stages_cfg(stages) == [
        [[6, 24, 1, 2], [6, 24, 1, 1]],
        [[4, 8, 1, -2], [3, 16, 1, 1], [3, 16, 1, 1]],
    ]
    table = {
        "block_op_type": [["a", "b"], ["c", "d", "e"]],
        "block_cfg": {"first": [8, 2], "stages": stages, "rpn": [1]},
        "rpn_stride": 16,
    }
    unified = blocks.unify_arch_def(table)
    assert sorted(unified) == ["first", "rpn", "rpn_stride", "stages"]
    assert blocks.get_num_stages(unified) == 2
    assert unified["stages"][3] == {
        **{"stage_idx": 1, "block_idx": 1, "block": [3, 16, 1, 1], "block_op_type": "d"}
    }
    chosen = blocks.get_blocks(unified, [1], [0, 2])
    assert [b["block_op_type"] for b in chosen["stages"]] == ["c", "e"]
    chosen["stages"][0]["block"][3] = 9  # a copy: the table stays as it was
    assert len(blocks.get_blocks(unified, None, [])["stages"]) == 5
    assert unified["stages"][2]["block"][3] == -2

    table["block_op_type"][1].pop()
    with pytest.raises(ValueError, match=r"expected \[2, 3\] ops, got \[2, 2\]"):
        blocks.unify_arch_def(table)
    with pytest.raises(ValueError, match="needs 'block_op_type' and 'block_cfg'"):
        blocks.unify_arch_def({"block_cfg": {"stages": []}})


def test_blocks_are_named_after_stage_and_place():
    builder = blocks.FBNetBuilder(1.0)
    builder.last_depth = 4
    entry = {"stage_idx": 2, "block_idx": 1, "block": [3, 6, 1, 2], "block_op_type": "ir_k5"}
    layers = builder.add_blocks([entry, {**entry, "block_idx": 2, "block_op_type": "skip"}])
    assert [name for name, _ in layers.named_children()] == ["xif2_1", "xif2_2"]
    assert layers.xif2_1.pw.conv.weight.shape == (12, 4, 1, 1) and builder.last_depth == 6
    with pytest.raises(ValueError, match="got 1 of 'nothing'"):
        builder.add_ir_block([3, 6, 1, 2], ["nothing"])


def test_architectures_are_the_originals():
    text = json.dumps(MODEL_ARCH, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "2f574605695120b1"
    assert sorted(MODEL_ARCH_CHAM) == ["cham_v1a", "cham_v2"]
    assert MODEL_ARCH["default"]["block_cfg"]["stages"][6] == [
        *([4, 160, 1, 1], [6, 160, 3, 1], [3, 80, 1, -2])
    ]
    with pytest.raises(ValueError, match=r"\['default'\] exist already"):
        add_archs({"default": {}})


def test_an_architecture_of_ones_own_comes_as_json():
    table = {
        "block_op_type": [["ir_k3"], ["ir_k3", "ir_k5_e3"]],
        "block_cfg": {
            **{"first": [8, 2], "stages": [[[1, 8, 1, 2]], [[2, 12, 2, 2]]], "last": [0, 0.0]},
            **{"backbone": [0, 1], "rpn": [0], "bbox": [1]},
        },
        "rpn_stride": 8,
    }
    cfg = make_cfg("MODEL.BACKBONE.CONV_BODY", "FBNet", "MODEL.FBNET.ARCH", "mine")
    with pytest.raises(ValueError, match="'mine' is not among"):
        fbnet.create_builder(cfg)
    cfg.MODEL.FBNET.ARCH_DEF = json.dumps(table)
    with pytest.raises(ValueError, match=r"needs MODEL.RPN.ANCHOR_STRIDE \(8,\), got \(16,\)"):
        fbnet.create_builder(cfg)
    cfg.MODEL.RPN.ANCHOR_STRIDE = (8,)
    body = build_backbone(cfg)
    (features,) = body(torch.randn(1, 3, 32, 48))
    assert features.shape == (1, 12, 4, 6) and body.out_channels == 12
    cfg.MODEL.FBNET.ARCH = "default"
    with pytest.raises(ValueError, match="ARCH_DEF differs from the architecture"):
        fbnet.create_builder(cfg)


def test_fault_group_norm_is_read_from_where_the_config_has_it():
    options = [*FBNET, "MODEL.FBNET.SCALE_FACTOR", 1.0, "MODEL.FBNET.RPN_BN_TYPE", "gn"]
    cfg = make_cfg(*options, "MODEL.GROUP_NORM.NUM_GROUPS", 4)
    head = fbnet.add_rpn_head(cfg, 96, 3)
    assert head[0].head.xif5_0.pw.bn.num_groups == 4
    builder, _ = fbnet.create_builder(make_cfg("MODEL.FBNET.BN_TYPE", "gn"))
    assert builder.bn_type == ("gn", 32)


# --- heads and whole models


def test_rpn_head_uses_the_last_blocks():
    head = fbnet.add_rpn_head(make_cfg(*FBNET, "MODEL.FBNET.RPN_HEAD_BLOCKS", 2), 24, 6)
    assert [name for name, _ in head[0].head.named_children()] == ["xif5_1", "xif5_2"]
    logits, codes = head([torch.randn(2, 24, 4, 5), torch.randn(2, 24, 2, 3)])
    assert logits[1].shape == (2, 6, 2, 3) and codes[0].shape == (2, 24, 4, 5)
    with pytest.raises(ValueError, match="must be at most 3 for this architecture, got 4"):
        fbnet.add_rpn_head(make_cfg(*FBNET, "MODEL.FBNET.RPN_HEAD_BLOCKS", 4), 24, 6)
    with pytest.raises(ValueError, match="no stage 'rpn'"):
        fbnet.add_rpn_head(make_cfg(*FBNET, "MODEL.FBNET.ARCH", "mobilenet_v2"), 24, 6)


@pytest.mark.parametrize(
    ("extractors", "name", "prefix"),
    [
        (registry.ROI_BOX_FEATURE_EXTRACTORS, "FBNet.roi_head", "DET"),
        (registry.ROI_MASK_FEATURE_EXTRACTORS, "FBNet.roi_head_mask", "MASK"),
        (registry.ROI_KEYPOINT_FEATURE_EXTRACTORS, "FBNet.roi_head_keypoints", "KPTS"),
    ],
    ids=["box", "mask", "keypoint"],
)
def test_heads_obey_their_keys(extractors, name, prefix):
    cfg = make_cfg(
        *FBNET,
        *(f"MODEL.FBNET.{prefix}_HEAD_BLOCKS", [0, 1], f"MODEL.FBNET.{prefix}_HEAD_STRIDE", 1),
        *(f"MODEL.FBNET.{prefix}_HEAD_LAST_SCALE", -0.5),
    )
    head = extractors[name](cfg, 24)
    names = [name for name, _ in head.head.blocks.named_children()]
    stage = {"DET": 4, "MASK": 6}.get(prefix)
    assert stage is None or names == [f"xif{stage}_0", f"xif{stage}_1"]
    assert head.head.blocks[0].use_res_connect is False
    widest = head.head.blocks[-1].output_depth
    # half of it, as a multiple of 8 with halves upwards
    assert head.out_channels == head.head.last.conv.out_channels == (widest // 2 + 4) // 8 * 8
    boxes = BoxList([[3.0, 2, 40, 30], [8, 6, 70, 60]], (96, 80))
    out = head([torch.randn(1, 24, 5, 6)], [boxes])
    assert out.shape[:2] == (2, head.out_channels)
    with pytest.raises(ValueError, match="is 0, 1 or 2, got 3"):
        cfg.merge_from_list([f"MODEL.FBNET.{prefix}_HEAD_STRIDE", 3])
        extractors[name](cfg, 24)


def test_fbnet_trains_with_a_gradient_for_every_parameter_and_detects():
    model = tiny_fbnet(*MASK)
    images, targets = made_batch()
    losses = model(images, targets)
    assert "loss_mask" in losses
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        results = model.eval()(images)
    assert [r.size for r in results] == [(128, 96), (128, 96)]
    for result in results:
        assert result.get_field("mask").shape[1:] == (1, 12, 12)


def test_fault_batch_without_ground_truth_leaves_fbnets_statistics_finite():
    model = tiny_fbnet(*MASK)
    losses = model(*made_batch(counts=(0, 0)))
    sum(losses.values()).backward()
    assert losses["loss_mask"] == 0
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(v.isfinite().all() for v in model.state_dict().values())
