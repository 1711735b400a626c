"""Label formats other than DOTA's, read and written through one form: `LabelledImage`.

Each module's docstring states its format's angle, its order of corners, and what it cannot hold.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from maskrcnn_benchmark.dota.formats import (
    coco,
    dota_text,
    labelme,
    labelstudio,
    rolabelimg,
    yolo_obb,
)
from maskrcnn_benchmark.dota.formats.labelled_image import LabelledImage, Source


@dataclass(frozen=True)
class LabelFormat:
    """How a format is read and written.

    Attributes:
        read: yields the images of a Source.
        write: (folder, images, classes, losses) writes them into an empty folder.
        class_names: reads the order of the classes, for formats that state it.
    """

    read: Callable[[Source], Iterator[LabelledImage]]
    write: Callable[..., None]
    class_names: Callable[[Source], list[str]] | None = None


FORMATS = {
    "dota": LabelFormat(dota_text.read, dota_text.write),
    "yolo-obb": LabelFormat(yolo_obb.read, yolo_obb.write, yolo_obb.class_names),
    "coco": LabelFormat(coco.read, coco.write, coco.class_names),
    "coco-upright": LabelFormat(coco.read, partial(coco.write, oriented=False), coco.class_names),
    "labelme": LabelFormat(labelme.read, labelme.write),
    "rolabelimg": LabelFormat(rolabelimg.read, rolabelimg.write),
    "labelstudio": LabelFormat(labelstudio.read, labelstudio.write),
}
