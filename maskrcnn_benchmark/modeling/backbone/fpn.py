"""Feature pyramid network (arXiv 1612.03144)."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class FPN(nn.Module):
    """Feature pyramid over consecutive feature maps.

    Args:
        in_channels_list: channels of each of the body's maps, finest first; 0: leave that map out.
        out_channels: channels of every level.
        conv_block: `conv_block(in_channels, out_channels, kernel_size, stride=1)` builds a layer.
        top_blocks: LastLevelMaxPool or LastLevelP6P7, which add coarser levels, or None.
    """

    def __init__(
        self,
        in_channels_list: Sequence[int],
        out_channels: int,
        conv_block: Callable[..., nn.Module],
        top_blocks: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.inner_blocks: list[str] = []
        self.layer_blocks: list[str] = []
        for level, channels in enumerate(in_channels_list, 1):
            if channels:
                self.inner_blocks.append(f"fpn_inner{level}")
                self.layer_blocks.append(f"fpn_layer{level}")
                self.add_module(self.inner_blocks[-1], conv_block(channels, out_channels, 1))
                self.add_module(self.layer_blocks[-1], conv_block(out_channels, out_channels, 3, 1))
        self.top_blocks = top_blocks

    def forward(self, x: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the levels (N, out_channels, H_i, W_i) from the body's maps, finest first."""
        maps = x[-len(self.inner_blocks) :]
        merged = None
        levels: list[Tensor] = []
        for inner, layer, feature in zip(
            reversed(self.inner_blocks), reversed(self.layer_blocks), reversed(maps), strict=True
        ):
            lateral = getattr(self, inner)(feature)
            merged = lateral if merged is None else lateral + _twice_as_large(merged, lateral)
            levels.append(getattr(self, layer)(merged))
        levels.reverse()
        if isinstance(self.top_blocks, LastLevelP6P7):
            levels += self.top_blocks(x[-1], levels[-1])
        elif self.top_blocks is not None:
            levels += self.top_blocks(levels[-1])
        return tuple(levels)


def _twice_as_large(coarse: Tensor, like: Tensor) -> Tensor:
    """Repeat every pixel 2x2 and cut the result to the height and width of `like`.

    Where `like` has an odd number of rows or columns, the last repeated one is dropped.
    """
    height, width = like.shape[-2:]
    return F.interpolate(coarse, scale_factor=2, mode="nearest")[..., :height, :width]


class LastLevelMaxPool(nn.Module):
    """Make P6 from every second pixel of P5."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [F.max_pool2d(x, kernel_size=1, stride=2)]


class LastLevelP6P7(nn.Module):
    """Make RetinaNet's P6 and P7, each by a convolution of stride 2.

    P6 comes from P5 if `in_channels == out_channels`, else from C5; P7 comes from P6.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.use_P5 = in_channels == out_channels
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        for conv in (self.p6, self.p7):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    def forward(self, c5: Tensor, p5: Tensor) -> list[Tensor]:
        p6 = self.p6(p5 if self.use_P5 else c5)
        return [p6, self.p7(p6.relu())]
