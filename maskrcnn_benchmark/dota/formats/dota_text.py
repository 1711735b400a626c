"""DOTA's label files: FOLDER/images/P0706.png and FOLDER/labelTxt/P0706.txt.

A line is `x1 y1 x2 y2 x3 y3 x4 y4 class difficult` in pixels: the corners in turn, clockwise on the
screen, beginning with the front left one where the object has a front; the flag may be missing.
`imagesource:GoogleEarth` and `gsd:0.146` may stand above. There is no angle. Byte order mark and
the line ends of Windows are read as well. A ship from x = 10 to 30 and y = 5 to 15, bow to the
right, whose front left is its top right: `30 5 30 15 10 15 10 5 ship 0`.

The folder of the labels may have a release's name (labelTxt-v1.5). An image without a label file is
unlabelled and left out. A class's name holds no space; `-` is written in its place.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from maskrcnn_benchmark.dota.annotations import read_header, read_labels, write_labels
from maskrcnn_benchmark.dota.folders import read_folder
from maskrcnn_benchmark.dota.formats.labelled_image import (
    NO_IMAGE,
    LabelledImage,
    Losses,
    Source,
    image_size,
    link_image,
)


def read(source: Source) -> Iterator[LabelledImage]:
    """Read the images that have a label file.

    Raises:
        FileNotFoundError: no images/, or no label files.
        ValueError: "path:line: ..." for a malformed line; or an image_folder.
    """
    if source.image_folder is not None:
        raise ValueError(f"{source.image_folder}: DOTA's images lie in {source.path}/images")
    folder = read_folder(source.path, source.version, lambda message: None)
    if folder.label_folder is None:
        raise FileNotFoundError(f"{source.path}: expected a folder labelTxt/ in it")
    for path in sorted(folder.label_folder.glob("[!.]*.txt")):
        if path.stem not in folder.images:
            source.losses.add(NO_IMAGE, path.stem)
    for name, image in folder.images.items():
        labels = folder.label_files.get(name)
        if labels is None:
            source.losses.add("images without a label file are left out", name)
            continue
        size = image_size(image, None, str(labels))
        yield LabelledImage(name, image, size, read_labels(labels), read_header(labels))


def write(
    folder: Path, images: Iterable[LabelledImage], classes: Sequence[str], losses: Losses
) -> None:
    """Write images/ and labelTxt/."""
    (folder / "labelTxt").mkdir()
    for item in images:
        link_image(item.file, folder / "images")
        spaced = sum(len(each.name.split()) > 1 for each in item.objects)
        losses.add("spaces in class names became -", item.name, spaced)
        objects = [replace(each, name="-".join(each.name.split())) for each in item.objects]
        write_labels(folder / "labelTxt" / f"{item.name}.txt", objects, item.header)
