"""Oriented models small enough for tests, and the ground truth that they train on."""

import torch
from tiny_models import FPN_BODY, make_cfg

from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.corners import Corners
from maskrcnn_benchmark.structures.rotated_boxes import (
    corners_to_edges,
    edges_to_boxlist,
    rotated_to_corners,
)

# the widths of the figures' models
FIGURES_WIDTH = [
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 8),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 32, "MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 32),
    *("MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM", 64, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 16),
    *("MODEL.RPN.ANCHOR_SIZES", (32, 64, 128, 256, 512)),
    *("MODEL.RPN.PRE_NMS_TOP_N_TRAIN", 400, "MODEL.RPN.PRE_NMS_TOP_N_TEST", 400),
    *("MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 2000),
]
METHODS = {
    "oriented_rcnn": [
        *("MODEL.ORIENTED.METHOD", "oriented_rcnn", "MODEL.RPN.RPN_HEAD", "OrientedRPNHead"),
        *("MODEL.RESNETS.STRIDE_IN_1X1", False),
        *("MODEL.RPN.NMS_THRESH", 0.8, "MODEL.ROI_HEADS.NMS", 0.1),
    ],
    "gliding_vertex": [
        *("MODEL.ORIENTED.METHOD", "gliding_vertex"),
        *("MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNRatioPredictor"),
    ],
}


def oriented_cfg(method, *options):
    """The settings of a narrow model of a method for 15 classes and the background."""
    return make_cfg(*FPN_BODY, *FIGURES_WIDTH, *METHODS[method], *options)


def oriented_model(method, *options):
    """A narrow model with random weights, the same at each call."""
    torch.manual_seed(0)
    return build_detection_model(oriented_cfg(method, *options))


def oriented_target(rotated, labels, image_size):
    """Ground truth as a "dota:" data set gives it, of rotated boxes (N, 5) and labels (N,)."""
    return corners_target(rotated_to_corners(rotated), labels, image_size)


def corners_target(corners, labels, image_size):
    """Ground truth as a "dota:" data set gives it, of corners (N, 4, 2) and labels (N,)."""
    target = BoxList(edges_to_boxlist(corners_to_edges(corners)), image_size)
    target.add_field("labels", labels)
    target.add_field("corners", Corners(corners, image_size))
    return target


class EveryOne:
    """A sampler that takes every positive and every negative."""

    def __call__(self, labels):
        return [label >= 1 for label in labels], [label == 0 for label in labels]
