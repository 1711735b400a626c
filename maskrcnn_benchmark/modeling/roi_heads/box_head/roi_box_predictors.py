"""The box head's last layers: class logits and box codes."""

from torch import Tensor, nn

from maskrcnn_benchmark.modeling import registry


def _linear(in_features: int, out_features: int, std: float) -> nn.Linear:
    layer = nn.Linear(in_features, out_features)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


class _BoxPredictor(nn.Module):
    """Two linear layers; a class-agnostic predictor has codes for (background, object)."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        num_classes = cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES
        num_codes = 2 if cfg.MODEL.CLS_AGNOSTIC_BBOX_REG else num_classes
        self.cls_score = _linear(in_channels, num_classes, std=0.01)
        self.bbox_pred = _linear(in_channels, num_codes * 4, std=0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [R, classes] and codes [R, 4 * classes] from [R, C] or [R, C, 1, 1]."""
        x = x.flatten(1)
        return self.cls_score(x), self.bbox_pred(x)


@registry.ROI_BOX_PREDICTOR.register("FastRCNNPredictor")
class FastRCNNPredictor(_BoxPredictor):
    """For feature maps [R, C, H, W], which are averaged first."""

    def __init__(self, config, in_channels: int):
        super().__init__(config, in_channels)
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [R, classes] and codes [R, 4 * classes]."""
        return super().forward(self.avgpool(x))


@registry.ROI_BOX_PREDICTOR.register("FPNPredictor")
class FPNPredictor(_BoxPredictor):
    """For feature vectors [R, C]."""


def make_roi_box_predictor(cfg, in_channels: int) -> nn.Module:
    """Build the predictor that MODEL.ROI_BOX_HEAD.PREDICTOR names."""
    return registry.ROI_BOX_PREDICTOR[cfg.MODEL.ROI_BOX_HEAD.PREDICTOR](cfg, in_channels)
