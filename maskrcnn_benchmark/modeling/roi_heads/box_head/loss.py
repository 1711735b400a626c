"""The box head's losses and the sampling of proposals (Girshick, "Fast R-CNN", section 2.3)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.layers import smooth_l1_loss
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher, gather_matched
from maskrcnn_benchmark.modeling.utils import cat, nonzero_each, object_rows
from maskrcnn_benchmark.structures.bounding_box import BoxList


class FastRCNNLossComputation:
    """Label and sample proposals (`subsample`), then compute the losses of those sampled (call).

    Args:
        proposal_matcher, fg_bg_sampler, box_coder: the parts, see their modules.
        cls_agnostic_bbox_reg: the predictor has codes for (background, object) instead of every
            class.
    """

    def __init__(
        self,
        proposal_matcher: Matcher,
        fg_bg_sampler: BalancedPositiveNegativeSampler,
        box_coder: BoxCoder,
        cls_agnostic_bbox_reg: bool = False,
    ):
        self.proposal_matcher = proposal_matcher
        self.fg_bg_sampler = fg_bg_sampler
        self.box_coder = box_coder
        self.cls_agnostic_bbox_reg = cls_agnostic_bbox_reg

    def match_targets_to_proposals(self, proposal: BoxList, target: BoxList) -> BoxList:
        """Return the ground truth of each proposal, with the fields "labels" and "matched_idxs"."""
        return gather_matched(target, self.proposal_matcher.match(target, proposal), ["labels"])

    def prepare_targets(
        self, proposals: list[BoxList], targets: list[BoxList]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return, for each image, classes [P] (0 background, -1 ignored) and box codes [P, 4]."""
        labels, codes = [], []
        for proposal, target in zip(proposals, targets, strict=True):
            matched = self.match_targets_to_proposals(proposal, target)
            matched_idxs = matched.get_field("matched_idxs")
            label = matched.get_field("labels").long()
            label[matched_idxs == Matcher.BELOW_LOW_THRESHOLD] = 0
            label[matched_idxs == Matcher.BETWEEN_THRESHOLDS] = -1
            labels.append(label)
            codes.append(self.box_coder.encode(matched.bbox, proposal.bbox))
        return labels, codes

    def subsample(self, proposals: list[BoxList], targets: list[BoxList]) -> list[BoxList]:
        """Return the sampled proposals, and remember them for the call.

        They get the fields "labels" int64 and "regression_targets" [P, 4].
        """
        labels, codes = self.prepare_targets(proposals, targets)
        positive_masks, negative_masks = self.fg_bg_sampler(labels)
        masks = zip(positive_masks, negative_masks, strict=True)
        rows = nonzero_each([positive | negative for positive, negative in masks])
        sampled = []
        for proposal, label, code, chosen in zip(proposals, labels, codes, rows, strict=True):
            proposal.add_field("labels", label)
            proposal.add_field("regression_targets", code)
            sampled.append(proposal[chosen])
        self._proposals = sampled
        return sampled

    def __call__(
        self, class_logits: list[Tensor], box_regression: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the classification loss and the box loss of the proposals sampled last.

        Args:
            class_logits: [P, classes], in a list.
            box_regression: [P, 4 * classes], in a list.

        Raises:
            ValueError: the ground truth has classes that the model does not have.
        """
        if not hasattr(self, "_proposals"):
            raise RuntimeError("call subsample(proposals, targets) before the loss")
        logits, predicted = cat(class_logits), cat(box_regression)
        labels = cat([p.get_field("labels") for p in self._proposals])
        codes = cat([p.get_field("regression_targets") for p in self._proposals])
        positive = object_rows(labels, logits.shape[1] - 1, "MODEL.ROI_BOX_HEAD.NUM_CLASSES")
        code_class = labels[positive]
        if self.cls_agnostic_bbox_reg:
            code_class = torch.ones_like(code_class)
        per_class = predicted.view(len(predicted), -1, 4)  # [P, classes, 4]
        box_loss = smooth_l1_loss(
            per_class[positive, code_class], codes[positive], size_average=False, beta=1
        )
        count = max(labels.numel(), 1)  # no proposal at all: both losses are 0, not NaN
        return F.cross_entropy(logits, labels, reduction="sum") / count, box_loss / count


def make_roi_box_loss_evaluator(cfg) -> FastRCNNLossComputation:
    """Build the box head's losses from MODEL.ROI_HEADS."""
    heads = cfg.MODEL.ROI_HEADS
    return FastRCNNLossComputation(
        Matcher(heads.FG_IOU_THRESHOLD, heads.BG_IOU_THRESHOLD, allow_low_quality_matches=False),
        BalancedPositiveNegativeSampler(heads.BATCH_SIZE_PER_IMAGE, heads.POSITIVE_FRACTION),
        BoxCoder(weights=heads.BBOX_REG_WEIGHTS),
        cfg.MODEL.CLS_AGNOSTIC_BBOX_REG,
    )
