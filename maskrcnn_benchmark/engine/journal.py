"""What a prediction on files has done so far, so that one which was killed goes on.

A journal holds a line per event: first what the results depend on; {"image", "bytes", "time"} for a
file; {"of", "batch", "found"} for a batch of windows of the of-th such file, written when the batch
is done; {"finished", "files"} at the end. A line that a kill cut short is dropped with all behind
it, and what it held is done again.

Of several processes each has its own: journal.jsonl is that of process 0, and alone says whether
all is finished; process 1 writes journal_1.jsonl. All are read, whatever the number of processes.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.utils.comm import get_rank, is_main_process

JOURNAL = "journal.jsonl"
_OTHERS = "journal_*.jsonl"
_SHOWN = 3  # settings in a message

_package = logging.getLogger("maskrcnn_benchmark")


@dataclass(frozen=True)
class Identity:
    """What tells an image file from another one, and from itself before a change."""

    image: str  # the resolved path
    bytes: int
    time: int  # of the last change, ns

    @classmethod
    def of(cls, path: Path) -> "Identity":
        """Look at a file (OSError where that fails)."""
        stat = path.stat()
        return cls(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


class ImageRecord(dict[int, list[Detections]]):
    """What was found in an image, per batch of windows; whatever is set goes to the journal."""

    def __init__(self, journal: "Journal", identity: Identity) -> None:
        super().__init__()
        self._journal, self._identity = journal, identity

    def __setitem__(self, batch: int, found: list[Detections]) -> None:
        self._journal.note(self._identity, batch, found)
        super().__setitem__(batch, found)

    def restore(self, batch: int, lists: list[list]) -> None:
        """Take a batch that a journal holds."""
        super().__setitem__(batch, [Detections(*part) for part in lists])


class Journal:
    """The journals in a folder: all are read, and this process's is written.

    Its file is made, or replaced, when this process's first batch is done. Process 0 reads before
    the others do, and the others before any writes.

    Args:
        folder: of the journals.
        depends_on: all that the detections depend on, but for the images.

    Attributes:
        finished: what `finish` noted last, with nothing done since; None: something is left to do.

    Raises:
        ValueError: the journals are of an unfinished prediction that depends on something else.
    """

    def __init__(self, folder: str | Path, depends_on: Mapping[str, Any]) -> None:
        self._folder, self._head = Path(folder), json.loads(json.dumps(depends_on))
        self._path = self._folder / (
            JOURNAL if is_main_process() else f"journal_{get_rank()}.jsonl"
        )
        self._waiting: list[dict] = [self._head]
        self._numbers: dict[Identity, int] = {}  # of images, in this process's journal
        self._records: dict[Identity, ImageRecord] = {}
        self.finished: Any = None
        self._files: list[str] = []  # of the results
        self._keep = 0  # bytes of the present file that count
        self._read(self._folder / JOURNAL)
        for path in sorted(self._folder.glob(_OTHERS)):
            self._read(path)

    def of_image(self, path: Path) -> ImageRecord:
        """Return what is known of an image; nothing if its file has changed since."""
        identity = Identity.of(path)
        if identity not in self._records and is_main_process():
            if identity.image in {known.image for known in self._records}:
                _package.warning("%s: has changed since the journal was written: done anew", path)
        return self._record(identity)

    def note(self, identity: Identity, batch: int, found: list[Detections]) -> None:
        """Write what was found in a batch of windows."""
        if identity not in self._numbers:
            self._numbers[identity] = len(self._numbers)
            self._waiting.append(vars(identity))
        lists = [_to_lists(part) for part in found]
        self._append({"of": self._numbers[identity], "batch": batch, "found": lists})

    def begin(self, processes: int) -> None:
        """Note that processes are at work, before the others write: nothing is finished now."""
        self._append({"processes": processes})

    def finish(self, outputs: Any, files: Iterable[str]) -> None:
        """Note that a prediction has come to its end.

        Args:
            outputs: what the results depend on; None: some images failed, and are to be tried again
                if the same command is given.
            files: names of the results in the folder.
        """
        self._append({"finished": outputs, "files": sorted(files)})

    def has_results(self) -> bool:
        """Say whether all files that `finish` noted are there."""
        return all((self._folder / name).is_file() for name in self._files)

    def _append(self, event: dict) -> None:
        """Write an event, and those that waited for the first one."""
        lines = b"".join(json.dumps(e).encode() + b"\n" for e in [*self._waiting, event])
        if not self._keep:
            self._path.unlink(missing_ok=True)
        with open(self._path, "ab") as file:
            if file.tell() > self._keep:
                file.truncate(self._keep)  # what a kill or a full disk cut short
            file.write(lines)
            file.flush()  # OSError where not all of it is written
            self._keep = file.tell()
        self._waiting.clear()

    def _record(self, identity: Identity) -> ImageRecord:
        if identity not in self._records:
            self._records[identity] = ImageRecord(self, identity)
        return self._records[identity]

    def _read(self, path: Path) -> None:
        images: list[Identity] = []
        first: dict = {}
        last: dict = {}
        keep, changed = 0, []
        for event, end in _read_events(path):
            if not first:
                first = event
                changed = [key for key in self._head if event.get(key) != self._head[key]]
            elif not changed:
                self._take(event, images)
            last, keep = event, end
        is_main = path.name == JOURNAL
        if changed:
            if not is_main or "finished" not in last:
                raise ValueError(_refusal(path, first, self._head, changed))
            self._begin_anew(first, changed)
            return
        if is_main:
            self.finished, self._files = last.get("finished"), last.get("files", [])
        if path == self._path and first:
            self._waiting, self._keep = [], keep
            self._numbers = {identity: number for number, identity in enumerate(images)}

    def _take(self, event: dict, images: list[Identity]) -> None:
        """Take an event of a journal that names these images so far."""
        if "image" in event:
            images.append(Identity(**event))
        elif "of" in event:
            self._record(images[event["of"]]).restore(event["batch"], event["found"])

    def _begin_anew(self, was: Mapping, changed: list[str]) -> None:
        if is_main_process():
            _package.warning(
                "%s: was made with other settings (%s): all is done anew",
                *(self._path, _differences(was, self._head, changed)),
            )
            for path in self._folder.glob(_OTHERS):
                path.unlink()


def _read_events(path: Path) -> Iterator[tuple[dict, int]]:
    """Yield the whole lines at a journal's head, and at which byte each ends."""
    if not path.is_file():
        return
    end = 0
    with open(path, "rb") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                return
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield event, end


def _refusal(path: Path, was: Mapping, now: Mapping, changed: list[str]) -> str:
    return (
        f"{path}: is of a prediction that has not ended, with other settings "
        f"({_differences(was, now, changed)}): give those again to go on, name another folder, or "
        "delete its journal*.jsonl to begin anew"
    )


def _differences(was: Mapping, now: Mapping, changed: list[str]) -> str:
    return "; ".join(f"{key} was {was.get(key)}, now {now[key]}" for key in changed[:_SHOWN])


def _to_lists(found: Detections) -> list:
    """Return a window's detections as JSON holds them, to the last bit."""
    corners = None if found.corners is None else found.corners.tolist()
    return [found.boxes_xyxy.tolist(), found.scores.tolist(), found.labels.tolist(), corners]
