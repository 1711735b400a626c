"""What the box head computes from the pooled features before it predicts."""

import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.backbone import resnet
from maskrcnn_benchmark.modeling.make_layers import group_norm, make_fc
from maskrcnn_benchmark.modeling.poolers import make_pooler
from maskrcnn_benchmark.structures.bounding_box import BoxList


@registry.ROI_BOX_FEATURE_EXTRACTORS.register("ResNet50Conv5ROIFeatureExtractor")
class ResNet50Conv5ROIFeatureExtractor(nn.Module):
    """The last stage of the ResNet, for a C4 backbone."""

    def __init__(self, config, in_channels: int):
        super().__init__()
        resnets = config.MODEL.RESNETS
        self.pooler = make_pooler(config, "ROI_BOX_HEAD")
        self.head = resnet.ResNetHead(
            block_module=resnets.TRANS_FUNC,
            stages=(resnet.StageSpec(index=4, block_count=3, return_features=False),),
            num_groups=resnets.NUM_GROUPS,
            width_per_group=resnets.WIDTH_PER_GROUP,
            stride_in_1x1=resnets.STRIDE_IN_1X1,
            stride_init=None,
            res2_out_channels=resnets.RES2_OUT_CHANNELS,
            dilation=resnets.RES5_DILATION,
        )
        self.out_channels = self.head.out_channels

    def forward(self, x: list[Tensor], proposals: list[BoxList]) -> Tensor:
        """Return [R, out_channels, H, W]."""
        return self.head(self.pooler(x, proposals))


@registry.ROI_BOX_FEATURE_EXTRACTORS.register("FPN2MLPFeatureExtractor")
class FPN2MLPFeatureExtractor(nn.Module):
    """Two fully connected layers, for a pyramid."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        head = cfg.MODEL.ROI_BOX_HEAD
        self.pooler = make_pooler(cfg, "ROI_BOX_HEAD")
        self.fc6 = make_fc(in_channels * head.POOLER_RESOLUTION**2, head.MLP_HEAD_DIM, head.USE_GN)
        self.fc7 = make_fc(head.MLP_HEAD_DIM, head.MLP_HEAD_DIM, head.USE_GN)
        self.out_channels = head.MLP_HEAD_DIM

    def forward(self, x: list[Tensor], proposals: list[BoxList]) -> Tensor:
        """Return [R, out_channels]."""
        hidden = F.relu(self.fc6(self.pooler(x, proposals).flatten(1)))
        return F.relu(self.fc7(hidden))


@registry.ROI_BOX_FEATURE_EXTRACTORS.register("FPNXconv1fcFeatureExtractor")
class FPNXconv1fcFeatureExtractor(nn.Module):
    """Stacked 3x3 convolutions and one fully connected layer, for a pyramid.

    Source: Wu and He, "Group Normalization", 2018.
    """

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        head = cfg.MODEL.ROI_BOX_HEAD
        self.pooler = make_pooler(cfg, "ROI_BOX_HEAD")
        width = head.CONV_HEAD_DIM
        layers: list[nn.Module] = []
        for index in range(head.NUM_STACKED_CONVS):
            conv = nn.Conv2d(
                in_channels if index == 0 else width,
                width,
                kernel_size=3,
                padding=head.DILATION,
                dilation=head.DILATION,
                bias=not head.USE_GN,
            )
            nn.init.normal_(conv.weight, std=0.01)
            if head.USE_GN:
                layers += [conv, group_norm(width), nn.ReLU(inplace=True)]
            else:
                nn.init.zeros_(conv.bias)
                layers += [conv, nn.ReLU(inplace=True)]
        self.xconvs = nn.Sequential(*layers)
        self.fc6 = make_fc(width * head.POOLER_RESOLUTION**2, head.MLP_HEAD_DIM, use_gn=False)
        self.out_channels = head.MLP_HEAD_DIM

    def forward(self, x: list[Tensor], proposals: list[BoxList]) -> Tensor:
        """Return [R, out_channels]."""
        return F.relu(self.fc6(self.xconvs(self.pooler(x, proposals)).flatten(1)))


def make_roi_box_feature_extractor(cfg, in_channels: int) -> nn.Module:
    """Build the extractor that MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR names."""
    name = cfg.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR
    return registry.ROI_BOX_FEATURE_EXTRACTORS[name](cfg, in_channels)
