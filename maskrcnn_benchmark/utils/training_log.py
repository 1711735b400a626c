"""Where a training run leaves its numbers: metrics.jsonl, TensorBoard, log lines, a bar."""

import datetime
import json
import logging
import math
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from maskrcnn_benchmark.utils.atomic_write import naming, write_text
from maskrcnn_benchmark.utils.metric_logger import MetricLogger
from maskrcnn_benchmark.utils.process_memory import peak_memory_mb

LOG_PERIOD = 20  # iterations between log lines, and between points of TensorBoard


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl.

    Args:
        path: the file; may be missing, and lines may be broken (the last one of a killed run).

    Returns:
        one dict per whole line, each with "iteration".
    """
    rows = []
    if os.path.exists(path):
        with open(path, "rb") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict) and type(row.get("iteration")) is int:
                    rows.append(row)
    return rows


class TrainingLog:
    """Write the scalars of a run and time its iterations; a context manager.

    metrics.jsonl has a line for every iteration. Lines beyond `start_iter` (an interrupted
    run got further than its last checkpoint) are dropped, so that none appears twice.

    Args:
        output_dir: the folder, made if it does not exist; "" writes no files.
        start_iter: iterations done before.
        max_iter: iterations of the whole run.
        device: whose memory the log lines tell.
        enabled: False on all processes but the main one: no files, no bar.
    """

    def __init__(
        self, output_dir: str, start_iter: int, max_iter: int, device: torch.device, enabled: bool
    ) -> None:
        self._bar = tqdm(
            total=max_iter,
            initial=start_iter,
            unit="it",
            dynamic_ncols=True,
            disable=not (enabled and sys.stderr.isatty()),
        )
        self._logger = logging.getLogger("maskrcnn_benchmark.trainer")
        self._start_iter, self._max_iter, self._device = start_iter, max_iter, device
        self._meters = MetricLogger(delimiter="  ")
        self._lines = None
        self._tensorboard = None
        if enabled and output_dir:
            os.makedirs(output_dir, exist_ok=True)
            self._lines = _open_from(Path(output_dir) / "metrics.jsonl", start_iter)
            self._tensorboard = _open_tensorboard(output_dir, start_iter)
        self._stack = ExitStack()
        self._began = self._iteration_began = self._data_came = time.time()

    def note_data(self) -> None:
        """Note that the iteration's data is here."""
        self._data_came = time.time()

    def add_iteration(self, iteration: int, losses: dict[str, float], lr: float) -> None:
        """Note a training iteration: a line in metrics.jsonl, now and then one in the log.

        Args:
            iteration: counted from 1.
            losses: by name; "loss" is their sum.
            lr: of the next iteration.
        """
        now = time.time()
        times = {
            "time": now - self._iteration_began,
            "data": self._data_came - self._iteration_began,
        }
        self._iteration_began = now
        self._meters.update(**losses, **times)
        shown = iteration % LOG_PERIOD == 0
        self._write(iteration, {**losses, "lr": lr, **times}, to_tensorboard=shown)
        if shown or iteration == self._max_iter:
            self._logger.info(self._progress_line(iteration, lr))
        self._bar.set_postfix(loss=f"{losses['loss']:.4f}", refresh=False)
        self._bar.update()

    def add_evaluation(self, iteration: int, figures: dict[str, float]) -> None:
        """Note the figures of an evaluation done after an iteration; its time is no iteration's."""
        self._logger.info(
            "[Validation]: %s", "  ".join(f"{k}: {v:.4f}" for k, v in figures.items())
        )
        self._write(iteration, figures, to_tensorboard=True)
        self._iteration_began = time.time()

    def _write(self, iteration: int, scalars: dict[str, float], to_tensorboard: bool) -> None:
        if self._lines is not None:
            finite = {k: v if math.isfinite(v) else None for k, v in scalars.items()}
            with naming(self._lines.name):
                self._lines.write(json.dumps({"iteration": iteration, **finite}) + "\n")
        if self._tensorboard is not None and to_tensorboard:
            with naming(f"{self._tensorboard.log_dir}/events.out.tfevents…"):
                for name, value in scalars.items():
                    self._tensorboard.add_scalar(name, value, iteration)

    def _progress_line(self, iteration: int, lr: float) -> str:
        seconds = self._meters.time.global_avg * (self._max_iter - iteration)
        eta = datetime.timedelta(seconds=int(seconds))
        parts = [f"eta: {eta}", f"iter: {iteration}", str(self._meters), f"lr: {lr:.6f}"]
        memory = f"max mem: {_peak_memory_mb(self._device):.0f}"
        return self._meters.delimiter.join([*parts, memory])

    def __enter__(self) -> "TrainingLog":
        if not self._bar.disable:
            package = logging.getLogger("maskrcnn_benchmark")
            self._stack.enter_context(logging_redirect_tqdm([package]))
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is None:
            seconds = time.time() - self._began
            self._logger.info(
                "Total training time: %s (%.4f s / it)",
                datetime.timedelta(seconds=int(seconds)),
                seconds / (self._max_iter - self._start_iter),
            )
        self._bar.close()
        self._stack.close()
        if self._lines is not None:
            self._lines.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


def _peak_memory_mb(device: torch.device) -> float:
    """Return the highest use of GPU memory so far, or of the process's main memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_memory_mb()


def _open_from(path: Path, start_iter: int):
    """Open the file for further lines, without those of iterations after start_iter."""
    kept = [row for row in read_metrics(path) if row["iteration"] <= start_iter]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
    return open(path, "a", encoding="utf-8", buffering=1)  # each line reaches the file at once


def _open_tensorboard(output_dir: str, start_iter: int):
    """Return a SummaryWriter in the folder; without TensorBoard None, and the log says so."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logging.getLogger("maskrcnn_benchmark.trainer").info(
            "No TensorBoard scalars: tensorboard is not installed (pip install tensorboard)"
        )
        return None
    return SummaryWriter(output_dir, purge_step=start_iter + 1)
