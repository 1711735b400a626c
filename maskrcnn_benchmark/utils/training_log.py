"""Where a training run leaves its numbers: metrics.jsonl, TensorBoard and a progress bar."""

import json
import logging
import math
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from maskrcnn_benchmark.utils.atomic_write import write_text

TENSORBOARD_PERIOD = 20  # iterations


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Reads metrics.jsonl.

    Args:
        path: the file; may be missing, and its last line may be cut off (a killed run).

    Returns:
        One dict a whole line, each with "iteration".
    """
    rows = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError:
                    continue
    return rows


class TrainingLog:
    """Writes the scalars of a run, on the main process only; a context manager.

    metrics.jsonl has a line for every iteration. Lines beyond `start_iter` (an interrupted
    run got further than its last checkpoint) are dropped, so that none appears twice.

    Args:
        output_dir: the folder, made if it does not exist; "" writes nothing.
        start_iter: iterations done before.
        max_iter: iterations of the whole run.
        enabled: False on all processes but the main one.
    """

    def __init__(self, output_dir: str, start_iter: int, max_iter: int, enabled: bool) -> None:
        self._bar = tqdm(
            total=max_iter,
            initial=start_iter,
            unit="it",
            dynamic_ncols=True,
            disable=not (enabled and sys.stderr.isatty()),
        )
        self._lines = None
        self._tensorboard = None
        if enabled and output_dir:
            os.makedirs(output_dir, exist_ok=True)
            self._lines = _open_from(Path(output_dir) / "metrics.jsonl", start_iter)
            self._tensorboard = _open_tensorboard(output_dir, start_iter)
        self._stack = ExitStack()

    def add_iteration(self, iteration: int, scalars: dict[str, float]) -> None:
        """Notes one training iteration and moves the bar."""
        self._write(iteration, scalars, to_tensorboard=iteration % TENSORBOARD_PERIOD == 0)
        self._bar.set_postfix(loss=f"{scalars['loss']:.4f}", refresh=False)
        self._bar.update()

    def add_evaluation(self, iteration: int, scalars: dict[str, float]) -> None:
        """Notes the figures of an evaluation done after an iteration."""
        self._write(iteration, scalars, to_tensorboard=True)

    def _write(self, iteration: int, scalars: dict[str, float], to_tensorboard: bool) -> None:
        if self._lines is not None:
            finite = {k: v if math.isfinite(v) else None for k, v in scalars.items()}
            self._lines.write(json.dumps({"iteration": iteration, **finite}) + "\n")
        if self._tensorboard is not None and to_tensorboard:
            for name, value in scalars.items():
                self._tensorboard.add_scalar(name, value, iteration)

    def __enter__(self) -> "TrainingLog":
        if not self._bar.disable:
            package = logging.getLogger("maskrcnn_benchmark")
            self._stack.enter_context(logging_redirect_tqdm([package]))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.close()
        self._stack.close()
        if self._lines is not None:
            self._lines.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


def _open_from(path: Path, start_iter: int):
    """Opens the file for further lines, without those of iterations after start_iter."""
    kept = [row for row in read_metrics(path) if row["iteration"] <= start_iter]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
    return open(path, "a", encoding="utf-8", buffering=1)  # each line reaches the file at once


def _open_tensorboard(output_dir: str, start_iter: int):
    """A SummaryWriter in the folder, or None (and a line that says so) without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logging.getLogger("maskrcnn_benchmark.trainer").info(
            "No TensorBoard scalars: tensorboard is not installed (pip install tensorboard)"
        )
        return None
    return SummaryWriter(output_dir, purge_step=start_iter + 1)
