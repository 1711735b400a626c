"""Samplers, which decide the images of each batch."""

from .distributed import DistributedSampler
from .grouped_batch_sampler import GroupedBatchSampler
from .iteration_based_batch_sampler import IterationBasedBatchSampler
from .seeded_samples import SeededBatchSampler, TrainingSamples

__all__ = [
    "DistributedSampler",
    "GroupedBatchSampler",
    "IterationBasedBatchSampler",
    "SeededBatchSampler",
    "TrainingSamples",
]
