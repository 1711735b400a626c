"""Files that are whole or absent: each is written beside its place and then takes its name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: str | os.PathLike, durable: bool = False) -> Iterator[Path]:
    """Give a path to write to; when the block ends without an error, the file gets its name.

    Args:
        path: where the file belongs; what is there stays until the new file is whole.
        durable: let the content reach the disk before the name, so that a power cut leaves the
            old file or the new one.

    Yields:
        `.NAME.PID.part` in the same folder (NAME's first 60 characters).
    """
    path = Path(path)
    part = path.with_name(f".{path.name[:60]}.{os.getpid()}.part")
    try:
        yield part
        if durable:
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file with "\\n" as line end, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
