"""Choice of the anchors or proposals that enter a loss."""

from collections.abc import Sequence

import torch


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
            Boolean masks (M,) per image of the positives drawn, and of the negatives drawn.
        """
        most_positives = int(self.batch_size_per_image * self.positive_fraction)
        positives, negatives = [], []
        for labels in matched_idxs:
            # positives first: the draws then follow the original's for the same seed
            drawn, number = _draw(labels >= 1, most_positives)
            positives.append(drawn)
            negatives.append(_draw(labels == 0, self.batch_size_per_image - number)[0])
        return positives, negatives


def _draw(candidates: torch.Tensor, most: int) -> tuple[torch.Tensor, int]:
    """Return a mask of at most `most` of the candidates, and how many they are."""
    indices = candidates.nonzero().squeeze(1)
    chosen = indices[torch.randperm(len(indices), device=indices.device)[:most]]
    mask = torch.zeros_like(candidates)
    mask[chosen] = True
    return mask, len(chosen)
