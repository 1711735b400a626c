from torch import Tensor
from torch.nn import functional as F


def smooth_l1_loss(
    input: Tensor, target: Tensor, beta: float = 1.0 / 9, size_average: bool = True
) -> Tensor:
    """Huber-like loss: d^2 / (2 beta) where |d| < beta, |d| - beta / 2 elsewhere.

    Args:
        input, target: same shape.
        beta: where the parabola meets the line; 0 gives |d|.
        size_average: mean over all elements, else their sum.
    """
    return F.smooth_l1_loss(input, target, reduction="mean" if size_average else "sum", beta=beta)
