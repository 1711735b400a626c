"""Reading a .pth file from anywhere: whole, without running code, and no larger than it says.

And writing one: whole or not at all.
"""

import mmap
import os
import pickle
import shutil
import zipfile
from io import BytesIO
from typing import Any

import torch

from maskrcnn_benchmark.utils.atomic_write import written_whole
from maskrcnn_benchmark.utils.pickle_limits import check_pickle

_ZIP = b"PK"
_PICKLE = b"\x80"
_LEGACY_PICKLES = 5  # at the head of a file of PyTorch before 1.6: the fourth is the content


def read_weights_file(path: str) -> dict[str, Any]:
    """Read the dict that `torch.save` wrote, onto the CPU.

    A file of today (a zip) is compared with its own checksums, which PyTorch does not do: 0.15 s
    for 335 MB. Those of PyTorch before 1.6 have none.

    Args:
        path: of the file.

    Returns:
        tensors, plain values and containers; nothing else is admitted.

    Raises:
        ValueError: the file is damaged, holds anything else, or would take far more memory than
            it has bytes; the message begins with `path`.
    """
    try:
        _check(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is refused: only tensors and plain values are read from a checkpoint, since "
            f"anything else can run code\n{error}\nIf you trust the file, copy its weights to a "
            'new one and give that: python -c "import torch; '
            f"d = torch.load({path!r}, weights_only=False); "
            "torch.save({'model': d.get('model', d)}, 'weights.pth')\""
        ) from error
    except Exception as error:  # a damaged file raises nearly anything
        raise ValueError(f"{path} is damaged or no checkpoint ({error or repr(error)})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dict of weights")
    return content


def write_weights_file(content: Any, path: str, durable: bool = False) -> None:
    """Write a file by `torch.save`; an existing one stays until the new one is complete.

    Args:
        content: tensors, plain values and containers.
        path: of the file.
        durable: as `written_whole` takes it.

    Raises:
        OSError: it cannot be written, such as on a full disk; the message has `path`.
    """
    with written_whole(path, durable) as part:
        try:
            torch.save(content, part)
        except RuntimeError as error:  # PyTorch's own, which says neither file nor reason
            free = shutil.disk_usage(part.parent).free / 2**20
            raise OSError(
                f"{path} cannot be written: is the disk full ({free:.0f} MB are free) or a quota "
                f"reached? ({error})"
            ) from error


def _check(path: str) -> None:
    """Refuse what is damaged or grows; ValueError and zipfile's errors say how."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(2)
        if head.startswith(_PICKLE):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for _ in range(_LEGACY_PICKLES):
                    check_pickle(content, size)
            return
        if head != _ZIP:
            raise ValueError(f"its {size} bytes begin with {head!r}, as no file of torch.save does")
        with zipfile.ZipFile(file) as archive:
            _check_archive(archive, size)


def _check_archive(archive: zipfile.ZipFile, size: int) -> None:
    parts = archive.infolist()
    if sum(part.file_size for part in parts) > size:  # torch.save does not compress
        raise ValueError(f"its {size} bytes hold parts that are larger: compressed, or overlapping")
    wrong = archive.testzip()
    if wrong:
        raise ValueError(f"its part {wrong} has another checksum than was written")
    for part in parts:
        if part.filename.lower().endswith(".pkl"):
            check_pickle(BytesIO(archive.read(part)), part.file_size)
