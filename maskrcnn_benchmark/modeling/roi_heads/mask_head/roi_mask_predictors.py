"""The mask head's last layers: one mask logit per class and cell."""

import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.layers import Conv2d, ConvTranspose2d
from maskrcnn_benchmark.modeling import registry


def _init(layer: nn.Module) -> nn.Module:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


@registry.ROI_MASK_PREDICTOR.register("MaskRCNNC4Predictor")
class MaskRCNNC4Predictor(nn.Module):
    """Double the grid by a transposed convolution, then predict."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        num_classes = cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES
        channels = cfg.MODEL.ROI_MASK_HEAD.CONV_LAYERS[-1]
        self.conv5_mask = _init(ConvTranspose2d(in_channels, channels, 2, 2, 0))
        self.mask_fcn_logits = _init(Conv2d(channels, num_classes, 1, 1, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Return [R, classes, 2H, 2W] from [R, C, H, W]."""
        return self.mask_fcn_logits(F.relu_(self.conv5_mask(x)))


@registry.ROI_MASK_PREDICTOR.register("MaskRCNNConv1x1Predictor")
class MaskRCNNConv1x1Predictor(nn.Module):
    """Predict on the grid as it is."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.mask_fcn_logits = _init(
            Conv2d(in_channels, cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES, 1, 1, 0)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [R, classes, H, W] from [R, C, H, W]."""
        return self.mask_fcn_logits(x)


def make_roi_mask_predictor(cfg, in_channels: int) -> nn.Module:
    """Build the predictor that MODEL.ROI_MASK_HEAD.PREDICTOR names."""
    return registry.ROI_MASK_PREDICTOR[cfg.MODEL.ROI_MASK_HEAD.PREDICTOR](cfg, in_channels)
