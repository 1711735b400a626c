"""The mask head (He et al., "Mask R-CNN", 2017)."""

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.utils import cat, nonzero_each
from maskrcnn_benchmark.structures.bounding_box import BoxList

from ..chunks import boxes_per_chunk, split_boxes
from .inference import make_roi_mask_post_processor
from .loss import make_roi_mask_loss_evaluator
from .roi_mask_feature_extractors import make_roi_mask_feature_extractor
from .roi_mask_predictors import make_roi_mask_predictor


def keep_only_positive_boxes(boxes: list[BoxList]) -> tuple[list[BoxList], list[Tensor]]:
    """Return the boxes whose field "labels" is above 0, and the bool masks that chose them."""
    masks = [b.get_field("labels") > 0 for b in boxes]
    rows = nonzero_each(masks)
    return [b[row] for b, row in zip(boxes, rows, strict=True)], masks


class ROIMaskHead(nn.Module):
    """Feature extractor, predictor, and the loss or the masks of the detections.

    Detections are taken in chunks of bounded memory, see chunks.py.
    """

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.feature_extractor = make_roi_mask_feature_extractor(cfg, in_channels)
        self.predictor = make_roi_mask_predictor(cfg, self.feature_extractor.out_channels)
        self.post_processor = make_roi_mask_post_processor(cfg)
        self.loss_evaluator = make_roi_mask_loss_evaluator(cfg)
        head = cfg.MODEL.ROI_MASK_HEAD
        self.shares_features = head.SHARE_BOX_FEATURE_EXTRACTOR
        self.boxes_per_chunk = boxes_per_chunk(
            max([in_channels, *head.CONV_LAYERS]) * head.POOLER_RESOLUTION**2,
            max([cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES, *head.CONV_LAYERS]) * head.RESOLUTION**2,
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
            proposals: detections; in training the box head's samples with the field "labels".
            targets: ground truth with the fields "labels" and "masks", in training.

        Returns:
            the extractor's output (of the last chunk, if the detections take several); in training
            the proposals as given, otherwise the detections with the field "mask" [N, 1, M, M] of
            probabilities; the loss.
        """
        if not self.training:
            masks = []
            for chunk in split_boxes(proposals, self.boxes_per_chunk):
                x = None  # frees the features of the chunk before
                x = self.feature_extractor(features, chunk)
                masks.append(self.post_processor.choose(self.predictor(x), chunk))
            return x, self.post_processor.attach(cat(masks), proposals), {}
        positives, masks = keep_only_positive_boxes(proposals)
        if self.shares_features:
            x = features[torch.cat(masks)]
        else:
            x = self.feature_extractor(features, positives)
        loss = self.loss_evaluator(positives, self.predictor(x), targets)
        return x, proposals, {"loss_mask": loss}


def build_roi_mask_head(cfg, in_channels: int) -> ROIMaskHead:
    """Build the mask head."""
    return ROIMaskHead(cfg, in_channels)
