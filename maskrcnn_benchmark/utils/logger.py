"""The log of a run: on the console, and in a file."""

import logging
import os
import sys

_FORMAT = "%(asctime)s %(name)s %(levelname)s: %(message)s"


class _Console(logging.StreamHandler):
    """The console, which may be a pipe that nobody reads any more: the file has the lines, too."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Tell of an error in writing a line, unless its reader is gone."""
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


def setup_logger(
    name: str, save_dir: str | None, distributed_rank: int, filename: str = "log.txt"
) -> logging.Logger:
    """Send a logger's lines to the console and to a file; calling it again never doubles lines.

    Args:
        name: of the logger.
        save_dir: folder of the file, made if absent; empty: no file.
        distributed_rank: only rank 0 writes; the others' loggers pass warnings to stderr.
        filename: of the file.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    if distributed_rank > 0:
        return logger
    for handler in [h for h in logger.handlers if getattr(h, "from_setup_logger", False)]:
        logger.removeHandler(handler)
        handler.close()
    _add_handler(logger, _Console(sys.stdout), "console")
    if save_dir:
        os.makedirs(save_dir, exist_ok=True)
        path = os.path.abspath(os.path.join(save_dir, filename))
        _add_handler(logger, logging.FileHandler(path, delay=True), path)
    return logger


def _add_handler(logger: logging.Logger, handler: logging.Handler, target: str) -> None:
    """Add the handler unless a parent logger, which sees the same lines, writes there already."""
    handler.target, handler.from_setup_logger = target, True
    ancestor = logger.parent if logger.propagate else None
    while ancestor is not None:
        if any(getattr(h, "target", None) == target for h in ancestor.handlers):
            return
        ancestor = ancestor.parent if ancestor.propagate else None
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger.addHandler(handler)
