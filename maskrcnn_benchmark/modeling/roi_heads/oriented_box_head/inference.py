"""From class scores and rotated codes to oriented detections."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.oriented_coders import RotatedBoxCoder
from maskrcnn_benchmark.modeling.roi_heads.box_head.inference import (
    DetectionLimit,
    detections_above,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.oriented_boxes import oriented_nms
from maskrcnn_benchmark.structures.rotated_boxes import (
    corners_to_edges,
    edges_to_boxlist,
    rotated_to_corners,
)


class OrientedPostProcessor(nn.Module):
    """Decodes the boxes, drops low scores, suppresses overlaps class by class, keeps the best.

    Args:
        score_thresh: lowest score.
        nms: IoU of polygons.
        detections_per_img: upper limit per image; 0 or less: none. Reaching it is logged, once.
        box_coder: of the codes.
        bbox_aug_enabled: return every (box, class) pair; the augmentation filters them later.
    """

    def __init__(
        self,
        score_thresh: float,
        nms: float,
        detections_per_img: int,
        box_coder: RotatedBoxCoder,
        bbox_aug_enabled: bool = False,
    ):
        super().__init__()
        self.score_thresh, self.nms = score_thresh, nms
        self.detections_per_img = detections_per_img
        self.box_coder = box_coder
        self.bbox_aug_enabled = bbox_aug_enabled
        self._limit = DetectionLimit("MODEL.ROI_HEADS.DETECTIONS_PER_IMG")

    def forward(self, x: tuple[Tensor, Tensor], proposals: list[BoxList]) -> list[BoxList]:
        """Return the detections of every image.

        Args:
            x: class logits [P, classes] and codes [P, 5] of all images.
            proposals: one BoxList per image with the field "rotated_boxes".

        Returns:
            upright boxes around the detections, with the fields "scores", "labels" (int64, from 1)
            and "corners" [N, 4, 2]; by falling score.
        """
        class_logits, codes = x
        probabilities = F.softmax(class_logits.float(), dim=-1)
        references = torch.cat([p.get_field("rotated_boxes") for p in proposals])
        rotated = self.box_coder.decode(codes.float(), references)
        counts = [len(p) for p in proposals]
        results = []
        for proposal, scores, boxes in zip(
            proposals, probabilities.split(counts), rotated.split(counts), strict=True
        ):
            pairs = self._pairs(boxes, scores, proposal.size)
            num_classes = scores.shape[1]
            keep_pairs = self.bbox_aug_enabled
            results.append(pairs if keep_pairs else self.filter_results(pairs, num_classes))
        return results

    def _pairs(self, boxes: Tensor, scores: Tensor, image_size: tuple[int, int]) -> BoxList:
        """Return one box per (proposal, class) pair, centres kept inside the image."""
        width, height = image_size
        center = torch.stack(
            [boxes[:, 0].clamp(0, width - 1), boxes[:, 1].clamp(0, height - 1)], dim=1
        )
        corners = rotated_to_corners(torch.cat([center, boxes[:, 2:]], dim=1))
        corners = corners[:, None].expand(-1, scores.shape[1], -1, -1).flatten(0, 1)
        pairs = BoxList(edges_to_boxlist(corners_to_edges(corners)), image_size)
        pairs.add_field("scores", scores.flatten())
        pairs.add_field("corners", corners)
        return pairs

    def filter_results(self, pairs: BoxList, num_classes: int) -> BoxList:
        """Return the detections among all (proposal, class) pairs; class 0 is the background."""
        found = detections_above(pairs, num_classes, self.score_thresh)
        corners, scores, labels = map(found.get_field, ("corners", "scores", "labels"))
        keep = oriented_nms(corners, scores, self.nms, groups=labels)
        return self._limit(found[keep], self.detections_per_img)


def make_oriented_post_processor(cfg) -> OrientedPostProcessor:
    """Build the selection of detections from MODEL.ROI_HEADS."""
    heads = cfg.MODEL.ROI_HEADS
    return OrientedPostProcessor(
        heads.SCORE_THRESH,
        heads.NMS,
        heads.DETECTIONS_PER_IMG,
        RotatedBoxCoder(),
        cfg.TEST.BBOX_AUG.ENABLED,
    )
