"""The box head: which class a proposal is, and where exactly."""

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.structures.bounding_box import BoxList

from .inference import make_roi_box_post_processor
from .loss import make_roi_box_loss_evaluator
from .roi_box_feature_extractors import make_roi_box_feature_extractor
from .roi_box_predictors import make_roi_box_predictor


class ROIBoxHead(nn.Module):
    """Feature extractor, predictor, and the losses or the final detections."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.feature_extractor = make_roi_box_feature_extractor(cfg, in_channels)
        self.predictor = make_roi_box_predictor(cfg, self.feature_extractor.out_channels)
        self.post_processor = make_roi_box_post_processor(cfg)
        self.loss_evaluator = make_roi_box_loss_evaluator(cfg)

    def forward(
        self,
        features: list[Tensor],
        proposals: list[BoxList],
        targets: list[BoxList] | None = None,
    ) -> tuple[Tensor, list[BoxList], dict[str, Tensor]]:
        """Return pooled features, boxes and losses.

        Args:
            features: one map [N, C, H, W] per level.
            proposals: one BoxList per image.
            targets: ground truth, in training.

        Returns:
            the extractor's output [R, …]; in training the sampled proposals (fields "labels",
            "regression_targets"), otherwise the detections (fields "scores", "labels"); the losses.
        """
        if not self.training:
            x = self.feature_extractor(features, proposals)
            return x, self.post_processor(self.predictor(x), proposals), {}
        with torch.no_grad():
            proposals = self.loss_evaluator.subsample(proposals, targets)
        x = self.feature_extractor(features, proposals)
        class_logits, box_codes = self.predictor(x)
        loss_classifier, loss_box_reg = self.loss_evaluator([class_logits], [box_codes])
        return x, proposals, {"loss_classifier": loss_classifier, "loss_box_reg": loss_box_reg}


def build_roi_box_head(cfg, in_channels: int) -> ROIBoxHead:
    """Build the box head."""
    return ROIBoxHead(cfg, in_channels)
