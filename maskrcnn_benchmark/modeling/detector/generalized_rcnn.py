"""The two-stage detector: backbone, region proposals, heads."""

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers import FrozenBatchNorm2d
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list

from ..backbone import build_backbone
from ..oriented_targets import to_oriented_targets
from ..roi_heads.roi_heads import build_roi_heads
from ..rpn.rpn import build_rpn


class GeneralizedRCNN(nn.Module):
    """Faster, Mask, Keypoint or Oriented R-CNN, Gliding Vertex, RetinaNet, or proposals alone."""

    def __init__(self, cfg):
        super().__init__()
        self.backbone = build_backbone(cfg)
        self.rpn = build_rpn(cfg, self.backbone.out_channels)
        self.roi_heads = build_roi_heads(cfg, self.backbone.out_channels)
        self.is_oriented = cfg.MODEL.ORIENTED.METHOD != ""
        for module in self.modules():
            if isinstance(module, FrozenBatchNorm2d):
                module.fold = cfg.MODEL.FOLD_BATCH_NORM
        self.memory_format = torch.contiguous_format
        if cfg.MODEL.CHANNELS_LAST:
            self.memory_format = torch.channels_last
            self.to(memory_format=self.memory_format)
        self.test_memory_format = self.memory_format
        if cfg.TEST.CHANNELS_LAST:  # convolutions follow their input, whatever their weights are
            self.test_memory_format = torch.channels_last

    def forward(
        self, images: ImageList | list[Tensor] | Tensor, targets: list[BoxList] | None = None
    ) -> dict[str, Tensor] | list[BoxList]:
        """Train or detect.

        Args:
            images: the batch, float [3, H, W] each, normalised as INPUT says.
            targets: ground truth, needed in training: one BoxList per image with the field "labels"
                (int64, from 1) and, where the model learns them, "masks", "keypoints" or "corners"
                (Corners, of oriented models). An image without boxes is background.

        Returns:
            in training the losses by name; otherwise the detections, one BoxList per image with the
            fields "scores", "labels" (int64, from 1) and, of the heads that the model has, "mask"
            [N, 1, M, M], "keypoints" (PersonKeypoints), "corners" [N, 4, 2].

        Raises:
            ValueError: in training without targets.
        """
        if self.training and targets is None:
            raise ValueError("a model in training mode needs targets; call model.eval() to detect")
        if self.training and self.is_oriented:
            targets = to_oriented_targets(targets)
        images = to_image_list(images)
        memory_format = self.memory_format if self.training else self.test_memory_format
        features = self.backbone(images.tensors.contiguous(memory_format=memory_format))
        result, losses = self.rpn(images, features, targets)
        if self.roi_heads is not None:
            _, result, head_losses = self.roi_heads(features, result, targets)
            losses = {**head_losses, **losses}
        return losses if self.training else result
