"""From image files and labels to batches; `make_data_loader` is the way in."""

from .build import make_data_loader

__all__ = ["make_data_loader"]
