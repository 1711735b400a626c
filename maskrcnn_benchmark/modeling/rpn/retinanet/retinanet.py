"""RetinaNet (Lin et al., "Focal Loss for Dense Object Detection", 2017): one stage, a pyramid."""

import math

from torch import Tensor, nn

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

from ..anchor_generator import make_anchor_generator_retinanet
from ..utils import same_size_conv
from .inference import make_retinanet_postprocessor
from .loss import make_retinanet_loss_evaluator


class RetinaNetHead(nn.Module):
    """Two towers of 3x3 convolutions, one for classes, one for boxes; the same on all levels."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        retinanet = cfg.MODEL.RETINANET
        num_anchors = len(retinanet.ASPECT_RATIOS) * retinanet.SCALES_PER_OCTAVE
        self.cls_tower = _tower(in_channels, retinanet.NUM_CONVS)
        self.bbox_tower = _tower(in_channels, retinanet.NUM_CONVS)
        self.cls_logits = same_size_conv(
            in_channels, num_anchors * (retinanet.NUM_CLASSES - 1), kernel_size=3
        )
        self.bbox_pred = same_size_conv(in_channels, num_anchors * 4, kernel_size=3)
        # At first each anchor is an object with probability PRIOR_PROB (section 4.1).
        prior = retinanet.PRIOR_PROB
        nn.init.constant_(self.cls_logits.bias, math.log(prior / (1 - prior)))

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return logits [N, A * classes, H, W] and codes [N, A * 4, H, W], one tensor per level."""
        logits = [self.cls_logits(self.cls_tower(level)) for level in x]
        return logits, [self.bbox_pred(self.bbox_tower(level)) for level in x]


def _tower(channels: int, num_convs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        layers += [same_size_conv(channels, channels, kernel_size=3), nn.ReLU()]
    return nn.Sequential(*layers)


class RetinaNetModule(nn.Module):
    """Anchors, head, and the losses or the detections."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.anchor_generator = make_anchor_generator_retinanet(cfg)
        self.head = RetinaNetHead(cfg, in_channels)
        box_coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
        self.box_selector_test = make_retinanet_postprocessor(cfg, box_coder, is_train=False)
        self.loss_evaluator = make_retinanet_loss_evaluator(cfg, box_coder)

    def forward(
        self, images: ImageList, features: list[Tensor], targets: list[BoxList] | None = None
    ) -> tuple[list[BoxList], dict[str, Tensor]]:
        """Return each image's detections or, in training, the anchors and the losses.

        Args:
            images: the batch, for its image sizes.
            features: one map [N, C, H, W] per level.
            targets: ground truth with the field "labels", in training.
        """
        logits, codes = self.head(features)
        anchors = self.anchor_generator(images, features)
        if not self.training:
            return self.box_selector_test(anchors, logits, codes), {}
        class_loss, box_loss = self.loss_evaluator(anchors, logits, codes, targets)
        return anchors, {"loss_retina_cls": class_loss, "loss_retina_reg": box_loss}


def build_retinanet(cfg, in_channels: int) -> RetinaNetModule:
    """Build RetinaNet's part behind the backbone."""
    return RetinaNetModule(cfg, in_channels)
