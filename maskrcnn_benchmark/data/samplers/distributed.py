"""Sampler that divides a data set among processes."""

from collections.abc import Iterator, Sized

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data.sampler import Sampler


class DistributedSampler(Sampler):
    """Draw this process's share of the indices, in an order that only seed and epoch decide.

    All processes draw the same number of indices: if the data set cannot be divided evenly, its
    first indices are drawn a second time.

    Args:
        dataset: any object with a length.
        num_replicas: number of processes; None: torch.distributed's.
        rank: rank of this process; None: torch.distributed's.
        shuffle: True: a new order in each epoch; False: the data set's order.
        seed: decides, together with the epoch, the order.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
    ):
        self.dataset = dataset
        self.num_replicas = dist.get_world_size() if num_replicas is None else num_replicas
        self.rank = dist.get_rank() if rank is None else rank
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.num_samples = -(-len(dataset) // self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        count = len(self.dataset)
        order = torch.arange(count)
        if self.shuffle:
            sequence = np.random.SeedSequence((self.seed & 0xFFFFFFFF, self.epoch))
            generator = torch.Generator().manual_seed(int(sequence.generate_state(1)[0]))
            order = torch.randperm(count, generator=generator)
        first = self.rank * self.num_samples
        share = [position % count for position in range(first, first + self.num_samples)]
        return iter(order[share].tolist())

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which decides the order of the next iteration."""
        self.epoch = epoch
