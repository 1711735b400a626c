"""Atomic writing: a file gets a temporary name until it is complete, then its own."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: str | os.PathLike, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to `path` when the block ends without error.

    Args:
        path: path of the file; an existing file stays until the new one is complete.
        durable: flush the content to the disk before renaming, so that after a power failure
            either the old or the new file is there.

    Yields:
        `.NAME.PID.part` in the same folder (the first 60 characters of NAME).
    """
    path = Path(path)
    part = _part_of(path)
    try:
        with naming(path):
            yield part
            if durable:
                with open(part, "rb+") as file:
                    os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; it becomes `path` when the block ends without error, else it goes.

    Args:
        path: new, or an empty folder.
    """
    path = path.absolute()
    part = _part_of(path)
    part.mkdir(parents=True)
    try:
        yield part
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Add the file's name to an error of writing (a full disk), to which the system gives none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file with "\\n" as line end; see `written_whole`."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def remove_parts(folder: Path) -> None:
    """Remove what `written_whole` left in a folder when its process was killed."""
    for path in folder.glob(".*.part"):
        if re.fullmatch(r"\..*\.\d+\.part", path.name, re.DOTALL):
            path.unlink(missing_ok=True)


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name[:60]}.{os.getpid()}.part")
