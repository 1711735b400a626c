"""The optimizer and the schedule of learning rates, as a config asks for them."""

import torch
from torch import nn
from yacs.config import CfgNode

from .lr_scheduler import WarmupMultiStepLR


def make_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.SGD:
    """Build SGD with one parameter group per trainable parameter, in the model's order.

    Parameters with "bias" in their name take BASE_LR * BIAS_LR_FACTOR and WEIGHT_DECAY_BIAS.
    """
    solver = cfg.SOLVER
    weight = {"lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY}
    bias = {
        "lr": solver.BASE_LR * solver.BIAS_LR_FACTOR,
        "weight_decay": solver.WEIGHT_DECAY_BIAS,
    }
    groups = [
        {"params": [parameter], **(bias if "bias" in name else weight)}
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    # Fused: half the time (one CPU core, R-50-FPN: 27 instead of 59 ms), the same numbers but for
    # the last bit of a few elements.
    return torch.optim.SGD(groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, fused=True)


def make_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> WarmupMultiStepLR:
    """Build the warm-up and step schedule; call its `step()` after each optimizer step."""
    solver = cfg.SOLVER
    return WarmupMultiStepLR(
        optimizer,
        solver.STEPS,
        gamma=solver.GAMMA,
        warmup_factor=solver.WARMUP_FACTOR,
        warmup_iters=solver.WARMUP_ITERS,
        warmup_method=solver.WARMUP_METHOD,
    )
