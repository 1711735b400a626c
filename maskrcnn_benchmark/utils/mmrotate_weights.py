"""Checkpoints of mmrotate's Oriented R-CNN, {"state_dict": …, "meta": …} with mmdet 2's names.

Such a network has its stride in the 3x3 convolutions and saw RGB images, normalized as INPUT must
say; under other settings it would load and work badly, so other settings are refused.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from maskrcnn_benchmark.utils.torchvision_weights import refuse_other_settings

_EPSILON = 1e-5  # of its batch norms; FrozenBatchNorm2d adds none
_NAMES = (
    (r"backbone\.(?=layer)", "backbone.body."),
    (r"backbone\.(?=conv1|bn1)", "backbone.body.stem."),
    (r"neck\.lateral_convs\.(\d)\.conv\.", "backbone.fpn.fpn_inner{}."),
    (r"neck\.fpn_convs\.(\d)\.conv\.", "backbone.fpn.fpn_layer{}."),
    (r"rpn_head\.rpn_conv\.", "rpn.head.conv."),
    (r"rpn_head\.rpn_cls\.", "rpn.head.cls_logits."),
    (r"rpn_head\.rpn_reg\.", "rpn.head.bbox_pred."),
    (r"roi_head\.bbox_head\.shared_fcs\.0\.", "roi_heads.box.feature_extractor.fc6."),
    (r"roi_head\.bbox_head\.shared_fcs\.1\.", "roi_heads.box.feature_extractor.fc7."),
    (r"roi_head\.bbox_head\.fc_cls\.", "roi_heads.box.predictor.cls_score."),
    (r"roi_head\.bbox_head\.fc_reg\.", "roi_heads.box.predictor.bbox_pred."),
)


def is_mmrotate(loaded: Mapping[str, Any]) -> bool:
    """Say whether a checkpoint has the form of mmrotate's and mmdet's: {"state_dict": …}."""
    return isinstance(loaded.get("state_dict"), Mapping)


def load_mmrotate_format(cfg, f: str, loaded: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Translate a checkpoint to {"model": state dict of ours}.

    Args:
        cfg: the settings of the model that it is for.
        f: the file, for errors.
        loaded: its content.

    Raises:
        ValueError: a part that we do not have, or settings other than those that it needs.
    """
    code = loaded["state_dict"].get("roi_head.bbox_head.fc_reg.weight")
    if code is None or len(code) != 5:
        raise ValueError(
            f"{f} is a checkpoint of another framework; of those, mmrotate's Oriented R-CNN is read"
        )
    refuse_other_settings(
        f,
        {
            "MODEL.ORIENTED.METHOD": ("oriented_rcnn", cfg.MODEL.ORIENTED.METHOD),
            "MODEL.RESNETS.STRIDE_IN_1X1": (False, cfg.MODEL.RESNETS.STRIDE_IN_1X1),
            "INPUT.TO_BGR255": (False, cfg.INPUT.TO_BGR255),
            "INPUT.PIXEL_MEAN": ([0.485, 0.456, 0.406], list(cfg.INPUT.PIXEL_MEAN)),
            "INPUT.PIXEL_STD": ([0.229, 0.224, 0.225], list(cfg.INPUT.PIXEL_STD)),
        },
    )
    try:
        return {"model": from_mmrotate(loaded["state_dict"])}
    except ValueError as error:
        raise ValueError(f"{f}: {error}") from error


def from_mmrotate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate a state dict of mmrotate's Oriented R-CNN with a ResNet and FPN.

    The background, its last class, becomes our first; its batch norms' epsilon goes into the
    variance.

    Raises:
        ValueError: names that we have no place for.
    """
    translated, strangers = {}, []
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        ours = _translate(name)
        if ours is None:
            strangers.append(name)
        elif name.startswith("roi_head.bbox_head.fc_cls."):
            translated[ours] = torch.roll(value, 1, dims=0)
        else:
            translated[ours] = value + _EPSILON if name.endswith("running_var") else value
    if strangers:
        raise ValueError(
            f"{len(strangers)} parts of this checkpoint have no place in our Oriented R-CNN: "
            f"{', '.join(strangers[:6])}{' …' if len(strangers) > 6 else ''}"
        )
    return translated


def _translate(name: str) -> str | None:
    for pattern, replacement in _NAMES:
        found = re.match(pattern, name)
        if found:
            # our levels are counted from 1
            levels = [int(number) + 1 for number in found.groups()]
            return replacement.format(*levels) + name[found.end() :]
    return None
