"""Gliding Vertex's losses."""

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.layers import smooth_l1_loss
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.utils import object_rows
from maskrcnn_benchmark.structures.bounding_box import BoxList

from ..box_head.loss import FastRCNNLossComputation
from .vertices import encode_vertices, obliquity_ratio

BETA = 1.0 / 3  # of smooth L1
RATIO_WEIGHT = 16.0


class GlidingVertexLoss(FastRCNNLossComputation):
    """Samples as the upright box head does, and also learns vertices and ratios."""

    def match_targets_to_proposals(self, proposal: BoxList, target: BoxList) -> BoxList:
        """Return what the upright box head does; the proposals keep the field "matched_idxs"."""
        matched = super().match_targets_to_proposals(proposal, target)
        proposal.add_field("matched_idxs", matched.get_field("matched_idxs"))
        return matched

    def subsample(self, proposals: list[BoxList], targets: list[BoxList]) -> list[BoxList]:
        """Return the sampled proposals, and remember them for the call.

        They get the fields "labels", "regression_targets" [P, 4], "vertices" [P, 4] and "ratios"
        [P]; of background they are meaningless.
        """
        sampled = super().subsample(proposals, targets)
        for boxes, target in zip(sampled, targets, strict=True):
            if len(target) == 0:
                boxes.add_field("vertices", torch.zeros_like(boxes.bbox))
                boxes.add_field("ratios", torch.zeros_like(boxes.bbox[:, 0]))
                continue
            corners = target.get_field("corners")
            index = boxes.get_field("matched_idxs").clamp(min=0)
            boxes.add_field("vertices", encode_vertices(corners)[index])
            boxes.add_field("ratios", obliquity_ratio(corners)[index])
        return sampled

    def __call__(
        self, logits: Tensor, codes: Tensor, vertices: Tensor, ratios: Tensor
    ) -> dict[str, Tensor]:
        """Return the losses of the proposals sampled last, by name.

        Args:
            logits, codes, vertices, ratios: what FPNRatioPredictor returns.

        Raises:
            ValueError: the ground truth has classes that the model does not have.
        """
        labels, *wanted = (
            torch.cat([boxes.get_field(name) for boxes in self._proposals])
            for name in ("labels", "regression_targets", "vertices", "ratios")
        )
        positive = object_rows(labels, logits.shape[1] - 1, "MODEL.ROI_BOX_HEAD.NUM_CLASSES")
        label, count = labels[positive], max(len(labels), 1)
        losses = {"loss_classifier": F.cross_entropy(logits, labels, reduction="sum") / count}
        names = ("loss_box_reg", "loss_fix_reg", "loss_ratio_reg")
        found = (codes.unflatten(1, (-1, 4)), vertices.unflatten(1, (-1, 4)), ratios)
        for name, values, target in zip(names, found, wanted, strict=True):
            chosen = values[positive, label].float()
            total = smooth_l1_loss(chosen, target[positive], size_average=False, beta=BETA)
            losses[name] = total / count
        losses["loss_ratio_reg"] = losses["loss_ratio_reg"] * RATIO_WEIGHT
        return losses


def make_gliding_vertex_loss(cfg) -> GlidingVertexLoss:
    """Build the losses from MODEL.ROI_HEADS."""
    heads = cfg.MODEL.ROI_HEADS
    return GlidingVertexLoss(
        Matcher(heads.FG_IOU_THRESHOLD, heads.BG_IOU_THRESHOLD, allow_low_quality_matches=False),
        BalancedPositiveNegativeSampler(heads.BATCH_SIZE_PER_IMAGE, heads.POSITIVE_FRACTION),
        BoxCoder(weights=heads.BBOX_REG_WEIGHTS),
    )
