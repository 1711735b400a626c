"""As many batches as training has iterations."""

from collections.abc import Iterator

from torch.utils.data.sampler import BatchSampler


class IterationBasedBatchSampler(BatchSampler):
    """Go through a batch sampler again and again until the last iteration.

    Training that starts at iteration k gets the very batches that it would have got after k
    iterations from the start: the first k are drawn and thrown away, which reads no image.

    Args:
        batch_sampler: Gives the batches of one pass over the data; its sampler's `set_epoch`, if
            it has one, is called with the number of each pass.
        num_iterations: Number of the last iteration.
        start_iter: Iterations that are done already.
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
