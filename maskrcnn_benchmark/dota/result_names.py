"""Names of images and classes, as result files can hold them.

White space parts the fields of a line, and a class is a part of a file's name. A character that
would break one of them is written as in web addresses, and read back: the image "my scene" is
`my%20scene` in a line, results of the class "car/van" are in `Task2_car%2Fvan.txt`. A "%" that
would be taken for such a mark is `%25`. DOTA's own names have none of these characters.
"""

import re
from urllib.parse import quote, unquote

_MARK = r"%(?=[0-9A-Fa-f]{2})"
_IN_LINES = re.compile(rf"\s|{_MARK}")
_IN_FILE_NAMES = re.compile(rf'[/\\:*?"<>|\x00-\x1f\x7f]|{_MARK}')
LONGEST = 240  # bytes; file systems end at 255, with `Task1_` and `.txt`


def image_to_field(name: str) -> str:
    """Write an image's name as one field of a line."""
    return _IN_LINES.sub(_escape, name)


def class_to_file_part(name: str) -> str:
    """Write a class's name as a part of a file's name.

    Raises:
        ValueError: the name is too long for that.
    """
    part = _IN_FILE_NAMES.sub(_escape, name)
    if len(part.encode()) > LONGEST:
        raise ValueError(f"class name {name[:40]!r}… is too long for a file's name: shorten it")
    return part


def read_name(text: str) -> str:
    """Return the name that `image_to_field` or `class_to_file_part` wrote."""
    return unquote(text)


def _escape(match: re.Match) -> str:
    return quote(match[0], safe="")
