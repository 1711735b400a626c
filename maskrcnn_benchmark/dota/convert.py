"""Convert a labelled set from one label format to another."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from maskrcnn_benchmark.dota.classes import VERSIONS
from maskrcnn_benchmark.dota.formats import FORMATS
from maskrcnn_benchmark.dota.formats.labelled_image import Losses, Source
from maskrcnn_benchmark.utils.atomic_write import written_folder

NOT_FOUND = "images not found (--image-folder), only their labels are written"


def convert_labels(
    source: Source,
    source_format: str,
    destination: str | Path,
    target_format: str,
    report: Callable[[str], None] = print,
) -> int:
    """Write a labelled set in another format; the images come along as hard links or copies.

    The source is read twice: first to check it and to number its classes, then to write. So only
    one image's labels are in memory at a time, unless the source is one large file. The destination
    appears when all is written.

    Args:
        source: what to read.
        source_format, target_format: keys of FORMATS.
        destination: a new or empty folder.
        report: is told, a line each, what the formats cannot hold.

    Returns:
        how many images were written.

    Raises:
        FileNotFoundError: nothing to read.
        ValueError: a destination with content, or "path:line: ..." or "path:key: ..." for what is
            malformed.
    """
    destination = Path(destination)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ValueError(f"{destination}: expected a new or empty folder, found something in it")
    reader, writer = FORMATS[source_format], FORMATS[target_format]
    classes: set[str] = set()
    names: set[str] = set()
    for item in tqdm(reader.read(replace(source, losses=Losses())), "check", disable=None):
        if item.name in names:
            raise ValueError(f"{source.path}: has two images named {item.name}: rename one")
        names.add(item.name)
        classes.update(each.name for each in item.objects)
        source.losses.add(NOT_FOUND, item.name, item.file is None)
    if not names:
        raise ValueError(f"{source.path}: expected labelled images, found none")
    stated = reader.class_names(source) if reader.class_names else []
    with written_folder(destination) as part:
        images = tqdm(reader.read(source), "convert", len(names), disable=None, unit="image")
        writer.write(part, images, order_classes(classes, stated), source.losses)
    for line in source.losses.lines():
        report(line)
    return len(names)


def order_classes(found: Collection[str], stated: Iterable[str] = ()) -> list[str]:
    """Put classes in order: as the source states them, else as DOTA does, else by name.

    Args:
        found: the classes that occur.
        stated: all that the source names, in its order.
    """
    known = next((names for names in VERSIONS.values() if set(found) <= set(names)), ())
    order = list(dict.fromkeys(stated or known))
    return order + sorted(set(found) - set(order))
