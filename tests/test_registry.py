import pytest

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.utils.registry import Registry


def test_register_by_call_and_by_stacked_decorators():
    registry = Registry({"first": 1})
    registry.register("second", 2)

    @registry.register("third")
    @registry.register("nickname")
    def build():
        return 3

    assert registry["first"] == 1 and registry["second"] == 2
    assert registry["third"] is registry["nickname"] is build
    assert build() == 3  # the decorator gives the function back


def test_a_name_is_taken_once():
    registry = Registry({"body": 1})
    with pytest.raises(ValueError, match="'body' is already registered"):
        registry.register("body", 2)
    assert registry["body"] == 1


def test_unknown_name_lists_the_known():
    registry = Registry(b=1, a=2)
    with pytest.raises(KeyError, match="'c' is not registered; there are: a, b"):
        registry["c"]
    assert "c" not in registry and registry.get("c") is None


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("MODEL.BACKBONE.CONV_BODY", "R-50-FPN"),
        ("MODEL.RPN.RPN_HEAD", "SingleConvRPNHead"),
        ("MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR", "FPN2MLPFeatureExtractor"),
        ("MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNPredictor"),
        ("MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR", "MaskRCNNFPNFeatureExtractor"),
        ("MODEL.ROI_MASK_HEAD.PREDICTOR", "MaskRCNNC4Predictor"),
        ("MODEL.ROI_KEYPOINT_HEAD.FEATURE_EXTRACTOR", "KeypointRCNNFeatureExtractor"),
        ("MODEL.ROI_KEYPOINT_HEAD.PREDICTOR", "KeypointRCNNPredictor"),
    ],
)
def test_fault_an_unknown_part_was_told_without_its_setting(key, told):
    cfg = default_cfg.clone()
    cfg.merge_from_list(["MODEL.MASK_ON", True, "MODEL.KEYPOINT_ON", True, key, "Mine"])
    with pytest.raises(ValueError, match=f"{key} 'Mine' is not registered; there are: .*{told}"):
        build_detection_model(cfg)
