"""JSON and XML files of strangers: their errors name the place, and no file can grow in memory."""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

GREATEST = 1e9  # of numbers: no pixel, size or id is beyond


class Entry:
    """A value of a document that knows its place, such as "a.json:shapes[3].points".

    Args:
        value: what JSON made of it.
        place: for messages.
    """

    def __init__(self, value: Any, place: str) -> None:
        self.value = value
        self.place = place

    def __getitem__(self, key: str) -> "Entry":
        found = self.get(key)
        if found is None:
            raise ValueError(f"{self._place_of(key)}: missing")
        return found

    def __iter__(self) -> Iterator["Entry"]:
        if not isinstance(self.value, list):
            raise ValueError(f"{self.place}: expected a list, got {_shorten(self.value)}")
        for index, value in enumerate(self.value):
            yield Entry(value, f"{self._root()}[{index}]")

    def get(self, key: str) -> "Entry | None":
        """Return what an object has there, None if nothing or null."""
        if not isinstance(self.value, dict):
            raise ValueError(f"{self.place}: expected an object, got {_shorten(self.value)}")
        value = self.value.get(key)
        return None if value is None else Entry(value, self._place_of(key))

    def number(self) -> float:
        """Return a finite number, up to GREATEST."""
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            if abs(self.value) <= GREATEST:
                return float(self.value)
        raise ValueError(f"{self.place}: expected a number, got {_shorten(self.value)}")

    def flag(self) -> int:
        """Return a difficult flag; see `checked_flag`."""
        return checked_flag(self.number(), self.place)

    def string(self) -> str:
        """Return a text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise ValueError(f"{self.place}: expected a text, got {_shorten(self.value)}")
        return self.value

    def key(self) -> int | str:
        """Return a number or text that identifies something."""
        if not isinstance(self.value, int | str):
            raise ValueError(f"{self.place}: expected an id, got {_shorten(self.value)}")
        return self.value

    def points(self) -> list[list[float]]:
        """Return a list of [x, y]."""
        points = [[value.number() for value in point] for point in self]
        if any(len(point) != 2 for point in points):
            raise ValueError(f"{self.place}: expected a list of [x, y], got {_shorten(self.value)}")
        return points

    def texts(self, keys: Iterable[str]) -> dict[str, str]:
        """Return what an object has at some keys, as text."""
        return {key: str(self[key].value) for key in keys if self.get(key)}

    def size(self, width_key: str, height_key: str) -> tuple[int, int] | None:
        """Return what an object says of an image's width and height; None: nothing."""
        if self.get(width_key) is None or self.get(height_key) is None:
            return None
        return checked_size(
            self[width_key].number(), self[height_key].number(), self._place_of(width_key)
        )

    def _place_of(self, key: str) -> str:
        root = self._root()
        return f"{root}{key}" if root.endswith(":") else f"{root}.{key}"

    def _root(self) -> str:
        """Return the place, with a colon behind the file's name."""
        return self.place if ":" in Path(self.place).name else f"{self.place}:"


def checked_size(width: float, height: float, place: str) -> tuple[int, int]:
    """Return an image's size as integers.

    Raises:
        ValueError: it is none.
    """
    if width < 1 or height < 1 or width % 1 or height % 1:
        raise ValueError(f"{place}: expected an image's size in pixels, got {width}x{height}")
    return int(width), int(height)


def checked_flag(value: float, place: str) -> int:
    """Return a difficult flag, 0 or more, as an integer.

    Raises:
        ValueError: it is none.
    """
    if value < 0 or value % 1:
        raise ValueError(f"{place}: expected a difficult flag 0, 1 or 2, got {value:g}")
    return int(value)


def read_json(path: Path) -> Entry:
    """Read a JSON file.

    Raises:
        ValueError: "path:line: ..." if it is none.
    """
    try:
        return Entry(json.loads(path.read_text(encoding="utf-8-sig")), str(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: expected JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # no UTF-8; a number of 5,000 digits; too deep
        raise ValueError(f"{path}: expected JSON: {error}") from None


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a DOCTYPE when it begins, before entities can be declared in it."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("expected no DOCTYPE: its entities could fill the memory; take it out")


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file and return its root.

    Raises:
        ValueError: "path:line: ..." if it is none, or if it has a DOCTYPE.
    """
    parser = ElementTree.XMLParser(target=_NoDoctype())
    try:
        parser.feed(path.read_bytes())
        return parser.close()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}:{error.position[0]}: expected XML: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def xml_text(parent: ElementTree.Element, key: str, place: str) -> str:
    """Return the text of an element below another, such as "robndbox/cx".

    Raises:
        ValueError: "place/key: ..." if it is missing or empty.
    """
    text = (parent.findtext(key) or "").strip()
    if not text:
        raise ValueError(f"{place}/{key}: missing")
    return text


def xml_number(parent: ElementTree.Element, key: str, place: str) -> float:
    """Return the number in an element below another; errors as in `xml_text`."""
    text = xml_text(parent, key, place)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= GREATEST:
        raise ValueError(f"{place}/{key}: expected a number, got {text!r}")
    return value


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
