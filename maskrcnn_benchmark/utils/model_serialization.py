"""Loading of weights into a model whose parameters' names have other prefixes."""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

_NAMES_SHOWN = 6


class LoadReport(NamedTuple):
    """Result of loading weights into a model.

    Attributes:
        loaded: number of the model's entries that were loaded.
        missing: names of entries that the file does not have.
        misfits: entries whose shapes differ, as "NAME (file's shape) -> (model's shape)".
        unused: names of the file's entries for which the model has no place.
        not_finite: names of entries that were loaded and hold NaN or infinity, where the model's
            own values are finite.
    """

    loaded: int
    missing: list[str]
    misfits: list[str]
    unused: list[str]
    not_finite: list[str]


def align_and_update_state_dicts(
    model_state_dict: dict[str, Tensor], loaded_state_dict: Mapping[str, Tensor]
) -> LoadReport:
    """Replace the model's entries, in place, by the loaded ones with matching names.

    A loaded name matches a model name that ends in it; of several, the longest is used:
    "backbone.body.layer1.0.conv1.weight" takes "layer1.0.conv1.weight" rather than
    "conv1.weight", which is the stem's. An entry of another shape (a head for another number of
    classes) stays unchanged, and a warning names it.
    """
    logger = logging.getLogger(__name__)
    used, missing, misfits, not_finite = set(), [], [], []
    for name, own in model_state_dict.items():
        source = _longest_suffix(name, loaded_state_dict)
        if source is None:
            missing.append(name)
            continue
        used.add(source)
        loaded = loaded_state_dict[source]
        if loaded.shape == own.shape:
            model_state_dict[name] = loaded
            if not is_finite(loaded) and is_finite(own):
                not_finite.append(name)
        else:
            misfits.append(f"{name} {tuple(loaded.shape)} -> {tuple(own.shape)}")
    loaded_count = len(model_state_dict) - len(missing) - len(misfits)
    unused = [name for name in loaded_state_dict if name not in used]
    report = LoadReport(loaded_count, missing, misfits, unused, not_finite)
    if misfits:
        logger.warning(
            "%d entries left out because their shapes differ (file -> model): %s",
            len(misfits),
            _summary(misfits),
        )
    logger.info(
        "%d of the model's %d entries loaded; not in the file: %s; in the file only: %s",
        report.loaded,
        len(model_state_dict),
        _summary(missing),
        _summary(unused),
    )
    return report


def is_finite(tensor: Tensor) -> bool:
    """Say whether no element is NaN or infinite; without temporary memory."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(extreme.isfinite().item() for extreme in torch.aminmax(tensor.detach()))


def _longest_suffix(name: str, candidates: Mapping[str, Tensor]) -> str | None:
    return next((name[i:] for i in range(len(name)) if name[i:] in candidates), None)


def _summary(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(names[:_NAMES_SHOWN]) or "none"
    return f"{shown} and {more} more" if more > 0 else shown


def strip_prefix_if_present(state_dict: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    """Remove `prefix` from all names if all names have it; else return the mapping itself."""
    if any(not name.startswith(prefix) for name in state_dict):
        return state_dict
    return OrderedDict((name[len(prefix) :], value) for name, value in state_dict.items())


def load_state_dict(model: nn.Module, loaded_state_dict: Mapping[str, Tensor]) -> LoadReport:
    """Load the weights that match into the model; see `align_and_update_state_dicts`."""
    own = model.state_dict()
    # DistributedDataParallel adds the prefix "module." to the names of the model that it wraps
    loaded = strip_prefix_if_present(loaded_state_dict, "module.")
    report = align_and_update_state_dicts(own, loaded)
    model.load_state_dict(own)
    return report
