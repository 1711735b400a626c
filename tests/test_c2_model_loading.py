import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.utils import c2_model_loading as c2
from maskrcnn_benchmark.utils.model_serialization import load_state_dict

HALF_WIDTH = (
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 64, "MODEL.RESNETS.WIDTH_PER_GROUP", 32),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 128, "MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 128),
)


def _cfg(*options):
    cfg = global_cfg.clone()
    cfg.merge_from_list(["MODEL.BACKBONE.CONV_BODY", "R-50-FPN", *options])
    return cfg


@pytest.mark.parametrize(
    ("blob", "name"),
    [
        ("conv1_w", "conv1.weight"),
        ("conv1_b", "conv1.bias"),
        ("res_conv1_bn_s", "bn1.weight"),
        ("res_conv1_bn_b", "bn1.bias"),
        ("conv1_gn_s", "bn1.weight"),
        ("res2_0_branch2a_w", "layer1.0.conv1.weight"),
        ("res2_0_branch2a_bn_s", "layer1.0.bn1.weight"),
        ("res3_3_branch2b_bn_b", "layer2.3.bn2.bias"),
        ("res4_22_branch2c_gn_s", "layer3.22.bn3.weight"),
        ("res5_0_branch1_w", "layer4.0.downsample.0.weight"),
        ("res5_0_branch1_bn_b", "layer4.0.downsample.1.bias"),
        ("res5_0_branch1_gn_b", "layer4.0.downsample.1.bias"),
        ("fpn_inner_res5_2_sum_w", "fpn_inner4.weight"),
        ("fpn_inner_res2_2_sum_lateral_b", "fpn_inner1.bias"),
        ("fpn_res4_5_sum_w", "fpn_layer3.weight"),
        ("conv_rpn_w", "rpn.head.conv.weight"),
        ("conv_rpn_fpn2_b", "rpn.head.conv.bias"),
        ("rpn_cls_logits_w", "rpn.head.cls_logits.weight"),
        ("rpn_bbox_pred_fpn2_b", "rpn.head.bbox_pred.bias"),
        ("fc6_w", "fc6.weight"),
        ("cls_score_b", "cls_score.bias"),
        ("bbox_pred_w", "bbox_pred.weight"),
        ("_[mask]_fcn4_w", "mask_fcn4.weight"),
        ("conv5_mask_b", "conv5_mask.bias"),
        ("mask_fcn_logits_w", "mask_fcn_logits.weight"),
        ("conv_fcn8_w", "conv_fcn8.weight"),
        ("kps_score_lowres_w", "kps_score_lowres.weight"),
        ("pred_w", "fc1000.weight"),
    ],
)
def test_names(blob, name):
    names = c2._rename_basic_resnet_weights([blob])
    assert c2._rename_fpn_weights(names, c2._C2_STAGE_NAMES["R-50"]) == [name]


def test_the_last_blocks_of_the_stages_name_the_pyramid():
    """R-152 has 8, 36 and 3 blocks in its last stages; sums of other blocks are not renamed."""
    names = ["fpn_inner_res3_7_sum_lateral.weight", "fpn_res4_35_sum.bias", "fpn_res4_5_sum.bias"]
    renamed = c2._rename_fpn_weights(names, c2._C2_STAGE_NAMES["R-152"])
    assert renamed == ["fpn_inner2.weight", "fpn_layer3.bias", "fpn_res4_5_sum.bias"]


@pytest.mark.parametrize(
    ("blobs", "name"),
    [
        (["head_conv1_w", "head_conv1_b"], "xconvs.0.weight"),
        (["head_conv3_b"], "xconvs.4.bias"),
        (["head_conv1_w", "head_conv1_gn_s"], "xconvs.0.weight"),
        (["head_conv4_gn_b", "head_conv4_gn_s"], "xconvs.10.bias"),
    ],
)
def test_stacked_convolutions_stand_behind_each_other(blobs, name):
    """Sequential(convolution, ReLU, …), with GroupNorm Sequential(convolution, norm, ReLU, …)."""
    assert c2._rename_basic_resnet_weights(blobs)[0] == name


def test_layers_with_group_norm_of_their_own_become_pairs():
    blobs = {"fc6_w": 1, "fc6_gn_s": 2, "fc6_gn_b": 3, "fc7_w": 4, "fpn_res2_2_sum_gn_s": 5}
    arrays = {blob: np.array([value]) for blob, value in blobs.items()}
    stages = c2._C2_STAGE_NAMES["R-50"]
    renamed = {k: v.item() for k, v in c2._rename_weights_for_resnet(arrays, stages).items()}
    assert renamed == {
        "fc6.0.weight": 1,
        "fc6.1.weight": 2,
        "fc6.1.bias": 3,
        "fc7.weight": 4,
        "fpn_layer1.1.weight": 5,
    }


def _detectron_blobs(state_dict):
    """Made-up blobs for every entry of a body, named by Detectron's rules the other way round."""
    stages = {f"layer{i}": f"res{i + 1}" for i in range(1, 5)}
    branches = {"1": "branch2a", "2": "branch2b", "3": "branch2c"}
    blobs = {}
    for name, value in state_dict.items():
        *path, parameter = name.split(".")
        if parameter.startswith("running"):
            continue
        suffix = {"weight": "w", "bias": "b"}[parameter]
        norm_suffix = {"weight": "bn_s", "bias": "bn_b"}[parameter]
        if path[0] == "stem":
            blob = "conv1_w" if path[1] == "conv1" else f"res_conv1_{norm_suffix}"
        else:
            stage, block, *rest = path
            if rest[0] == "downsample":
                branch, is_norm = "branch1", rest[1] == "1"
            else:
                branch, is_norm = branches[rest[0][-1]], rest[0].startswith("bn")
            blob = f"{stages[stage]}_{block}_{branch}_{norm_suffix if is_norm else suffix}"
        blobs[blob] = np.random.default_rng(len(blobs)).random(tuple(value.shape), np.float32)
        blobs[blob + "_momentum"] = np.zeros(1, np.float32)
    return blobs


@pytest.mark.parametrize("protocol", [2, 5])
def test_made_weights_fill_the_whole_body(tmp_path, protocol):
    cfg = _cfg(
        *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 4),
        *("MODEL.RESNETS.RES2_OUT_CHANNELS", 16),
    )
    body = build_backbone(cfg).body
    blobs = _detectron_blobs(body.state_dict())
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"blobs": blobs, "cfg": "a: 1"}, protocol))
    weights = c2.load_c2_format(cfg, str(path))["model"]
    assert len(weights) == 53 * 3  # convolution, scale and bias; no momenta
    report = load_state_dict(body, weights)
    assert report.loaded == 53 * 3 and not report.misfits
    assert {name.rsplit(".")[-1] for name in report.missing} == {"running_mean", "running_var"}
    assert torch.equal(
        body.layer3[0].downsample[1].bias, torch.from_numpy(blobs["res4_0_branch1_bn_b"])
    )
    assert torch.equal(body.stem.bn1.weight, torch.from_numpy(blobs["res_conv1_bn_s"]))


def test_real_weights_fill_the_whole_body(shared_data):
    cfg = _cfg(*HALF_WIDTH)
    body = build_backbone(cfg).body
    before = {name: p.clone() for name, p in body.named_parameters()}
    weights = c2.load_c2_format(cfg, str(shared_data / "weights" / "R-50-half-c2.pkl"))["model"]
    report = load_state_dict(body, weights)
    assert not report.misfits and report.loaded == len(weights) == 53 * 3
    assert not any(torch.equal(p, before[name]) for name, p in body.named_parameters())
    assert all(p.isfinite().all() for p in body.state_dict().values())


def test_deformable_stages_take_their_convolutions_inside(tmp_path):
    path = tmp_path / "w.pkl"
    blobs = {f"res{s}_0_branch2b_w": np.ones((2, 2, 3, 3), np.float32) for s in (3, 4)}
    path.write_bytes(pickle.dumps(blobs))
    cfg = _cfg("MODEL.RESNETS.STAGE_WITH_DCN", (False, False, True, True))
    weights = c2.load_c2_format(cfg, str(path))["model"]
    assert set(weights) == {"layer2.0.conv2.weight", "layer3.0.conv2.conv.weight"}


def test_other_bodies_say_what_can_take_a_pickle():
    with pytest.raises(ValueError, match="w.pkl.*CONV_BODY FBNet cannot.*R-152-FPN, .*R-50-C4"):
        c2.load_c2_format(_cfg("MODEL.BACKBONE.CONV_BODY", "FBNet"), "w.pkl")


# --- what a pickle may hold


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_containers_are_admitted(tmp_path, protocol):
    content = OrderedDict(
        floats=np.arange(6, dtype=np.float32).reshape(2, 3),
        fortran=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        number=np.float64(2.5),
        bytes=np.array([b"ab"]),
        plain=[1, 2.5, "text", b"bytes", (None, True), {3}],
    )
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    read = c2._load_c2_pickled_weights(str(path))
    assert list(read) == list(content) and read["plain"] == content["plain"]
    for name in ("floats", "fortran", "number", "bytes"):
        np.testing.assert_array_equal(read[name], content[name])


def test_python_2_pickle_is_read():
    # pickle.dumps({'blobs': {'conv1_w': numpy.array([1, 2], 'u1')}}, 2) of Python 2: its byte
    # strings are text here, and numpy is the old one with numpy.core.
    text = (
        b"\x80\x02}U\x05blobs}U\x07conv1_wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x01\xfftbss."
    )
    content = c2._ArrayUnpickler(io.BytesIO(text)).load()
    assert content["blobs"]["conv1_w"].tolist() == [1, 255]


class _Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (_Runs(os.system, "touch MARK"), rf"{os.name}(ix)?\.system"),
        (_Runs(eval, "open('MARK', 'w')"), r"builtins\.eval"),
        (_Runs(getattr, [], "append"), r"builtins\.getattr"),
        (_Runs(np.load, "MARK"), r"numpy\.load"),
        (np.array([_Runs(eval, "1")], dtype=object), "array type object|builtins.eval"),
        (np.zeros(1, dtype=[("a", "f4"), ("b", "O")]), "array type"),
        (torch.zeros(1), "torch"),
    ],
    ids=["os.system", "eval", "getattr", "numpy.load", "object array", "struct", "tensor"],
)
def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch, bad, named):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps({"blobs": {"conv1_w": bad}}))
    with pytest.raises(ValueError, match=rf"bad\.pkl is refused: it holds .*({named})"):
        c2.load_c2_format(_cfg(), str(path))
    assert not (tmp_path / "MARK").exists()


def test_damaged_pickles_are_errors_with_the_path(tmp_path):
    path = tmp_path / "cut.pkl"
    whole = pickle.dumps({"blobs": {"conv1_w": np.zeros(100)}})
    for content in (whole[:-50], b"", b"\x80\x04]."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cut.pkl"):
            c2._load_c2_pickled_weights(str(path))
