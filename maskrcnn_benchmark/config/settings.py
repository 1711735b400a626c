"""Settings from a config file and the command line, over the defaults."""

import os
from collections.abc import Sequence
from pathlib import Path

import yaml
from yacs.config import CfgNode

from maskrcnn_benchmark.config.defaults import _C

_PACKAGE = Path(__file__).resolve().parent.parent


def configs_folder() -> Path:
    """Return the folder of the config files: a checkout's `configs`, or what a wheel brought."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def load_config(config_file: str, opts: Sequence[str]) -> CfgNode:
    """Read a config file over the defaults, then single settings over both.

    Args:
        config_file: YAML.
        opts: KEY, value, KEY, value …

    Raises:
        FileNotFoundError: no such file.
        ValueError: none named, an unknown key, a value of the wrong type, bad YAML.
    """
    if not config_file:
        raise ValueError("name the settings: --config-file configs/quickstart.yaml")
    if not os.path.isfile(config_file):
        raise FileNotFoundError(f"{config_file}: no such config file")
    cfg = _C.clone()
    try:
        cfg.merge_from_file(config_file)
    except (AssertionError, KeyError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{config_file}: {error}") from error
    if len(opts) % 2:
        raise ValueError(f"expected pairs KEY value after the options, got {' '.join(opts)}")
    try:
        cfg.merge_from_list(list(opts))
    except (AssertionError, KeyError, ValueError) as error:
        raise ValueError(f"in {' '.join(opts)}: {error}") from error
    return cfg
