"""The mask head's loss: binary cross-entropy on the mask of the true class."""

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.modeling.matcher import Matcher, gather_matched
from maskrcnn_benchmark.modeling.utils import cat, nonzero_each
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.mask_cropping import crop_masks
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


def project_masks_on_boxes(
    segmentation_masks: SegmentationMask,
    proposals: BoxList,
    discretization_size: int,
    which: Tensor | None = None,
) -> Tensor:
    """Cut a mask out by each box and sample it on the head's grid.

    Args:
        segmentation_masks: N masks.
        proposals: P boxes of the same image.
        discretization_size: M, side of the grid, cells.
        which: int64 [P], for each box the number of its mask; default: the first box has the
            first mask, and so on.

    Returns:
        float32 [P, M, M] of 0 and 1, on the device of the boxes.

    Raises:
        ValueError: masks and boxes of different images, or of different numbers.
    """
    if segmentation_masks.size != proposals.size:
        raise ValueError(
            "masks and boxes must come from the same image, got image sizes "
            f"{segmentation_masks.size} and {proposals.size}"
        )
    boxes = proposals.convert("xyxy").bbox
    if which is None:
        if len(segmentation_masks) != len(boxes):
            raise ValueError(
                f"expected one mask per box, got {len(segmentation_masks)} masks and {len(boxes)} "
                "boxes: say with `which` what belongs together"
            )
        which = torch.arange(len(boxes), device=boxes.device)
    if len(boxes) == 0:
        return boxes.new_empty(0, discretization_size, discretization_size)
    # one copy of both: a float32 holds the numbers of 16 million masks
    rows = torch.cat([boxes, which[:, None].to(boxes.dtype)], dim=1).cpu()  # [P, 5]
    grids = crop_masks(
        segmentation_masks, rows[:, 4].int().tolist(), rows[:, :4], discretization_size
    )
    return grids.to(boxes.device).float()


class MaskRCNNLossComputation:
    """Match positive proposals with ground-truth masks and compute the loss.

    Args:
        proposal_matcher: see modeling/matcher.py.
        discretization_size: side of the predicted grid, cells.
    """

    def __init__(self, proposal_matcher: Matcher, discretization_size: int):
        self.proposal_matcher = proposal_matcher
        self.discretization_size = discretization_size

    def match_targets_to_proposals(self, proposal: BoxList, target: BoxList) -> BoxList:
        """Return the ground truth of each proposal: fields "labels" and "matched_idxs".

        The masks stay with the target: one bitmap per proposal would take P * H * W bytes.
        """
        return gather_matched(target, self.proposal_matcher.match(target, proposal), ["labels"])

    def prepare_targets(
        self, proposals: list[BoxList], targets: list[BoxList]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return, per image, classes [P] and the masks [positives, M, M] of those above 0."""
        labels, matches = [], []
        for proposal, target in zip(proposals, targets, strict=True):
            matched = self.match_targets_to_proposals(proposal, target)
            matched_idxs = matched.get_field("matched_idxs")
            label = matched.get_field("labels").long()
            label = label.masked_fill(matched_idxs == Matcher.BELOW_LOW_THRESHOLD, 0)
            labels.append(label)
            matches.append(matched_idxs.clamp(min=0))
        positives = nonzero_each([label > 0 for label in labels])
        masks = [
            project_masks_on_boxes(
                target.get_field("masks"),
                proposal.copy_with_fields([])[positive],
                self.discretization_size,
                match[positive],
            )
            for proposal, target, match, positive in zip(
                proposals, targets, matches, positives, strict=True
            )
        ]
        return labels, masks

    def __call__(
        self, proposals: list[BoxList], mask_logits: Tensor, targets: list[BoxList]
    ) -> Tensor:
        """Return the loss, a scalar; 0 (with a gradient of 0) where no proposal is positive.

        Args:
            proposals: the positive proposals, one BoxList per image.
            mask_logits: [P, classes, M, M].
            targets: ground truth with the fields "labels" and "masks", one BoxList per image.
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
