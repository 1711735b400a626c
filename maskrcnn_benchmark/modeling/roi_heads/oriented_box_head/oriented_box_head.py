"""Oriented R-CNN's second stage: which class a rotated proposal is, and where exactly.

Boxes are rotated, (cx, cy, w, h, angle) in edges, see structures/rotated_boxes.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn_benchmark.layers.roi_align_rotated import ROIAlignRotated
from maskrcnn_benchmark.modeling.make_layers import make_fc
from maskrcnn_benchmark.structures.bounding_box import BoxList

from .inference import make_oriented_post_processor
from .loss import make_oriented_box_loss

CODE_SIZE = 5  # of RotatedBoxCoder


class RotatedFeatureExtractor(nn.Module):
    """Rotated RoIAlign and two fully connected layers, for a pyramid."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        head = cfg.MODEL.ROI_BOX_HEAD
        self.pooler = ROIAlignRotated(head.POOLER_RESOLUTION, head.POOLER_SCALES)
        self.fc6 = make_fc(in_channels * head.POOLER_RESOLUTION**2, head.MLP_HEAD_DIM, head.USE_GN)
        self.fc7 = make_fc(head.MLP_HEAD_DIM, head.MLP_HEAD_DIM, head.USE_GN)
        self.out_channels = head.MLP_HEAD_DIM

    def forward(self, x: list[Tensor], proposals: list[BoxList]) -> Tensor:
        """Return [R, out_channels] of proposals with the field "rotated_boxes"."""
        pooled = self.pooler(x, [p.get_field("rotated_boxes") for p in proposals])
        return F.relu(self.fc7(F.relu(self.fc6(pooled.flatten(1)))))


class RotatedBoxPredictor(nn.Module):
    """Two linear layers: class logits, and one code for whichever class it is."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.cls_score = nn.Linear(in_channels, cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES)
        self.bbox_pred = nn.Linear(in_channels, CODE_SIZE)
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [R, classes] and codes [R, 5] of features [R, C]."""
        return self.cls_score(x), self.bbox_pred(x)


class OrientedBoxHead(nn.Module):
    """Feature extractor, predictor, and the losses or the final detections."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.feature_extractor = RotatedFeatureExtractor(cfg, in_channels)
        self.predictor = RotatedBoxPredictor(cfg, self.feature_extractor.out_channels)
        self.post_processor = make_oriented_post_processor(cfg)
        self.loss_evaluator = make_oriented_box_loss(cfg)

    def forward(
        self,
        features: list[Tensor],
        proposals: list[BoxList],
        targets: list[BoxList] | None = None,
    ) -> tuple[Tensor, list[BoxList], dict[str, Tensor]]:
        """Return features, boxes and losses.

        Args:
            features: a map [N, C, H, W] per level.
            proposals: one BoxList per image with the field "rotated_boxes".
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
        losses = self.loss_evaluator(*self.predictor(x), proposals)
        return x, proposals, dict(zip(("loss_classifier", "loss_box_reg"), losses, strict=True))
