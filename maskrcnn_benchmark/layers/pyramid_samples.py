"""Bilinear samples of the maps of a pyramid, averaged in groups: what every RoIAlign computes.

A group averages samples, and a sample is the bilinear mean of four pixels, so that a group is a
weighted sum of a few rows of a table that holds the pixels of all levels: one `embedding_bag`
gathers and adds them, and its gradient scatters back.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def average_samples(
    features: Sequence[Tensor], images: Tensor, levels: Tensor, x: Tensor, y: Tensor
) -> Tensor:
    """Average samples of each box's level.

    Args:
        features: maps [N, C, H, W], one per level.
        images: int64 [R], the image that each box lies in.
        levels: int64 [R], the level that each box is sampled from.
        x, y: [R, K, S] of the S samples of each of K cells, in the level's pixels; pixel i has its
            centre at i. What lies more than a pixel outside a map counts as 0.

    Returns:
        [R, K, C]
    """
    channels = features[0].shape[1]
    tables = [level.permute(0, 2, 3, 1).reshape(-1, channels) for level in features]
    # that of one map which lies channels last is the map itself
    table = torch.cat(tables) if len(tables) > 1 else tables[0].contiguous()
    places, start = [], 0  # of each level in the table
    for count, _, height, width in (level.shape for level in features):
        places.append((height, width, start))
        start += count * height * width
    height, width, start = torch.tensor(places, device=x.device)[levels].unbind(1)  # [R] each
    first = (start + images * height * width)[:, None, None]
    height, width = height[:, None, None], width[:, None, None]

    left, right, x_share, x_valid = _neighbours(x, width)
    upper, lower, y_share, y_valid = _neighbours(y, height)
    rows, weights = [], []
    for row, row_share in ((upper, 1 - y_share), (lower, y_share)):
        for column, column_share in ((left, 1 - x_share), (right, x_share)):
            rows.append(first + row * width + column)
            weights.append(row_share * column_share)
    share = (x_valid & y_valid).to(x_share.dtype) / x.shape[2]
    index = torch.cat(rows, dim=2).flatten(0, 1)  # [R * K, 4 * S]
    weight = (torch.cat(weights, dim=2) * share.repeat(1, 1, 4)).flatten(0, 1).to(table.dtype)
    averages = F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")
    return averages.view(*x.shape[:2], channels)


def _neighbours(place: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the pixels before and after each place, the share of the latter, and what counts.

    Args:
        place: coordinates of samples; pixel i has its centre at i.
        length: of the map along this axis, broadcastable to `place`.
    """
    valid = (place >= -1) & (place <= length)
    place = torch.where(valid, place, 0)  # NaN would be no index
    inside = torch.minimum(place.clamp(min=0), (length - 1).to(place.dtype))
    before = inside.floor()
    after = torch.minimum(before.long() + 1, length - 1)
    return before.long(), after, inside - before, valid
