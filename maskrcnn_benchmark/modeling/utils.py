from collections.abc import Sequence

import torch
from torch import Tensor


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Concatenate; a single tensor is returned as it is, not copied."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors), dim)


def check_labels(labels: Tensor, highest: int, key: str) -> None:
    """Refuse ground truth of classes that the model does not have.

    Args:
        labels: int64, any shape; 0 is the background.
        highest: the highest label that the model knows.
        key: the setting that decides that; it counts the background.

    Raises:
        ValueError: a label is higher.
    """
    found = int(labels.max()) if labels.numel() else 0
    if found > highest:
        raise ValueError(
            f"the ground truth has label {found}, but {key} is {highest + 1} and allows 1 to "
            f"{highest}: set it to the data set's number of classes + 1"
        )
