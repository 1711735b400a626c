"""Operators and layers: the original's names over torch.nn and torchvision.ops."""

from .batch_norm import FrozenBatchNorm2d
from .dcn.deform_conv_func import deform_conv, modulated_deform_conv
from .dcn.deform_conv_module import DeformConv, ModulatedDeformConv, ModulatedDeformConvPack
from .dcn.deform_pool_func import deform_roi_pooling
from .dcn.deform_pool_module import (
    DeformRoIPooling,
    DeformRoIPoolingPack,
    ModulatedDeformRoIPoolingPack,
)
from .misc import BatchNorm2d, Conv2d, ConvTranspose2d, DFConv2d, interpolate
from .nms import nms
from .roi_align import ROIAlign, roi_align
from .roi_pool import ROIPool, roi_pool
from .sigmoid_focal_loss import SigmoidFocalLoss
from .smooth_l1_loss import smooth_l1_loss

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "DFConv2d",
    "DeformConv",
    "DeformRoIPooling",
    "DeformRoIPoolingPack",
    "FrozenBatchNorm2d",
    "ModulatedDeformConv",
    "ModulatedDeformConvPack",
    "ModulatedDeformRoIPoolingPack",
    "ROIAlign",
    "ROIPool",
    "SigmoidFocalLoss",
    "deform_conv",
    "deform_roi_pooling",
    "interpolate",
    "modulated_deform_conv",
    "nms",
    "roi_align",
    "roi_pool",
    "smooth_l1_loss",
]
