"""Choice of the anchors or proposals that enter a loss."""

from collections.abc import Sequence

import torch

from maskrcnn_benchmark.modeling.utils import nonzero_each


class BalancedPositiveNegativeSampler:
    """Draw at random a fixed number per image, with at most a given share of positives.

    Args:
        batch_size_per_image: how many to draw from each image.
        positive_fraction: largest share of positives; negatives fill the rest.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction

    def __call__(
        self, matched_idxs: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Draw from each image.

        Args:
            matched_idxs: (M,) per image: >= 1 positive, 0 negative, -1 neither.

        Returns:
            boolean masks (M,) per image of the positives drawn, and of the negatives drawn.
        """
        candidates = [mask for labels in matched_idxs for mask in (labels >= 1, labels == 0)]
        indices = nonzero_each(candidates) if candidates else []
        most_positives = int(self.batch_size_per_image * self.positive_fraction)
        positives, negatives = [], []
        for labels, positive, negative in zip(
            matched_idxs, indices[::2], indices[1::2], strict=True
        ):
            # positives first: the draws then follow the original's for the same seed
            drawn = _draw(positive, most_positives)
            positives.append(_mask_of(drawn, labels))
            drawn = _draw(negative, self.batch_size_per_image - len(drawn))
            negatives.append(_mask_of(drawn, labels))
        return positives, negatives


def _draw(indices: torch.Tensor, most: int) -> torch.Tensor:
    """Return at most `most` of the indices, at random."""
    return indices[torch.randperm(len(indices), device=indices.device)[:most]]


def _mask_of(indices: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros_like(like, dtype=torch.bool)
    mask[indices] = True
    return mask
