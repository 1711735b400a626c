"""Batch sampler whose batches hold images of one group, such as landscape or portrait."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data.sampler import BatchSampler, Sampler


class GroupedBatchSampler(BatchSampler):
    """Collect batches of one group each, in the order in which their first elements are drawn.

    Args:
        sampler: draws the indices.
        group_ids: (N,) the group of each index of the data set.
        batch_size: elements per batch.
        drop_uneven: leave out batches that remain smaller.

    Raises:
        ValueError: `sampler` is no Sampler, or `group_ids` is not one-dimensional.
    """

    def __init__(
        self,
        sampler: Sampler,
        group_ids: Sequence[int],
        batch_size: int,
        drop_uneven: bool = False,
    ):
        if not isinstance(sampler, Sampler):
            raise ValueError(f"sampler must be a torch.utils.data.Sampler, got {sampler!r}")
        self.sampler = sampler
        self.group_ids = torch.as_tensor(group_ids)
        if self.group_ids.dim() != 1:
            shape = tuple(self.group_ids.shape)
            raise ValueError(f"group_ids must be one number for each index, got shape {shape}")
        self.batch_size = batch_size
        self.drop_uneven = drop_uneven
        self._batches: list[list[int]] = []
        # epoch of the batches that __len__ has made and __iter__ has not yet returned, or None
        self._prepared_epoch: tuple | None = None

    def _prepare_batches(self) -> list[list[int]]:
        group_of = self.group_ids.tolist()
        batches: list[list[int]] = []
        growing: dict[int, list[int]] = {}
        for index in self.sampler:
            batch = growing.get(group_of[index])
            if batch is None or len(batch) == self.batch_size:
                batch = growing[group_of[index]] = []
                batches.append(batch)  # before it is full: first elements decide the order
            batch.append(index)
        if self.drop_uneven:
            return [batch for batch in batches if len(batch) == self.batch_size]
        return batches

    def _epoch(self) -> tuple:
        return (getattr(self.sampler, "epoch", None),)

    def __iter__(self) -> Iterator[list[int]]:
        if self._prepared_epoch != self._epoch():
            self._batches = self._prepare_batches()
        self._prepared_epoch = None
        return iter(self._batches)

    def __len__(self) -> int:
        # A random sampler draws a new order at each call, which can change the number of batches,
        # so the batches that are counted here are kept for the next __iter__.
        if not self._batches:
            self._batches = self._prepare_batches()
            self._prepared_epoch = self._epoch()
        return len(self._batches)
