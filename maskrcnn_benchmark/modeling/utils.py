from collections.abc import Sequence

import torch
from torch import Tensor


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Concatenate; a single tensor is returned as it is, not copied."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors), dim)
