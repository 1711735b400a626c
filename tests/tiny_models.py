"""Small models for tests: all parts of the real ones, with few channels."""

import torch

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

FPN_BODY = [
    *("MODEL.BACKBONE.CONV_BODY", "R-50-FPN"),
    *("MODEL.RPN.USE_FPN", True, "MODEL.ROI_HEADS.USE_FPN", True),
    *("MODEL.RPN.ANCHOR_STRIDE", (4, 8, 16, 32, 64)),
    *("MODEL.RPN.ANCHOR_SIZES", (8, 16, 32, 64, 128)),
    *("MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR", "FPN2MLPFeatureExtractor"),
    *("MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNPredictor"),
    *("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7),
    *("MODEL.ROI_BOX_HEAD.POOLER_SCALES", (0.25, 0.125, 0.0625, 0.03125)),
    *("MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", 2),
]
FPN_MASK = [
    *("MODEL.MASK_ON", True, "MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR", False),
    *("MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR", "MaskRCNNFPNFeatureExtractor"),
    *("MODEL.ROI_MASK_HEAD.PREDICTOR", "MaskRCNNC4Predictor"),
    *("MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", 14, "MODEL.ROI_MASK_HEAD.RESOLUTION", 28),
    *("MODEL.ROI_MASK_HEAD.POOLER_SCALES", (0.25, 0.125, 0.0625, 0.03125)),
    *("MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO", 2),
]
FPN_KEYPOINT = [
    *("MODEL.KEYPOINT_ON", True, "MODEL.ROI_KEYPOINT_HEAD.SHARE_BOX_FEATURE_EXTRACTOR", False),
    *("MODEL.ROI_KEYPOINT_HEAD.POOLER_SCALES", (0.25, 0.125, 0.0625, 0.03125)),
    *("MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO", 2),
    *("MODEL.ROI_KEYPOINT_HEAD.RESOLUTION", 56, "MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS", (8, 8)),
]
NARROW = [
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 8),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM", 16),
    *("MODEL.ROI_MASK_HEAD.CONV_LAYERS", (8, 8)),
]
RETINANET = [
    *("MODEL.RETINANET_ON", True, "MODEL.RPN_ONLY", True, "MODEL.RPN.USE_FPN", True),
    *("MODEL.BACKBONE.CONV_BODY", "R-50-FPN-RETINANET", "MODEL.RETINANET.NUM_CLASSES", 4),
    *("MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16, "MODEL.RETINANET.NUM_CONVS", 2),
    *("MODEL.RETINANET.ANCHOR_SIZES", (8, 16, 32, 64, 128)),
]
FBNET = [
    *("MODEL.BACKBONE.CONV_BODY", "FBNet", "MODEL.FBNET.WIDTH_DIVISOR", 8),
    *("MODEL.FBNET.SCALE_FACTOR", 0.25, "MODEL.RPN.RPN_HEAD", "FBNet.rpn_head"),
    *("MODEL.RPN.ANCHOR_SIZES", (16, 32), "MODEL.RPN.ANCHOR_STRIDE", (16,)),
    *("MODEL.RPN.POST_NMS_TOP_N_TRAIN", 200, "MODEL.RPN.POST_NMS_TOP_N_TEST", 50),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 64, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4),
    *("MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR", "FBNet.roi_head"),
    *("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 6, "MODEL.FBNET.DET_HEAD_LAST_SCALE", 0.0),
]


def make_cfg(*options):
    """Return the default config on the CPU, changed by options (KEY, value, KEY, value, …)."""
    cfg = default_cfg.clone()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *options])
    return cfg


def tiny_mask_rcnn(*options):
    """Build a Mask R-CNN with a narrow R-50-FPN for three classes and the background."""
    torch.manual_seed(0)
    channels = ["MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4]
    return build_detection_model(make_cfg(*FPN_BODY, *FPN_MASK, *NARROW, *channels, *options))


def tiny_fbnet(*options):
    """Build a Faster R-CNN with a narrow FBNet, whose BatchNorm learns, for three classes."""
    torch.manual_seed(0)
    return build_detection_model(make_cfg(*FBNET, *options))


def made_batch(counts=(5, 3), size=(96, 128)):
    """Return images (3, 96, 128) of noise, and per image a given number of labelled masks."""
    generator = torch.Generator().manual_seed(1)
    height, width = size
    images, targets = [], []
    for count in counts:
        images.append(torch.randn(3, height, width, generator=generator) * 20)
        corner = torch.rand(count, 2, generator=generator) * torch.tensor(
            [width - 40.0, height - 40]
        )
        side = torch.rand(count, 2, generator=generator) * 25 + 10
        target = BoxList(torch.cat([corner, corner + side], dim=1), (width, height))
        target.add_field("labels", torch.randint(1, 4, (count,), generator=generator))
        outlines = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in target.bbox.tolist()]
        target.add_field("masks", SegmentationMask(outlines, (width, height), mode="poly"))
        targets.append(target)
    return images, targets
