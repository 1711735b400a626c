"""The heads that look inside the proposals: boxes and, where the config asks, masks, keypoints."""

from torch import Tensor, nn

from maskrcnn_benchmark.structures.bounding_box import BoxList

from .box_head.box_head import build_roi_box_head
from .box_head.inference import make_roi_box_post_processor
from .gliding_vertex_head.gliding_vertex_head import GlidingVertexHead
from .gliding_vertex_head.inference import make_gliding_vertex_post_processor
from .keypoint_head.keypoint_head import build_roi_keypoint_head
from .mask_head.mask_head import build_roi_mask_head
from .oriented_box_head.inference import make_oriented_post_processor
from .oriented_box_head.oriented_box_head import OrientedBoxHead


class CombinedROIHeads(nn.ModuleDict):
    """Run the box head and feed what it found to the other heads.

    Args:
        cfg: MODEL says which heads share the box head's feature extractor.
        heads: (name, module) pairs; "box" is always there, "mask" and "keypoint" may be.
    """

    def __init__(self, cfg, heads: list[tuple[str, nn.Module]]):
        super().__init__(heads)
        self.refiners = [name for name in ("mask", "keypoint") if name in self]
        self.sharing = []
        # with test-time augmentation the box head's result is not yet a list of detections
        self.boxes_only = cfg.TEST.BBOX_AUG.ENABLED
        for name in self.refiners:
            section = f"ROI_{name.upper()}_HEAD"
            if cfg.MODEL[section].SHARE_BOX_FEATURE_EXTRACTOR:
                self._share_extractor(name, section)

    def _share_extractor(self, name: str, section: str) -> None:
        own, shared = self[name].feature_extractor, self.box.feature_extractor
        if own.out_channels != shared.out_channels:
            raise ValueError(
                f"MODEL.{section}.SHARE_BOX_FEATURE_EXTRACTOR needs an extractor like the box "
                f"head's, got {type(own).__name__} with {own.out_channels} channels and "
                f"{type(shared).__name__} with {shared.out_channels}: set it to False"
            )
        self[name].feature_extractor = shared
        self.sharing.append(name)

    def forward(
        self,
        features: list[Tensor],
        proposals: list[BoxList],
        targets: list[BoxList] | None = None,
    ) -> tuple[Tensor, list[BoxList], dict[str, Tensor]]:
        """Return the last head's features, the detections (in training: the sampled proposals), the
        losses.

        Args:
            features: one map [N, C, H, W] per level.
            proposals: one BoxList per image.
            targets: ground truth, in training.
        """
        box_features, boxes, losses = self.box(features, proposals, targets)
        x = box_features
        if self.training:
            for name in self.refiners:
                # a shared extractor has already pooled these very proposals
                given = box_features if name in self.sharing else features
                x, _, head_losses = self[name](given, boxes, targets)
                losses = {**losses, **head_losses}
        elif not self.boxes_only:
            for name in self.refiners:
                x, boxes, _ = self[name](features, boxes)
        return x, boxes, losses

    def refine(self, features: list[Tensor], detections: list[BoxList]) -> list[BoxList]:
        """Return the detections with the other heads' fields, "mask" and "keypoints".

        Args:
            features: as of forward.
            detections: what the box head found, in the same images' pixels.
        """
        for name in self.refiners:
            _, detections, _ = self[name](features, detections)
        return detections


# by MODEL.ORIENTED.METHOD: the head, and what makes detections of its outputs
_BOX_HEADS = {
    "": (build_roi_box_head, make_roi_box_post_processor),
    "oriented_rcnn": (OrientedBoxHead, make_oriented_post_processor),
    "gliding_vertex": (GlidingVertexHead, make_gliding_vertex_post_processor),
}


def make_post_processor(cfg) -> nn.Module:
    """Build what makes detections of the box head's outputs; its filter_results serves TTA."""
    return _BOX_HEADS[cfg.MODEL.ORIENTED.METHOD][1](cfg)


def build_roi_heads(cfg, in_channels: int) -> CombinedROIHeads | None:
    """Build the heads; None for a model of proposals only.

    Raises:
        ValueError: test-time augmentation of a model that has no box head to do it.
    """
    if cfg.MODEL.RPN_ONLY or cfg.MODEL.RETINANET_ON:
        if cfg.TEST.BBOX_AUG.ENABLED:
            raise ValueError(
                "TEST.BBOX_AUG.ENABLED merges what a box head found, which MODEL.RPN_ONLY and "
                "MODEL.RETINANET_ON leave out: set it to False"
            )
        return None
    heads = [("box", _BOX_HEADS[cfg.MODEL.ORIENTED.METHOD][0](cfg, in_channels))]
    if cfg.MODEL.MASK_ON:
        heads.append(("mask", build_roi_mask_head(cfg, in_channels)))
    if cfg.MODEL.KEYPOINT_ON:
        heads.append(("keypoint", build_roi_keypoint_head(cfg, in_channels)))
    return CombinedROIHeads(cfg, heads)
