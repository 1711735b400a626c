import torch
from torch import Tensor, nn


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine parameters are buffers that never change.

    No epsilon is added to the variance: Detectron's weights come with it folded in.

    Args:
        n: number of channels.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        for name, fill in (("weight", 1.0), ("bias", 0.0)):
            self.register_buffer(name, torch.full((n,), fill))
        for name, fill in (("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((n,), fill))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return the two (n,) float32 vectors of `x * scale + shift`, computed afresh."""
        scale = self.weight * self.running_var.rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (N, n, H, W); the result has x's dtype, under autocast too."""
        scale, shift = (v.to(x.dtype)[:, None, None] for v in self.scale_and_shift())
        # The product is needed by nobody else, so that the sum may overwrite it.
        return (x * scale).add_(shift)

    def extra_repr(self) -> str:
        return str(self.weight.numel())
