"""Talking among the processes of a distributed run; every function also works without one."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Return the number of processes, 1 if not distributed."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """Return this process' number, 0 if not distributed."""
    return dist.get_rank() if _is_distributed() else 0


def is_main_process() -> bool:
    """Say whether this process is the one that writes files and logs."""
    return get_rank() == 0


def synchronize() -> None:
    """Wait until every process has come here."""
    if get_world_size() > 1:
        dist.barrier()


def all_gather(data: Any) -> list[Any]:
    """Return every process' `data` (anything that can be pickled), by rank."""
    gathered = [data] * get_world_size()
    if len(gathered) > 1:
        dist.all_gather_object(gathered, data)
    return gathered


def reduce_dict(input_dict: dict[str, Tensor], average: bool = True) -> dict[str, Tensor]:
    """Reduce the tensors of equal shape in a dict to rank 0.

    Args:
        input_dict: the same keys on every process.
        average: mean over the processes, else the sum.
    Returns:
        on rank 0 the reduced values; on the others, values of no meaning.
    """
    world_size = get_world_size()
    if world_size == 1 or not input_dict:
        return input_dict
    names = sorted(input_dict)  # the order must be the same everywhere
    with torch.no_grad():
        stacked = torch.stack([input_dict[name] for name in names])
        dist.reduce(stacked, dst=0)
        if average:
            stacked /= world_size
    return dict(zip(names, stacked, strict=True))
