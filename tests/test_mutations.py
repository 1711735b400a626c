"""Damaged files of every kind: read rightly, or refused by name; never a crash, hang or guess.

Those that failed once are repeated by `python tests/mutations.py KIND TRIAL 1`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mutated_kinds import KINDS
from mutations import Hang, Kind, run_trials

from maskrcnn_benchmark.data.datasets.coco_file import read_coco_file
from maskrcnn_benchmark.images.image_io import read_image
from maskrcnn_benchmark.utils.training_log import read_metrics

ROOT = Path(__file__).resolve().parent.parent
FEW = 15
PEAK_MB = 2000  # of the whole process; PyTorch alone takes 700


@pytest.mark.parametrize("title", KINDS)
def test_a_few_damaged_files(tmp_path, title):
    outcomes, failures = run_trials(title, KINDS[title](), tmp_path, 0, FEW)
    assert not failures, "\n".join(failures)
    assert sum(outcomes.values()) == FEW


@pytest.mark.slow
@pytest.mark.parametrize("title", KINDS)
def test_many_damaged_files(title):
    trials = KINDS[title]().trials
    command = [sys.executable, str(ROOT / "tests" / "mutations.py"), title, "0", str(trials)]
    path = [str(ROOT), *filter(None, sys.path)]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    print(title, figures)
    assert figures["read"] > 0 and figures["read"] + figures.get("refused", 0) == trials
    assert figures["peak_mb"] < PEAK_MB


def test_ten_thousand_trials_are_made():
    assert sum(make().trials for make in KINDS.values()) >= 10_000


def refuse_without_name(path):
    raise ValueError("no")


def hang(path):
    raise Hang


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (lambda path: path.read_bytes(), "wrong value"),
        (refuse_without_name, "names no file"),
        (lambda path: {}["key"], "KeyError"),
        (hang, "not read within"),
    ],
    ids=["another value", "no name", "crash", "hang"],
)
def test_what_counts_as_a_failure(tmp_path, read, told):
    whole = b"whole"

    def reader(path):
        return whole if path.parent.name == "whole" else read(path)

    kind = Kind(1, "a", whole, lambda *_: b"damaged", reader, lambda *_: "wrong value")
    _, failures = run_trials("made", kind, tmp_path, 3, 1)
    assert len(failures) == 1 and told in failures[0] and "trial 3" in failures[0]
    assert (tmp_path / "trial3" / "a").read_bytes() == b"damaged"


def test_fault_a_png_with_other_bytes_than_its_checksum_was_read(tmp_path):
    content = KINDS["png"]().content
    middle = content.index(b"IDAT") + 400
    (tmp_path / "a.png").write_bytes(
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    )
    with pytest.raises(ValueError, match="a.png: cannot be read as an image"):
        read_image(tmp_path / "a.png")


def test_fault_broken_lines_of_metrics_ended_a_resumed_training(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b'{"iteration": 1}\n{"iter\xff": 2}\n7\n{"iteration": "x"}\n'
        + b"[" * 100_000
        + b"\n"
        + b"{"
    )
    assert read_metrics(path) == [{"iteration": 1}]


def test_fault_a_number_beyond_floats_in_a_coco_file_was_an_overflow(tmp_path):
    path = tmp_path / "instances.json"
    for key in (b"4.5", b"200.0"):  # of a box, and an area
        path.write_bytes(KINDS["coco"]().content.replace(key, b"9" * 400, 1))
        with pytest.raises(ValueError, match="instances.json: annotation 0: expected"):
            read_coco_file(path)
