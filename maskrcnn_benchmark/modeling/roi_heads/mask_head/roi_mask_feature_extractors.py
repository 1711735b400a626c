"""What the mask head computes from the pooled features before it predicts."""

import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.make_layers import make_conv3x3
from maskrcnn_benchmark.modeling.poolers import make_pooler
from maskrcnn_benchmark.structures.bounding_box import BoxList

from ..box_head.roi_box_feature_extractors import ResNet50Conv5ROIFeatureExtractor

registry.ROI_MASK_FEATURE_EXTRACTORS.register(
    "ResNet50Conv5ROIFeatureExtractor", ResNet50Conv5ROIFeatureExtractor
)


@registry.ROI_MASK_FEATURE_EXTRACTORS.register("MaskRCNNFPNFeatureExtractor")
class MaskRCNNFPNFeatureExtractor(nn.Module):
    """Stacked 3x3 convolutions mask_fcn1, mask_fcn2, …, for a pyramid."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        head = cfg.MODEL.ROI_MASK_HEAD
        self.pooler = make_pooler(cfg, "ROI_MASK_HEAD")
        self.blocks = []
        self.out_channels = in_channels
        for index, channels in enumerate(head.CONV_LAYERS, start=1):
            conv = make_conv3x3(
                self.out_channels, channels, dilation=head.DILATION, stride=1, use_gn=head.USE_GN
            )
            self.add_module(f"mask_fcn{index}", conv)
            self.blocks.append(f"mask_fcn{index}")
            self.out_channels = channels

    def forward(self, x: list[Tensor], proposals: list[BoxList]) -> Tensor:
        """Return [R, out_channels, H, W]."""
        hidden = self.pooler(x, proposals)
        for name in self.blocks:
            hidden = F.relu_(getattr(self, name)(hidden))
        return hidden


def make_roi_mask_feature_extractor(cfg, in_channels: int) -> nn.Module:
    """Build the extractor that MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR names."""
    name = cfg.MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR
    return registry.ROI_MASK_FEATURE_EXTRACTORS[name](cfg, in_channels)
