"""Deformable position-sensitive RoI pooling (arXiv 1703.06211), in tensor operations.

A cell's average of bilinear samples is a weighted sum of feature vectors, which `embedding_bag`
computes: memory for the samples does not grow with the number of channels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def deform_roi_pooling(
    data: Tensor,
    rois: Tensor,
    offset: Tensor,
    spatial_scale: float,
    out_size: int,
    out_channels: int,
    no_trans: bool,
    group_size: int = 1,
    part_size: int | None = None,
    sample_per_part: int = 4,
    trans_std: float = 0.0,
) -> Tensor:
    """Average bilinear samples in each of the out_size x out_size cells of each box.

    The boxes get no gradient; `data` and `offset` do.

    Args:
        data: feature map (N, >= out_channels * group_size^2, H, W).
        rois: (K, 5): index in the batch, then xyxy in image pixels, rounded before use.
        offset: (K, 2 * classes, part_size, part_size): per class the x, then the y shift of its
            cells; times `trans_std`, a shift is a fraction of the box's width or height. Each
            class has an equal number of the output channels. Not read with `no_trans`.
        spatial_scale: feature pixels per image pixel, 1 / stride.
        out_size: cells per side.
        out_channels: channels of the result.
        no_trans: pool the cells where they are, without shifts.
        group_size: parts of the box per side; each part has its own input channels.
        part_size: shifts per side; None: out_size.
        sample_per_part: samples per side of a cell.
        trans_std: factor of the shifts, 0 to 1.

    Returns:
        (K, out_channels, out_size, out_size); 0 where a cell has no sample on the map.

    Raises:
        ValueError: the settings do not fit `data` or `offset`.
    """
    pooled, _ = deform_roi_pooling_with_count(
        data,
        rois,
        offset,
        spatial_scale,
        out_size,
        out_channels,
        no_trans,
        group_size,
        part_size,
        sample_per_part,
        trans_std,
    )
    return pooled


class DeformRoIPoolingFunction:
    """The original's autograd function; autograd derives the gradients."""

    apply = staticmethod(deform_roi_pooling)


def deform_roi_pooling_with_count(
    data: Tensor,
    rois: Tensor,
    offset: Tensor,
    spatial_scale: float,
    out_size: int,
    out_channels: int,
    no_trans: bool,
    group_size: int = 1,
    part_size: int | None = None,
    sample_per_part: int = 4,
    trans_std: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Pool as `deform_roi_pooling`, and count each cell's samples that lie on the map.

    Returns:
        the pooled values and the counts, both (K, out_channels, out_size, out_size).
    """
    if data.dtype.itemsize < 4:
        data = data.float()
    rois, offset = rois.detach().to(data.dtype), offset.to(data.dtype)
    part_size = part_size or out_size
    classes = 1 if no_trans else offset.shape[1] // 2
    _check(data, offset, out_channels, classes, no_trans, group_size, part_size, trans_std)
    height, width = data.shape[2:]
    cells = torch.arange(out_size, device=data.device)
    if no_trans:
        shift = data.new_zeros(len(rois), 1, 2, out_size, out_size)
    else:
        part = cells * part_size // out_size
        shift = offset.unflatten(1, (classes, 2))[..., part[:, None], part] * trans_std

    low = _round(rois[:, 1:3]) * spatial_scale - 0.5
    high = (_round(rois[:, 3:5]) + 1) * spatial_scale - 0.5
    x, x_weights, x_count = _samples(
        low[:, 0], high[:, 0], shift[:, :, 0], cells[None], width, sample_per_part
    )
    y, y_weights, y_count = _samples(
        low[:, 1], high[:, 1], shift[:, :, 1], cells[:, None], height, sample_per_part
    )

    group = cells * group_size // out_size
    plane = rois[:, :1].long() * classes + torch.arange(classes, device=data.device)
    plane = plane[..., None, None] * group_size**2 + group[:, None] * group_size + group
    index = (plane[..., None, None] * height + y[..., None]) * width + x[..., None, :]
    weights = y_weights[..., None] * x_weights[..., None, :]  # [K, classes, P, P, 2S, 2S]
    pooled = F.embedding_bag(
        index.flatten(4).flatten(0, 3),
        _feature_vectors(data[:, : out_channels * group_size**2], classes, group_size),
        per_sample_weights=weights.flatten(4).flatten(0, 3),
        mode="sum",
    )
    pooled = pooled.view(len(rois), classes, out_size, out_size, out_channels // classes)
    count = (x_count * y_count).repeat_interleave(out_channels // classes, dim=1)
    return pooled.movedim(-1, 2).flatten(1, 2), count.to(data.dtype)


def _feature_vectors(data: Tensor, classes: int, group_size: int) -> Tensor:
    """Return the map's feature vectors [N * classes * group_size^2 * H * W, channels per class]."""
    vectors = data.unflatten(1, (classes, -1, group_size**2))
    return vectors.permute(0, 1, 3, 4, 5, 2).flatten(0, 4)


def _check(
    data: Tensor,
    offset: Tensor,
    out_channels: int,
    classes: int,
    no_trans: bool,
    group_size: int,
    part_size: int,
    trans_std: float,
) -> None:
    if not 0 <= trans_std <= 1:
        raise ValueError(f"trans_std must be between 0 and 1, got {trans_std}")
    if data.shape[1] < out_channels * group_size**2:
        raise ValueError(
            f"deform_roi_pooling: {out_channels} output channels of {group_size}x{group_size} "
            f"groups need {out_channels * group_size**2} input channels, got {data.shape[1]}"
        )
    if no_trans:
        return
    if offset.shape[1] % 2 or not classes or out_channels % classes:
        raise ValueError(
            "deform_roi_pooling: offset must have 2 channels per class, and the number of "
            f"classes must divide the {out_channels} output channels, got {offset.shape[1]} "
            "channels"
        )
    if tuple(offset.shape[2:]) != (part_size, part_size):
        raise ValueError(
            f"deform_roi_pooling: offset must be {part_size}x{part_size} (part_size), "
            f"got {'x'.join(map(str, offset.shape[2:]))}"
        )


def _round(x: Tensor) -> Tensor:
    """Round to the nearest integer, halves away from zero, as C's `round`."""
    return x.sign() * (x.abs() + 0.5).floor()


def _samples(
    low: Tensor, high: Tensor, shift: Tensor, cells: Tensor, length: int, samples: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Place the samples of each cell along one axis.

    Args:
        low, high: (K,) borders of the boxes, feature pixels.
        shift: (K, classes, P, P) fractions of the box's side.
        cells: index of each cell on this axis, (1, P) or (P, 1).
        length: feature pixels of the map on this axis.
        samples: S, the number of samples per cell.

    Returns:
        indices of the feature pixels before and after each sample (K, classes, P, P, 2S); their
        weights, which sum to 1 over a cell with any sample on the map; the number of samples on
        the map (K, classes, P, P).
    """
    side = (high - low).clamp(min=0.1)[:, None, None, None]
    cell = side / cells.numel()
    first = cells * cell + low[:, None, None, None] + shift * side
    steps = torch.arange(samples, device=low.device) * (cell / samples)[..., None]
    place = first[..., None] + steps
    inside = (place >= -0.5) & (place <= length - 0.5)
    count = inside.sum(-1)
    place = place.clamp(0, length - 1)
    before, after = place.detach().floor(), place.detach().ceil()
    far = place - before
    share = inside / count.clamp(min=1)[..., None]
    weights = torch.stack([(1 - far) * share, far * share], dim=-1)
    return torch.stack([before, after], dim=-1).long().flatten(-2), weights.flatten(-2), count
