import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.modeling import make_layers
from maskrcnn_benchmark.modeling.utils import cat


@pytest.fixture(autouse=True)
def settings_of_the_global_config():
    make_layers.set_group_norm_from_cfg(None)
    yield
    make_layers.set_group_norm_from_cfg(None)


@pytest.mark.parametrize(
    ("dim", "per_group", "groups", "expected"), [(64, -1, 32, 32), (64, 16, -1, 4)]
)
def test_groups(dim, per_group, groups, expected):
    assert make_layers.get_group_gn(dim, per_group, groups) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((64, -1, -1), "exactly one of"),
        ((64, 8, 8), "exactly one of"),
        ((60, -1, 32), "60 channels cannot be cut into NUM_GROUPS 32"),
        ((60, 16, -1), "60 channels cannot be cut into groups of DIM_PER_GP 16"),
    ],
)
def test_groups_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_layers.get_group_gn(*arguments)


def test_group_norm_by_hand():
    norm = make_layers.group_norm(64)
    x = torch.arange(2 * 64 * 2.0).view(2, 64, 1, 2)
    group = x[1, 2:4]  # the second of the 32 groups of two channels
    expected = (group - group.mean()) / (group.var(unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x)[1, 2:4], expected)
    assert (norm.num_groups, norm.eps, norm.affine) == (32, 1e-5, True)


def test_group_norm_follows_the_config_that_the_model_is_built_from():
    cfg = global_cfg.clone()
    cfg.MODEL.GROUP_NORM.NUM_GROUPS, cfg.MODEL.GROUP_NORM.EPSILON = 8, 0.5
    make_layers.set_group_norm_from_cfg(cfg)
    norm = make_layers.group_norm(64, affine=False, divisor=2)
    assert (norm.num_groups, norm.num_channels, norm.eps) == (4, 32, 0.5)
    assert norm.weight is None
    make_layers.set_group_norm_from_cfg(None)
    assert make_layers.group_norm(64).num_groups == 32


def test_conv3x3_alone_and_with_company():
    conv = make_layers.make_conv3x3(32, 64, dilation=2, stride=2)
    assert isinstance(conv, nn.Conv2d) and not conv.bias.any()
    assert conv(torch.zeros(1, 32, 9, 12)).shape == (1, 64, 5, 6)
    # Kaiming normal, fan out: std sqrt(2 / (64 * 9)) = 0.0589
    assert conv.weight.std().item() == pytest.approx(0.0589, rel=0.05)
    plain = make_layers.make_conv3x3(32, 64, kaiming_init=False)
    assert plain.weight.std().item() == pytest.approx(0.01, rel=0.05)
    block = make_layers.make_conv3x3(32, 64, use_gn=True, use_relu=True)
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.GroupNorm, nn.ReLU]
    assert block[0].bias is None


def test_fc_and_conv_with_kaiming_uniform():
    fc = make_layers.make_fc(48, 64)
    # Kaiming uniform with a = 1: bound sqrt(3 / 48) = 0.25
    assert 0.24 < fc.weight.abs().max() <= 0.25 and not fc.bias.any()
    with_norm = make_layers.make_fc(48, 64, use_gn=True)
    assert set(with_norm.state_dict()) == {"0.weight", "1.weight", "1.bias"}

    conv = make_layers.conv_with_kaiming_uniform()(12, 32, 3, 2)
    assert conv(torch.zeros(1, 12, 6, 9)).shape == (1, 32, 3, 5)
    assert 0.16 < conv.weight.abs().max() <= (3 / 108) ** 0.5  # bound 0.1667
    block = make_layers.conv_with_kaiming_uniform(use_gn=True, use_relu=True)(12, 32, 1)
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.GroupNorm, nn.ReLU]


def test_cat():
    a, b = torch.zeros(2, 3), torch.ones(1, 3)
    assert cat([a]) is a
    assert cat((a, b)).tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 1]]
    assert cat([a, a], dim=1).shape == (2, 6)
