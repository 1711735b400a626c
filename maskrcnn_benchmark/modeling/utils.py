"""What several parts of the models need: concatenation, indices without waiting, labels."""

from collections.abc import Sequence

import torch
from torch import Tensor


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Concatenate; a single tensor is returned as it is, not copied."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors), dim)


def nonzero_each(masks: Sequence[Tensor]) -> list[Tensor]:
    """Return where each mask is True, (n,) int64; the host waits once for all of them.

    Args:
        masks: at least one bool tensor (M,), on one device, M may differ.
    """
    if masks[0].device.type == "cpu":  # nothing to wait for, and no need to count
        return [mask.nonzero().squeeze(1) for mask in masks]
    counts = torch.stack([mask.sum() for mask in masks]).tolist()
    return [nonzero_counted(mask, count) for mask, count in zip(masks, counts, strict=True)]


def nonzero_counted(mask: Tensor, count: int) -> Tensor:
    """Return where a mask is True, without a wait for the device.

    Args:
        mask: bool (M,).
        count: how often it is True.

    Returns:
        (count,) int64, rising.
    """
    if mask.device.type == "cpu":  # nothing to wait for, and five times faster
        return mask.nonzero().squeeze(1)
    # each True goes to the place that its rank says, all others to one place behind
    place = torch.where(mask, mask.cumsum(0) - 1, count)
    everywhere = torch.arange(len(mask), device=mask.device)
    return place.new_empty(count + 1).scatter_(0, place, everywhere)[:count]


def object_rows(labels: Tensor, highest: int, key: str) -> Tensor:
    """Return which rows have an object's label, and refuse classes that the model does not have.

    Args:
        labels: (R,) numbers; 0 is the background, -1 ignored.
        highest: the highest label that the model knows.
        key: the setting that decides that; it counts the background.

    Returns:
        (P,) int64, rising.

    Raises:
        ValueError: a label is higher.
    """
    if len(labels) == 0:
        return labels.new_empty(0, dtype=torch.int64)
    positive = labels > 0
    found, count = torch.stack([labels.max().long(), positive.sum()]).tolist()
    if found > highest:
        raise ValueError(
            f"the ground truth has label {found}, but {key} is {highest + 1} and allows 1 to "
            f"{highest}: set it to the data set's number of classes + 1"
        )
    return nonzero_counted(positive, count)
