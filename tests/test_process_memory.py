"""Tests of the memory that a process is said to take."""

import ctypes
import mmap
import subprocess
import sys

import numpy as np
import pytest

from maskrcnn_benchmark.utils import process_memory
from maskrcnn_benchmark.utils.process_memory import (
    forget_peak,
    give_back_freed_memory,
    memory_mb,
    peak_memory_mb,
)

PEAK = "from maskrcnn_benchmark.utils.process_memory import peak_memory_mb; print(peak_memory_mb())"


def test_the_peak_is_what_was_held_at_most_since_it_was_forgotten():
    forget_peak()
    before = memory_mb()
    # 100 MiB of new pages, dropped at once; an array may lie in pages that others have left
    with mmap.mmap(-1, 100 * 2**20) as pages:
        np.frombuffer(pages, np.uint8)[:] = 1
    assert 95 < peak_memory_mb() - before < 150
    forget_peak()
    assert peak_memory_mb() - before < 50


def test_fault_a_new_process_began_at_the_peak_of_the_one_that_started_it():
    held = np.ones(600 * 2**17)
    done = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True)
    assert held.sum() > 0 and float(done.stdout) < 300 < peak_memory_mb()


def test_fault_freed_memory_stayed_where_small_blocks_lay_between():
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("not glibc")
    blocks = [b"x" * 60_000 for _ in range(4000)]  # below what is mapped by itself: 240 MB
    held = memory_mb()
    del blocks[::2], blocks[1::2]  # all but every fourth
    give_back_freed_memory()
    assert held - memory_mb() > 120 and len(blocks) == 1000


def test_without_linux_the_system_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(process_memory, "STATUS", tmp_path / "status")
    assert peak_memory_mb() > 0
    with pytest.raises(RuntimeError, match="measured on Linux only"):
        memory_mb()
