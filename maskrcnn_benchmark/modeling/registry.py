"""Registries of the parts that a config names.

Projects add their own: `@registry.BACKBONES.register("MY-BODY")` above a function that builds it.
"""

from yacs.config import CfgNode

from maskrcnn_benchmark.utils.registry import Registry

BACKBONES = Registry()
RPN_HEADS = Registry()
ROI_BOX_FEATURE_EXTRACTORS = Registry()
ROI_BOX_PREDICTOR = Registry()
ROI_KEYPOINT_FEATURE_EXTRACTORS = Registry()
ROI_KEYPOINT_PREDICTOR = Registry()
ROI_MASK_FEATURE_EXTRACTORS = Registry()
ROI_MASK_PREDICTOR = Registry()


def check_names(cfg: CfgNode) -> None:
    """Refuse settings that name a part which is not registered, before anything is built.

    Raises:
        ValueError: with the setting and the names that there are.
    """
    model = cfg.MODEL
    named = {"BACKBONE.CONV_BODY": BACKBONES}
    if not model.RETINANET_ON:
        named["RPN.RPN_HEAD"] = RPN_HEADS
    if not model.RETINANET_ON and not model.RPN_ONLY:
        if model.ORIENTED.METHOD != "oriented_rcnn":  # which has a box head of its own
            named["ROI_BOX_HEAD.FEATURE_EXTRACTOR"] = ROI_BOX_FEATURE_EXTRACTORS
            named["ROI_BOX_HEAD.PREDICTOR"] = ROI_BOX_PREDICTOR
        if model.MASK_ON:
            named["ROI_MASK_HEAD.FEATURE_EXTRACTOR"] = ROI_MASK_FEATURE_EXTRACTORS
            named["ROI_MASK_HEAD.PREDICTOR"] = ROI_MASK_PREDICTOR
        if model.KEYPOINT_ON:
            named["ROI_KEYPOINT_HEAD.FEATURE_EXTRACTOR"] = ROI_KEYPOINT_FEATURE_EXTRACTORS
            named["ROI_KEYPOINT_HEAD.PREDICTOR"] = ROI_KEYPOINT_PREDICTOR
    for key, known in named.items():
        section, _, entry = key.partition(".")
        name = model[section][entry]
        if name not in known:
            raise ValueError(
                f"MODEL.{key} {name!r} is not registered; there are: {', '.join(sorted(known))}"
            )
