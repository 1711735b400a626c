"""YOLO-OBB, as Ultralytics reads it: FOLDER/images/a.png, FOLDER/labels/a.txt, FOLDER/data.yaml.

A line is `class x1 y1 x2 y2 x3 y3 x4 y4`: the class's number, from 0, and the corners in turn, x
divided by the image's width and y by its height. There is no angle; corners keep the order in
which they come. In an image of 200x100 a ship (class 1) from x = 10 to 30 and y = 5 to 15 is
`1 0.05 0.05 0.15 0.05 0.15 0.15 0.05 0.15`.

data.yaml names the classes (`names`: a list, or numbers with names); classes.txt, a name per line,
is read where there is no data.yaml. An image without a label file shows no object. Ultralytics
passes over an image with a corner off the image, so that such corners are moved to the border. No
room for: the difficult flag, imagesource and gsd.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from maskrcnn_benchmark.dota.annotations import DotaObject, stack_corners
from maskrcnn_benchmark.dota.formats.labelled_image import (
    HEADER_LOST,
    NO_IMAGE,
    LabelledImage,
    Losses,
    Source,
    files_below,
    image_size,
    link_image,
)
from maskrcnn_benchmark.dota.text_files import format_number
from maskrcnn_benchmark.images.files import by_stem

DECIMALS = 8  # a thousandth of a pixel in an image of 100,000


def class_names(source: Source) -> list[str]:
    """Read the classes, in the order of their numbers, from data.yaml or classes.txt.

    Both are looked for in the folder, in its labels/ and in the folder above.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: a data.yaml without usable names.
    """
    folders = (source.path, source.path / "labels", source.path.parent)
    for path in (folder / "data.yaml" for folder in folders):
        if path.is_file():
            return _read_yaml_names(path)
    for path in (folder / "classes.txt" for folder in folders):
        if path.is_file():
            lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            return [line.strip() for line in lines if line.strip()]
    raise FileNotFoundError(
        f"{source.path}: expected data.yaml with `names`, or classes.txt, for the classes' names"
    )


def read(source: Source) -> Iterator[LabelledImage]:
    """Read all images, with their label files where they have one.

    Raises:
        FileNotFoundError: no images, or no names of the classes.
        ValueError: "path:line: ..." for a malformed line.
    """
    names, images = class_names(source), source.find_images()
    if not images:
        raise FileNotFoundError(f"{source.path}: expected images in it, for their sizes")
    folder = source.path / "labels" if (source.path / "labels").is_dir() else source.path
    labels = by_stem(path for path in files_below(folder, (".txt",)) if path.name != "classes.txt")
    for name in sorted(set(labels) - set(images)):
        source.losses.add(NO_IMAGE, name)
    for name, image in images.items():
        size = image_size(image, None, str(image))
        objects = _read_file(labels[name], names, size) if name in labels else []
        yield LabelledImage(name, image, size, objects)


def write(
    folder: Path, images: Iterable[LabelledImage], classes: Sequence[str], losses: Losses
) -> None:
    """Write images/, labels/ and data.yaml."""
    (folder / "labels").mkdir()
    numbers = {name: number for number, name in enumerate(classes)}
    for item in images:
        link_image(item.file, folder / "images")
        corners = stack_corners(item.objects)
        shares = np.clip(corners / item.size, 0, 1)  # [N, 4, 2]
        moved = (np.abs(shares * item.size - corners) > 1e-6).any(axis=(1, 2))
        losses.add("objects with corners moved to the image's border", item.name, int(moved.sum()))
        flags = sum(each.difficult != 0 for each in item.objects)
        losses.add("difficult flags are lost", item.name, flags)
        losses.add(HEADER_LOST, item.name, bool(item.header))
        lines = []
        for each, share in zip(item.objects, shares, strict=True):
            values = " ".join(format_number(value, DECIMALS) for value in share.ravel())
            lines.append(f"{numbers[each.name]} {values}\n")
        (folder / "labels" / f"{item.name}.txt").write_text("".join(lines), encoding="utf-8")
    content = {"train": "images", "val": "images", "names": dict(enumerate(classes))}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def _read_yaml_names(path: Path) -> list[str]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig", errors="replace"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected YAML: {error}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or set(names) != set(range(len(names))):
        raise ValueError(f"{path}:names: expected the classes' names by number from 0, got {names}")
    return [str(names[number]) for number in range(len(names))]


def _read_file(path: Path, names: Sequence[str], size: tuple[int, int]) -> list[DotaObject]:
    objects = []
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            shares = np.array([float(field) for field in fields[1:]])
        except ValueError:
            shares = np.array([np.nan])
        if len(shares) != 8 or not np.isfinite(shares).all() or not fields[0].isdecimal():
            raise ValueError(
                f"{path}:{number}: expected a class's number and 8 coordinates in 0 ... 1, got "
                f"{line.strip()!r}"
            )
        if len(fields[0]) > 9 or int(fields[0]) >= len(names):
            raise ValueError(
                f"{path}:{number}: class {fields[0]} has no name; data.yaml or classes.txt has "
                f"{len(names)}, from 0"
            )
        if np.abs(shares).max() > 2:
            raise ValueError(
                f"{path}:{number}: expected coordinates divided by the image's size, got pixels: "
                f"{line.strip()!r}"
            )
        objects.append(DotaObject(shares.reshape(4, 2) * size, names[int(fields[0])]))
    return objects
