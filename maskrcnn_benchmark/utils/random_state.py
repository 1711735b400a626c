"""The states of the random generators that training draws from: seed, take, put back, keep.

Training draws from PyTorch's generators (sampling of anchors and proposals) and Python's
`random` (augmentation). A state is made of tensors, lists and numbers only, so that a
checkpoint that holds it loads with weights_only.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def seed_everything(seed: int) -> None:
    """Seed PyTorch's generators, GPU included, and Python's."""
    torch.manual_seed(seed)
    random.seed(seed)


def get_random_state() -> dict[str, Any]:
    """Return the states of this process's generators."""
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        "python": [version, list(words), gauss],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what get_random_state returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Let what the block draws leave no trace in the draws after it."""
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)
