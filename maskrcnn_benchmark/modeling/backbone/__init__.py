from . import fbnet  # the import registers FBNet's parts
from .backbone import build_backbone

__all__ = ["build_backbone", "fbnet"]
