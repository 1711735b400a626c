"""From mask logits to the masks of the detections, and from those to whole-image masks."""

import numpy as np
import torch
from pycocotools import mask as mask_utils
from torch import Tensor, nn

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.mask_pasting import (
    Masker,
    expand_boxes,
    expand_masks,
    paste_mask_in_image,
)

__all__ = [  # the original's names in this module
    "MaskPostProcessor",
    "MaskPostProcessorCOCOFormat",
    "Masker",
    "expand_boxes",
    "expand_masks",
    "make_roi_mask_post_processor",
    "paste_mask_in_image",
]


class MaskPostProcessor(nn.Module):
    """Take for each detection the mask of its class.

    Args:
        masker: if given, pastes the masks into the image: 1 MB per mask on 1024 x 1024 pixels, so
            that crowded images are better served without.
    """

    def __init__(self, masker: Masker | None = None):
        super().__init__()
        self.masker = masker

    def forward(self, x: Tensor, boxes: list[BoxList]) -> list[BoxList]:
        """Return the detections with the field "mask", see attach.

        Args:
            x: logits [sum of boxes, classes, M, M].
            boxes: detections with the field "labels", one BoxList per image.
        """
        return self.attach(self.choose(x, boxes), boxes)

    def choose(self, x: Tensor, boxes: list[BoxList]) -> Tensor:
        """Return the probabilities [sum of boxes, 1, M, M] for the class of each detection."""
        labels = torch.cat([b.get_field("labels") for b in boxes])
        rows = torch.arange(len(x), device=x.device)
        return x[rows, labels].float().sigmoid()[:, None]

    def attach(self, probabilities: Tensor, boxes: list[BoxList]) -> list[BoxList]:
        """Return the detections with their masks.

        Args:
            probabilities: [sum of boxes, 1, M, M].
            boxes: detections, one BoxList per image.

        Returns:
            as given, with "mask": probabilities [N, 1, M, M], or bool [N, 1, H, W] with a masker.
        """
        masks = probabilities.split([len(b) for b in boxes])
        if self.masker:
            masks = self.masker(masks, boxes)
        results = []
        for mask, box in zip(masks, boxes, strict=True):
            result = box.copy_with_fields(box.fields())
            result.add_field("mask", mask)
            results.append(result)
        return results


class MaskPostProcessorCOCOFormat(MaskPostProcessor):
    """Give whole-image masks as COCO run-length encodings; it needs a masker."""

    def attach(self, probabilities: Tensor, boxes: list[BoxList]) -> list[BoxList]:
        """Return the detections with "mask": a list of {"size": [H, W], "counts": str}."""
        results = super().attach(probabilities, boxes)
        for result in results:
            codes = []
            for mask in result.get_field("mask")[:, 0].cpu().numpy():
                code = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
                codes.append({**code, "counts": code["counts"].decode()})
            result.add_field("mask", codes)
        return results


def make_roi_mask_post_processor(cfg) -> MaskPostProcessor:
    """Build the choice of masks from MODEL.ROI_MASK_HEAD."""
    head = cfg.MODEL.ROI_MASK_HEAD
    masker = Masker(head.POSTPROCESS_MASKS_THRESHOLD, padding=1) if head.POSTPROCESS_MASKS else None
    return MaskPostProcessor(masker)
