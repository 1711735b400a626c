"""Main memory of this process, as Linux counts it.

Not by `resource.getrusage`: its `ru_maxrss` of a new process begins at the peak of the process that
started it.
"""

import ctypes
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def memory_mb() -> float:
    """Return the memory that this process holds now, in MiB.

    Raises:
        RuntimeError: not on Linux.
    """
    return _status_mb("VmRSS")


def peak_memory_mb() -> float:
    """Return the most memory that this process has held, in MiB.

    Not on Linux it may begin at the peak of the process that started it.
    """
    if STATUS.exists():
        return _status_mb("VmHWM")
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def forget_peak() -> None:
    """Let the peak begin at the memory that is held now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def give_back_freed_memory() -> None:
    """Return to the system what is free between the blocks in use (glibc; others: nothing).

    glibc itself returns only what lies at the end: one small block behind many large ones that
    were freed can hold a gigabyte.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _status_mb(name: str) -> float:
    for line in STATUS.read_text(encoding="utf-8").splitlines() if STATUS.exists() else []:
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024  # kB, and that is KiB
    raise RuntimeError(f"{STATUS} has no line {name}: memory is measured on Linux only")
