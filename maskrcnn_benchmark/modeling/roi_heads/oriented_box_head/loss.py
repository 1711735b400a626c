"""The oriented box head's sampling of proposals and its losses."""

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.layers import smooth_l1_loss
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.oriented_coders import RotatedBoxCoder
from maskrcnn_benchmark.modeling.utils import nonzero_each, object_rows
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.oriented_boxes import best_oriented_overlap
from maskrcnn_benchmark.structures.rotated_boxes import rotated_to_corners


class OrientedBoxLoss:
    """Labels and samples rotated proposals (`subsample`), and computes the losses (call).

    Args:
        iou_threshold: a proposal that overlaps an object by this much is positive, any other is
            background; polygons are compared.
        fg_bg_sampler, box_coder: the parts, see their modules.
    """

    def __init__(
        self,
        iou_threshold: float,
        fg_bg_sampler: BalancedPositiveNegativeSampler,
        box_coder: RotatedBoxCoder,
    ):
        self.iou_threshold = iou_threshold
        self.fg_bg_sampler = fg_bg_sampler
        self.box_coder = box_coder

    def label(self, proposals: list[BoxList], targets: list[BoxList]) -> list[BoxList]:
        """Return each image's ground truth and proposals, labelled.

        Returns:
            BoxLists with the fields "rotated_boxes" [P, 5], "labels" int64 [P] (0 background) and
            "regression_targets" [P, 5]; the ground truth comes first.
        """
        labelled = []
        for proposal, target in zip(proposals, targets, strict=True):
            truth = target.get_field("rotated_boxes")
            rotated = torch.cat([truth, proposal.get_field("rotated_boxes")])
            boxes = BoxList(torch.cat([target.bbox, proposal.bbox]), proposal.size)
            boxes.image_name = target.image_name
            boxes.add_field("rotated_boxes", rotated)
            if len(truth) == 0:  # a background image
                boxes.add_field("labels", torch.zeros_like(rotated[:, 0], dtype=torch.int64))
                boxes.add_field("regression_targets", torch.zeros_like(rotated))
            else:
                iou, index = best_oriented_overlap(
                    rotated_to_corners(rotated), rotated_to_corners(truth)
                )
                # ground truth is its own, even if another object has the same box
                index[: len(truth)] = torch.arange(len(truth), device=index.device)
                label = target.get_field("labels")[index].long()
                boxes.add_field("labels", torch.where(iou >= self.iou_threshold, label, 0))
                codes = self.box_coder.encode(truth[index], rotated)
                boxes.add_field("regression_targets", codes)
            labelled.append(boxes)
        return labelled

    def subsample(self, proposals: list[BoxList], targets: list[BoxList]) -> list[BoxList]:
        """Return the sampled ones of each image's ground truth and proposals, see `label`."""
        labelled = self.label(proposals, targets)
        masks = zip(*self.fg_bg_sampler([b.get_field("labels") for b in labelled]), strict=True)
        rows = nonzero_each([positive | negative for positive, negative in masks])
        return [boxes[chosen] for boxes, chosen in zip(labelled, rows, strict=True)]

    def __call__(
        self, class_logits: Tensor, codes: Tensor, sampled: list[BoxList]
    ) -> tuple[Tensor, Tensor]:
        """Return the classification loss and the box loss, scalars.

        Args:
            class_logits: [P, classes].
            codes: [P, 5].
            sampled: what `subsample` returned.

        Raises:
            ValueError: the ground truth has classes that the model does not have.
        """
        labels = torch.cat([boxes.get_field("labels") for boxes in sampled])
        wanted = torch.cat([boxes.get_field("regression_targets") for boxes in sampled])
        highest = class_logits.shape[1] - 1
        positive = object_rows(labels, highest, "MODEL.ROI_BOX_HEAD.NUM_CLASSES")
        box_loss = smooth_l1_loss(
            codes[positive].float(), wanted[positive], beta=1.0, size_average=False
        )
        count = max(len(labels), 1)  # no proposal at all: both losses are 0, not NaN
        return F.cross_entropy(class_logits, labels, reduction="sum") / count, box_loss / count


def make_oriented_box_loss(cfg) -> OrientedBoxLoss:
    """Build the losses from MODEL.ROI_HEADS."""
    heads = cfg.MODEL.ROI_HEADS
    sampler = BalancedPositiveNegativeSampler(heads.BATCH_SIZE_PER_IMAGE, heads.POSITIVE_FRACTION)
    return OrientedBoxLoss(heads.FG_IOU_THRESHOLD, sampler, RotatedBoxCoder())
