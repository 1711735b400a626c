"""Train with two processes, of which the second is stopped (SIGSTOP) before its second iteration.

RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are set; see test_distributed.py.
    python tests/stopping_worker.py FOLDER SECONDS
"""

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from distributed_worker import train

from maskrcnn_benchmark.utils.command_line import run_tool


def stop_rank_1(iteration: int) -> None:
    if iteration == 2:
        print(time.monotonic(), flush=True)
        if dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGSTOP)


def main() -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=float(sys.argv[2])))
    train(Path(sys.argv[1]), [1, 1, 1], [1, 1, 1], stop_rank_1)


if __name__ == "__main__":
    run_tool(main)
