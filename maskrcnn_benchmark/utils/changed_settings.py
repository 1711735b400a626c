"""Resuming under other settings: what a checkpoint's run had, and what is different now."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from maskrcnn_benchmark.utils.model_serialization import is_finite

# where things lie, and what is without effect: not part of what is trained
_PLACES = ("OUTPUT_DIR", "PATHS_CATALOG", "MODEL.WEIGHT", "AMP_VERBOSE", "SOLVER.STEP_TIMEOUT")
_OF_GROUPS = {
    "momentum": "SOLVER.MOMENTUM",
    "weight_decay": "SOLVER.WEIGHT_DECAY and WEIGHT_DECAY_BIAS",
}
_OF_SCHEDULE = {
    "milestones": "SOLVER.STEPS",
    "gamma": "SOLVER.GAMMA",
    "warmup_factor": "SOLVER.WARMUP_FACTOR",
    "warmup_iters": "SOLVER.WARMUP_ITERS",
    "warmup_method": "SOLVER.WARMUP_METHOD",
}

# tensors of an optimizer's state that have the parameter's shape: SGD's and Adam's
_LIKE_THE_PARAMETER = ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")

Changes = dict[str, tuple[Any, Any]]  # setting -> (was, is)


def plain_settings(cfg: CfgNode, prefix: str = "") -> dict[str, Any]:
    """Return the settings by their whole names ("SOLVER.BASE_LR"), without those of places."""
    settings: dict[str, Any] = {}
    for key, value in cfg.items():
        name = prefix + key
        if isinstance(value, CfgNode):
            settings |= plain_settings(value, f"{name}.")
        elif name not in _PLACES:
            settings[name] = value
    return settings


def compare_settings(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """Return the settings that differ; those that only one version of the package has do not."""
    return {
        name: (recorded[name], value)
        for name, value in now.items()
        if name in recorded and recorded[name] != value
    }


def compare_states(
    optimizer_state: Mapping[str, Any],
    scheduler_state: Mapping[str, Any],
    optimizer: torch.optim.Optimizer | None,
    scheduler: Any,
) -> Changes:
    """Return the solver's settings that differ, for a checkpoint that records no settings.

    Args:
        optimizer_state, scheduler_state: what the checkpoint holds; may be empty.
        optimizer, scheduler: those of now, with the states loaded; may be None.
    """
    pairs: Changes = {}
    if optimizer is not None and optimizer_state:
        groups = (optimizer_state["param_groups"], optimizer.param_groups)
        for key, setting in _OF_GROUPS.items():
            was, now = ([group[key] for group in of if key in group] for of in groups)
            pairs[setting] = (_distinct(was), _distinct(now))
    if scheduler is not None and "base_lrs" in scheduler_state:
        rates = (_distinct(scheduler_state["base_lrs"]), _distinct(scheduler.base_lrs))
        pairs["SOLVER.BASE_LR and BASE_LR * BIAS_LR_FACTOR"] = rates
    for key, setting in _OF_SCHEDULE.items():
        if key in scheduler_state and hasattr(scheduler, key):
            pairs[setting] = (scheduler_state[key], getattr(scheduler, key))
    return {setting: (was, now) for setting, (was, now) in pairs.items() if was != now}


def _distinct(values: Sequence[Any]) -> Any:
    """Return the different values: a tuple, or the one that there is."""
    distinct = tuple(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else distinct


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load what the optimizer gathered (momentum); what the config sets of it stays.

    The learning rates become the state's, until a schedule sets them.

    Raises:
        ValueError: the state is that of other parameters, or its momentum cannot be one.
    """
    _check_momenta(optimizer, state)
    made = [{k: g[k] for k in _OF_GROUPS if k in g} for g in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, made, strict=True):
        group.update(settings)


def _check_momenta(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Refuse momenta of other shapes, which crash the process, and such as are not finite."""
    groups = zip(state["param_groups"], optimizer.param_groups, strict=True)
    for saved, group in groups:
        for number, parameter in zip(saved["params"], group["params"], strict=False):
            for name, value in state["state"].get(number, {}).items():
                if name not in _LIKE_THE_PARAMETER or value is None:
                    continue
                what = f"the {name} of parameter {number}"
                if not isinstance(value, Tensor) or value.shape != parameter.shape:
                    got = tuple(value.shape) if isinstance(value, Tensor) else value
                    raise ValueError(f"{what} is {got}, expected {tuple(parameter.shape)}")
                if not value.is_floating_point() or value.layout != torch.strided:
                    raise ValueError(f"{what} has the type {value.dtype}, {value.layout}")
                if not is_finite(value):
                    raise ValueError(f"{what} is not finite")


def list_changes(changes: Changes) -> str:
    """Write the changes as one line, "setting: was -> is; …"."""
    return "; ".join(f"{name}: {was!r} -> {now!r}" for name, (was, now) in changes.items())
