"""Prediction on files by several processes, on one machine or on several with a shared disk.

They share out batches of windows, each writing what it found to its own journal, and then pictures.
Process 0 thereafter goes on as if it resumed: it finds all done but what others failed at, which it
does itself. So the results are those of one process, whatever the number of processes.
"""

import hashlib
import json
import logging
import socket
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.engine.journal import ImageRecord, Journal
from maskrcnn_benchmark.engine.prediction_results import PredictionResults
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.images.bands import BandChoice
from maskrcnn_benchmark.images.image_reader import ImageReader
from maskrcnn_benchmark.images.open_image import open_image
from maskrcnn_benchmark.utils.comm import (
    SharedCounter,
    all_gather,
    get_rank,
    get_world_size,
    is_main_process,
    synchronize,
)

Item = tuple[int, int]  # the number of an image, and that of a batch of its windows

_package = logging.getLogger("maskrcnn_benchmark")


def check_shared(folder: str | Path, seen: Mapping[str, Any]) -> None:
    """Refuse processes that do not work on the same files; called by all.

    Args:
        folder: of the results, which all must see; made if it does not exist.
        seen: what must be the same for all, by what it is called.

    Raises:
        ValueError: on every process, with what one has not as process 0 has it.
    """
    folder, mark = Path(folder), f".seen-{uuid.uuid4().hex}"
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / mark).touch()
    sums = {
        name: hashlib.sha256(json.dumps(value).encode()).digest() for name, value in seen.items()
    }
    mark, wanted = all_gather((mark, sums))[0]
    faults = [] if (folder / mark).is_file() else [f"the folder {folder}"]
    faults += [name for name in sums if sums[name] != wanted[name]]
    told = all_gather((socket.gethostname(), faults))
    if is_main_process():
        (folder / mark).unlink()
    for rank, (host, faults) in enumerate(told):
        if faults:
            raise ValueError(
                f"process {rank} on {host} does not have {' and '.join(faults)} that process 0 on "
                f"{told[0][0]} has: give all machines the same command, with images, weights and "
                "--out on a disk that they share"
            )


class SharedPrediction:
    """A prediction on files and the parts of it that processes share, each called by all of them.

    Args:
        predictor, images, choice, score: as for `predict_files`.
        results: of process 0; on the others, what draws pictures.
    """

    def __init__(
        self,
        predictor: Predictor,
        images: Sequence[Path],
        choice: BandChoice | None,
        score: float,
        results: PredictionResults,
    ) -> None:
        self.predictor, self.images, self.choice = predictor, images, choice
        self.score, self.results = score, results

    def detect(
        self, items: Sequence[Item], journal: Journal, progress: Callable[[int], object]
    ) -> None:
        """Find what is in batches of windows, this process its share of them.

        Args:
            items: what is to be done, in order; those that process 0 gives count.
            journal: this process's.
            progress: called after each batch with how many windows all processes have done.
        """
        items = all_gather(items)[0]  # all have read the journals now
        if is_main_process():
            journal.begin(get_world_size())
        synchronize()
        next_share, windows_done = SharedCounter(), SharedCounter()
        shares = list(cut_shares(items, get_world_size()))
        failed: set[Path] = set()
        while (number := next_share.add(1) - 1) < len(shares):
            for image, group in groupby(shares[number], key=lambda item: item[0]):
                path = self.images[image]
                if path in failed:
                    continue
                with _left_to_main(path, failed), open_image(path, choice=self.choice) as reader:
                    share = _Share(
                        journal.of_image(path),
                        self.count_per_batch(reader.size),
                        {batch for _, batch in group},
                        lambda windows: progress(windows_done.add(windows)),
                    )
                    self.predictor.detect(reader, done=share)
        synchronize()

    def draw(self, journal: Journal) -> None:
        """Draw pictures of images that are done, this process its share of them.

        Args:
            journal: with what all processes found.
        """
        next_image = SharedCounter()
        failed: set[Path] = set()
        while (number := next_image.add(1) - 1) < len(self.images):
            path = self.images[number]
            with _left_to_main(path, failed):
                if record := journal.of_image(path):
                    with open_image(path, choice=self.choice) as reader:
                        if len(record) == len(self.count_per_batch(reader.size)):
                            self.results.draw(path, reader, self.find(reader, record))
        self.results.pictures = set().union(*all_gather(self.results.pictures))

    def find(
        self,
        reader: ImageReader,
        record: ImageRecord,
        progress: Callable[[int, int], object] | None = None,
    ) -> Detections:
        """Return what is found in an image, with the score that is asked for."""
        found = self.predictor.detect(reader, progress=progress, done=record)
        return found.select(found.scores >= self.score)

    def count_per_batch(self, size: tuple[int, int]) -> list[int]:
        """Return how many windows each batch of an image of (width, height) has, as in `detect`."""
        windows, at_once = len(self.predictor.windows(*size)), self.predictor.windows_at_once
        return [min(at_once, windows - first) for first in range(0, windows, at_once)]


def cut_shares(items: Sequence[Item], processes: int) -> Iterator[Sequence[Item]]:
    """Cut work into shares, which processes take one by one as they are ready.

    Shares are of neighbours, so that few processes open, and decode, an image; later ones are
    smaller, so that all processes end at about the same time. Of 16 items for 2 processes they are
    4, 3, 2, 1, 1, 1, 1, 1, 1 and 1.
    """
    start = 0
    while start < len(items):
        size = max(1, (len(items) - start) // (2 * processes))
        yield items[start : start + size]
        start += size


class _Share(dict[int, list[Detections]]):
    """A process's batches of an image; the others count as done, with nothing found.

    Args:
        record: of the image; gets what is found.
        windows: how many windows each batch has.
        mine: the batches that are to be done.
        progress: called with a batch's number of windows when it is done.
    """

    def __init__(
        self,
        record: ImageRecord,
        windows: Sequence[int],
        mine: Collection[int],
        progress: Callable[[int], object],
    ) -> None:
        others = set(range(len(windows))) - set(mine)
        super().__init__({batch: [Detections.empty()] * windows[batch] for batch in others})
        self._record, self._progress = record, progress

    def __setitem__(self, batch: int, found: list[Detections]) -> None:
        self._record[batch] = found
        super().__setitem__(batch, found)
        self._progress(len(found))


@contextmanager
def _left_to_main(path: Path, failed: set[Path]) -> Iterator[None]:
    """Note what goes wrong with an image; process 0 tries again, and tells if it fails there."""
    try:
        yield
    except Exception as error:
        failed.add(path)
        message = str(error) or type(error).__name__
        _package.warning("process %d leaves %s to process 0: %s", get_rank(), path, message)
