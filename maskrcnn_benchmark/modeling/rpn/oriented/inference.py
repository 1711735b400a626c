"""From the oriented RPN's outputs to rotated proposals."""

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.nms import nms_per_group
from maskrcnn_benchmark.modeling.oriented_coders import MidpointOffsetCoder
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.rotated_boxes import corners_to_edges, rotated_to_corners


class OrientedProposalSelector(nn.Module):
    """Decodes the best anchors of every level and suppresses overlaps level by level.

    Suppression compares the upright boxes around the proposals.

    Args:
        pre_nms_top_n: anchors of a level that are decoded.
        post_nms_top_n: proposals kept per image.
        nms_thresh: IoU.
        box_coder: of the codes.
    """

    def __init__(
        self,
        pre_nms_top_n: int,
        post_nms_top_n: int,
        nms_thresh: float,
        box_coder: MidpointOffsetCoder,
    ):
        super().__init__()
        self.pre_nms_top_n, self.post_nms_top_n = pre_nms_top_n, post_nms_top_n
        self.nms_thresh, self.box_coder = nms_thresh, box_coder

    def forward(
        self,
        anchors: list[Tensor],
        logits: list[Tensor],
        codes: list[Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[BoxList]:
        """Return the proposals of every image, the best first.

        Args:
            anchors: [A, 4] per level, in edges.
            logits: [N, A, 1] per level.
            codes: [N, A, 6] per level.
            image_sizes: (height, width) per image.
        """
        scores, boxes, levels = [], [], []  # one tensor [N, K, …] per level
        for number, (anchor, logit, code) in enumerate(zip(anchors, logits, codes, strict=True)):
            count = min(self.pre_nms_top_n, len(anchor))
            # logits order the anchors as their sigmoids would, which are equal where they near 1
            ranked = logit.squeeze(2).float().sort(dim=1, descending=True, stable=True)
            score, best = (part[:, :count] for part in ranked)  # [N, K]
            code = code.float().gather(1, best[..., None].expand(-1, -1, code.shape[2]))
            decoded = self.box_coder.decode(code.flatten(0, 1), anchor[best].flatten(0, 1))
            scores.append(score)
            boxes.append(decoded.view(*best.shape, 5))
            levels.append(torch.full_like(best[0], number))
        level = torch.cat(levels)
        return [
            self._select(torch.cat(box), torch.cat(score), level, size)
            for box, score, size in zip(
                zip(*boxes, strict=True), zip(*scores, strict=True), image_sizes, strict=True
            )
        ]

    def _select(
        self, rotated: Tensor, scores: Tensor, level: Tensor, image_hw: tuple[int, int]
    ) -> BoxList:
        edges = corners_to_edges(rotated_to_corners(rotated))
        keep = nms_per_group(edges, scores, level, self.nms_thresh)
        keep = keep[scores[keep].argsort(descending=True, stable=True)][: self.post_nms_top_n]
        proposals = BoxList(edges[keep], image_hw[::-1])
        proposals.add_field("rotated_boxes", rotated[keep])
        proposals.add_field("objectness", scores[keep].sigmoid())
        return proposals


def make_oriented_proposal_selector(
    cfg, box_coder: MidpointOffsetCoder, is_train: bool
) -> OrientedProposalSelector:
    """Build the selection from MODEL.RPN, by the limits of training or evaluation."""
    rpn = cfg.MODEL.RPN
    mode = "TRAIN" if is_train else "TEST"
    return OrientedProposalSelector(
        rpn[f"PRE_NMS_TOP_N_{mode}"], rpn[f"FPN_POST_NMS_TOP_N_{mode}"], rpn.NMS_THRESH, box_coder
    )
