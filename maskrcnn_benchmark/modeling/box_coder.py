"""Boxes as offsets from reference boxes, what the regression layers learn (R-CNN, appendix C)."""

import math
from collections.abc import Sequence

import torch


class BoxCoder:
    """Encode boxes relative to others, and back.

    Args:
        weights: factors of (dx, dy, dw, dh), e.g. (10, 10, 5, 5).
        bbox_xform_clip: largest dw or dh that decode takes, log of a size ratio.
    """

    def __init__(
        self, weights: Sequence[float], bbox_xform_clip: float = math.log(1000.0 / 16)
    ) -> None:
        self.weights = weights
        self.bbox_xform_clip = bbox_xform_clip

    def encode(self, reference_boxes: torch.Tensor, proposals: torch.Tensor) -> torch.Tensor:
        """Return the offsets that take each proposal to its reference box.

        Args:
            reference_boxes: (N, 4) xyxy, what the proposals should become.
            proposals: (N, 4) xyxy.

        Returns:
            (N, 4): dx, dy in units of the proposal's size, dw, dh as logarithms, times the weights.
        """
        from_x, from_y, from_w, from_h = _centers_and_sizes(proposals)
        to_x, to_y, to_w, to_h = _centers_and_sizes(reference_boxes)
        weight_x, weight_y, weight_w, weight_h = self.weights
        offsets = [
            weight_x * (to_x - from_x) / from_w,
            weight_y * (to_y - from_y) / from_h,
            weight_w * torch.log(to_w / from_w),
            weight_h * torch.log(to_h / from_h),
        ]
        return torch.stack(offsets, dim=1)

    def decode(self, rel_codes: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Return the boxes that offsets make of reference boxes.

        Args:
            rel_codes: (N, 4 * K) offsets, K classes side by side.
            boxes: (N, 4) xyxy.

        Returns:
            (N, 4 * K) xyxy in the dtype of rel_codes.
        """
        codes = rel_codes.unflatten(1, (-1, 4))  # [N, K, 4]
        dx, dy, dw, dh = (c / w for c, w in zip(codes.unbind(dim=2), self.weights, strict=True))
        x, y, width, height = (v[:, None] for v in _centers_and_sizes(boxes.to(rel_codes.dtype)))
        x, y = dx * width + x, dy * height + y
        # exp() of a wild prediction would overflow
        half_w = 0.5 * (torch.exp(dw.clamp(max=self.bbox_xform_clip)) * width)
        half_h = 0.5 * (torch.exp(dh.clamp(max=self.bbox_xform_clip)) * height)
        # the far ends are included in a box, hence - 1 there alone
        ends = (x - half_w, y - half_h, x + half_w - 1, y + half_h - 1)
        return torch.stack(ends, dim=2).flatten(1)


def _centers_and_sizes(boxes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return center x, center y, width, height of xyxy boxes, each (N,)."""
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    width, height = x2 - x1 + 1, y2 - y1 + 1
    return x1 + 0.5 * width, y1 + 0.5 * height, width, height
