"""Fixtures that several test files share."""

from pathlib import Path

import pytest
from made_cityscapes import make_cityscapes

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data beside the checkout; skip the test if there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def cityscapes_folders(tmp_path_factory):
    """Return the image and annotation folders of a made Cityscapes set, split "val".

    All tests share them, so no test may change them.
    """
    return make_cityscapes(tmp_path_factory.mktemp("cityscapes"))
