"""Talking among the processes of a distributed run; every function also works without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor

# How long `synchronize` and `all_gather` wait for the slowest process: rank 0 evaluates alone, on a
# big data set for hours, and SOLVER.STEP_TIMEOUT, that of training steps, would end the run.
TIMEOUT = timedelta(hours=24)
# Default group -> gloo group with that time-out. Held weakly, so that destroy_process_group ends
# the threads of both: one that is still at work while Python shuts down aborts the process.
_patient_groups: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


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


def _patient_group() -> Any:
    """Return a gloo group of all processes with the time-out TIMEOUT, for objects and waiting.

    It is made at the first call for each default group, by all processes together.
    """
    default = dist.group.WORLD
    if default not in _patient_groups:
        _patient_groups[default] = dist.new_group(backend="gloo", timeout=TIMEOUT)
    return _patient_groups[default]


def synchronize() -> None:
    """Wait until every process has come here, for TIMEOUT at most."""
    if get_world_size() > 1:
        dist.barrier(group=_patient_group())


def all_gather(data: Any) -> list[Any]:
    """Return every process' `data` (anything that can be pickled), by rank.

    It travels through main memory, and waits for the slowest process for TIMEOUT at most.
    """
    gathered = [data] * get_world_size()
    if len(gathered) > 1:
        dist.all_gather_object(gathered, data, group=_patient_group())
    return gathered


@contextmanager
def main_process_first() -> Iterator[None]:
    """Let the others enter the block when process 0 has left it; an error there ends them too."""
    if not is_main_process():
        synchronize()
    yield
    if is_main_process():
        synchronize()


class SharedCounter:
    """A number that all processes count up, each when it likes; all make theirs in one order."""

    _names = count()

    def __init__(self) -> None:
        self._name, self._alone = f"maskrcnn_benchmark/{next(self._names)}", 0

    def add(self, amount: int) -> int:
        """Return the number after adding to it, which no other process can do meanwhile."""
        if get_world_size() == 1:
            self._alone += amount
            return self._alone
        # where the processes met; a private name, since rendezvous() gives no second client
        return dist.distributed_c10d._get_default_store().add(self._name, amount)


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
