"""Fixtures that several test files share."""

import os
from pathlib import Path

import patch_series
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


@pytest.fixture(scope="session")
def checkout_with(tmp_path_factory):
    """Return a function that gives the folder of the original with the patches of some numbers.

    MASKRCNN_ORIGINAL names a clone of it that has 57eec25; the test is skipped without it. Each set
    of patches makes one checkout, which all tests share.
    """
    source, made = os.environ.get("MASKRCNN_ORIGINAL"), {}
    if not source:
        pytest.skip("MASKRCNN_ORIGINAL is not set: a clone of facebookresearch/maskrcnn-benchmark")

    def make(*numbers):
        if numbers not in made:
            folder = tmp_path_factory.mktemp("original") / "checkout"
            patch_series.git(Path("."), "clone", "-q", "--shared", "-n", source, str(folder))
            patch_series.git(folder, "checkout", "-q", patch_series.ORIGINAL_COMMIT)
            for number in numbers:
                patch_series.git(folder, "apply", str(patch_series.patch_file(number)))
            made[numbers] = folder
        return made[numbers]

    return make
