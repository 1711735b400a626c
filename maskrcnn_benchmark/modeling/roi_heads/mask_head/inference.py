"""From mask logits to the masks of the detections, and from those to whole-image masks."""

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as mask_utils
from torch import Tensor, nn

from maskrcnn_benchmark.structures.bounding_box import BoxList


class MaskPostProcessor(nn.Module):
    """Takes for each detection the mask of its class.

    Args:
        masker: if given, pastes the masks into the image; a 1024x1024 mask takes 1 MB each, so
            crowded images are better served without.
    """

    def __init__(self, masker: "Masker | None" = None):
        super().__init__()
        self.masker = masker

    def forward(self, x: Tensor, boxes: list[BoxList]) -> list[BoxList]:
        """Return the detections with the field "mask".

        Args:
            x: logits [sum of boxes, classes, M, M].
            boxes: detections with the field "labels", one BoxList an image.

        Returns:
            As given, with "mask": probabilities [N, 1, M, M], or bool [N, 1, H, W] with a masker.
        """
        labels = torch.cat([b.get_field("labels") for b in boxes])
        rows = torch.arange(len(x), device=x.device)
        chosen = x[rows, labels].float().sigmoid()[:, None]  # [N, 1, M, M]
        masks = chosen.split([len(b) for b in boxes])
        if self.masker:
            masks = self.masker(masks, boxes)
        results = []
        for mask, box in zip(masks, boxes, strict=True):
            result = box.copy_with_fields(box.fields())
            result.add_field("mask", mask)
            results.append(result)
        return results


class MaskPostProcessorCOCOFormat(MaskPostProcessor):
    """Gives whole-image masks as COCO run-length encodings; it needs a masker."""

    def forward(self, x: Tensor, boxes: list[BoxList]) -> list[BoxList]:
        """Return the detections with "mask": a list of {"size": [H, W], "counts": str}."""
        results = super().forward(x, boxes)
        for result in results:
            codes = []
            for mask in result.get_field("mask")[:, 0].cpu().numpy():
                code = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
                codes.append({**code, "counts": code["counts"].decode()})
            result.add_field("mask", codes)
        return results


class Masker:
    """Pastes small masks into the image.

    Args:
        threshold: a pixel with a higher probability is inside; negative counts as 0.
        padding: cells of zeros around the mask before it is enlarged, so that its rim is smooth.
    """

    def __init__(self, threshold: float = 0.5, padding: int = 1):
        self.threshold = threshold
        self.padding = padding

    def forward_single_image(self, masks: Tensor, boxes: BoxList) -> Tensor:
        """Return bool [N, 1, height, width] from probabilities [N, 1, M, M]."""
        width, height = boxes.size
        # NumPy's zeros take memory only where a mask is written
        canvas = torch.from_numpy(np.zeros((len(boxes), 1, height, width), dtype=bool))
        xyxy = boxes.convert("xyxy").bbox
        for image, mask, box in zip(canvas, masks.float().cpu(), xyxy.float().cpu(), strict=True):
            _paste(image[0], mask[0], box, self.threshold, self.padding)
        return canvas

    def __call__(self, masks: list[Tensor], boxes: list[BoxList] | BoxList) -> list[Tensor]:
        """Paste the masks of several images, see forward_single_image."""
        boxes = [boxes] if isinstance(boxes, BoxList) else boxes
        if [len(m) for m in masks] != [len(b) for b in boxes]:
            raise ValueError(
                "expected one mask a box, got "
                f"{[len(m) for m in masks]} masks and {[len(b) for b in boxes]} boxes"
            )
        return [self.forward_single_image(m, b) for m, b in zip(masks, boxes, strict=True)]


def expand_boxes(boxes: Tensor, scale: float) -> Tensor:
    """Return boxes xyxy [N, 4] grown by a factor around their centres."""
    low, high = boxes[:, :2], boxes[:, 2:]
    centre, half = (high + low) * 0.5, (high - low) * 0.5 * scale
    return torch.cat([centre - half, centre + half], dim=1)


def expand_masks(mask: Tensor, padding: int) -> tuple[Tensor, float]:
    """Return masks [N, 1, M, M] with a rim of zeros, and the factor by which that grew them."""
    padded = F.pad(mask, [padding] * 4)
    return padded, padded.shape[-1] / mask.shape[-1]


def _paste(image: Tensor, mask: Tensor, box: Tensor, threshold: float, padding: int) -> None:
    """Write one mask [M, M] into a bool image [H, W], at a box xyxy."""
    padded, grow = expand_masks(mask[None, None], padding)
    x1, y1, x2, y2 = expand_boxes(box[None], grow)[0].int().tolist()
    width, height = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    large = F.interpolate(padded, (height, width), mode="bilinear")[0, 0]
    inside = large > max(threshold, 0)
    top, left = max(y1, 0), max(x1, 0)
    bottom, right = min(y2 + 1, image.shape[0]), min(x2 + 1, image.shape[1])
    if top < bottom and left < right:
        image[top:bottom, left:right] = inside[top - y1 : bottom - y1, left - x1 : right - x1]


def paste_mask_in_image(
    mask: Tensor, box: Tensor, im_h: int, im_w: int, thresh: float = 0.5, padding: int = 1
) -> Tensor:
    """Return one mask [M, M] at its box xyxy in an image, bool [im_h, im_w]."""
    image = torch.zeros((im_h, im_w), dtype=torch.bool)
    _paste(image, mask.float().cpu(), box.float().cpu(), thresh, padding)
    return image


def make_roi_mask_post_processor(cfg) -> MaskPostProcessor:
    """Build the choice of masks from MODEL.ROI_MASK_HEAD."""
    head = cfg.MODEL.ROI_MASK_HEAD
    masker = Masker(head.POSTPROCESS_MASKS_THRESHOLD, padding=1) if head.POSTPROCESS_MASKS else None
    return MaskPostProcessor(masker)
