"""Random changes of training images that depend only on seed, iteration and position in the batch.

The batch sampler draws (index, seed) instead of an index, and the data set is wrapped in
`TrainingSamples`, which sets the random generators from that seed for each sample. Therefore the
number of workers, an evaluation during training or resuming do not affect these changes.
"""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torch.utils.data.sampler import BatchSampler


class SeededBatchSampler(BatchSampler):
    """Add a seed to each index of each batch.

    Args:
        batch_sampler: draws lists of indices; its `start_iter`, if it has one, is the number of
            the first batch.
        seed: the run's seed.
        first_position: position of this process's first image in the batch of all processes.
    """

    def __init__(self, batch_sampler: BatchSampler, seed: int, first_position: int = 0):
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.first_position = first_position

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        start = getattr(self.batch_sampler, "start_iter", 0)
        for iteration, batch in enumerate(self.batch_sampler, start=start):
            yield [
                (index, self._sample_seed(iteration, self.first_position + position))
                for position, index in enumerate(batch)
            ]

    def _sample_seed(self, iteration: int, position: int) -> int:
        sequence = np.random.SeedSequence((self.seed & 0xFFFFFFFF, iteration, position))
        return int(sequence.generate_state(1)[0])

    def __len__(self) -> int:
        return len(self.batch_sampler)


class TrainingSamples(Dataset):
    """Data set indexed by (index, seed); all other attributes are those of the wrapped data set."""

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> Any:
        index, seed = key
        python_state = random.getstate()
        # without workers this runs in the training process, whose generators must not change
        with torch.random.fork_rng(devices=[]):
            try:
                random.seed(seed)
                torch.default_generator.manual_seed(seed)
                return self.dataset[index]
            finally:
                random.setstate(python_state)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        # While a worker unpickles this object it has no "dataset" yet; and the data set's special
        # methods, such as a batched __getitems__, do not accept (index, seed).
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)
