"""`cfg`: the default configuration; `load_config` reads a YAML file and settings over it."""

from .defaults import _C as cfg
from .settings import load_config

__all__ = ["cfg", "load_config"]
