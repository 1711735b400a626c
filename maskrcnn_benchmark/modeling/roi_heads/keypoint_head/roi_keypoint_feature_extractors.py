"""What the keypoint head computes from the pooled features before it predicts."""

import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.layers import Conv2d
from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.poolers import make_pooler
from maskrcnn_benchmark.structures.bounding_box import BoxList

from ..box_head.roi_box_feature_extractors import ResNet50Conv5ROIFeatureExtractor

# what can be shared with the box head of a model without a pyramid
registry.ROI_KEYPOINT_FEATURE_EXTRACTORS.register(
    "ResNet50Conv5ROIFeatureExtractor", ResNet50Conv5ROIFeatureExtractor
)


@registry.ROI_KEYPOINT_FEATURE_EXTRACTORS.register("KeypointRCNNFeatureExtractor")
class KeypointRCNNFeatureExtractor(nn.Module):
    """Stacked 3x3 convolutions conv_fcn1, conv_fcn2, … (He et al., "Mask R-CNN", appendix B)."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.pooler = make_pooler(cfg, "ROI_KEYPOINT_HEAD")
        widths = [in_channels, *cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS]
        self.blocks = [f"conv_fcn{number}" for number in range(1, len(widths))]
        for name, before, after in zip(self.blocks, widths[:-1], widths[1:], strict=True):
            conv = Conv2d(before, after, kernel_size=3, padding=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)
            setattr(self, name, conv)
        self.out_channels = widths[-1]

    def forward(self, x: list[Tensor], proposals: list[BoxList]) -> Tensor:
        """Return [R, out_channels, H, W]."""
        hidden = self.pooler(x, proposals)
        for name in self.blocks:
            hidden = F.relu_(getattr(self, name)(hidden))
        return hidden


def make_roi_keypoint_feature_extractor(cfg, in_channels: int) -> nn.Module:
    """Build the extractor that MODEL.ROI_KEYPOINT_HEAD.FEATURE_EXTRACTOR names."""
    name = cfg.MODEL.ROI_KEYPOINT_HEAD.FEATURE_EXTRACTOR
    return registry.ROI_KEYPOINT_FEATURE_EXTRACTORS[name](cfg, in_channels)
