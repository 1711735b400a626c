"""Gliding Vertex (Xu et al., 2020): an upright box, where on its sides the vertices lie, and how
much of it the object fills.

Boxes are those of the upright box head, but around corners in edges (to_oriented_targets).
"""

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.structures.bounding_box import BoxList

from ..box_head.roi_box_feature_extractors import make_roi_box_feature_extractor
from ..box_head.roi_box_predictors import FPNPredictor, make_roi_box_predictor
from .inference import make_gliding_vertex_post_processor
from .loss import make_gliding_vertex_loss


@registry.ROI_BOX_PREDICTOR.register("FPNRatioPredictor")
class FPNRatioPredictor(FPNPredictor):
    """Class logits and box codes as of FPNPredictor, and per class the vertices and the ratio."""

    def __init__(self, cfg, in_channels: int):
        super().__init__(cfg, in_channels)
        num_classes = cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES
        self.fix_pred = nn.Linear(in_channels, num_classes * 4)
        self.ratio_pred = nn.Linear(in_channels, num_classes)
        for layer in (self.fix_pred, self.ratio_pred):
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits [R, classes], codes and vertices [R, 4 * classes], ratios [R, classes].

        Vertices and ratios lie in 0 .. 1, see vertices.py.
        """
        logits, codes = super().forward(x)
        x = x.flatten(1)
        return logits, codes, self.fix_pred(x).sigmoid(), self.ratio_pred(x).sigmoid()


class GlidingVertexHead(nn.Module):
    """Feature extractor, predictor, and the losses or the final detections."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.feature_extractor = make_roi_box_feature_extractor(cfg, in_channels)
        self.predictor = make_roi_box_predictor(cfg, self.feature_extractor.out_channels)
        self.post_processor = make_gliding_vertex_post_processor(cfg)
        self.loss_evaluator = make_gliding_vertex_loss(cfg)

    def forward(
        self,
        features: list[Tensor],
        proposals: list[BoxList],
        targets: list[BoxList] | None = None,
    ) -> tuple[Tensor, list[BoxList], dict[str, Tensor]]:
        """Return features, boxes and losses.

        Args:
            features: a map [N, C, H, W] per level.
            proposals: one BoxList per image.
            targets: ground truth of to_oriented_targets, in training.

        Returns:
            the extractor's output [R, C]; in training the sampled proposals, otherwise the
            detections (fields "scores", "labels", "corners"); the losses.
        """
        if not self.training:
            x = self.feature_extractor(features, proposals)
            return x, self.post_processor(self.predictor(x), proposals), {}
        with torch.no_grad():
            proposals = self.loss_evaluator.subsample(proposals, targets)
        x = self.feature_extractor(features, proposals)
        return x, proposals, self.loss_evaluator(*self.predictor(x))
