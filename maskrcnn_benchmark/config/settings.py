"""Settings from a config file and the command line, over the defaults."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from maskrcnn_benchmark.config.defaults import _C
from maskrcnn_benchmark.config.ranges import check_setting

_PACKAGE = Path(__file__).resolve().parent.parent


def configs_folder() -> Path:
    """Return the folder of the config files: a checkout's `configs`, or what a wheel brought."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def find_config_file(name: str) -> Path:
    """Find a config file.

    Args:
        name: a path; or the name of a file that comes with the package, from any directory:
            "dota/faster_rcnn_R_50_FPN_1x.yaml", with or without "configs/" before it.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: no name.
    """
    if not name:
        raise ValueError("name the settings: --config-file configs/quickstart.yaml")
    packaged = configs_folder()
    for path in (Path(name), packaged / name, packaged / name.removeprefix("configs/")):
        if path.is_file():
            return path
    known = [path.relative_to(packaged).as_posix() for path in packaged.rglob("*.yaml")]
    near = difflib.get_close_matches(name.removeprefix("configs/"), known, n=1)
    raise FileNotFoundError(f"{name}: no such config file, here or in {packaged}{_ask(near)}")


def load_config(config_file: str, opts: Sequence[str] = ()) -> CfgNode:
    """Read a config file over the defaults, then single settings over both.

    Args:
        config_file: YAML, as `find_config_file` takes it.
        opts: KEY, value, KEY, value, ...

    Raises:
        FileNotFoundError: no such file.
        ValueError: none named, an unknown key, a value of the wrong type or out of its range
            (config/ranges.py), bad YAML.
    """
    path = find_config_file(config_file)
    cfg = _C.clone()
    for values, origin in ((_read_file(path), str(path)), (_read_opts(opts), "command line")):
        for key, value in values.items():
            _set(cfg, key, value, origin)
    return cfg


def given_keys(config_file: str, opts: Sequence[str]) -> set[str]:
    """Name the keys that a config file or the command line sets, whatever they are set to."""
    return {*_read_file(find_config_file(config_file)), *_read_opts(opts)}


def _read_file(path: Path) -> dict[str, Any]:
    """Read a YAML file as {"SOLVER.MAX_ITER": value}."""
    if path.suffix == ".py":
        raise ValueError(f"{path}: settings are YAML; Python files are not run")
    text = path.read_bytes()
    try:
        content = yaml.safe_load(text)
        flat = dict(_flatten(content)) if isinstance(content, dict) else {}
    # beside YAMLError, PyYAML lets errors of all kinds out of values such as `!!int x`
    except Exception as error:
        raise ValueError(f"{path}: no YAML that holds settings: {error}") from error
    if not isinstance(content, dict | None):
        raise ValueError(f"{path}: expected sections of settings, got {str(content)[:80]}")
    return flat


def _read_opts(opts: Sequence[str]) -> dict[str, Any]:
    if len(opts) % 2:
        joined = next((part for part in opts if re.match(r"[A-Z][A-Z0-9_.]*=", part)), "")
        advice = f": write {joined.replace('=', ' ', 1)}, without =" if joined else ""
        raise ValueError(f"expected pairs KEY value, got {' '.join(opts)}{advice}")
    return dict(zip(opts[::2], opts[1::2], strict=True))


def _flatten(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _set(cfg: CfgNode, key: str, value: Any, origin: str) -> None:
    """Set one key, refusing what it cannot hold."""
    known = dict(_flatten(_C))
    if any(entry.startswith(f"{key}.") for entry in known):
        raise ValueError(f"{origin}: {key} is a section of settings, got {value!r} for it")
    if key not in known:
        raise ValueError(f"{origin}: there is no setting {key}{_ask(_nearest_keys(key, known))}")
    try:
        decoded = CfgNode._decode_cfg_value(value)
    except (TypeError, MemoryError, RecursionError):  # of Python's parser, as for "{[]: 1}"
        raise ValueError(f"{origin}: {key} takes no value such as {value[:40]!r}…") from None
    try:
        if decoded is None:  # which yacs takes for a value of any kind
            raise ValueError
        cfg.merge_from_list([key, value])
    except ValueError:
        raise ValueError(f"{origin}: {key} {_advice(decoded, known[key])}") from None
    try:
        check_setting(key, decoded)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None


def _nearest_keys(key: str, known: Collection[str]) -> list[str]:
    """Return the keys that may be meant: the most similar one, or those that end alike."""
    name = key.upper().rpartition(".")[2]
    same_name = [entry for entry in known if entry.rpartition(".")[2] == name]
    very_similar = difflib.get_close_matches(key.upper(), known, n=1, cutoff=0.8)
    if "." in key and very_similar:
        return very_similar
    return same_name or difflib.get_close_matches(key.upper(), known, n=1, cutoff=0.7)


def _ask(near: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _advice(value: Any, default: Any) -> str:
    """Say what a key takes, and how to write the value that was meant."""
    if isinstance(default, tuple):
        return f"takes a tuple, got {value!r}: write ({value!r},)"
    if isinstance(default, list):
        return f"takes a list, got {value!r}: write [{value!r}]"
    advice = f"takes a value such as {default!r}, got {value!r}"
    if isinstance(default, bool) and str(value).lower() in ("true", "false"):
        advice += f": write {str(value).capitalize()}"
    elif isinstance(default, float) and type(value) is int:
        advice += f": write {value}.0"
    elif isinstance(default, str):
        advice += f": write \"'{value}'\""
    return advice
