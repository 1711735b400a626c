"""When target assignment and IoU take the crowd path, and how much memory that may use."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

MODES = ("stream", "cpu", "off")
_CPU_CACHE_BYTES = 4 * 2**20  # steps larger than the cache are slower on a CPU


@dataclass(frozen=True)
class CrowdPolicy:
    """When and how the crowd path is taken; the keys of MODEL.CROWD (see config/defaults.py).

    Args:
        iou_rows: boxlist_iou with more rows than this takes the crowd path.
        match_rows: Matcher.set_low_quality_matches_ with more rows than this takes it.
        mode: "stream": in blocks on the boxes' device; "cpu": on the CPU; "off": never.
        block_mb: working memory of the crowd path in megabytes.

    Raises:
        ValueError: an unknown mode or a block without size.
    """

    iou_rows: int = 100
    match_rows: int = 1000
    mode: str = "stream"
    block_mb: float = 64

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"MODEL.CROWD.MODE must be one of {MODES}, got {self.mode!r}")
        if not self.block_mb > 0:
            raise ValueError(f"MODEL.CROWD.BLOCK_MB must be above 0, got {self.block_mb}")

    def step_bytes(self, device: torch.device) -> int:
        """Return the memory for the pairs that are worked out in one step on a device."""
        half = int(self.block_mb * 2**20) // 2
        return min(half, _CPU_CACHE_BYTES) if device.type == "cpu" else half

    def list_bytes(self) -> int:
        """Return the memory for lists of pairs."""
        return int(self.block_mb * 2**20) // 2


_policy = CrowdPolicy()


def get_policy() -> CrowdPolicy:
    """Return the policy in force in this process."""
    return _policy


def set_policy(policy: CrowdPolicy) -> None:
    """Put a policy in force for every later call in this process."""
    global _policy
    _policy = policy


def set_policy_from_cfg(cfg: Any) -> None:
    """Put MODEL.CROWD of a config in force."""
    crowd = cfg.MODEL.CROWD
    set_policy(CrowdPolicy(crowd.IOU_ROWS, crowd.MATCH_ROWS, crowd.MODE, crowd.BLOCK_MB))


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Keep PyTorch to one thread for work on a CPU.

    Crowd work is many short operations. Waking a second core for each wins little on idle cores
    and loses much where they are shared, with data loading workers for one.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
