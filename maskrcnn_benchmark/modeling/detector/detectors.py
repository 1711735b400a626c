"""From a config to a model."""

from torch import nn

from maskrcnn_benchmark.modeling.make_layers import set_group_norm_from_cfg
from maskrcnn_benchmark.modeling.oriented_targets import check_oriented
from maskrcnn_benchmark.modeling.registry import check_names
from maskrcnn_benchmark.structures.crowd import set_policy_from_cfg

from .generalized_rcnn import GeneralizedRCNN

_DETECTION_META_ARCHITECTURES = {"GeneralizedRCNN": GeneralizedRCNN}


def build_detection_model(cfg) -> nn.Module:
    """Build the model; sets the crowd policy and the GroupNorm sizes that the config asks for.

    Raises:
        ValueError: a part that is not registered, or settings that contradict each other.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in _DETECTION_META_ARCHITECTURES:
        known = ", ".join(_DETECTION_META_ARCHITECTURES)
        raise ValueError(f"MODEL.META_ARCHITECTURE is {name!r}; known: {known}")
    check_oriented(cfg)
    check_names(cfg)
    set_policy_from_cfg(cfg)
    set_group_norm_from_cfg(cfg)
    return _DETECTION_META_ARCHITECTURES[name](cfg)
