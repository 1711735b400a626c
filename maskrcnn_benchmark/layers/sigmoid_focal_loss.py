"""Focal loss of independent sigmoids (arXiv 1708.02002)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sigmoid_focal_loss_cpu(logits: Tensor, targets: Tensor, gamma: float, alpha: float) -> Tensor:
    """Compute the focal loss of each sigmoid, in float32 or float64, on any device.

    Args:
        logits: (N, C); column c - 1 belongs to class c.
        targets: integers (N,): 1..C a class, 0 background, -1 ignored.
        gamma, alpha: as in `SigmoidFocalLoss`.

    Returns:
        (N, C)
    """
    if logits.dtype.itemsize < 4:
        logits = logits.float()
    classes = torch.arange(1, logits.shape[1] + 1, device=targets.device)
    positive = targets[:, None] == classes  # [N, C]
    negative = ~positive & (targets[:, None] >= 0)
    p = logits.sigmoid()
    # logsigmoid stays finite where log(sigmoid) does not.
    as_positive = alpha * (1 - p) ** gamma * F.logsigmoid(logits)
    as_negative = (1 - alpha) * p**gamma * F.logsigmoid(-logits)
    return -as_positive * positive - as_negative * negative


sigmoid_focal_loss_cuda = sigmoid_focal_loss_cpu


class SigmoidFocalLoss(nn.Module):
    """Sum of the focal losses of C independent sigmoids per anchor.

    Args:
        gamma: exponent that lowers the weight of well-classified anchors; 0: no effect.
        alpha: weight of the positives; the negatives have 1 - alpha.
    """

    def __init__(self, gamma: float, alpha: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.alpha = alpha

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the losses, a scalar; see `sigmoid_focal_loss_cpu` for the shapes."""
        return sigmoid_focal_loss_cpu(logits, targets, self.gamma, self.alpha).sum()

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}, alpha={self.alpha}"
