"""From RetinaNet's outputs to detections."""

from torch import Tensor

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.roi_heads.box_head.inference import DetectionLimit
from maskrcnn_benchmark.modeling.utils import nonzero_each
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import (
    boxlist_nms_per_group,
    cat_boxlist,
    remove_small_boxes,
)

from ..inference import RPNPostProcessor
from ..utils import permute_and_flatten


class RetinaNetPostProcessor(RPNPostProcessor):
    """Decode each level's best (anchor, class) pairs; then NMS within each class over all levels.

    Args:
        pre_nms_thresh: lowest score.
        pre_nms_top_n: pairs per level that are decoded.
        nms_thresh: IoU.
        fpn_post_nms_top_n: detections kept per image; 0 or less: all. A cut is logged, once.
        min_size: boxes with a shorter side are dropped, pixels.
        num_classes: the background included.
        box_coder: default: weights 10, 10, 5, 5.
    """

    def __init__(
        self,
        pre_nms_thresh: float,
        pre_nms_top_n: int,
        nms_thresh: float,
        fpn_post_nms_top_n: int,
        min_size: int,
        num_classes: int,
        box_coder: BoxCoder | None = None,
    ):
        super().__init__(
            pre_nms_top_n,
            post_nms_top_n=0,  # no limit per level
            nms_thresh=nms_thresh,
            min_size=min_size,
            box_coder=box_coder or BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)),
            fpn_post_nms_top_n=fpn_post_nms_top_n,
        )
        self.pre_nms_thresh = pre_nms_thresh
        self.num_classes = num_classes
        self._limit = DetectionLimit("TEST.DETECTIONS_PER_IMG")

    def add_gt_proposals(self, proposals: list[BoxList], targets: list[BoxList]) -> list[BoxList]:
        """Return the detections as they are: no second stage trains on them."""
        return proposals

    def forward_for_single_feature_map(
        self, anchors: list[BoxList], box_cls: Tensor, box_regression: Tensor
    ) -> list[BoxList]:
        """Return the candidates of one level, one BoxList per image; see candidates."""
        return super().forward_for_single_feature_map(anchors, box_cls, box_regression)

    def candidates(
        self, anchors: list[list[BoxList]], box_cls: list[Tensor], box_regression: list[Tensor]
    ) -> list[list[BoxList]]:
        """Return the best pairs, one list per image of one BoxList per level.

        Args:
            anchors: one list per image of one BoxList per level.
            box_cls: logits [N, A * classes, H, W] per level, the background not among the classes.
            box_regression: codes [N, A * 4, H, W] per level.

        Returns:
            boxes with the fields "scores" and "labels" (int64, from 1).
        """
        scores, codes = [], []
        for cls_level, box_level in zip(box_cls, box_regression, strict=True):
            N, _, H, W = cls_level.shape
            A = box_level.shape[1] // 4
            C = cls_level.shape[1] // A
            scores.append(permute_and_flatten(cls_level, N, A, C, H, W).float().sigmoid())
            codes.append(permute_and_flatten(box_level, N, A, 4, H, W).float())
        parts = [score[image] for image in range(len(anchors)) for score in scores]
        pairs = iter(nonzero_each([part.flatten() > self.pre_nms_thresh for part in parts]))
        return [
            [
                self._best_of_level(level, next(pairs), score[image], code[image])
                for level, score, code in zip(levels, scores, codes, strict=True)
            ]
            for image, levels in enumerate(anchors)
        ]

    def _best_of_level(
        self, anchors: BoxList, pairs: Tensor, scores: Tensor, codes: Tensor
    ) -> BoxList:
        """Decode the best pairs of one level of one image.

        Args:
            anchors: A boxes.
            pairs: (K,) indices into the flattened scores.
            scores: [A, classes].
            codes: [A, 4].
        """
        best, order = scores.flatten()[pairs].topk(
            min(self.pre_nms_top_n, len(pairs)), sorted=False
        )
        row, column = pairs[order] // scores.shape[1], pairs[order] % scores.shape[1]
        boxes = BoxList(self.box_coder.decode(codes[row], anchors.bbox[row]), anchors.size)
        boxes.add_field("labels", column + 1)
        boxes.add_field("scores", best)
        return boxes.clip_to_image(remove_empty=False)

    def join_levels(self, levels: list[BoxList]) -> BoxList:
        """Return an image's candidates of all levels; suppression comes later, within classes."""
        return remove_small_boxes(cat_boxlist(levels), self.min_size)

    def select_over_all_levels(self, boxlists: list[BoxList]) -> list[BoxList]:
        """Suppress overlaps within each class, keep each image's best fpn_post_nms_top_n."""
        return [
            self._limit(
                boxlist_nms_per_group(boxes, boxes.get_field("labels"), self.nms_thresh),
                self.fpn_post_nms_top_n,
            )
            for boxes in boxlists
        ]


def make_retinanet_postprocessor(
    config, rpn_box_coder: BoxCoder, is_train: bool
) -> RetinaNetPostProcessor:
    """Build the selection of detections from MODEL.RETINANET; training does not use it."""
    retinanet = config.MODEL.RETINANET
    return RetinaNetPostProcessor(
        pre_nms_thresh=retinanet.INFERENCE_TH,
        pre_nms_top_n=retinanet.PRE_NMS_TOP_N,
        nms_thresh=retinanet.NMS_TH,
        fpn_post_nms_top_n=config.TEST.DETECTIONS_PER_IMG,
        min_size=0,
        num_classes=retinanet.NUM_CLASSES,
        box_coder=rpn_box_coder,
    )
