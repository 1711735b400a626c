"""From class scores and box codes to detections."""

import logging

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_nms_per_group


class DetectionLimit:
    """Keep an image's best detections, more where scores tie with the last of them.

    Args:
        key: the config's key of the limit, which the log names the first time that boxes go.
    """

    def __init__(self, key: str):
        self.key = key
        self._was_logged = False

    def __call__(self, detections: BoxList, limit: int) -> BoxList:
        """Return at most `limit` detections by their field "scores"; 0 or less: all."""
        if not 0 < limit < len(detections):
            return detections
        if not self._was_logged:
            self._was_logged = True
            logging.getLogger(__name__).warning(
                "an image has %d detections, the best %d of them are kept; raise %s for crowded "
                "images (said once)",
                *(len(detections), limit, self.key),
            )
        scores = detections.get_field("scores")
        lowest_kept = scores.topk(limit, sorted=True).values[-1]
        return detections[(scores >= lowest_kept).nonzero().squeeze(1)]


def detections_above(pairs: BoxList, num_classes: int, score_thresh: float) -> BoxList:
    """Return the (proposal, class) pairs that score above a threshold, labelled by their class.

    Args:
        pairs: one box per pair, proposal by proposal, with the field "scores"; class 0 is the
            background, which is no detection.
        num_classes: background included.
        score_thresh: a pair needs more than this.

    Returns:
        the chosen pairs with all their fields, and "labels" (int64, from 1).
    """
    above = pairs.get_field("scores").view(-1, num_classes) > score_thresh
    above[:, 0] = False
    chosen = above.flatten().nonzero().squeeze(1)
    found = pairs[chosen]
    found.add_field("labels", chosen % num_classes)
    return found


class PostProcessor(nn.Module):
    """Decode the boxes, drop low scores, suppress overlaps within each class, keep the best.

    Args:
        score_thresh: lowest score.
        nms: IoU.
        detections_per_img: upper limit per image; 0 or less: none. Reaching it is logged, once.
        box_coder: default: weights 10, 10, 5, 5.
        cls_agnostic_bbox_reg: the codes are for (background, object) instead of each class.
        bbox_aug_enabled: return all (box, class) pairs; the augmentation filters them later.
    """

    def __init__(
        self,
        score_thresh: float = 0.05,
        nms: float = 0.5,
        detections_per_img: int = 100,
        box_coder: BoxCoder | None = None,
        cls_agnostic_bbox_reg: bool = False,
        bbox_aug_enabled: bool = False,
    ):
        super().__init__()
        self.score_thresh = score_thresh
        self.nms = nms
        self.detections_per_img = detections_per_img
        self.box_coder = box_coder or BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
        self.cls_agnostic_bbox_reg = cls_agnostic_bbox_reg
        self.bbox_aug_enabled = bbox_aug_enabled
        self._limit = DetectionLimit("MODEL.ROI_HEADS.DETECTIONS_PER_IMG")

    def forward(self, x: tuple[Tensor, Tensor], boxes: list[BoxList]) -> list[BoxList]:
        """Return each image's detections, with the fields "scores" and "labels" (int64, from 1).

        Args:
            x: class logits [P, classes] and box codes [P, 4 * classes] of all images.
            boxes: the proposals, one BoxList per image.
        """
        class_logits, box_codes = x
        num_classes = class_logits.shape[1]
        probabilities = F.softmax(class_logits.float(), dim=-1)
        proposals = torch.cat([b.bbox for b in boxes])
        if self.cls_agnostic_bbox_reg:
            decoded = self.box_coder.decode(box_codes[:, -4:].float(), proposals)
            decoded = decoded.repeat(1, num_classes)
        else:
            decoded = self.box_coder.decode(box_codes.float(), proposals)

        counts = [len(b) for b in boxes]
        results = []
        for proposal, prob, xyxy in zip(
            boxes, probabilities.split(counts), decoded.split(counts), strict=True
        ):
            result = self.prepare_boxlist(xyxy, prob, proposal.size)
            result = result.clip_to_image(remove_empty=False)
            if not self.bbox_aug_enabled:
                result = self.filter_results(result, num_classes)
            results.append(result)
        return results

    def prepare_boxlist(
        self, boxes: Tensor, scores: Tensor, image_shape: tuple[int, int]
    ) -> BoxList:
        """Return one box for each (proposal, class) pair, with the field "scores".

        Args:
            boxes: [P, 4 * classes] xyxy.
            scores: [P, classes].
            image_shape: (width, height).
        """
        pairs = BoxList(boxes.reshape(-1, 4), image_shape, mode="xyxy")
        pairs.add_field("scores", scores.reshape(-1))
        return pairs

    def filter_results(self, boxlist: BoxList, num_classes: int) -> BoxList:
        """Return the detections among all (proposal, class) pairs; class 0 is the background."""
        found = detections_above(boxlist, num_classes, self.score_thresh)
        found = boxlist_nms_per_group(found, found.get_field("labels"), self.nms)
        return self._limit(found, self.detections_per_img)


def make_roi_box_post_processor(cfg) -> PostProcessor:
    """Build the selection of detections from MODEL.ROI_HEADS."""
    heads = cfg.MODEL.ROI_HEADS
    return PostProcessor(
        heads.SCORE_THRESH,
        heads.NMS,
        heads.DETECTIONS_PER_IMG,
        BoxCoder(weights=heads.BBOX_REG_WEIGHTS),
        cfg.MODEL.CLS_AGNOSTIC_BBOX_REG,
        cfg.TEST.BBOX_AUG.ENABLED,
    )
