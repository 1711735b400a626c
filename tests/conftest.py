"""Fixtures that several test files share."""

import functools
import json
import os
import sys
from pathlib import Path

import numpy as np
import patch_series
import pytest
import torch
from made_cityscapes import make_cityscapes

from maskrcnn_benchmark.commands import dota

SHARED = Path(__file__).resolve().parents[2] / "shared"
SHARED_DATA = SHARED / "data"
ORIENTED = SHARED / "upstream" / "oriented"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data beside the checkout; skip the test if there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def run_dota(monkeypatch, capsys):
    """Return a function that runs tools/dota.py in this process.

    It takes the arguments and gives (exit status, standard output, standard error).
    """

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["dota.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            dota.run()
        return end.value.code or 0, *capsys.readouterr()

    return call


class Figures:
    """Arrays and numbers of a public detector, run once on random weights.

    Args:
        name: "oriented_rcnn" (mmrotate 0.3.4) or "gliding_vertex".
    """

    def __init__(self, name: str) -> None:
        self.numbers = json.loads((ORIENTED / f"{name}.json").read_text())
        self._arrays = np.load(ORIENTED / f"{name}.npz")

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self._arrays[name])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the weights by the original's names."""
        return {name[3:]: self[name] for name in self._arrays.files if name.startswith("sd/")}


@pytest.fixture(scope="session")
def figures():
    """A function that gives the Figures of a detector; the test is skipped where there are none."""
    if not ORIENTED.is_dir():
        pytest.skip(f"no figures at {ORIENTED}")
    return functools.cache(Figures)


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
