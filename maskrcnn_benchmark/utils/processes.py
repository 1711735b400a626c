"""How a run starts: settings, device, the processes that torchrun started, log and seeds."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import IO

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from yacs.config import CfgNode

from maskrcnn_benchmark.config.settings import load_config
from maskrcnn_benchmark.utils.comm import get_rank, get_world_size, is_main_process
from maskrcnn_benchmark.utils.folder_lock import lock_folder
from maskrcnn_benchmark.utils.logger import setup_logger
from maskrcnn_benchmark.utils.precision import check_dtype, set_float32_precision
from maskrcnn_benchmark.utils.random_state import seed_everything

_locks: list[IO[str]] = []  # on the folders of this process's runs


def start_run(config_file: str, opts: Sequence[str], local_rank: int, log_to_file: bool) -> CfgNode:
    """Set a tool up: settings, device, processes (those that torchrun started), log, seeds.

    Args:
        config_file, opts: as load_config takes them.
        local_rank: this process's GPU among several processes, unless LOCAL_RANK is set.
        log_to_file: write OUTPUT_DIR/log.txt too, and lock OUTPUT_DIR until this process ends.

    Returns:
        the frozen settings; MODEL.DEVICE is as take_device returns it.

    Raises:
        FileNotFoundError, ValueError: of load_config; an unknown DTYPE; a device that is not there;
            no OUTPUT_DIR for the log.
        OSError: another run has locked OUTPUT_DIR.
    """
    cfg = load_config(config_file, opts)
    check_dtype(cfg.DTYPE)
    if log_to_file and not cfg.OUTPUT_DIR:
        raise ValueError("OUTPUT_DIR is '': name the folder where checkpoints and the log go")
    set_float32_precision(cfg.DTYPE)
    wanted = cfg.MODEL.DEVICE
    is_shared = int(os.environ.get("WORLD_SIZE", 1)) > 1
    number = int(os.environ.get("LOCAL_RANK", local_rank)) if is_shared else None
    cfg.MODEL.DEVICE = take_device(wanted, number)
    cfg.freeze()
    if is_shared:
        dist.init_process_group(
            "nccl" if cfg.MODEL.DEVICE == "cuda" else "gloo",
            timeout=timedelta(minutes=cfg.SOLVER.STEP_TIMEOUT),
        )
    if log_to_file and is_main_process():
        _locks.append(lock_folder(cfg.OUTPUT_DIR))
    save_dir = cfg.OUTPUT_DIR if log_to_file else ""
    logger = setup_logger("maskrcnn_benchmark", save_dir, get_rank())
    if cfg.MODEL.DEVICE != wanted:
        told = "there is no GPU: running on the CPU"
        if cfg.MODEL.DEVICE == "cuda":
            told = "there are several processes: each takes the GPU of its own number"
        logger.info("MODEL.DEVICE is %r but %s", wanted, told)
    logger.info(
        "%d process(es) on %s, PyTorch %s, settings from %s",
        *(get_world_size(), _device_title(cfg.MODEL.DEVICE), torch.__version__, config_file),
    )
    seed_everything(cfg.SOLVER.SEED + get_rank())
    return cfg


def take_device(wanted: str, local_rank: int | None = None) -> str:
    """Make the named GPU this process's current one, where it is a GPU.

    Args:
        wanted: "cpu", "cuda", "cuda:1" … or another device of PyTorch's.
        local_rank: among several processes on this machine, this one's number: it takes that GPU
            whatever number `wanted` has.

    Returns:
        what `wanted` comes to: "cpu" where CUDA was asked for and there is none, "cuda" among
        several processes, else itself.

    Raises:
        ValueError: no such device.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        device = torch.device(wanted)
        if device.type == "meta":
            raise RuntimeError("tensors without numbers")
        if device.type != "cuda":
            torch.empty(0, device=device)
            return wanted
    # the latter two: PyTorch without that back end
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(
            f"MODEL.DEVICE must be 'cpu' or 'cuda', or one of several GPUs such as 'cuda:1' "
            f"(PyTorch sees {gpus} here), got {wanted!r}"
        ) from error
    if not gpus:
        return "cpu"
    number = (device.index or 0) if local_rank is None else local_rank
    if number >= gpus:
        whose = f"MODEL.DEVICE {wanted}" if local_rank is None else f"process {local_rank}"
        raise ValueError(
            f"{whose} needs GPU {number}, and PyTorch sees {gpus} here, counted from 0: name one "
            "of those, or start at most one process per GPU"
        )
    torch.cuda.set_device(number)
    return wanted if local_rank is None else "cuda"


def share_gradients(model: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Wrap a model so that the processes' gradients are averaged, from rank 0's weights on.

    Buffers, such as the running means of BatchNorm, are each process's own, as in the original.
    """
    number = [torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=number, broadcast_buffers=False)


def _device_title(device_name: str) -> str:
    if device_name.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{device_name} with {torch.get_num_threads()} threads each"
