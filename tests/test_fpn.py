import pytest
import torch
from torch import nn

from maskrcnn_benchmark.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7


def _scaling_conv(factor: float):
    """Build layers that multiply by a factor, so that sums can be computed by hand."""

    def build(in_channels, out_channels, kernel_size, stride=1):
        conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False
        )
        nn.init.zeros_(conv.weight)
        conv.weight.data[:, :, kernel_size // 2, kernel_size // 2] = factor
        return conv

    return build


def test_levels_by_hand():
    fpn = FPN([1, 1], 1, _scaling_conv(2.0), LastLevelMaxPool())
    coarse = torch.tensor([[[[1.0, 2.0]]]])
    fine = torch.tensor([[[[10.0, 20.0, 30.0, 40.0], [50.0, 60.0, 70.0, 80.0]]]])
    p2, p3, p4 = fpn([fine, coarse])
    # inner: 2 * coarse = 2 4; 2 * fine + that, twice as large; each level times 2 once more
    assert p3.tolist() == [[[[4.0, 8.0]]]]
    assert p2.tolist() == [[[[44.0, 84.0, 128.0, 168.0], [204.0, 244.0, 288.0, 328.0]]]]
    assert p4.tolist() == [[[[4.0]]]]


def test_odd_sizes_lose_the_last_row_and_column():
    fpn = FPN([1, 1], 1, _scaling_conv(1.0))
    coarse = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    p2, _ = fpn([torch.zeros(1, 1, 3, 3), coarse])
    assert p2.tolist() == [[[[1, 1, 2], [1, 1, 2], [3, 3, 4]]]]


def test_a_map_of_no_channels_is_passed_over():
    fpn = FPN([0, 1, 1], 1, _scaling_conv(1.0), LastLevelP6P7(1, 1))
    maps = [torch.rand(2, 1, size, size + 2) for size in (24, 12, 6)]
    levels = fpn(maps)
    names = {name.split(".")[0] for name, _ in fpn.named_parameters()}
    assert names == {"fpn_inner2", "fpn_inner3", "fpn_layer2", "fpn_layer3", "top_blocks"}
    assert [tuple(level.shape[2:]) for level in levels] == [(12, 14), (6, 8), (3, 4), (2, 2)]


@pytest.mark.parametrize(("in_channels", "from_p5"), [(1, True), (2, False)])
def test_p6_comes_from_p5_or_c5(in_channels, from_p5):
    top = LastLevelP6P7(in_channels, 1)
    for conv in (top.p6, top.p7):
        nn.init.constant_(conv.weight, 1.0)
    c5, p5 = torch.full((1, 2, 3, 3), -1.0), torch.full((1, 1, 3, 3), 2.0)
    p6, p7 = top(c5, p5)
    # Windows at the corners of 3x3 hold 4 pixels: 4 * 2 from P5, 4 * 2 channels * -1 from C5
    assert p6.flatten().tolist() == ([8.0] * 4 if from_p5 else [-8.0] * 4)
    # One window over the 2x2 of P6, after ReLU
    assert p7.flatten().tolist() == ([32.0] if from_p5 else [0.0])
