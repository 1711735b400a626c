"""The keypoint head's loss: cross-entropy over the cells of each visible keypoint's heat map."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.matcher import Matcher, gather_matched
from maskrcnn_benchmark.modeling.utils import cat, nonzero_each
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist
from maskrcnn_benchmark.structures.keypoint import Keypoints, keypoints_to_heat_map


def project_keypoints_to_heatmap(
    keypoints: Keypoints, proposals: BoxList, discretization_size: int
) -> tuple[Tensor, Tensor]:
    """Return the cell of each keypoint and whether it counts, see keypoints_to_heat_map."""
    rois = proposals.convert("xyxy").bbox
    return keypoints_to_heat_map(keypoints.keypoints, rois, discretization_size)


def cat_boxlist_with_keypoints(boxlists: Sequence[BoxList]) -> BoxList:
    """Put boxes of one image into one list, whose field "keypoints" is a tensor [N, K, 3]."""
    points = [boxes.get_field("keypoints").keypoints for boxes in boxlists]
    others = [name for name in boxlists[0].fields() if name != "keypoints"]
    joined = cat_boxlist([boxes.copy_with_fields(others) for boxes in boxlists])
    joined.add_field("keypoints", cat(points))
    return joined


def _within_box(points: Tensor, boxes: Tensor) -> Tensor:
    """Return whether points [N, K, 2 or 3] lie in their boxes xyxy [N, 4], border included."""
    near, far = boxes[:, None].split(2, dim=-1)  # [N, 1, 2]
    places = points[..., :2]
    return ((places >= near) & (places <= far)).all(dim=-1)


class KeypointRCNNLossComputation:
    """Sample proposals on objects with visible keypoints (`subsample`) and compute their loss.

    Args:
        proposal_matcher, fg_bg_sampler: the parts, see their modules.
        discretization_size: side of the predicted heat maps, cells.
    """

    def __init__(
        self,
        proposal_matcher: Matcher,
        fg_bg_sampler: BalancedPositiveNegativeSampler,
        discretization_size: int,
    ):
        self.proposal_matcher = proposal_matcher
        self.fg_bg_sampler = fg_bg_sampler
        self.discretization_size = discretization_size

    def match_targets_to_proposals(self, proposal: BoxList, target: BoxList) -> BoxList:
        """Return each proposal's ground truth: "labels", "keypoints" and "matched_idxs"."""
        if not target.has_field("keypoints"):
            raise ValueError(
                "MODEL.KEYPOINT_ON needs ground truth with keypoints, got "
                f"{target.image_name or 'an image'} without: train on a data set that has them, "
                "or set it to False"
            )
        matched_idxs = self.proposal_matcher.match(target, proposal)
        return gather_matched(target, matched_idxs, ["labels", "keypoints"])

    def prepare_targets(
        self, proposals: list[BoxList], targets: list[BoxList]
    ) -> tuple[list[Tensor], list[Keypoints]]:
        """Return, per image, classes [P] and keypoints [P, K, 3].

        The class is 0 for background, -1 for objects without a visible keypoint in their box and
        for proposals that are neither object nor background.
        """
        labels, keypoints = [], []
        for proposal, target in zip(proposals, targets, strict=True):
            matched = self.match_targets_to_proposals(proposal, target)
            matched_idxs = matched.get_field("matched_idxs")
            points = matched.get_field("keypoints")
            inside = _within_box(points.keypoints, matched.convert("xyxy").bbox)
            shown = (inside & (points.keypoints[..., 2] > 0)).any(dim=1)
            label = matched.get_field("labels").long()
            label = label.masked_fill(matched_idxs == Matcher.BELOW_LOW_THRESHOLD, 0)
            label[~shown | (matched_idxs == Matcher.BETWEEN_THRESHOLDS)] = -1
            labels.append(label)
            keypoints.append(points)
        return labels, keypoints

    def subsample(self, proposals: list[BoxList], targets: list[BoxList]) -> list[BoxList]:
        """Return positive proposals only.

        They get the fields "labels" int64, "keypoints" and "proposal_idxs" int64, their positions
        in the lists that were given, which stay as they are.
        """
        labels, keypoints = self.prepare_targets(proposals, targets)
        positive_masks, _ = self.fg_bg_sampler(labels)
        positives = nonzero_each(positive_masks)
        sampled = []
        for proposal, label, points, rows in zip(
            proposals, labels, keypoints, positives, strict=True
        ):
            chosen = proposal[rows]
            chosen.add_field("labels", label[rows])
            chosen.add_field("keypoints", points[rows])
            chosen.add_field("proposal_idxs", rows)
            sampled.append(chosen)
        return sampled

    def __call__(self, proposals: list[BoxList], keypoint_logits: Tensor) -> Tensor:
        """Return the loss, a scalar; 0 (with a gradient of 0) where no keypoint counts.

        Args:
            proposals: what subsample returned.
            keypoint_logits: [P, K, M, M].
        """
        self._check_shapes(proposals, keypoint_logits)
        cells, counts = [], []
        for proposal in proposals:
            cell, count = project_keypoints_to_heatmap(
                proposal.get_field("keypoints"), proposal, self.discretization_size
            )
            cells.append(cell.flatten())
            counts.append(count.flatten())
        counting = cat(counts).nonzero().squeeze(1)
        if len(counting) == 0:
            return keypoint_logits.sum() * 0
        per_point = keypoint_logits.flatten(2).flatten(0, 1)  # [P * K, M * M]
        return F.cross_entropy(per_point[counting], cat(cells)[counting])

    def _check_shapes(self, proposals: list[BoxList], keypoint_logits: Tensor) -> None:
        """Refuse settings under which the loss would be a number without meaning."""
        number, height = keypoint_logits.shape[1:3]
        if height != self.discretization_size:
            raise ValueError(
                f"MODEL.ROI_KEYPOINT_HEAD.RESOLUTION is {self.discretization_size}, but the heat "
                f"maps have {height} cells per side: set it to {height}"
            )
        for proposal in proposals:
            given = proposal.get_field("keypoints").keypoints
            if len(given) and given.shape[1] != number:
                raise ValueError(
                    f"MODEL.ROI_KEYPOINT_HEAD.NUM_CLASSES is {number}, but the ground truth has "
                    f"{given.shape[1]} keypoints per object: set it to {given.shape[1]}"
                )


def make_roi_keypoint_loss_evaluator(cfg) -> KeypointRCNNLossComputation:
    """Build the keypoint head's loss from MODEL.ROI_HEADS and MODEL.ROI_KEYPOINT_HEAD."""
    heads = cfg.MODEL.ROI_HEADS
    return KeypointRCNNLossComputation(
        Matcher(heads.FG_IOU_THRESHOLD, heads.BG_IOU_THRESHOLD, allow_low_quality_matches=False),
        BalancedPositiveNegativeSampler(heads.BATCH_SIZE_PER_IMAGE, heads.POSITIVE_FRACTION),
        cfg.MODEL.ROI_KEYPOINT_HEAD.RESOLUTION,
    )
