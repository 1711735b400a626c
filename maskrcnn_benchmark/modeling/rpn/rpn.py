"""The region proposal network (Ren et al., "Faster R-CNN", 2015), on one map or on a pyramid."""

import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

from .anchor_generator import make_anchor_generator
from .inference import make_rpn_postprocessor
from .loss import make_rpn_loss_evaluator
from .oriented.oriented_rpn import OrientedRPNModule
from .retinanet.retinanet import build_retinanet
from .utils import same_size_conv, sparsely_sampled_conv


class RPNHeadConvRegressor(nn.Module):
    """Objectness and box codes straight from the features."""

    def __init__(self, cfg, in_channels: int, num_anchors: int):
        super().__init__()
        self.cls_logits = same_size_conv(in_channels, num_anchors, 1)
        self.bbox_pred = same_size_conv(in_channels, num_anchors * 4, 1)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return logits [N, A, H, W] and codes [N, A * 4, H, W], one tensor per level."""
        return [self.cls_logits(level) for level in x], [self.bbox_pred(level) for level in x]


class RPNHeadFeatureSingleConv(nn.Module):
    """The 3x3 convolution in front of a RPNHeadConvRegressor."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.conv = sparsely_sampled_conv(in_channels)
        self.out_channels = in_channels

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        """Return features of the same shapes."""
        return [F.relu(self.conv(level)) for level in x]


@registry.RPN_HEADS.register("SingleConvRPNHead")
class RPNHead(nn.Module):
    """A 3x3 convolution, then objectness and box codes; the same weights on all levels."""

    def __init__(self, cfg, in_channels: int, num_anchors: int):
        super().__init__()
        self.conv = sparsely_sampled_conv(in_channels)
        self.cls_logits = same_size_conv(in_channels, num_anchors, 1)
        self.bbox_pred = same_size_conv(in_channels, num_anchors * 4, 1)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return logits [N, A, H, W] and codes [N, A * 4, H, W], one tensor per level."""
        hidden = [F.relu(self.conv(level)) for level in x]
        return [self.cls_logits(h) for h in hidden], [self.bbox_pred(h) for h in hidden]


class RPNModule(nn.Module):
    """Anchors, head, selection of proposals, and in training the losses."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.anchor_generator = make_anchor_generator(cfg)
        num_anchors = self.anchor_generator.num_anchors_per_location()[0]
        self.head = registry.RPN_HEADS[cfg.MODEL.RPN.RPN_HEAD](cfg, in_channels, num_anchors)
        box_coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.box_selector_train = make_rpn_postprocessor(cfg, box_coder, is_train=True)
        self.box_selector_test = make_rpn_postprocessor(cfg, box_coder, is_train=False)
        self.loss_evaluator = make_rpn_loss_evaluator(cfg, box_coder)
        self.rpn_only = cfg.MODEL.RPN_ONLY

    def forward(
        self, images: ImageList, features: list[Tensor], targets: list[BoxList] | None = None
    ) -> tuple[list[BoxList], dict[str, Tensor]]:
        """Return each image's proposals and, in training, the losses.

        Args:
            images: the batch, for its image sizes.
            features: one map [N, C, H, W] per level.
            targets: ground truth, in training.
        """
        objectness, codes = self.head(features)
        anchors = self.anchor_generator(images, features)
        if self.training:
            return self._forward_train(anchors, objectness, codes, targets)
        return self._forward_test(anchors, objectness, codes)

    def _forward_train(self, anchors, objectness, codes, targets):
        proposals = anchors  # read by nothing when the RPN is trained alone
        if not self.rpn_only:
            proposals = self.box_selector_train(
                anchors, [o.detach() for o in objectness], [c.detach() for c in codes], targets
            )
        loss_objectness, loss_box = self.loss_evaluator(anchors, objectness, codes, targets)
        return proposals, {"loss_objectness": loss_objectness, "loss_rpn_box_reg": loss_box}

    def _forward_test(self, anchors, objectness, codes):
        proposals = self.box_selector_test(anchors, objectness, codes)
        if self.rpn_only:  # they are the result: best first
            order = [p.get_field("objectness").argsort(descending=True) for p in proposals]
            proposals = [p[index] for p, index in zip(proposals, order, strict=True)]
        return proposals, {}


def build_rpn(cfg, in_channels: int) -> nn.Module:
    """Build the proposal network or, with MODEL.RETINANET_ON, RetinaNet in its place."""
    if cfg.MODEL.RETINANET_ON:
        return build_retinanet(cfg, in_channels)
    if cfg.MODEL.ORIENTED.METHOD == "oriented_rcnn":
        return OrientedRPNModule(cfg, in_channels)
    return RPNModule(cfg, in_channels)
