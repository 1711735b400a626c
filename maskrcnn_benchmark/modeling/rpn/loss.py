"""The RPN's losses: which anchors are objects, and how to move them onto the objects."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.layers import smooth_l1_loss
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher, gather_matched
from maskrcnn_benchmark.modeling.utils import nonzero_each
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist

from .utils import concat_box_prediction_layers


class RPNLossComputation:
    """Match anchors with ground truth, sample some of them, and compute both losses.

    Args:
        proposal_matcher, fg_bg_sampler, box_coder: the parts, see their modules.
        generate_labels_func: from matched targets (field "matched_idxs") to one label per anchor.
    """

    def __init__(
        self,
        proposal_matcher: Matcher,
        fg_bg_sampler: BalancedPositiveNegativeSampler,
        box_coder: BoxCoder,
        generate_labels_func: Callable[[BoxList], Tensor],
    ):
        self.proposal_matcher = proposal_matcher
        self.fg_bg_sampler = fg_bg_sampler
        self.box_coder = box_coder
        self.generate_labels_func = generate_labels_func
        self.copied_fields: list[str] = []
        self.discard_cases = ["not_visibility", "between_thresholds"]

    def match_targets_to_anchors(
        self, anchor: BoxList, target: BoxList, copied_fields: list[str] | None = None
    ) -> BoxList:
        """Return the ground truth that belongs to each anchor, with the field "matched_idxs"."""
        matched_idxs = self.proposal_matcher.match(target, anchor)
        return gather_matched(target, matched_idxs, copied_fields or [])

    def prepare_targets(
        self, anchors: list[BoxList], targets: list[BoxList]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return each image's labels [A] (1 object, 0 not, -1 ignored) and box codes [A, 4]."""
        labels, codes = [], []
        for anchor, target in zip(anchors, targets, strict=True):
            matched = self.match_targets_to_anchors(anchor, target, self.copied_fields)
            matched_idxs = matched.get_field("matched_idxs")
            label = self.generate_labels_func(matched).to(torch.float32)
            label[matched_idxs == Matcher.BELOW_LOW_THRESHOLD] = 0
            if "not_visibility" in self.discard_cases:
                label[~anchor.get_field("visibility")] = -1
            if "between_thresholds" in self.discard_cases:
                label[matched_idxs == Matcher.BETWEEN_THRESHOLDS] = -1
            labels.append(label)
            codes.append(self.box_coder.encode(matched.bbox, anchor.bbox))
        return labels, codes

    def __call__(
        self,
        anchors: list[list[BoxList]],
        objectness: list[Tensor],
        box_regression: list[Tensor],
        targets: list[BoxList],
    ) -> tuple[Tensor, Tensor]:
        """Return the objectness loss and the box loss, scalars.

        Args:
            anchors: one list per image of one BoxList per level.
            objectness: logits [N, A, H, W] per level.
            box_regression: codes [N, A * 4, H, W] per level.
            targets: ground truth, one BoxList per image.
        """
        per_image = [cat_boxlist(levels) for levels in anchors]
        label_list, code_list = self.prepare_targets(per_image, targets)
        positive_masks, negative_masks = self.fg_bg_sampler(label_list)
        positive, negative = nonzero_each([torch.cat(positive_masks), torch.cat(negative_masks)])
        sampled = torch.cat([positive, negative])
        count = max(sampled.numel(), 1)  # images smaller than all anchors: none is sampled

        logits, predicted = concat_box_prediction_layers(objectness, box_regression)
        labels, codes = torch.cat(label_list), torch.cat(code_list)
        box_loss = smooth_l1_loss(
            predicted[positive], codes[positive], beta=1.0 / 9, size_average=False
        )
        objectness_loss = F.binary_cross_entropy_with_logits(
            logits.flatten()[sampled], labels[sampled], reduction="sum"
        )
        return objectness_loss / count, box_loss / count


def generate_rpn_labels(matched_targets: BoxList) -> Tensor:
    """Return True for each anchor that has a ground truth."""
    return matched_targets.get_field("matched_idxs") >= 0


def make_rpn_loss_evaluator(cfg, box_coder: BoxCoder) -> RPNLossComputation:
    """Build the RPN's losses from MODEL.RPN."""
    rpn = cfg.MODEL.RPN
    return RPNLossComputation(
        Matcher(rpn.FG_IOU_THRESHOLD, rpn.BG_IOU_THRESHOLD, allow_low_quality_matches=True),
        BalancedPositiveNegativeSampler(rpn.BATCH_SIZE_PER_IMAGE, rpn.POSITIVE_FRACTION),
        box_coder,
        generate_rpn_labels,
    )
