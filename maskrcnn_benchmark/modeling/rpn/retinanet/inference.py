"""From RetinaNet's outputs to detections."""

from torch import Tensor

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.roi_heads.box_head.inference import DetectionLimit
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_nms, cat_boxlist, remove_small_boxes

from ..inference import RPNPostProcessor
from ..utils import permute_and_flatten


class RetinaNetPostProcessor(RPNPostProcessor):
    """Decodes the best (anchor, class) pairs of every level; then NMS class by class over all.

    Args:
        pre_nms_thresh: lowest score.
        pre_nms_top_n: pairs of a level that are decoded.
        nms_thresh: IoU.
        fpn_post_nms_top_n: detections kept in an image; 0 or less: all. A cut is logged, once.
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
            post_nms_top_n=0,  # no limit of a level's own
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
        """Return one level's candidates with the fields "scores" and "labels" (int64, from 1).

        Args:
            anchors: this level's, one BoxList an image.
            box_cls: logits [N, A * classes, H, W], the background not among the classes.
            box_regression: codes [N, A * 4, H, W].
        """
        N, _, H, W = box_cls.shape
        A = box_regression.shape[1] // 4
        C = box_cls.shape[1] // A
        all_scores = permute_and_flatten(box_cls, N, A, C, H, W).float().sigmoid()
        all_codes = permute_and_flatten(box_regression, N, A, 4, H, W).float()

        candidates = []
        for level, scores, codes in zip(anchors, all_scores, all_codes, strict=True):
            pairs = (scores > self.pre_nms_thresh).nonzero()  # [K, 2]: anchor, class - 1
            best, order = scores[tuple(pairs.T)].topk(
                min(self.pre_nms_top_n, len(pairs)), sorted=False
            )
            where, column = pairs[order].unbind(1)
            boxes = BoxList(self.box_coder.decode(codes[where], level.bbox[where]), level.size)
            boxes.add_field("labels", column + 1)
            boxes.add_field("scores", best)
            boxes = boxes.clip_to_image(remove_empty=False)
            candidates.append(remove_small_boxes(boxes, self.min_size))
        return candidates

    def select_over_all_levels(self, boxlists: list[BoxList]) -> list[BoxList]:
        """Suppress overlaps class by class, then keep the best fpn_post_nms_top_n of each image."""
        return [self._detections_of(candidates) for candidates in boxlists]

    def _detections_of(self, candidates: BoxList) -> BoxList:
        labels = candidates.get_field("labels")
        kept = [
            boxlist_nms(candidates[labels == label], self.nms_thresh)
            for label in labels.unique().tolist()
        ]
        if not kept:
            return candidates
        return self._limit(cat_boxlist(kept), self.fpn_post_nms_top_n)


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
