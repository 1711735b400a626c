"""RetinaNet's losses: the class of each anchor, and how to move the anchors of objects."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers import SigmoidFocalLoss, smooth_l1_loss
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.utils import object_rows
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist

from ..loss import RPNLossComputation
from ..utils import concat_box_prediction_layers


class RetinaNetLossComputation(RPNLossComputation):
    """Match anchors with ground truth as the RPN does; each matched or background anchor counts.

    Args:
        proposal_matcher, box_coder: the parts, see their modules.
        generate_labels_func: from matched targets (field "labels") to one label per anchor.
        sigmoid_focal_loss: from logits [anchors, classes] and labels [anchors] to a sum.
        bbox_reg_beta: where smooth L1 turns linear.
        regress_norm: divides the box loss.
    """

    def __init__(
        self,
        proposal_matcher: Matcher,
        box_coder: BoxCoder,
        generate_labels_func: Callable[[BoxList], Tensor],
        sigmoid_focal_loss: nn.Module,
        bbox_reg_beta: float = 0.11,
        regress_norm: float = 1.0,
    ):
        super().__init__(proposal_matcher, None, box_coder, generate_labels_func)
        self.copied_fields = ["labels"]
        self.discard_cases = ["between_thresholds"]  # anchors that leave the image count as well
        self.box_cls_loss_func = sigmoid_focal_loss
        self.bbox_reg_beta = bbox_reg_beta
        self.regress_norm = regress_norm

    def __call__(
        self,
        anchors: list[list[BoxList]],
        box_cls: list[Tensor],
        box_regression: list[Tensor],
        targets: list[BoxList],
    ) -> tuple[Tensor, Tensor]:
        """Return the class loss and the box loss, scalars.

        Args:
            anchors: one list per image of one BoxList per level.
            box_cls: logits [N, A * classes, H, W] per level, the background not among the classes.
            box_regression: codes [N, A * 4, H, W] per level.
            targets: ground truth with the field "labels", one BoxList per image.

        Raises:
            ValueError: the ground truth has classes that the model does not have.
        """
        per_image = [cat_boxlist(levels) for levels in anchors]
        label_list, code_list = self.prepare_targets(per_image, targets)
        labels, codes = torch.cat(label_list), torch.cat(code_list)
        logits, predicted = concat_box_prediction_layers(box_cls, box_regression)
        positive = object_rows(labels, logits.shape[1], "MODEL.RETINANET.NUM_CLASSES")
        class_loss = self.box_cls_loss_func(logits, labels.int())
        box_loss = smooth_l1_loss(
            predicted[positive], codes[positive], beta=self.bbox_reg_beta, size_average=False
        )
        count = positive.numel()
        # a batch without an object divides by its images, and by one
        return class_loss / (count + len(targets)), box_loss / max(1, count * self.regress_norm)


def generate_retinanet_labels(matched_targets: BoxList) -> Tensor:
    """Return the class of each anchor's ground truth."""
    return matched_targets.get_field("labels")


def make_retinanet_loss_evaluator(cfg, box_coder: BoxCoder) -> RetinaNetLossComputation:
    """Build RetinaNet's losses from MODEL.RETINANET."""
    retinanet = cfg.MODEL.RETINANET
    return RetinaNetLossComputation(
        Matcher(
            retinanet.FG_IOU_THRESHOLD, retinanet.BG_IOU_THRESHOLD, allow_low_quality_matches=True
        ),
        box_coder,
        generate_retinanet_labels,
        SigmoidFocalLoss(retinanet.LOSS_GAMMA, retinanet.LOSS_ALPHA),
        retinanet.BBOX_REG_BETA,
        retinanet.BBOX_REG_WEIGHT,
    )
