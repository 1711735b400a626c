"""The mask head's loss: binary cross-entropy on the mask of the true class."""

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.modeling.matcher import Matcher, gather_matched
from maskrcnn_benchmark.modeling.utils import cat
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


def project_masks_on_boxes(
    segmentation_masks: SegmentationMask, proposals: BoxList, discretization_size: int
) -> Tensor:
    """Cut each mask out by its box and sample it on the head's grid.

    Args:
        segmentation_masks: N masks.
        proposals: N boxes of the same image.
        discretization_size: M, side of the grid, cells.

    Returns:
        float32 [N, M, M] of 0 and 1, on the device of the boxes.
    """
    if segmentation_masks.size != proposals.size:
        raise ValueError(
            "masks and boxes must come from the same image, got image sizes "
            f"{segmentation_masks.size} and {proposals.size}"
        )
    side = discretization_size
    device = proposals.bbox.device
    boxes = proposals.convert("xyxy").bbox.cpu()
    grids = [
        mask.crop(box).resize((side, side)).get_mask_tensor()
        for mask, box in zip(segmentation_masks, boxes, strict=True)
    ]
    if not grids:
        return torch.empty(0, side, side, device=device)
    return torch.stack(grids).to(device, torch.float32)


class MaskRCNNLossComputation:
    """Matches positive proposals with ground-truth masks and computes the loss.

    Args:
        proposal_matcher: see modeling/matcher.py.
        discretization_size: side of the predicted grid, cells.
    """

    def __init__(self, proposal_matcher: Matcher, discretization_size: int):
        self.proposal_matcher = proposal_matcher
        self.discretization_size = discretization_size

    def match_targets_to_proposals(self, proposal: BoxList, target: BoxList) -> BoxList:
        """Return the ground truth of each proposal: fields "labels", "masks" and "matched_idxs"."""
        matched_idxs = self.proposal_matcher.match(target, proposal)
        return gather_matched(target, matched_idxs, ["labels", "masks"])

    def prepare_targets(
        self, proposals: list[BoxList], targets: list[BoxList]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return, for each image, classes [P] and the masks [positives, M, M] of those above 0."""
        labels, masks = [], []
        for proposal, target in zip(proposals, targets, strict=True):
            matched = self.match_targets_to_proposals(proposal, target)
            label = matched.get_field("labels").long()
            label[matched.get_field("matched_idxs") == Matcher.BELOW_LOW_THRESHOLD] = 0
            labels.append(label)
            positive = (label > 0).nonzero().squeeze(1)
            if len(positive) == 0:  # an image without ground truth has no masks to index
                masks.append(proposal.bbox.new_empty(0, *[self.discretization_size] * 2))
                continue
            masks.append(
                project_masks_on_boxes(
                    matched.get_field("masks")[positive],
                    proposal[positive],
                    self.discretization_size,
                )
            )
        return labels, masks

    def __call__(
        self, proposals: list[BoxList], mask_logits: Tensor, targets: list[BoxList]
    ) -> Tensor:
        """Return the loss, a scalar; 0 (with a gradient of 0) where no proposal is positive.

        Args:
            proposals: the positive proposals, one BoxList an image.
            mask_logits: [P, classes, M, M].
            targets: ground truth, one BoxList an image.
        """
        labels, masks = self.prepare_targets(proposals, targets)
        all_labels, mask_targets = cat(labels), cat(masks)
        if mask_targets.numel() == 0:
            return mask_logits.sum() * 0
        positive = (all_labels > 0).nonzero().squeeze(1)
        logits = mask_logits[positive, all_labels[positive]]
        return F.binary_cross_entropy_with_logits(logits, mask_targets)


def make_roi_mask_loss_evaluator(cfg) -> MaskRCNNLossComputation:
    """Build the mask head's loss from MODEL.ROI_HEADS and MODEL.ROI_MASK_HEAD."""
    heads = cfg.MODEL.ROI_HEADS
    matcher = Matcher(
        heads.FG_IOU_THRESHOLD, heads.BG_IOU_THRESHOLD, allow_low_quality_matches=False
    )
    return MaskRCNNLossComputation(matcher, cfg.MODEL.ROI_MASK_HEAD.RESOLUTION)
