"""The keypoint head (He et al., "Mask R-CNN", 2017, section 5)."""

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.utils import cat
from maskrcnn_benchmark.structures.bounding_box import BoxList

from ..chunks import boxes_per_chunk, split_boxes
from .inference import make_roi_keypoint_post_processor
from .loss import make_roi_keypoint_loss_evaluator
from .roi_keypoint_feature_extractors import make_roi_keypoint_feature_extractor
from .roi_keypoint_predictors import make_roi_keypoint_predictor


class ROIKeypointHead(nn.Module):
    """Feature extractor, predictor, and the loss or the keypoints of the detections.

    Detections are taken in chunks of bounded memory, see chunks.py.
    """

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.feature_extractor = make_roi_keypoint_feature_extractor(cfg, in_channels)
        self.predictor = make_roi_keypoint_predictor(cfg, self.feature_extractor.out_channels)
        self.post_processor = make_roi_keypoint_post_processor(cfg)
        self.loss_evaluator = make_roi_keypoint_loss_evaluator(cfg)
        head = cfg.MODEL.ROI_KEYPOINT_HEAD
        self.shares_features = head.SHARE_BOX_FEATURE_EXTRACTOR
        self.boxes_per_chunk = boxes_per_chunk(
            max([in_channels, *head.CONV_LAYERS]) * head.POOLER_RESOLUTION**2,
            head.NUM_CLASSES * head.RESOLUTION**2,
        )

    def forward(
        self,
        features: list[Tensor] | Tensor,
        proposals: list[BoxList],
        targets: list[BoxList] | None = None,
    ) -> tuple[Tensor, list[BoxList], dict[str, Tensor]]:
        """Return features, boxes and losses.

        Args:
            features: a map [N, C, H, W] per level; in training with a shared extractor the
                features [R, C, H, W] of all proposals.
            proposals: detections; in training the box head's samples.
            targets: ground truth with the fields "labels" and "keypoints", in training.

        Returns:
            the extractor's output (of the last chunk, if the detections take several); in training
            the proposals that it was trained on, otherwise the detections with the field
            "keypoints"; the loss.
        """
        if not self.training:
            found = []
            for chunk in split_boxes(proposals, self.boxes_per_chunk):
                x = None  # frees the features of the chunk before
                x = self.feature_extractor(features, chunk)
                found.append(self.post_processor.keypointer(self.predictor(x), chunk))
            points, peaks = map(cat, zip(*found, strict=True))
            return x, self.post_processor.attach(points, peaks, proposals), {}
        with torch.no_grad():
            samples = self.loss_evaluator.subsample(proposals, targets)
        if self.shares_features:
            pooled = features.split([len(p) for p in proposals])
            rows = [s.get_field("proposal_idxs") for s in samples]
            x = torch.cat([part[row] for part, row in zip(pooled, rows, strict=True)])
        else:
            x = self.feature_extractor(features, samples)
        loss = self.loss_evaluator(samples, self.predictor(x))
        return x, samples, {"loss_kp": loss}


def build_roi_keypoint_head(cfg, in_channels: int) -> ROIKeypointHead:
    """Build the keypoint head."""
    return ROIKeypointHead(cfg, in_channels)
