"""The heads that look inside the proposals: boxes and, where the config asks for them, masks."""

from torch import Tensor, nn

from maskrcnn_benchmark.structures.bounding_box import BoxList

from .box_head.box_head import build_roi_box_head
from .mask_head.mask_head import build_roi_mask_head


class CombinedROIHeads(nn.ModuleDict):
    """Runs the box head and feeds what it found to the other heads.

    Args:
        cfg: MODEL says which heads share the box head's feature extractor.
        heads: (name, module) pairs; "box" is always there.
    """

    def __init__(self, cfg, heads: list[tuple[str, nn.Module]]):
        super().__init__(heads)
        self.mask_shares_features = "mask" in self and (
            cfg.MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR
        )
        if self.mask_shares_features:
            self.mask.feature_extractor = self.box.feature_extractor

    def forward(
        self,
        features: list[Tensor],
        proposals: list[BoxList],
        targets: list[BoxList] | None = None,
    ) -> tuple[Tensor, list[BoxList], dict[str, Tensor]]:
        """Return the last head's features, the detections (in training: the sampled proposals), the
        losses.

        Args:
            features: a map [N, C, H, W] a level.
            proposals: one BoxList an image.
            targets: ground truth, in training.
        """
        x, detections, losses = self.box(features, proposals, targets)
        if "mask" in self:
            # in training a shared extractor has already pooled these very proposals
            reuse = self.training and self.mask_shares_features
            x, detections, mask_losses = self.mask(x if reuse else features, detections, targets)
            losses = {**losses, **mask_losses}
        return x, detections, losses


def build_roi_heads(cfg, in_channels: int) -> CombinedROIHeads | None:
    """Build the heads; None for a model of proposals only."""
    if cfg.MODEL.RPN_ONLY or cfg.MODEL.RETINANET_ON:
        return None
    if cfg.MODEL.KEYPOINT_ON:
        raise ValueError("MODEL.KEYPOINT_ON: the keypoint head is not here yet; set it to False")
    heads = [("box", build_roi_box_head(cfg, in_channels))]
    if cfg.MODEL.MASK_ON:
        heads.append(("mask", build_roi_mask_head(cfg, in_channels)))
    return CombinedROIHeads(cfg, heads)
