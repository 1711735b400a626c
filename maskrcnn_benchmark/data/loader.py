"""PyTorch's data loader, whose loading processes are forked off beside OpenCV's threads."""

from collections.abc import Iterator
from typing import Any

import cv2
from torch.utils.data import DataLoader, Dataset

from maskrcnn_benchmark.utils.interrupt import heed_parent


class ForkingLoader(DataLoader):
    """A DataLoader whose processes run OpenCV on one thread each; this one's threads stay.

    OpenCV's pool of threads does not survive a fork: a process that touches its remains waits for
    ever. So the pool ends before the fork, and is made anew here when it is needed.

    Args:
        dataset, options: as DataLoader takes them, less `worker_init_fn`.
    """

    def __init__(self, dataset: Dataset, **options: Any) -> None:
        super().__init__(dataset, worker_init_fn=heed_parent, **options)

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers == 0:
            return super().__iter__()
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            return super().__iter__()
        finally:
            cv2.setNumThreads(threads)
