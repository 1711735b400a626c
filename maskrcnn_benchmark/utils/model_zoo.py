import logging
import os
from pathlib import Path
from urllib.parse import urlparse

from torch.hub import HASH_REGEX, download_url_to_file

from .comm import get_rank, synchronize


def cache_url(url: str, model_dir: str | Path | None = None, progress: bool = True) -> str:
    """Download a file once and return where it lies.

    In a distributed run one process of each machine downloads and the others wait. A file name
    that ends in -HASH (at least 6 hex digits of its SHA256) is checked against the content.

    Args:
        model_dir: default $TORCH_MODEL_ZOO, else $TORCH_HOME/models, else ~/.torch/models.
        progress: show a bar.
    """
    if model_dir is None:
        home = os.environ.get("TORCH_HOME", "~/.torch")
        model_dir = os.environ.get("TORCH_MODEL_ZOO", os.path.join(home, "models"))
    target = Path(model_dir).expanduser() / _file_name(url)
    if _downloads() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        logging.getLogger(__name__).info("downloading %s to %s", url, target)
        found = HASH_REGEX.search(target.name)
        # "R-50.pkl" looks like a hash too, but one of two digits.
        checked = found is not None and len(found.group(1)) >= 6
        # Writes to a temporary file first, so that `target` is whole or absent.
        download_url_to_file(url, str(target), found.group(1) if checked else None, progress)
    synchronize()
    return str(target)


def _file_name(url: str) -> str:
    path = urlparse(url).path
    name = os.path.basename(path)
    # All of Detectron's detectors have this name; their folders tell them apart.
    return path.replace("/", "_") if name == "model_final.pkl" else name


def _downloads() -> bool:
    return int(os.environ.get("LOCAL_RANK", get_rank())) == 0
