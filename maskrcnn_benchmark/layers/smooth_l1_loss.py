"""Smooth L1 loss (arXiv 1504.08083)."""

from torch import Tensor
from torch.nn import functional as F


def smooth_l1_loss(
    input: Tensor, target: Tensor, beta: float = 1.0 / 9, size_average: bool = True
) -> Tensor:
    """Compute d^2 / (2 beta) where |d| < beta, |d| - beta / 2 elsewhere; d = input - target.

    Args:
        input, target: tensors of the same shape.
        beta: the |d| at which the parabola ends and the line begins; 0 gives |d|.
        size_average: True: the mean over all elements; False: their sum.

    Returns:
        a scalar tensor.
    """
    return F.smooth_l1_loss(input, target, reduction="mean" if size_average else "sum", beta=beta)
