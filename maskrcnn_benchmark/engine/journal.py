"""What a prediction on files has done so far, so that one which was killed goes on.

journal.jsonl holds a line per event: first what the results depend on; {"image", "bytes", "time"}
for a file; {"of", "batch", "found"} for a batch of windows of the of-th such file, written when the
batch is done; {"finished"} at the end. A line that a kill cut short is dropped with all behind it,
and what it held is done again.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.dota.detections import Detections

JOURNAL = "journal.jsonl"
_SHOWN = 3  # settings in a message

_package = logging.getLogger("maskrcnn_benchmark")


class ImageRecord(dict[int, list[Detections]]):
    """What was found in an image, per batch of windows; whatever is set goes to the journal."""

    def __init__(self, journal: "Journal", number: int) -> None:
        super().__init__()
        self._journal, self._number = journal, number

    def __setitem__(self, batch: int, found: list[Detections]) -> None:
        lists = [_to_lists(part) for part in found]
        self._journal.append({"of": self._number, "batch": batch, "found": lists})
        super().__setitem__(batch, found)

    def restore(self, batch: int, lists: list[list]) -> None:
        """Take a batch that the journal holds."""
        super().__setitem__(batch, [Detections(*part) for part in lists])


class Journal:
    """The journal in a folder. The file is made, or replaced, when the first batch is done.

    Args:
        path: of the file.
        depends_on: all that the detections depend on, but for the images.

    Attributes:
        finished: what `finish` noted last, with nothing done since; None: not finished.

    Raises:
        ValueError: the journal is of an unfinished prediction that depends on something else.
    """

    def __init__(self, path: Path, depends_on: Mapping[str, Any]) -> None:
        self._path, self._head = path, json.loads(json.dumps(depends_on))
        self._waiting: list[dict] = [self._head]
        self._images: list[dict] = []
        self._records: dict[str, tuple[dict, ImageRecord]] = {}
        self.finished: Any = None
        self._keep = 0  # bytes of the present file that count
        if path.is_file():
            self._read()

    def of_image(self, path: Path) -> ImageRecord:
        """Return what is known of an image; nothing if its file has changed since."""
        stat, name = path.stat(), str(path.resolve())
        identity = {"image": name, "bytes": stat.st_size, "time": stat.st_mtime_ns}
        if name in self._records:
            known, record = self._records[name]
            if known == identity:
                return record
            _package.warning("%s: has changed since the journal was written: done anew", path)
        self._waiting.append(identity)
        return self._add_image(identity)

    def append(self, event: dict) -> None:
        """Write an event, and those that waited for the first one."""
        lines = b"".join(json.dumps(e).encode() + b"\n" for e in [*self._waiting, event])
        if not self._keep:
            self._path.unlink(missing_ok=True)
        with open(self._path, "ab", buffering=0) as file:
            if file.tell() > self._keep:
                file.truncate(self._keep)  # what a kill cut short
            file.write(lines)
            self._keep = file.tell()
        self._waiting.clear()

    def finish(self, outputs: Any) -> None:
        """Note that all results are written, and how."""
        self.append({"finished": outputs})

    def _add_image(self, identity: dict) -> ImageRecord:
        record = ImageRecord(self, len(self._images))
        self._images.append(identity)
        self._records[identity["image"]] = identity, record
        return record

    def _read(self) -> None:
        events, size = _read_events(self._path)
        if not events:
            return
        finished = events[-1].get("finished")
        changed = [key for key in self._head if events[0].get(key) != self._head[key]]
        if changed:
            if finished is None:
                raise ValueError(_refusal(self._path, events[0], self._head, changed))
            _package.info("%s: was made with other settings: all is done anew", self._path)
            return
        self._waiting, self._keep, self.finished = [], size, finished
        for event in events[1:]:
            if "image" in event:
                self._add_image(event)
            elif "of" in event:
                _, record = self._records[self._images[event["of"]]["image"]]
                record.restore(event["batch"], event["found"])


def _read_events(path: Path) -> tuple[list[dict], int]:
    """Read the whole lines at a journal's head, and say how many bytes they are."""
    events, size = [], 0
    with open(path, "rb") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            events.append(event)
            size += len(line)
    return events, size


def _refusal(path: Path, was: Mapping, now: Mapping, changed: list[str]) -> str:
    differences = "; ".join(f"{key} was {was.get(key)}, now {now[key]}" for key in changed[:_SHOWN])
    return (
        f"{path}: is of a prediction that has not ended, with other settings ({differences}): give "
        "those again to go on, name another folder, or delete the journal to begin anew"
    )


def _to_lists(found: Detections) -> list:
    """Return a window's detections as JSON holds them, to the last bit."""
    corners = None if found.corners is None else found.corners.tolist()
    return [found.boxes_xyxy.tolist(), found.scores.tolist(), found.labels.tolist(), corners]
