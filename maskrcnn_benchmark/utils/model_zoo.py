"""Download weights once and keep them on disk, each address's in a folder of its own."""

import hashlib
import logging
import os
import re
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from torch.hub import HASH_REGEX
from tqdm import tqdm

from .atomic_write import written_whole
from .comm import get_rank, synchronize

Content = TypeVar("Content")

_BLOCK = 1 << 20  # bytes
_TIMEOUT = 60  # seconds without an answer


def cache_url(url: str, model_dir: str | Path | None = None, progress: bool = True) -> str:
    """Download a file once and return where it lies: MODEL_DIR/<checksum of the address>/<name>.

    In a distributed run one process of each machine downloads and the others wait. A file name
    that ends in -HASH (at least 6 hex digits of its SHA256) is checked against the content, that
    of a file put there by hand too.

    Args:
        url: http:// or https://
        model_dir: default $TORCH_MODEL_ZOO, else $TORCH_HOME/models, else ~/.torch/models.
        progress: show a bar.

    Raises:
        OSError: the file cannot be downloaded or came incomplete; the message says where to put
            it. Nothing is kept of it.
        ValueError: it has another hash than its name says, or is a web page. Nothing is kept of a
            download.
    """
    if model_dir is None:
        home = os.environ.get("TORCH_HOME", "~/.torch")
        model_dir = os.environ.get("TORCH_MODEL_ZOO", os.path.join(home, "models"))
    target = Path(model_dir).expanduser() / _place(url)
    if _downloads():
        if target.exists():
            _check_again(url, target)
        else:
            _fetch(url, target, progress)
    synchronize()
    return str(target)


def read_cached(url: str, read: Callable[[str], Content]) -> Content:
    """Read a file with `read`, downloaded if it is not yet there.

    Raises:
        OSError, ValueError: of `cache_url`; of `read`, with the address.
    """
    path = cache_url(url)
    try:
        return read(path)
    except ValueError as error:
        raise ValueError(
            f"{url}: {error}. If the file is damaged, delete {path} to download it anew"
        ) from error


def _place(url: str) -> Path:
    """Return "<checksum>/<name>": files of one name from two addresses are two files."""
    name = re.sub(r"[^\w.+-]", "_", os.path.basename(urlparse(url).path))[-100:]
    return Path(hashlib.sha256(url.encode()).hexdigest()[:16]) / (name.strip(".") or "weights")


def _downloads() -> bool:
    return int(os.environ.get("LOCAL_RANK", get_rank())) == 0


def _fetch(url: str, target: Path, progress: bool) -> None:
    logging.getLogger(__name__).info("downloading %s to %s", url, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with written_whole(target) as part:
            _download(url, part, progress)
            _check(url, part, target.name)
    except (OSError, HTTPException) as error:
        raise OSError(
            f"{url} cannot be downloaded ({error}): download it on a machine that can, and put "
            f"it at {target}; or name a file that you have, with MODEL.WEIGHT FILE"
            + _told_of_older(target)
        ) from error


def _told_of_older(target: Path) -> str:
    """Name the file that earlier versions, which went by the name alone, would have taken."""
    older = target.parent.parent / target.name
    if not older.is_file():
        return ""
    return f". ({older} may be another address's: move it there if you know that it is this one)"


def _check_again(url: str, target: Path) -> None:
    """Check a file that was here before, perhaps put there by hand."""
    try:
        _check(url, target, target.name)
    except ValueError as error:
        raise ValueError(f"{error}. It lies at {target}: delete it") from error


def _download(url: str, part: Path, progress: bool) -> None:
    # some servers turn Python's own name away
    request = Request(url, headers={"User-Agent": "maskrcnn_benchmark"})
    with urlopen(request, timeout=_TIMEOUT) as answer, open(part, "wb") as file:
        announced = int(answer.headers.get("Content-Length") or 0)
        if not announced and not getattr(answer, "chunked", False):
            raise OSError("the server says not how long it is, so that a cut would go unnoticed")
        with tqdm(total=announced, unit="B", unit_scale=True, disable=not progress) as bar:
            while block := answer.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
    size = part.stat().st_size
    if announced and size != announced:
        raise OSError(f"expected {announced} bytes, got {size}")


def _check(url: str, path: Path, name: str) -> None:
    """Refuse a web page in the place of weights, and content that the file's name contradicts.

    Args:
        url: where the file is from.
        path: where it lies.
        name: its own, while `path` may be a temporary one.
    """
    with open(path, "rb") as file:
        if file.read(1024).lstrip().startswith(b"<"):
            raise ValueError(
                f"{url} gave a web page, not weights (such an address often wants a login): "
                "download the file with a browser, and name it with MODEL.WEIGHT FILE"
            )
        found = HASH_REGEX.search(name)
        # "R-50.pkl" looks like a hash too, but one of two digits
        if found is None or len(found.group(1)) < 6:
            return
        file.seek(0)
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
    if not digest.hexdigest().startswith(found.group(1)):
        raise ValueError(
            f"{url}: invalid hash: expected a SHA256 of {found.group(1)}... by its name, got "
            f"{digest.hexdigest()}: the file was changed or cut on its way"
        )
