"""From the small masks of detections to masks of the whole image."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList


class Masker:
    """Paste small masks into the image.

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
                "expected one mask per box, got "
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
