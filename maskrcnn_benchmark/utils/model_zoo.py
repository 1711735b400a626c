"""Download weights once and keep them on disk."""

import hashlib
import logging
import os
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from torch.hub import HASH_REGEX
from tqdm import tqdm

from .atomic_write import written_whole
from .comm import get_rank, synchronize

_BLOCK = 1 << 20  # bytes
_TIMEOUT = 60  # seconds without an answer


def cache_url(url: str, model_dir: str | Path | None = None, progress: bool = True) -> str:
    """Download a file once and return where it lies.

    In a distributed run one process of each machine downloads and the others wait. A file name
    that ends in -HASH (at least 6 hex digits of its SHA256) is checked against the content.

    Args:
        url: http:// or https://
        model_dir: default $TORCH_MODEL_ZOO, else $TORCH_HOME/models, else ~/.torch/models.
        progress: show a bar.

    Raises:
        OSError: the file cannot be downloaded or came incomplete; the message says where to put
            it. Nothing is kept of it.
        ValueError: it has another hash than its name says; nothing is kept of it.
    """
    if model_dir is None:
        home = os.environ.get("TORCH_HOME", "~/.torch")
        model_dir = os.environ.get("TORCH_MODEL_ZOO", os.path.join(home, "models"))
    target = Path(model_dir).expanduser() / _file_name(url)
    if _downloads() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        logging.getLogger(__name__).info("downloading %s to %s", url, target)
        try:
            _download(url, target, progress)
        except (OSError, HTTPException) as error:
            raise OSError(
                f"{url} cannot be downloaded ({error}): download it on a machine that can, and put "
                f"it at {target}; or name a file that you have, with MODEL.WEIGHT FILE"
            ) from error
    synchronize()
    return str(target)


def _file_name(url: str) -> str:
    path = urlparse(url).path
    name = os.path.basename(path)
    # All of Detectron's detectors have this name; their folders tell them apart.
    return path.replace("/", "_") if name == "model_final.pkl" else name


def _downloads() -> bool:
    return int(os.environ.get("LOCAL_RANK", get_rank())) == 0


def _download(url: str, target: Path, progress: bool) -> None:
    """Write a file beside `target` first, so that `target` is whole or absent."""
    digest = hashlib.sha256()
    # some servers turn Python's own name away
    request = Request(url, headers={"User-Agent": "maskrcnn_benchmark"})
    with written_whole(target) as part:
        with urlopen(request, timeout=_TIMEOUT) as answer, open(part, "wb") as file:
            announced = int(answer.headers.get("Content-Length") or 0)
            with tqdm(total=announced, unit="B", unit_scale=True, disable=not progress) as bar:
                while block := answer.read(_BLOCK):
                    file.write(block)
                    digest.update(block)
                    bar.update(len(block))
        size = part.stat().st_size
        if announced and size != announced:
            raise OSError(f"expected {announced} bytes, got {size}")
        found = HASH_REGEX.search(target.name)
        # "R-50.pkl" looks like a hash too, but one of two digits
        expected = found.group(1) if found and len(found.group(1)) >= 6 else ""
        if not digest.hexdigest().startswith(expected):
            raise ValueError(
                f"{url}: invalid hash: expected a SHA256 of {expected}... by its name, got "
                f"{digest.hexdigest()}: the file was changed on its way"
            )
