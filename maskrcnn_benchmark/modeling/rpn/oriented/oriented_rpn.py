"""The oriented region proposal network (Xie et al., "Oriented R-CNN", 2021, section 3.1).

Anchors are upright and the proposals rotated. All boxes are in edges, see
structures/rotated_boxes.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.oriented_coders import MidpointOffsetCoder
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

from ..utils import permute_and_flatten, same_size_conv, sparsely_sampled_conv
from .anchors import CenteredAnchors
from .inference import make_oriented_proposal_selector
from .loss import make_oriented_rpn_loss

CODE_SIZE = 6  # of MidpointOffsetCoder


@registry.RPN_HEADS.register("OrientedRPNHead")
class OrientedRPNHead(nn.Module):
    """A 3x3 convolution, then objectness and midpoint codes; the same weights on every level."""

    def __init__(self, cfg, in_channels: int, num_anchors: int):
        super().__init__()
        self.conv = sparsely_sampled_conv(in_channels)
        self.cls_logits = same_size_conv(in_channels, num_anchors, 1)
        self.bbox_pred = same_size_conv(in_channels, num_anchors * CODE_SIZE, 1)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return logits [N, A, H, W] and codes [N, A * 6, H, W], one tensor per level."""
        hidden = [F.relu(self.conv(level)) for level in x]
        return [self.cls_logits(h) for h in hidden], [self.bbox_pred(h) for h in hidden]


class OrientedRPNModule(nn.Module):
    """Anchors, head, selection of proposals, and in training the losses."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        rpn = cfg.MODEL.RPN
        self.anchor_generator = CenteredAnchors(
            rpn.ANCHOR_SIZES, rpn.ASPECT_RATIOS, rpn.ANCHOR_STRIDE
        )
        num_anchors = len(rpn.ASPECT_RATIOS)
        self.head = registry.RPN_HEADS[rpn.RPN_HEAD](cfg, in_channels, num_anchors)
        box_coder = MidpointOffsetCoder()
        self.box_selector_train = make_oriented_proposal_selector(cfg, box_coder, is_train=True)
        self.box_selector_test = make_oriented_proposal_selector(cfg, box_coder, is_train=False)
        self.loss_evaluator = make_oriented_rpn_loss(cfg, box_coder)

    def forward(
        self, images: ImageList, features: list[Tensor], targets: list[BoxList] | None = None
    ) -> tuple[list[BoxList], dict[str, Tensor]]:
        """Return the proposals of every image and, in training, the losses.

        Args:
            images: the batch, for its image sizes.
            features: a map [N, C, H, W] per level.
            targets: ground truth of to_oriented_targets, in training.

        Returns:
            one BoxList per image: upright boxes in edges around the proposals, which are its field
            "rotated_boxes" [P, 5], with "objectness".
        """
        logits, codes = (
            [_rows(level, level.shape[1] // size, size) for level in maps]
            for maps, size in zip(self.head(features), (1, CODE_SIZE), strict=True)
        )  # [N, anchors of the level, 1 or 6], one tensor per level
        anchors = self.anchor_generator.grid_anchors([tuple(f.shape[-2:]) for f in features])
        sizes = [tuple(map(int, size)) for size in images.image_sizes]
        if not self.training:
            return self.box_selector_test(anchors, logits, codes, sizes), {}
        proposals = self.box_selector_train(
            anchors, [o.detach() for o in logits], [c.detach() for c in codes], sizes
        )
        inside = [self.anchor_generator.inside(torch.cat(anchors), size) for size in sizes]
        losses = self.loss_evaluator(anchors, inside, logits, codes, targets)
        return proposals, dict(zip(("loss_objectness", "loss_rpn_box_reg"), losses, strict=True))


def _rows(level: Tensor, num_anchors: int, size: int) -> Tensor:
    N, _, H, W = level.shape
    return permute_and_flatten(level, N, num_anchors, size, H, W)
