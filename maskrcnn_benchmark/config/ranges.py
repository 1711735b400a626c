"""What each setting may be, checked before any work begins.

True and False are checked by their type alone, which yacs compares with the default's, as it does
for all settings. Names of registered parts are checked where the model is built
(modeling/registry.py), after projects have registered theirs. NaN and infinity are in no range.
"""

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple


class Check(NamedTuple):
    """A range: in words that follow "must be", and as a function of the value."""

    text: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # NaN is not


def _number(low: float, high: float = math.inf) -> Check:
    text = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
    return Check(f"a number {text}", lambda value: _is_number(value) and low <= value <= high)


def _whole(low: int, high: float = math.inf) -> Check:
    number = _number(low, high)
    text = number.text.replace("number", "whole number")
    return Check(text, lambda value: type(value) is int and number.fits(value))


def _one_of(*values: Any) -> Check:
    return Check(f"one of {', '.join(map(str, values))}", lambda value: value in values)


def _each(item: Check, count: int | None = None, least: int = 0) -> Check:
    """Check the entries of a tuple or list, and how many there are."""
    size = (
        f"{count} entries"
        if count is not None
        else f"at least {least}"
        if least
        else "any number of entries"
    )
    return Check(
        f"{size}, each {item.text}",
        lambda values: (
            isinstance(values, (tuple, list))
            and (len(values) >= least if count is None else len(values) == count)
            and all(map(item.fits, values))
        ),
    )


def _is_class_list(names: Any) -> bool:
    return all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)


def _is_row(row: Any) -> bool:
    if not isinstance(row, (tuple, list)) or [type(part) for part in row[:2]] != [str, str]:
        return False
    return len(row) == 3 and _FIGURE.fits(row[2])


FINITE = Check("a finite number", _is_number)
POSITIVE = Check("a number above 0", lambda value: _is_number(value) and value > 0)
NOT_NEGATIVE = _number(0)
SHARE = _number(0, 1)
BELOW_1 = Check("a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1)
INSIDE_01 = Check("a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1)
COUNT = _whole(0)
SIZE = _whole(1)
GROUPS = Check("-1 or a whole number of at least 1", lambda value: value == -1 or value > 0)
TEXT = Check("text", lambda value: isinstance(value, str) and "\0" not in value)
TEXTS = _each(TEXT)
CHANNELS = _each(FINITE, count=3)
LEVELS = _each(POSITIVE, least=1)
CLASSES = Check("different names", _is_class_list)
LABELS = Check(
    "names of classes, or labels from 1",
    lambda values: all(isinstance(v, str) or type(v) is int and v > 0 for v in values),
)
STRIDE = _one_of(0, 1, 2)
DTYPES = ("float32", "tf32", "float16", "bfloat16")
_FIGURE = _each(FINITE, count=2)
FIGURES = _each(Check("[task, metric, [mean, std]]", _is_row))

RANGES = {
    "MODEL.DEVICE": TEXT,  # utils/processes.py asks PyTorch
    "MODEL.META_ARCHITECTURE": TEXT,
    "MODEL.WEIGHT": TEXT,
    "MODEL.CROWD.IOU_ROWS": COUNT,
    "MODEL.CROWD.MATCH_ROWS": COUNT,
    "MODEL.CROWD.MODE": _one_of("stream", "cpu", "off"),
    "MODEL.CROWD.BLOCK_MB": SIZE,
    "MODEL.BACKBONE.CONV_BODY": TEXT,
    "MODEL.BACKBONE.FREEZE_CONV_BODY_AT": COUNT,
    "MODEL.GROUP_NORM.DIM_PER_GP": GROUPS,
    "MODEL.GROUP_NORM.EPSILON": NOT_NEGATIVE,
    "MODEL.GROUP_NORM.NUM_GROUPS": GROUPS,
    "MODEL.RPN.ANCHOR_SIZES": LEVELS,
    "MODEL.RPN.ANCHOR_STRIDE": LEVELS,
    "MODEL.RPN.ASPECT_RATIOS": LEVELS,
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": SIZE,
    "MODEL.RPN.BG_IOU_THRESHOLD": SHARE,
    "MODEL.RPN.FG_IOU_THRESHOLD": SHARE,
    "MODEL.RPN.FPN_POST_NMS_TOP_N_TEST": SIZE,
    "MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN": SIZE,
    "MODEL.RPN.MIN_SIZE": NOT_NEGATIVE,
    "MODEL.RPN.NMS_THRESH": SHARE,
    "MODEL.RPN.POSITIVE_FRACTION": SHARE,
    "MODEL.RPN.POST_NMS_TOP_N_TEST": SIZE,
    "MODEL.RPN.POST_NMS_TOP_N_TRAIN": SIZE,
    "MODEL.RPN.PRE_NMS_TOP_N_TEST": SIZE,
    "MODEL.RPN.PRE_NMS_TOP_N_TRAIN": SIZE,
    "MODEL.RPN.RPN_HEAD": TEXT,
    "MODEL.RPN.STRADDLE_THRESH": _whole(-1),
    "MODEL.ORIENTED.METHOD": TEXT,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": SIZE,
    "MODEL.ROI_HEADS.BBOX_REG_WEIGHTS": _each(POSITIVE, count=4),
    "MODEL.ROI_HEADS.BG_IOU_THRESHOLD": SHARE,
    "MODEL.ROI_HEADS.DETECTIONS_PER_IMG": COUNT,
    "MODEL.ROI_HEADS.FG_IOU_THRESHOLD": SHARE,
    "MODEL.ROI_HEADS.NMS": SHARE,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": SHARE,
    "MODEL.ROI_HEADS.SCORE_THRESH": SHARE,
    "MODEL.ROI_BOX_HEAD.CONV_HEAD_DIM": SIZE,
    "MODEL.ROI_BOX_HEAD.DILATION": SIZE,
    "MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR": TEXT,
    "MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM": SIZE,
    "MODEL.ROI_BOX_HEAD.NUM_CLASSES": _whole(2),
    "MODEL.ROI_BOX_HEAD.NUM_STACKED_CONVS": COUNT,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": SIZE,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": COUNT,
    "MODEL.ROI_BOX_HEAD.POOLER_SCALES": LEVELS,
    "MODEL.ROI_BOX_HEAD.PREDICTOR": TEXT,
    "MODEL.ROI_MASK_HEAD.CONV_LAYERS": _each(SIZE),
    "MODEL.ROI_MASK_HEAD.DILATION": SIZE,
    "MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR": TEXT,
    "MODEL.ROI_MASK_HEAD.MLP_HEAD_DIM": COUNT,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": SIZE,
    "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": COUNT,
    "MODEL.ROI_MASK_HEAD.POOLER_SCALES": LEVELS,
    "MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS_THRESHOLD": _number(-1, 1),
    "MODEL.ROI_MASK_HEAD.PREDICTOR": TEXT,
    "MODEL.ROI_MASK_HEAD.RESOLUTION": SIZE,
    "MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS": _each(SIZE),
    "MODEL.ROI_KEYPOINT_HEAD.FEATURE_EXTRACTOR": TEXT,
    "MODEL.ROI_KEYPOINT_HEAD.MLP_HEAD_DIM": COUNT,
    "MODEL.ROI_KEYPOINT_HEAD.NUM_CLASSES": SIZE,
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION": SIZE,
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO": COUNT,
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_SCALES": LEVELS,
    "MODEL.ROI_KEYPOINT_HEAD.PREDICTOR": TEXT,
    "MODEL.ROI_KEYPOINT_HEAD.RESOLUTION": SIZE,
    "MODEL.RESNETS.BACKBONE_OUT_CHANNELS": SIZE,
    "MODEL.RESNETS.DEFORMABLE_GROUPS": SIZE,
    "MODEL.RESNETS.NUM_GROUPS": SIZE,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": SIZE,
    "MODEL.RESNETS.RES5_DILATION": SIZE,
    "MODEL.RESNETS.STAGE_WITH_DCN": _each(_one_of(False, True), count=4),
    "MODEL.RESNETS.STEM_FUNC": _one_of("StemWithFixedBatchNorm", "StemWithGN"),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": SIZE,
    "MODEL.RESNETS.TRANS_FUNC": _one_of("BottleneckWithFixedBatchNorm", "BottleneckWithGN"),
    "MODEL.RESNETS.WIDTH_PER_GROUP": SIZE,
    "MODEL.RETINANET.ANCHOR_SIZES": LEVELS,
    "MODEL.RETINANET.ANCHOR_STRIDES": LEVELS,
    "MODEL.RETINANET.ASPECT_RATIOS": LEVELS,
    "MODEL.RETINANET.BBOX_REG_BETA": POSITIVE,
    "MODEL.RETINANET.BBOX_REG_WEIGHT": POSITIVE,
    "MODEL.RETINANET.BG_IOU_THRESHOLD": SHARE,
    "MODEL.RETINANET.FG_IOU_THRESHOLD": SHARE,
    "MODEL.RETINANET.INFERENCE_TH": SHARE,
    "MODEL.RETINANET.LOSS_ALPHA": SHARE,
    "MODEL.RETINANET.LOSS_GAMMA": NOT_NEGATIVE,
    "MODEL.RETINANET.NMS_TH": SHARE,
    "MODEL.RETINANET.NUM_CLASSES": _whole(2),
    "MODEL.RETINANET.NUM_CONVS": COUNT,
    "MODEL.RETINANET.OCTAVE": POSITIVE,
    "MODEL.RETINANET.PRE_NMS_TOP_N": SIZE,
    "MODEL.RETINANET.PRIOR_PROB": INSIDE_01,
    "MODEL.RETINANET.SCALES_PER_OCTAVE": SIZE,
    "MODEL.RETINANET.STRADDLE_THRESH": _whole(-1),
    "MODEL.FBNET.ARCH": TEXT,
    "MODEL.FBNET.ARCH_DEF": TEXT,
    "MODEL.FBNET.BN_TYPE": _one_of("bn", "gn", "af"),
    "MODEL.FBNET.DET_HEAD_BLOCKS": _each(COUNT),
    "MODEL.FBNET.DET_HEAD_LAST_SCALE": FINITE,
    "MODEL.FBNET.DET_HEAD_STRIDE": STRIDE,
    "MODEL.FBNET.KPTS_HEAD_BLOCKS": _each(COUNT),
    "MODEL.FBNET.KPTS_HEAD_LAST_SCALE": FINITE,
    "MODEL.FBNET.KPTS_HEAD_STRIDE": STRIDE,
    "MODEL.FBNET.MASK_HEAD_BLOCKS": _each(COUNT),
    "MODEL.FBNET.MASK_HEAD_LAST_SCALE": FINITE,
    "MODEL.FBNET.MASK_HEAD_STRIDE": STRIDE,
    "MODEL.FBNET.RPN_BN_TYPE": _one_of("", "bn", "gn", "af"),
    "MODEL.FBNET.RPN_HEAD_BLOCKS": COUNT,
    "MODEL.FBNET.SCALE_FACTOR": POSITIVE,
    "MODEL.FBNET.WIDTH_DIVISOR": SIZE,
    "INPUT.BRIGHTNESS": NOT_NEGATIVE,
    "INPUT.CONTRAST": NOT_NEGATIVE,
    "INPUT.DIAGONAL_FLIP_PROB_TRAIN": SHARE,
    "INPUT.HORIZONTAL_FLIP_PROB_TRAIN": SHARE,
    "INPUT.HUE": _number(0, 0.5),
    "INPUT.MAX_PIXELS": SIZE,
    "INPUT.MAX_SIZE_TEST": SIZE,
    "INPUT.MAX_SIZE_TRAIN": SIZE,
    "INPUT.MIN_SIZE_TEST": SIZE,
    "INPUT.MIN_SIZE_TRAIN": _each(SIZE, least=1),
    "INPUT.PIXEL_MEAN": CHANNELS,
    "INPUT.PIXEL_STD": _each(POSITIVE, count=3),
    "INPUT.ROTATE_DEGREES": _number(0, 180),
    "INPUT.ROTATE_PROB_TRAIN": SHARE,
    "INPUT.ROTATE_QUARTER_TURN_CLASSES": LABELS,
    "INPUT.SATURATION": NOT_NEGATIVE,
    "INPUT.VERTICAL_FLIP_PROB_TRAIN": SHARE,
    "DATASETS.TEST": TEXTS,
    "DATASETS.TRAIN": TEXTS,
    "DATALOADER.NUM_WORKERS": _whole(0, 1024),
    "DATALOADER.SIZE_DIVISIBILITY": COUNT,
    "DOTA.VERSION": _one_of(1.0, 1.5, 2.0),
    "DOTA.CLASSES": CLASSES,
    "DOTA.TILE": COUNT,
    "DOTA.OVERLAP": COUNT,
    "DOTA.NMS_HBB": SHARE,
    "DOTA.NMS_OBB": SHARE,
    "SOLVER.ACCUMULATE": SIZE,
    "SOLVER.BASE_LR": NOT_NEGATIVE,
    "SOLVER.BIAS_LR_FACTOR": NOT_NEGATIVE,
    "SOLVER.CHECKPOINT_PERIOD": SIZE,
    "SOLVER.CLIP_GRADIENT": NOT_NEGATIVE,
    "SOLVER.EMA": BELOW_1,
    "SOLVER.GAMMA": NOT_NEGATIVE,
    "SOLVER.IMS_PER_BATCH": SIZE,
    "SOLVER.MAX_ITER": COUNT,
    "SOLVER.MOMENTUM": BELOW_1,
    "SOLVER.STEPS": _each(COUNT),
    "SOLVER.STEP_TIMEOUT": SIZE,
    "SOLVER.TEST_PERIOD": COUNT,
    "SOLVER.WARMUP_FACTOR": NOT_NEGATIVE,
    "SOLVER.WARMUP_ITERS": COUNT,
    "SOLVER.WARMUP_METHOD": _one_of("linear", "constant"),
    "SOLVER.WEIGHT_DECAY": NOT_NEGATIVE,
    "SOLVER.WEIGHT_DECAY_BIAS": NOT_NEGATIVE,
    "SOLVER.SEED": _whole(0, 2**31 - 1),
    "TEST.DETECTIONS_PER_IMG": COUNT,
    "TEST.EXPECTED_RESULTS": FIGURES,
    "TEST.EXPECTED_RESULTS_SIGMA_TOL": NOT_NEGATIVE,
    "TEST.IMS_PER_BATCH": SIZE,
    "TEST.BBOX_AUG.MAX_SIZE": SIZE,
    "TEST.BBOX_AUG.SCALES": _each(SIZE),
    "DTYPE": _one_of(*DTYPES),
    "OUTPUT_DIR": TEXT,
    "PATHS_CATALOG": TEXT,
}


def check_setting(key: str, value: Any) -> None:
    """Raise ValueError, with a message that begins with the key, for a value out of its range."""
    check = RANGES.get(key)
    if check is not None and not check.fits(value):
        raise ValueError(f"{key} must be {check.text}, got {value!r}")
