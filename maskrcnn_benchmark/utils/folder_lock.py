"""A lock on a folder of results, so that two runs cannot mix in it."""

import errno
import fcntl
import logging
import os
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import IO

from maskrcnn_benchmark.utils.atomic_write import naming

NAME = ".lock"


def lock_folder(folder: str | os.PathLike) -> IO[str]:
    """Keep other processes out of a folder while this one lives, or until the lock is closed.

    The kernel releases it when the process ends, however that happens; processes that were forked
    off do not hold it. The file FOLDER/.lock stays. Within one process the folder is locked once
    only: closing any of its locks releases it. Of a distributed run, rank 0 calls this.

    Args:
        folder: made if it does not exist.

    Returns:
        the lock; a context manager.

    Raises:
        OSError: another process has locked it, with the process, its host and command; or the
            folder cannot be written to.
    """
    os.makedirs(folder, exist_ok=True)
    path = Path(folder) / NAME
    file = open(path, "a+", encoding="utf-8", errors="replace")
    try:
        # not flock, which loading processes would inherit: they outlive a killed parent
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.seek(0)
            holder = file.read(2000).strip()
            file.close()
            raise OSError(
                f"{folder} is in use by {holder or 'another process'}: wait for its end, or take "
                "another folder"
            ) from error
        # a file system without locks
        logging.getLogger(__name__).warning(
            "%s cannot be locked (%s): see to it that no other run writes there", folder, error
        )
        return file
    with naming(path):
        file.truncate(0)
        file.write(_describe_process())
        file.flush()
    return file


def _describe_process() -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} since {since}: {shlex.join(sys.argv)}"
