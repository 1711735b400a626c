"""`cfg`: the default configuration, to be merged with a YAML file and the command line."""

from .defaults import _C as cfg

__all__ = ["cfg"]
