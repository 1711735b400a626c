"""From image files and labels to batches; `make_data_loader` is the way in.

Submodules load on first use, so that `data.image_io` can be imported by `dota` without a cycle.
"""

import importlib
from typing import Any

__all__ = ["make_data_loader"]

_SUBMODULES = ("build", "collate_batch", "datasets", "samplers", "transforms")


def __getattr__(name: str) -> Any:
    if name == "make_data_loader":
        return importlib.import_module(".build", __name__).make_data_loader
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
