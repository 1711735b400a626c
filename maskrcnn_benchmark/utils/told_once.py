"""Messages that a user sees once, however often their cause is met."""

import logging

from maskrcnn_benchmark.utils.comm import is_main_process

_told: set[str] = set()


def tell_once(logger: logging.Logger, message: str, level: int = logging.WARNING) -> None:
    """Log a message on the main process, unless this process has logged the same one before.

    Data sets are read anew for each evaluation during training; what they tell stays the same.
    """
    if message not in _told and is_main_process():
        _told.add(message)
        logger.log(level, "%s", message)
