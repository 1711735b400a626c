"""From Gliding Vertex's outputs to oriented detections."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.layers.nms import nms_per_group
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.roi_heads.box_head.inference import (
    DetectionLimit,
    detections_above,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.rotated_boxes import (
    boxlist_to_edges,
    edges_to_boxlist,
    edges_to_corners,
)

from .vertices import decode_vertices

UPRIGHT_RATIO = 0.8  # share of its upright box from which an object counts as upright


class GlidingVertexPostProcessor(nn.Module):
    """Decodes the boxes and their vertices, suppresses overlaps of the upright boxes per class.

    Args:
        score_thresh: lowest score.
        nms: IoU of the upright boxes.
        detections_per_img: upper limit per image; 0 or less: none. Reaching it is logged, once.
        box_coder: of the codes.
        bbox_aug_enabled: return every (box, class) pair; the augmentation filters them later.
    """

    def __init__(
        self,
        score_thresh: float,
        nms: float,
        detections_per_img: int,
        box_coder: BoxCoder,
        bbox_aug_enabled: bool = False,
    ):
        super().__init__()
        self.score_thresh, self.nms = score_thresh, nms
        self.detections_per_img = detections_per_img
        self.box_coder = box_coder
        self.bbox_aug_enabled = bbox_aug_enabled
        self._limit = DetectionLimit("MODEL.ROI_HEADS.DETECTIONS_PER_IMG")

    def forward(
        self, x: tuple[Tensor, Tensor, Tensor, Tensor], proposals: list[BoxList]
    ) -> list[BoxList]:
        """Return the detections of every image.

        Args:
            x: logits, codes, vertices and ratios as of FPNRatioPredictor, of all images.
            proposals: one BoxList per image.

        Returns:
            BoxLists with the fields "scores", "labels" (int64, from 1) and "corners" [N, 4, 2].
        """
        logits, codes, vertices, ratios = (part.float() for part in x)
        scores = F.softmax(logits, dim=-1)
        boxes = self.box_coder.decode(codes, torch.cat([p.bbox for p in proposals]))
        boxes = boxes.unflatten(1, (-1, 4))  # [P, classes, 4], in edges
        corners = decode_vertices(vertices.unflatten(1, (-1, 4)), boxes)
        upright = (ratios > UPRIGHT_RATIO)[..., None, None]
        corners = torch.where(upright, edges_to_corners(boxes), corners)
        counts = [len(p) for p in proposals]
        results = []
        for proposal, box, score, quads in zip(
            proposals, boxes.split(counts), scores.split(counts), corners.split(counts), strict=True
        ):
            pairs = BoxList(edges_to_boxlist(box.flatten(0, 1)), proposal.size)
            pairs.add_field("scores", score.flatten())
            pairs.add_field("corners", quads.flatten(0, 1))
            keep_pairs = self.bbox_aug_enabled
            results.append(pairs if keep_pairs else self.filter_results(pairs, score.shape[1]))
        return results

    def filter_results(self, pairs: BoxList, num_classes: int) -> BoxList:
        """Return the detections among all (proposal, class) pairs; class 0 is the background."""
        found = detections_above(pairs, num_classes, self.score_thresh)
        scores, labels = found.get_field("scores"), found.get_field("labels")
        keep = nms_per_group(boxlist_to_edges(found.bbox), scores, labels, self.nms)
        found = self._limit(found[keep], self.detections_per_img)
        return found.clip_to_image(remove_empty=False)


def make_gliding_vertex_post_processor(cfg) -> GlidingVertexPostProcessor:
    """Build the selection of detections from MODEL.ROI_HEADS."""
    heads = cfg.MODEL.ROI_HEADS
    return GlidingVertexPostProcessor(
        heads.SCORE_THRESH,
        heads.NMS,
        heads.DETECTIONS_PER_IMG,
        BoxCoder(weights=heads.BBOX_REG_WEIGHTS),
        cfg.TEST.BBOX_AUG.ENABLED,
    )
