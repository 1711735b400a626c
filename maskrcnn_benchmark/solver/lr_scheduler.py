"""The schedule of learning rates."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import torch


class WarmupMultiStepLR(torch.optim.lr_scheduler.LRScheduler):
    """Warm up, then multiply the learning rate by `gamma` at each milestone.

    Worked numbers: base 0.01, factor 1/3, 500 iterations, linear: 0.00333 at iteration 0,
    0.00667 at 250, 0.01 at 500.

    Args:
        optimizer: its groups' learning rates are the bases.
        milestones: iterations, increasing.
        gamma: factor of the learning rate at each milestone.
        warmup_factor: learning rate of iteration 0, as a part of the base.
        warmup_iters: iterations of the warm-up.
        warmup_method: "linear" rises from the factor to 1, "constant" stays at the factor.
        last_epoch: the iteration before the first one; -1: none.

    Raises:
        ValueError: milestones that fall; another warm-up method.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        warmup_factor: float = 1.0 / 3,
        warmup_iters: int = 500,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        if any(a > b for a, b in zip(milestones, milestones[1:], strict=False)):
            raise ValueError(f"milestones (SOLVER.STEPS) must increase, got {tuple(milestones)}")
        if warmup_method not in ("constant", "linear"):
            raise ValueError(
                "warmup_method (SOLVER.WARMUP_METHOD) must be 'constant' or 'linear', "
                f"got '{warmup_method}'"
            )
        self.milestones, self.gamma = milestones, gamma
        self.warmup_method, self.warmup_iters = warmup_method, warmup_iters
        self.warmup_factor = warmup_factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the learning rate per group for iteration `last_epoch`."""
        warmup = self._warmup()
        decay = self.gamma ** bisect_right(self.milestones, self.last_epoch)
        # In this order: the rounding is the original's.
        return [base * warmup * decay for base in self.base_lrs]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at a saved schedule's iteration, with this one's own settings.

        A resumed run follows its config: where the settings are the saved ones, so are the rates,
        bit for bit.

        Args:
            state_dict: of `state_dict()`, here or in the original; "last_epoch" is read.
        """
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1
        self._last_lr = self.get_lr()
        settings = zip(self.base_lrs, self._last_lr, strict=True)
        for group, (base, lr) in zip(self.optimizer.param_groups, settings, strict=True):
            group["initial_lr"], group["lr"] = base, lr

    def _warmup(self) -> float:
        if self.last_epoch >= self.warmup_iters:
            return 1.0
        if self.warmup_method == "constant":
            return self.warmup_factor
        done = self.last_epoch / self.warmup_iters
        return self.warmup_factor * (1 - done) + done
