"""Batch sampler with as many batches as training has iterations."""

from collections.abc import Iterator

from torch.utils.data.sampler import BatchSampler


class IterationBasedBatchSampler(BatchSampler):
    """Repeat a batch sampler until the last iteration.

    Training that resumes at iteration k gets the same batches as training from the start gets
    after k iterations: the first k batches are drawn and skipped, without reading images.

    Args:
        batch_sampler: draws the batches of one pass over the data; its sampler's `set_epoch`, if
            it has one, is called with the number of each pass, from 0.
        num_iterations: number of the last iteration.
        start_iter: number of iterations that are done.

    Raises:
        ValueError: during iteration, if a pass over the data has no batch.
    """

    def __init__(self, batch_sampler: BatchSampler, num_iterations: int, start_iter: int = 0):
        self.batch_sampler = batch_sampler
        self.num_iterations = num_iterations
        self.start_iter = start_iter

    def _passes(self) -> Iterator[list]:
        set_epoch = getattr(self.batch_sampler.sampler, "set_epoch", None)
        epoch = 0
        while True:
            if set_epoch is not None:
                set_epoch(epoch)
            is_empty = True
            for batch in self.batch_sampler:
                is_empty = False
                yield batch
            if is_empty:
                raise ValueError("there is no batch to train on: the data set is empty")
            epoch += 1

    def __iter__(self) -> Iterator[list]:
        if self.start_iter >= self.num_iterations:
            return
        for iteration, batch in enumerate(self._passes(), start=1):
            if iteration > self.start_iter:
                yield batch
            if iteration == self.num_iterations:
                return

    def __len__(self) -> int:
        return self.num_iterations
