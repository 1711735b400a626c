"""Inference on one image as a function of tensors alone, which torch.export can follow.

It computes what the models' own evaluation mode computes (modeling/), with the same layers,
coders and settings; tests compare the two.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.roi_heads.gliding_vertex_head.inference import UPRIGHT_RATIO
from maskrcnn_benchmark.modeling.roi_heads.gliding_vertex_head.vertices import decode_vertices
from maskrcnn_benchmark.modeling.rpn.utils import permute_and_flatten
from maskrcnn_benchmark.structures.rotated_boxes import (
    corners_to_edges,
    edges_to_boxlist,
    edges_to_corners,
    rotated_to_corners,
)

from .pooling import TracedBoxes, with_traced_poolers
from .suppression import best, nms, nms_per_class, oriented_nms_per_class, padded_best

# (box, class) pairs that enter the suppression of oriented boxes, which makes a matrix of them
MOST_CANDIDATES = 4096


class ExportableDetector(nn.Module):
    """A detector for batches of one image.

    Args:
        model: a GeneralizedRCNN; it is copied.

    Attributes:
        extra_outputs: names of what `forward` returns beside boxes, scores and labels.
    """

    extra_outputs: tuple[str, ...] = ()

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = with_traced_poolers(copy.deepcopy(model).eval())

    def forward(self, image: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        """Detect.

        Args:
            image: float [1, 3, H, W], normalised as INPUT says, padded.
            size: int64 [2], height and width before padding.

        Returns:
            boxes [N, 4], scores [N] and labels [N] (int64, from 1), by falling score; then those
            of `extra_outputs`.
        """
        features = self.model.backbone(image)
        return self._detect(features, size)

    def _detect(self, features: list[Tensor], size: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError


class ExportableRCNN(ExportableDetector):
    """Faster R-CNN and, with a mask head, Mask R-CNN, which has "masks" [N, 1, M, M], too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.extra_outputs = ("masks",) if "mask" in model.roi_heads else ()

    def _detect(self, features: list[Tensor], size: Tensor) -> tuple[Tensor, ...]:
        heads = self.model.roi_heads
        proposals = upright_proposals(self.model.rpn, features, size)
        logits, codes = _second_stage(heads.box, features, TracedBoxes(proposals))
        chosen = heads.box.post_processor
        scores = F.softmax(logits, dim=-1)
        if chosen.cls_agnostic_bbox_reg:
            codes = codes[:, -4:].repeat(1, scores.shape[1])
        boxes = chosen.box_coder.decode(codes, proposals).unflatten(1, (-1, 4))
        boxes = clip(boxes, size)
        row, label, score = nms_per_class(boxes, scores, chosen.score_thresh, chosen.nms)
        order = _best_first(score, chosen.detections_per_img)
        row, label, score = row[order], label[order], score[order]
        found = boxes[row, label]
        if "mask" not in heads:
            return found, score, label
        logits = _second_stage(heads.mask, features, TracedBoxes(found))
        chosen_class = label[:, None, None, None].expand(-1, 1, *logits.shape[-2:])
        return found, score, label, logits.gather(1, chosen_class).sigmoid()


class ExportableRetinaNet(ExportableDetector):
    """RetinaNet."""

    def _detect(self, features: list[Tensor], size: Tensor) -> tuple[Tensor, ...]:
        rpn = self.model.rpn
        chosen = rpn.box_selector_test
        boxes, scores, labels = [], [], []
        for logit, code, anchors in _levels(rpn, features):
            classes = logit.shape[1]
            score, index = best(logit.flatten().sigmoid(), chosen.pre_nms_top_n)
            above = (score > chosen.pre_nms_thresh).nonzero().squeeze(1)
            score, index = score[above], index[above]
            row = index.div(classes, rounding_mode="floor")
            boxes.append(clip(chosen.box_coder.decode(code[row], anchors[row]), size))
            scores.append(score)
            labels.append(index - row * classes + 1)
        box, score, label = torch.cat(boxes), torch.cat(scores), torch.cat(labels)
        kept = []
        for number in range(1, classes + 1):
            rows = (label == number).nonzero().squeeze(1)
            kept.append(rows[nms(box[rows], score[rows], chosen.nms_thresh)])
        keep = torch.cat(kept)
        keep = keep[_best_first(score[keep], chosen.fpn_post_nms_top_n)]
        return box[keep], score[keep], label[keep]


class ExportableOrientedRCNN(ExportableDetector):
    """Oriented R-CNN, which has "corners" [N, 4, 2], too."""

    extra_outputs = ("corners",)

    def _detect(self, features: list[Tensor], size: Tensor) -> tuple[Tensor, ...]:
        head = self.model.roi_heads.box
        chosen = head.post_processor
        proposals = oriented_proposals(self.model.rpn, features)
        logits, codes = _second_stage(head, features, TracedBoxes(rotated_boxes=proposals))
        scores = F.softmax(logits, dim=-1)
        boxes = chosen.box_coder.decode(codes, proposals)
        center = torch.minimum(boxes[:, :2].clamp(min=0), (size.flip(0) - 1).to(boxes.dtype))
        corners = rotated_to_corners(torch.cat([center, boxes[:, 2:]], dim=1))
        objects = scores[:, 1:]
        objects = objects.masked_fill(objects <= chosen.score_thresh, -torch.inf)
        score, index = padded_best(objects.flatten(), MOST_CANDIDATES)
        row = index.div(objects.shape[1], rounding_mode="floor")
        label = torch.where(score > -torch.inf, index - row * objects.shape[1] + 1, -1)
        corners = corners[row.clamp(max=corners.shape[0] - 1)]
        keep = oriented_nms_per_class(corners, label, chosen.nms)
        if chosen.detections_per_img > 0:
            keep = keep[: chosen.detections_per_img]
        found = corners[keep]
        return edges_to_boxlist(corners_to_edges(found)), score[keep], label[keep], found


class ExportableGlidingVertex(ExportableDetector):
    """Gliding Vertex, which has "corners" [N, 4, 2], too."""

    extra_outputs = ("corners",)

    def _detect(self, features: list[Tensor], size: Tensor) -> tuple[Tensor, ...]:
        head = self.model.roi_heads.box
        chosen = head.post_processor
        proposals = upright_proposals(self.model.rpn, features, size)
        logits, codes, vertices, ratios = _second_stage(head, features, TracedBoxes(proposals))
        boxes = chosen.box_coder.decode(codes, proposals).unflatten(1, (-1, 4))  # in edges
        row, label, score = nms_per_class(
            boxes, F.softmax(logits, dim=-1), chosen.score_thresh, chosen.nms
        )
        order = _best_first(score, chosen.detections_per_img)
        row, label, score = row[order], label[order], score[order]
        found = boxes[row, label]
        corners = decode_vertices(vertices.unflatten(1, (-1, 4))[row, label], found)
        upright = (ratios[row, label] > UPRIGHT_RATIO)[:, None, None]
        corners = torch.where(upright, edges_to_corners(found), corners)
        return clip(edges_to_boxlist(found), size), score, label, corners


def clip(boxes: Tensor, size: Tensor) -> Tensor:
    """Clip boxes [..., 4] to an image of size [2] (height, width), as BoxList does."""
    farthest = (size.flip(0).repeat(2) - 1).to(boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), farthest)


def upright_proposals(rpn: nn.Module, features: list[Tensor], size: Tensor) -> Tensor:
    """Return the proposals [P, 4] of RPNPostProcessor in evaluation."""
    chosen = rpn.box_selector_test
    boxes, scores = [], []
    for logit, code, anchors in _levels(rpn, features):
        score, index = best(logit.flatten().sigmoid(), chosen.pre_nms_top_n)
        box = clip(chosen.box_coder.decode(code[index], anchors[index]), size)
        sides = box[:, 2:] - box[:, :2] + 1
        large = (sides >= chosen.min_size).all(dim=1).nonzero().squeeze(1)
        box, score = box[large], score[large]
        keep = nms(box, score, chosen.nms_thresh)[: chosen.post_nms_top_n]
        boxes.append(box[keep])
        scores.append(score[keep])
    if len(boxes) == 1:
        return boxes[0]
    return torch.cat(boxes)[_best_first(torch.cat(scores), chosen.fpn_post_nms_top_n)]


def oriented_proposals(rpn: nn.Module, features: list[Tensor]) -> Tensor:
    """Return the rotated proposals [P, 5] of OrientedProposalSelector."""
    chosen = rpn.box_selector_test
    boxes, scores = [], []
    for logit, code, anchors in _levels(rpn, features):
        score, index = best(logit.flatten(), chosen.pre_nms_top_n)
        box = chosen.box_coder.decode(code[index], anchors[index])
        keep = nms(corners_to_edges(rotated_to_corners(box)), score, chosen.nms_thresh)
        boxes.append(box[keep])
        scores.append(score[keep])
    return torch.cat(boxes)[_best_first(torch.cat(scores), chosen.post_nms_top_n)]


def _levels(rpn: nn.Module, features: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return logits [A, classes], codes [A, 4 or 6] and anchors [A, 4] of each level."""
    logits, codes = rpn.head(features)
    grids = rpn.anchor_generator.grid_anchors([level.shape[-2:] for level in features])
    rows = []
    for logit, code, anchors in zip(logits, codes, grids, strict=True):
        height, width = logit.shape[-2:]
        per_cell = rpn.anchor_generator.num_anchors_per_location()[len(rows)]
        rows.append(
            (
                *(
                    permute_and_flatten(x, 1, per_cell, x.shape[1] // per_cell, height, width)[0]
                    for x in (logit, code)
                ),
                anchors,
            )
        )
    return rows


def _second_stage(head: nn.Module, features: list[Tensor], boxes: TracedBoxes):
    """Return what a head predicts for boxes."""
    return head.predictor(head.feature_extractor(features, [boxes]))


def _best_first(scores: Tensor, limit: int) -> Tensor:
    """Return the order of falling scores, cut after the limit; 0 or less: all."""
    order = scores.argsort(descending=True)
    return order[:limit] if limit > 0 else order
