from . import fbnet  # registers its parts
from .backbone import build_backbone

__all__ = ["build_backbone", "fbnet"]
