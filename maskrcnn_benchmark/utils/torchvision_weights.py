"""torchvision's ImageNet weights for ResNet bodies: MODEL.WEIGHT "torchvision://resnet50".

Their networks have the stride in the 3x3 convolutions and were trained on RGB images in [0, 1].
With other settings the weights would load but give poor results, so other settings are refused.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torchvision
from torch import Tensor
from yacs.config import CfgNode

from maskrcnn_benchmark.utils.model_zoo import read_cached
from maskrcnn_benchmark.utils.weights_file import read_weights_file

PREFIX = "torchvision://"
_EPSILON = 1e-5  # of torchvision's batch norms


class _Body(NamedTuple):
    """Settings that a network needs.

    Attributes:
        depth: first part of MODEL.BACKBONE.CONV_BODY, such as "R-50".
        groups, width_per_group: MODEL.RESNETS.NUM_GROUPS and WIDTH_PER_GROUP.
    """

    depth: str
    groups: int
    width_per_group: int


_BODIES = {
    "resnet50": _Body("R-50", 1, 64),
    "resnet101": _Body("R-101", 1, 64),
    "resnet152": _Body("R-152", 1, 64),
    "resnext50_32x4d": _Body("R-50", 32, 4),
    "resnext101_32x8d": _Body("R-101", 32, 8),
    "resnext101_64x4d": _Body("R-101", 64, 4),
    "wide_resnet50_2": _Body("R-50", 1, 128),
    "wide_resnet101_2": _Body("R-101", 1, 128),
}


def load_torchvision_format(cfg: CfgNode, f: str) -> dict[str, dict[str, Tensor]]:
    """Read torchvision's weights, downloaded once, as {"model": state dict}.

    Args:
        f: "torchvision://MODEL", or "torchvision://MODEL/VERSION", where VERSION is torchvision's
            name for one of the model's weights; without it, the first ones (IMAGENET1K_V1).

    Raises:
        ValueError: there are no such weights, or they need other settings.
    """
    name, _, version = f.removeprefix(PREFIX).partition("/")
    if name not in _BODIES:
        raise ValueError(f"{f}: expected {PREFIX} and one of {', '.join(_BODIES)}")
    published = {weights.name: weights for weights in torchvision.models.get_model_weights(name)}
    weights = published.get(version or next(iter(published)))
    if weights is None:
        raise ValueError(f"{f}: torchvision's {name} has {', '.join(published)}, not {version}")
    pixels = weights.transforms()
    _check_settings(cfg, f, _BODIES[name], pixels.mean, pixels.std)
    state = read_cached(weights.url, read_weights_file)
    return {"model": from_torchvision(state, cfg.MODEL.RESNETS.STAGE_WITH_DCN)}


def from_torchvision(
    state: Mapping[str, Tensor], stage_with_dcn: Any = (False,) * 4
) -> dict[str, Tensor]:
    """Translate the state dict of a ResNet of torchvision to one of our body, without classifier.

    FrozenBatchNorm2d adds no epsilon to the variance, so it is added here.

    Args:
        state: names and tensors of torchvision's model.
        stage_with_dcn: four bools: layer1 to layer4 have a DFConv2d for the 3x3 convolution.
    """
    plain = re.compile(r"layer(\d)\.\d+\.conv2(?=\.)")
    translated = {}
    for name, value in state.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        inner = plain.match(name)
        if inner and stage_with_dcn[int(inner[1]) - 1]:
            name = f"{inner[0]}.conv{name[inner.end() :]}"
        if not name.startswith("layer"):
            name = f"stem.{name}"
        translated[name] = value + _EPSILON if name.endswith("running_var") else value
    return translated


def _check_settings(cfg: CfgNode, f: str, body: _Body, mean: list[float], std: list[float]) -> None:
    conv_body, resnets = cfg.MODEL.BACKBONE.CONV_BODY, cfg.MODEL.RESNETS
    own = conv_body if conv_body.startswith(f"{body.depth}-") else f"one of {body.depth}-…"
    needed: dict[str, tuple[Any, Any]] = {
        "INPUT.TO_BGR255": (False, cfg.INPUT.TO_BGR255),
        "INPUT.PIXEL_MEAN": (list(mean), list(cfg.INPUT.PIXEL_MEAN)),
        "INPUT.PIXEL_STD": (list(std), list(cfg.INPUT.PIXEL_STD)),
        "MODEL.BACKBONE.CONV_BODY": (own, conv_body),
        "MODEL.RESNETS.STRIDE_IN_1X1": (False, resnets.STRIDE_IN_1X1),
        "MODEL.RESNETS.NUM_GROUPS": (body.groups, resnets.NUM_GROUPS),
        "MODEL.RESNETS.WIDTH_PER_GROUP": (body.width_per_group, resnets.WIDTH_PER_GROUP),
        "MODEL.RESNETS.STEM_OUT_CHANNELS": (64, resnets.STEM_OUT_CHANNELS),
        "MODEL.RESNETS.RES2_OUT_CHANNELS": (256, resnets.RES2_OUT_CHANNELS),
        "MODEL.RESNETS.STEM_FUNC": ("StemWithFixedBatchNorm", resnets.STEM_FUNC),
        "MODEL.RESNETS.TRANS_FUNC": ("BottleneckWithFixedBatchNorm", resnets.TRANS_FUNC),
    }
    refuse_other_settings(f, needed)


def refuse_other_settings(f: str, needed: dict[str, tuple[Any, Any]]) -> None:
    """Raise ValueError where settings are not those that weights were trained with.

    Args:
        f: the weights, for the message.
        needed: the setting's key -> (expected, got).
    """
    wrong = [
        f"{key}: expected {expected}, got {got}"
        for key, (expected, got) in needed.items()
        if not _equal(expected, got)
    ]
    if wrong:
        raise ValueError(f"{f} needs other settings:\n  " + "\n  ".join(wrong))


def _equal(expected: Any, got: Any) -> bool:
    if not isinstance(expected, list):
        return expected == got
    return len(expected) == len(got) and all(
        math.isclose(a, b, rel_tol=1e-5) for a, b in zip(expected, got, strict=True)
    )
