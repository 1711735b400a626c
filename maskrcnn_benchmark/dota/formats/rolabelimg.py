"""roLabelImg's format: an XML file per image, beside it: FOLDER/a.png and FOLDER/a.xml.

An object's <robndbox> has cx, cy, w, h in pixels and an angle in radians, clockwise on the screen,
from the x axis to the side w; the box with the angle 0 has its corner 1 at the top left. A ship of
20x10 around (50, 40) with the angle pi / 2 (1.570796) has the corners (55, 30), (55, 50), (45, 50),
(45, 30). <bndbox> has xmin, ymin, xmax, ymax of an upright box.

Written angles lie in 0 <= angle < 2 pi, so that corner 1 is kept; roLabelImg shows them rightly,
and brings them below pi when it saves. A quadrilateral that is no rectangle, or not clockwise,
becomes the smallest rectangle around it. The difficult flag is 0 or 1, so that DOTA's 2 becomes 1.
No room for imagesource and gsd. Files with a DOCTYPE are refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from maskrcnn_benchmark.dota.annotations import DotaObject
from maskrcnn_benchmark.dota.formats.documents import (
    checked_flag,
    checked_size,
    read_xml,
    xml_number,
    xml_text,
)
from maskrcnn_benchmark.dota.formats.labelled_image import (
    FLAG_CUT,
    HEADER_LOST,
    LabelledImage,
    Losses,
    Source,
    image_size,
    link_image,
)
from maskrcnn_benchmark.dota.formats.rectangles import (
    corners_to_rectangle,
    is_rectangle,
    rectangle_to_corners,
    smallest_rectangle,
    upright_corners,
)
from maskrcnn_benchmark.dota.text_files import format_number

ANGLE_DECIMALS = 8  # 0.0001 pixels at 10,000 from the centre
TURNED, UPRIGHT = ("cx", "cy", "w", "h", "angle"), ("xmin", "ymin", "xmax", "ymax")


def read(source: Source) -> Iterator[LabelledImage]:
    """Read all XML files.

    Raises:
        FileNotFoundError: there is none.
        ValueError: "path:element: ..." for what is malformed.
    """
    files = source.find_images()
    for path in source.find_documents(".xml"):
        root, file = read_xml(path), files.get(path.stem)
        objects = [
            _read_object(element, f"{path}:object[{number}]")
            for number, element in enumerate(root.findall("object"), start=1)
        ]
        size = image_size(file, _read_size(root, path), str(path))
        yield LabelledImage(path.stem, file, size, objects)


def write(
    folder: Path, images: Iterable[LabelledImage], classes: Sequence[str], losses: Losses
) -> None:
    """Write the images and an XML file beside each."""
    for item in images:
        link_image(item.file, folder)
        losses.add(HEADER_LOST, item.name, bool(item.header))
        cut = sum(each.difficult > 1 for each in item.objects)
        losses.add(FLAG_CUT, item.name, cut)
        others = sum(not is_rectangle(each.corners) for each in item.objects)
        losses.add("no rectangles, or not clockwise: the smallest one around", item.name, others)
        root = _to_xml(item)
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode") + "\n"
        (folder / f"{item.name}.xml").write_text(text, encoding="utf-8")


def _read_size(root: ElementTree.Element, path: Path) -> tuple[int, int] | None:
    if root.find("size") is None:
        return None
    width, height = (xml_number(root, f"size/{key}", f"{path}:") for key in ("width", "height"))
    return checked_size(width, height, f"{path}:size")


def _read_object(element: ElementTree.Element, place: str) -> DotaObject:
    name = xml_text(element, "name", place)
    if element.find("robndbox") is not None:
        values = [xml_number(element, f"robndbox/{key}", place) for key in TURNED]
        cx, cy, w, h, angle = values
        corners = rectangle_to_corners((cx, cy, w, h, angle))
    elif element.find("bndbox") is not None:
        corners = upright_corners(*(xml_number(element, f"bndbox/{key}", place) for key in UPRIGHT))
    else:
        raise ValueError(f"{place}: expected robndbox or bndbox")
    difficult = 0
    if element.find("difficult") is not None:
        difficult = checked_flag(xml_number(element, "difficult", place), f"{place}/difficult")
    return DotaObject(corners, name, difficult)


def _to_xml(item: LabelledImage) -> ElementTree.Element:
    root = ElementTree.Element("annotation", verified="no")
    _add(root, "filename", item.name)
    size = _add(root, "size")
    for key, value in zip(("width", "height", "depth"), (*item.size, 3), strict=True):
        _add(size, key, str(value))
    for each in item.objects:
        if not is_rectangle(each.corners):
            each = replace(each, corners=smallest_rectangle(each.corners))
        element = _add(root, "object")
        _add(element, "type", "robndbox")
        _add(element, "name", each.name)
        _add(element, "pose", "Unspecified")
        _add(element, "truncated", "0")
        _add(element, "difficult", str(int(each.difficult > 0)))
        box = _add(element, "robndbox")
        for key, number in zip(TURNED, corners_to_rectangle(each.corners), strict=True):
            _add(box, key, format_number(number, ANGLE_DECIMALS if key == "angle" else 4))
    return root


def _add(parent: ElementTree.Element, key: str, text: str | None = None) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, key)
    element.text = text
    return element
