"""From the RPN's outputs to proposals."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.utils import nonzero_each
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import (
    boxlist_nms_per_group,
    cat_boxlist,
    remove_small_boxes,
    valid_ground_truth,
)

from .utils import permute_and_flatten


class RPNPostProcessor(nn.Module):
    """Decode each level's best anchors, suppress overlaps there, keep the best over all levels.

    Args:
        pre_nms_top_n: anchors per level that enter NMS.
        post_nms_top_n: boxes per level that leave it.
        nms_thresh: IoU.
        min_size: boxes with a shorter side are dropped, pixels.
        box_coder: default: weights 1.
        fpn_post_nms_top_n: boxes kept over all levels; default: post_nms_top_n.
        fpn_post_nms_per_batch: in training that limit counts over the batch, as in Detectron.
    """

    def __init__(
        self,
        pre_nms_top_n: int,
        post_nms_top_n: int,
        nms_thresh: float,
        min_size: int,
        box_coder: BoxCoder | None = None,
        fpn_post_nms_top_n: int | None = None,
        fpn_post_nms_per_batch: bool = True,
    ):
        super().__init__()
        self.pre_nms_top_n = pre_nms_top_n
        self.post_nms_top_n = post_nms_top_n
        self.nms_thresh = nms_thresh
        self.min_size = min_size
        self.box_coder = box_coder or BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.fpn_post_nms_top_n = (
            post_nms_top_n if fpn_post_nms_top_n is None else fpn_post_nms_top_n
        )
        self.fpn_post_nms_per_batch = fpn_post_nms_per_batch

    def add_gt_proposals(self, proposals: list[BoxList], targets: list[BoxList]) -> list[BoxList]:
        """Append the usable ground truth to the proposals, with objectness 1."""
        valid = nonzero_each([valid_ground_truth(target) for target in targets])
        joined = []
        for boxes, target, rows in zip(proposals, targets, valid, strict=True):
            truth = target.copy_with_fields([])[rows]
            truth.add_field("objectness", torch.ones(len(truth), device=boxes.bbox.device))
            joined.append(cat_boxlist((boxes, truth)))
        return joined

    def forward_for_single_feature_map(
        self, anchors: list[BoxList], objectness: Tensor, box_regression: Tensor
    ) -> list[BoxList]:
        """Return the proposals of one level, one BoxList per image; see forward."""
        candidates = self.candidates([[level] for level in anchors], [objectness], [box_regression])
        return [self.join_levels(levels) for levels in candidates]

    def candidates(
        self, anchors: list[list[BoxList]], objectness: list[Tensor], box_regression: list[Tensor]
    ) -> list[list[BoxList]]:
        """Return the best anchors, decoded, one list per image of one BoxList per level.

        Args:
            anchors, objectness, box_regression: see forward.
        """
        by_level = [
            self._candidates_of_level(level, scores, codes)
            for level, scores, codes in zip(
                zip(*anchors, strict=True), objectness, box_regression, strict=True
            )
        ]
        return [list(levels) for levels in zip(*by_level, strict=True)]

    def _candidates_of_level(
        self, anchors: Sequence[BoxList], objectness: Tensor, box_regression: Tensor
    ) -> list[BoxList]:
        N, A, H, W = objectness.shape
        scores = permute_and_flatten(objectness, N, A, 1, H, W).squeeze(2).float().sigmoid()
        codes = permute_and_flatten(box_regression, N, A, 4, H, W).float()
        scores, best = scores.topk(min(self.pre_nms_top_n, A * H * W), dim=1, sorted=True)

        found = []
        for level, score, code, index in zip(anchors, scores, codes, best, strict=True):
            boxes = BoxList(self.box_coder.decode(code[index], level.bbox[index]), level.size)
            boxes.add_field("objectness", score)
            found.append(boxes.clip_to_image(remove_empty=False))
        return found

    def join_levels(self, levels: list[BoxList]) -> BoxList:
        """Return an image's proposals after suppression, by level, within a level best first.

        Args:
            levels: one BoxList per level with the field "objectness".
        """
        boxes = cat_boxlist(levels)
        number = [torch.full_like(b.bbox[:, 0], i, dtype=torch.int64) for i, b in enumerate(levels)]
        boxes.add_field("level", torch.cat(number))
        boxes = remove_small_boxes(boxes, self.min_size)
        # where no level has more candidates than may stay, nothing need be counted
        most = self.post_nms_top_n if max(map(len, levels)) > self.post_nms_top_n else 0
        boxes = boxlist_nms_per_group(
            boxes, boxes.get_field("level"), self.nms_thresh, most, score_field="objectness"
        )
        return boxes.copy_with_fields(["objectness"])

    def forward(
        self,
        anchors: list[list[BoxList]],
        objectness: list[Tensor],
        box_regression: list[Tensor],
        targets: list[BoxList] | None = None,
    ) -> list[BoxList]:
        """Return the proposals, one BoxList per image with the field "objectness".

        Args:
            anchors: one list per image of one BoxList per level.
            objectness: logits [N, A, H, W] per level.
            box_regression: codes [N, A * 4, H, W] per level.
            targets: in training, ground truth that is added to the proposals.
        """
        candidates = self.candidates(anchors, objectness, box_regression)
        proposals = [self.join_levels(levels) for levels in candidates]
        if len(objectness) > 1:
            proposals = self.select_over_all_levels(proposals)
        if self.training and targets is not None:
            proposals = self.add_gt_proposals(proposals, targets)
        return proposals

    def select_over_all_levels(self, boxlists: list[BoxList]) -> list[BoxList]:
        """Keep the best fpn_post_nms_top_n: of the batch in training, else of each image."""
        limit = self.fpn_post_nms_top_n
        scores = [boxes.get_field("objectness") for boxes in boxlists]
        if not (self.training and self.fpn_post_nms_per_batch):
            return [
                boxes[score.topk(min(limit, len(score)), sorted=True).indices]
                for boxes, score in zip(boxlists, scores, strict=True)
            ]
        pooled = torch.cat(scores)
        keep = torch.zeros_like(pooled, dtype=torch.bool)
        keep[pooled.topk(min(limit, len(pooled))).indices] = True
        rows = nonzero_each(keep.split([len(score) for score in scores]))
        return [boxes[row] for boxes, row in zip(boxlists, rows, strict=True)]


def make_rpn_postprocessor(config, rpn_box_coder: BoxCoder, is_train: bool) -> RPNPostProcessor:
    """Build the selection of proposals from MODEL.RPN, by the limits of training or evaluation."""
    rpn = config.MODEL.RPN
    mode = "TRAIN" if is_train else "TEST"
    return RPNPostProcessor(
        pre_nms_top_n=rpn[f"PRE_NMS_TOP_N_{mode}"],
        post_nms_top_n=rpn[f"POST_NMS_TOP_N_{mode}"],
        nms_thresh=rpn.NMS_THRESH,
        min_size=rpn.MIN_SIZE,
        box_coder=rpn_box_coder,
        fpn_post_nms_top_n=rpn[f"FPN_POST_NMS_TOP_N_{mode}"],
        fpn_post_nms_per_batch=rpn.FPN_POST_NMS_PER_BATCH,
    )
