"""The original's 66 configuration files: their names, their values, and the models they build."""

import ast
import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from tiny_models import make_cfg

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.config import defaults as defaults_module
from maskrcnn_benchmark.modeling.detector import build_detection_model

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
OURS = ("dota/", "quickstart")  # files that the original does not have

# number of entries and SHA-256 (first 16 digits) of the sorted "name shape" lines of the model that
# the original builds from these files
MODELS = {
    "555 78b70d345a5b37c0": """
        caffe2/e2e_faster_rcnn_R_101_FPN_1x_caffe2 e2e_faster_rcnn_R_101_FPN_1x
    """,
    "276 46c1818e1a0e9693": """
        caffe2/e2e_faster_rcnn_R_50_C4_1x_caffe2 e2e_faster_rcnn_R_50_C4_1x
        quick_schedules/e2e_faster_rcnn_R_50_C4_quick
    """,
    "300 d3a93cb0db34cd09": """
        caffe2/e2e_faster_rcnn_R_50_FPN_1x_caffe2 e2e_faster_rcnn_R_50_FPN_1x
        quick_schedules/e2e_faster_rcnn_R_50_FPN_quick
    """,
    "555 1d1a75ca9438b812": """
        caffe2/e2e_faster_rcnn_X_101_32x8d_FPN_1x_caffe2 e2e_faster_rcnn_X_101_32x8d_FPN_1x
        quick_schedules/e2e_faster_rcnn_X_101_32x8d_FPN_quick
    """,
    "318 b1eb7a0a2b0bb75e": """
        caffe2/e2e_keypoint_rcnn_R_50_FPN_1x_caffe2 e2e_keypoint_rcnn_R_50_FPN_1x
        quick_schedules/e2e_keypoint_rcnn_R_50_FPN_quick
    """,
    "567 475f7cdeb14660b6": """
        caffe2/e2e_mask_rcnn_R_101_FPN_1x_caffe2 e2e_mask_rcnn_R_101_FPN_1x
    """,
    "330 ad7e7a91d928f7c0": """
        caffe2/e2e_mask_rcnn_R_50_C4_1x_caffe2 e2e_mask_rcnn_R_50_C4_1x
        quick_schedules/e2e_mask_rcnn_R_50_C4_quick
    """,
    "312 1eba88fab0a63f03": """
        caffe2/e2e_mask_rcnn_R_50_FPN_1x_caffe2 e2e_mask_rcnn_R_50_FPN_1x
        e2e_mask_rcnn_R_50_FPN_1x_periodically_testing
        quick_schedules/e2e_mask_rcnn_R_50_FPN_quick test_time_aug/e2e_mask_rcnn_R_50_FPN_1x
    """,
    "822 074fc922fdd1cef2": """
        caffe2/e2e_mask_rcnn_X-152-32x8d-FPN-IN5k_1.44x_caffe2
    """,
    "567 03c129a6eb72a1b0": """
        caffe2/e2e_mask_rcnn_X_101_32x8d_FPN_1x_caffe2 e2e_mask_rcnn_X_101_32x8d_FPN_1x
        quick_schedules/e2e_mask_rcnn_X_101_32x8d_FPN_quick
    """,
    "300 6959f2c6e3d8293a": """
        cityscapes/e2e_faster_rcnn_R_50_FPN_1x_cocostyle
    """,
    "312 026f722f2ba0ca20": """
        cityscapes/e2e_mask_rcnn_R_50_FPN_1x_binarymask
        cityscapes/e2e_mask_rcnn_R_50_FPN_1x_cocostyle
    """,
    "312 33295828c801c481": """
        cityscapes/e2e_mask_rcnn_R_50_FPN_1x_poly
    """,
    "326 b01b3b3d40dbd92c": """
        dcn/e2e_faster_rcnn_dconv_R_50_FPN_1x
    """,
    "326 37a2e35d11586b2a": """
        dcn/e2e_faster_rcnn_mdconv_R_50_FPN_1x
    """,
    "338 f4f1d05480806ba9": """
        dcn/e2e_mask_rcnn_dconv_R_50_FPN_1x
    """,
    "338 4f3c6bec05247b41": """
        dcn/e2e_mask_rcnn_mdconv_R_50_FPN_1x
    """,
    "275 e43ea179130e90ec": """
        e2e_faster_rcnn_fbnet e2e_faster_rcnn_fbnet_600
    """,
    "379 c4d6ca2df013db2e": """
        e2e_faster_rcnn_fbnet_chamv1a_600
    """,
    "342 55686fd6454ceed8": """
        e2e_mask_rcnn_fbnet e2e_mask_rcnn_fbnet_600
    """,
    "348 cff241a38c50c188": """
        e2e_mask_rcnn_fbnet_xirb16d_dsmask
    """,
    "342 e1e1b57139ed4728": """
        e2e_mask_rcnn_fbnet_xirb16d_dsmask_600
    """,
    "204 b19b99c9b51d60a0": """
        gn_baselines/e2e_faster_rcnn_R_50_FPN_1x_gn
        gn_baselines/scratch_e2e_faster_rcnn_R_50_FPN_3x_gn
    """,
    "212 f2104f7a14eee2d7": """
        gn_baselines/e2e_faster_rcnn_R_50_FPN_Xconv1fc_1x_gn
        gn_baselines/scratch_e2e_faster_rcnn_R_50_FPN_Xconv1fc_3x_gn
    """,
    "220 c16db55366e9c1a5": """
        gn_baselines/e2e_mask_rcnn_R_50_FPN_1x_gn
        gn_baselines/scratch_e2e_mask_rcnn_R_50_FPN_3x_gn
    """,
    "228 de18d2a2b724198b": """
        gn_baselines/e2e_mask_rcnn_R_50_FPN_Xconv1fc_1x_gn
        gn_baselines/scratch_e2e_mask_rcnn_R_50_FPN_Xconv1fc_3x_gn
    """,
    "276 5ffceb30a4abf1b1": """
        pascal_voc/e2e_faster_rcnn_R_50_C4_1x_1_gpu_voc
        pascal_voc/e2e_faster_rcnn_R_50_C4_1x_4_gpu_voc
    """,
    "312 71d6c32728539702": """
        pascal_voc/e2e_mask_rcnn_R_50_FPN_1x_cocostyle
    """,
    "222 586863b5ed9d9c30": """
        quick_schedules/rpn_R_50_C4_quick rpn_R_50_C4_1x
    """,
    "292 b7ba5619d84ef34d": """
        quick_schedules/rpn_R_50_FPN_quick rpn_R_50_FPN_1x
    """,
    "561 b851b086239621bd": """
        retinanet/retinanet_R-101-FPN_1x
    """,
    "561 5170f913434a9e29": """
        retinanet/retinanet_R-101-FPN_P5_1x
    """,
    "306 8856ad02c0e94c3d": """
        retinanet/retinanet_R-50-FPN_1x retinanet/retinanet_R-50-FPN_1x_quick
    """,
    "306 80db3eb8920aa2e1": """
        retinanet/retinanet_R-50-FPN_P5_1x
    """,
    "561 3501e67249015e31": """
        retinanet/retinanet_X_101_32x8d_FPN_1x
    """,
    "547 5d97673bbbd2e8b7": """
        rpn_R_101_FPN_1x
    """,
    "547 8e26810c14ad7693": """
        rpn_X_101_32x8d_FPN_1x
    """,
}
FILES = {name: model for model, names in MODELS.items() for name in names.split()}
# of the files that build the same model one is enough for the short run
BUILDS = [
    pytest.param(name, marks=[] if names.split()[0] == name else pytest.mark.slow)
    for names in MODELS.values()
    for name in names.split()
]
# of all files' names, keys and values, and of the defaults
VALUES_DIGEST = "16be60508b39c5b1"
DEFAULTS_DIGEST = "b8f8b3b2b661a8d4"
NEW_DEFAULTS = re.compile(
    r"MODEL\.(CROWD|ORIENTED)\.|DOTA\.|"
    r"MODEL\.(CHANNELS_LAST|CHECKPOINT_BODY|FAST_ROI_ALIGN|FOLD_BATCH_NORM)$|"
    r"TEST\.CHANNELS_LAST$|SOLVER\.(ACCUMULATE|CLIP_GRADIENT|EMA|SEED|STEP_TIMEOUT)$|"
    r"INPUT\.(ROTATE_|DIAGONAL_FLIP_PROB_TRAIN$|MAX_PIXELS$)"
)
ELSEWHERE = ("MODEL.DEVICE", "PATHS_CATALOG")  # defaults that depend on the machine


def flat(tree, prefix=""):
    """{"A.B.C": value} of nested dicts; tuples, and strings that spell one, as lists."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{key}."))
            continue
        if isinstance(value, str) and value.startswith(("(", "[")):
            value = ast.literal_eval(value)
        found[prefix + key] = list(value) if isinstance(value, tuple) else value
    return found


def values_of(name):
    return flat(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))


def defaults():
    return {
        key: value
        for key, value in flat(default_cfg).items()
        if not NEW_DEFAULTS.match(key) and key not in ELSEWHERE
    }


def digest(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def config_of(name):
    cfg = make_cfg()
    cfg.merge_from_file(str(CONFIGS / f"{name}.yaml"))
    return cfg


def test_the_originals_files_and_no_others_but_our_own():
    found = {str(p.relative_to(CONFIGS).with_suffix("")) for p in CONFIGS.rglob("*.yaml")}
    assert {name for name in found if not name.startswith(OURS)} == set(FILES)
    assert len(FILES) == 66


def test_values_are_the_originals():
    assert digest({name: values_of(name) for name in FILES}) == VALUES_DIGEST


def test_values_are_those_of_the_originals_files(shared_data):
    table = shared_data.parent / "upstream" / "config-files.json"
    expected = {name[: -len(".yaml")]: flat(v) for name, v in json.loads(table.read_text()).items()}
    assert set(expected) == set(FILES)
    for name, values in expected.items():
        assert values_of(name) == values, name


def test_defaults_are_the_originals():
    assert digest(defaults()) == DEFAULTS_DIGEST


def test_defaults_are_those_of_the_originals_table(shared_data):
    expected = json.loads((shared_data.parent / "upstream" / "config-defaults.json").read_text())
    assert defaults() == {k: v for k, v in expected.items() if k not in ELSEWHERE}


def test_every_default_has_a_comment_that_stands_alone():
    """Comments such as "as above" lost their "above" when the keys were sorted."""
    lines = Path(defaults_module.__file__).read_text().splitlines()
    keys = [n for n, line in enumerate(lines) if re.match(r"_C\.[\w.]+ = (?!CN)", line)]
    assert len(keys) == len(flat(default_cfg))
    for number in keys:
        comment = lines[number].partition("  # ")[2]
        above = number - 1
        while not comment and lines[above].startswith("# "):
            above -= 1
        comment = comment or " ".join(lines[above + 1 : number])
        assert len(comment) > 5, lines[number]
        leans = re.search(
            r"\bas (above|for|in|[A-Z]{3,})|\b(of them|the same for|that limit)", comment
        )
        assert leans is None, f"{lines[number]}: {comment}"


@pytest.mark.parametrize("name", BUILDS)
def test_every_file_builds_the_originals_model(name):
    with torch.device("meta"):
        state = build_detection_model(config_of(name)).state_dict()
    lines = sorted(f"{key} {tuple(value.shape)}" for key, value in state.items())
    found = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert f"{len(lines)} {found}" == FILES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [names.split()[0] for names in MODELS.values()])
def test_every_model_gets_finite_weights_on_the_cpu(name):
    model = build_detection_model(config_of(name))
    for key, value in model.state_dict().items():
        assert value.device.type == "cpu" and value.isfinite().all(), key
