"""What every label format is read to and written from: an image with DOTA objects."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from maskrcnn_benchmark.dota.annotations import DotaObject
from maskrcnn_benchmark.images.files import IMAGE_SUFFIXES, by_stem
from maskrcnn_benchmark.images.image_io import read_image_size

HEADER = ("imagesource", "gsd")  # what DOTA's label files may say of an image

# losses that several formats have in common
HEADER_LOST = "imagesource and gsd are lost"
FLAG_CUT = "difficult flags 2 became 1"
NO_IMAGE = "label files without an image are left out"
OUTLINES = "outlines of other than 4 corners: the smallest rectangle around"


@dataclass
class LabelledImage:
    """An image and what is labelled in it.

    Attributes:
        name: its file name without suffix, which no two images of a set share.
        file: None where it was not found.
        size: (width, height), pixels.
        objects: corners are edges in pixels, as in dota/annotations.py.
        header: "imagesource" and "gsd", as far as they are known.
    """

    name: str
    file: Path | None
    size: tuple[int, int]
    objects: list[DotaObject]
    header: dict[str, str] = field(default_factory=dict)


class Losses:
    """What a format cannot hold, or cannot hold as it was; each told once, with a count."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, what: str, image: str, count: int = 1) -> None:
        """Count something that was lost, or changed, in an image."""
        if count:
            self.counts[what] += count
            self.first.setdefault(what, image)

    def lines(self) -> list[str]:
        """Return a line for each kind."""
        return [f"{what}: {n}, first in {self.first[what]}" for what, n in self.counts.items()]


@dataclass(frozen=True)
class Source:
    """A labelled set to read.

    Attributes:
        path: its folder; for the formats that are one file, also that file.
        image_folder: where its images are; None: in path.
        version: of DOTA, where a folder holds the labels of several; None: the one that is there.
        losses: are told what is left out.
    """

    path: Path
    image_folder: Path | None = None
    version: str | None = None
    losses: Losses = field(default_factory=Losses)

    @property
    def folder(self) -> Path:
        """Return path, or the folder that the file is in."""
        return self.path.parent if self.path.is_file() else self.path

    def find_images(self) -> dict[str, Path]:
        """Return the images by name: those of image_folder, of images/, or of the folder itself.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: two images of one name.
        """
        inside = self.folder / "images"
        folder = self.image_folder or (inside if inside.is_dir() else self.folder)
        return by_stem(files_below(folder, IMAGE_SUFFIXES))

    def find_documents(self, suffix: str) -> list[Path]:
        """Return the path if it is a file, else the files below it that end so.

        Raises:
            FileNotFoundError: there is none.
        """
        files = [self.path] if self.path.is_file() else files_below(self.path, (suffix,))
        if not files:
            raise FileNotFoundError(f"{self.path}: expected label files *{suffix}, found none")
        return files


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """List a folder's files of some suffixes, at any depth, by name; hidden ones are left out.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def image_size(file: Path | None, stated: tuple[int, int] | None, place: str) -> tuple[int, int]:
    """Return an image's (width, height).

    Args:
        file: the image; None: not found.
        stated: what the label file says; None: nothing.
        place: of that, for messages.

    Raises:
        ValueError: neither says it, or they contradict each other.
    """
    if file is None:
        if stated is None:
            raise ValueError(
                f"{place}: expected the image, for its size: name its folder (--image-folder)"
            )
        return stated
    size = read_image_size(file)
    if stated not in (None, size):
        raise ValueError(
            f"{place}: says that the image has {stated[0]}x{stated[1]} pixels, but {file} has "
            f"{size[0]}x{size[1]}: labels and images must belong together"
        )
    return size


def link_image(file: Path | None, folder: Path) -> None:
    """Put an image into a folder: as a hard link, which takes no room, else as a copy.

    Args:
        file: None does nothing.
        folder: made if it does not exist.

    Raises:
        ValueError: the folder has a file of that name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if file is None:
        return
    target = folder / file.name
    if target.exists():
        raise ValueError(f"{file}: another image has the same name")
    try:
        os.link(file.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)
