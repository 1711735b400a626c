"""The oriented RPN's losses."""

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.layers import smooth_l1_loss
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.oriented_coders import MidpointOffsetCoder
from maskrcnn_benchmark.modeling.utils import nonzero_each
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.rotated_boxes import (
    corners_to_edges,
    edges_to_boxlist,
    rotated_to_corners,
)

LEAST_QUALITY = 0.3  # IoU that an object's best anchors need to become positive whatever it is


class OrientedRPNLoss:
    """Matches anchors with the upright boxes around the ground truth and computes both losses.

    Args:
        proposal_matcher, fg_bg_sampler, box_coder: the parts, see their modules.
    """

    def __init__(
        self,
        proposal_matcher: Matcher,
        fg_bg_sampler: BalancedPositiveNegativeSampler,
        box_coder: MidpointOffsetCoder,
    ):
        self.proposal_matcher = proposal_matcher
        self.fg_bg_sampler = fg_bg_sampler
        self.box_coder = box_coder

    def match(self, anchors: Tensor, inside: Tensor, target: BoxList) -> Tensor:
        """Return the ground truth [A] of each anchor, -1 background, -2 none that is trained on.

        Args:
            anchors: [A, 4], in edges.
            inside: bool [A], which of them lie inside the image; only these take part.
            target: an image's ground truth of to_oriented_targets.
        """
        upright = corners_to_edges(rotated_to_corners(target.get_field("rotated_boxes")))
        truth = BoxList(edges_to_boxlist(upright), target.size)
        truth.image_name = target.image_name
        matched = torch.full_like(inside, Matcher.BETWEEN_THRESHOLDS, dtype=torch.int64)
        rows = inside.nonzero().squeeze(1)
        boxes = BoxList(edges_to_boxlist(anchors[rows]), target.size)
        matched[rows] = self.proposal_matcher.match(truth, boxes)
        return matched

    def __call__(
        self,
        anchors: list[Tensor],
        inside: list[Tensor],
        logits: list[Tensor],
        codes: list[Tensor],
        targets: list[BoxList],
    ) -> tuple[Tensor, Tensor]:
        """Return the objectness loss and the box loss, scalars.

        Args:
            anchors: [A, 4] per level, in edges.
            inside: bool [sum of A] per image, which anchors lie inside it.
            logits: [N, A, 1] per level.
            codes: [N, A, 6] per level.
            targets: ground truth of to_oriented_targets.
        """
        every = torch.cat(anchors)
        matches = [self.match(every, i, t) for i, t in zip(inside, targets, strict=True)]
        labels = [m.clamp(max=0) + 1 for m in matches]  # 1 object, 0 background, -1 neither
        positive_masks, negative_masks = self.fg_bg_sampler(labels)
        logit, code = torch.cat(logits, dim=1).squeeze(2), torch.cat(codes, dim=1)  # [N, A(, 6)]
        positive, negative = nonzero_each([torch.cat(positive_masks), torch.cat(negative_masks)])
        sampled = torch.cat([positive, negative])
        is_object = torch.cat([torch.ones_like(positive), torch.zeros_like(negative)])
        objectness_loss = F.binary_cross_entropy_with_logits(
            logit.flatten()[sampled].float(), is_object.float(), reduction="sum"
        )
        wanted = self.box_coder.encode(
            self._objects_of(positive, matches, targets), every[positive % len(every)]
        )
        box_loss = smooth_l1_loss(
            code.flatten(0, 1)[positive].float(), wanted, beta=1.0 / 9, size_average=False
        )
        # as mmrotate has it: an image without a positive (or negative) counts as if it had one
        drawn = torch.stack([mask.sum() for mask in (*positive_masks, *negative_masks)])
        count = drawn.clamp(min=1).sum()
        return objectness_loss / count, box_loss / count

    def _objects_of(self, rows: Tensor, matches: list[Tensor], targets: list[BoxList]) -> Tensor:
        """Return the rotated boxes (P, 5) that rows of the batch's anchors were matched with."""
        boxes = [target.get_field("rotated_boxes") for target in targets]
        counts = torch.tensor([len(box) for box in boxes], device=rows.device)
        first = counts.cumsum(0) - counts  # of each image's objects among all
        image = rows.div(len(matches[0]), rounding_mode="floor")
        return torch.cat(boxes)[torch.cat(matches)[rows] + first[image]]


def make_oriented_rpn_loss(cfg, box_coder: MidpointOffsetCoder) -> OrientedRPNLoss:
    """Build the losses from MODEL.RPN."""
    rpn = cfg.MODEL.RPN
    matcher = Matcher(
        rpn.FG_IOU_THRESHOLD,
        rpn.BG_IOU_THRESHOLD,
        allow_low_quality_matches=True,
        least_low_quality=LEAST_QUALITY,
        low_quality_takes_own=True,
    )
    sampler = BalancedPositiveNegativeSampler(rpn.BATCH_SIZE_PER_IMAGE, rpn.POSITIVE_FRACTION)
    return OrientedRPNLoss(matcher, sampler, box_coder)
