"""Which files count as images, and which images a folder holds."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def list_images(folder: Path) -> list[Path]:
    """List the images directly in a folder, by name.

    Hidden files (`._x.png`), folders, pipes and devices are left out. A link to nothing is not: it
    is an image that is missed when it is read.

    Raises:
        FileNotFoundError: the folder holds no image.
    """
    images = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and (path.is_file() or not path.exists())
    )
    if not images:
        raise FileNotFoundError(
            f"{folder}: holds no image; expected files ending in {', '.join(IMAGE_SUFFIXES)}"
        )
    return images


def check_name(path: Path) -> None:
    """Refuse a file's name that is not UTF-8 (ValueError), since text files could not hold it."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{str(path)!r}: the file's name is not UTF-8: rename it") from error


def by_stem(images: Iterable[Path]) -> dict[str, Path]:
    """Name images by their file names without suffix, as label and result files name them.

    Raises:
        ValueError: two images share a name.
    """
    named: dict[str, Path] = {}
    for path in images:
        other = named.setdefault(path.stem, path)
        if other != path:
            raise ValueError(
                f"{other} and {path} have the same name, so that labels and results could not "
                "tell them apart: rename one"
            )
    return named


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    checksum = hashlib.sha256()
    with path.open("rb") as stream:  # in pieces: it may be larger than the memory
        while piece := stream.read(1 << 20):
            checksum.update(piece)
    return checksum.hexdigest()
