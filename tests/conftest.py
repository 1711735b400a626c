"""Fixtures that several test files share."""

from pathlib import Path

import pytest
from made_cityscapes import make_cityscapes

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def cityscapes_folders(tmp_path_factory):
    """Folders of a made Cityscapes set's images and annotations, split "val"; not to be changed."""
    return make_cityscapes(tmp_path_factory.mktemp("cityscapes"))
