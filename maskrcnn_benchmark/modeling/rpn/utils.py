"""The layers of a dense head, and turning their outputs into one row per anchor."""

from torch import Tensor, nn

from maskrcnn_benchmark.layers.sparse_gradient_conv import SparseGradientConv2d

from ..utils import cat


def same_size_conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """Build a convolution that keeps the map's size, its weights normal with std 0.01."""
    return _start_small(nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2))


def sparsely_sampled_conv(channels: int) -> nn.Conv2d:
    """Build the 3x3 convolution of a head of whose cells the loss samples a few."""
    return _start_small(SparseGradientConv2d(channels, channels))


def _start_small(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)
    return conv


def permute_and_flatten(layer: Tensor, N: int, A: int, C: int, H: int, W: int) -> Tensor:
    """Reorder [N, A * C, H, W] into [N, H * W * A, C], the order in which anchors are laid out."""
    return layer.reshape(N, A, C, H, W).permute(0, 3, 4, 1, 2).reshape(N, H * W * A, C)


def concat_box_prediction_layers(
    box_cls: list[Tensor], box_regression: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Join all levels: image by image, within it level by level.

    Args:
        box_cls: [N, A * C, H, W] per level.
        box_regression: [N, A * 4, H, W] per level.

    Returns:
        class logits [N * anchors, C] and box codes [N * anchors, 4].
    """
    cls_rows, box_rows = [], []
    for cls_level, box_level in zip(box_cls, box_regression, strict=True):
        N, _, H, W = cls_level.shape
        A = box_level.shape[1] // 4
        C = cls_level.shape[1] // A
        cls_rows.append(permute_and_flatten(cls_level, N, A, C, H, W))
        box_rows.append(permute_and_flatten(box_level, N, A, 4, H, W))
    return cat(cls_rows, dim=1).flatten(0, 1), cat(box_rows, dim=1).flatten(0, 1)
