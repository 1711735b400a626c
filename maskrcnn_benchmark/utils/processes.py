"""How a run starts: settings, device, the processes that torchrun started, log and seeds."""

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from yacs.config import CfgNode

from maskrcnn_benchmark.config.settings import load_config
from maskrcnn_benchmark.utils.comm import get_rank, get_world_size
from maskrcnn_benchmark.utils.logger import setup_logger
from maskrcnn_benchmark.utils.precision import autocast
from maskrcnn_benchmark.utils.random_state import seed_everything


def start_run(config_file: str, opts: Sequence[str], local_rank: int, log_to_file: bool) -> CfgNode:
    """Set a tool up: settings, device, processes (those that torchrun started), log, seeds.

    Args:
        config_file, opts: as load_config takes them.
        local_rank: this process's GPU, unless LOCAL_RANK is set.
        log_to_file: write OUTPUT_DIR/log.txt too.

    Returns:
        The frozen settings; MODEL.DEVICE is "cpu" where CUDA was asked for and there is none.
    """
    cfg = load_config(config_file, opts)
    wanted = cfg.MODEL.DEVICE
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    autocast(cfg.DTYPE, torch.device(cfg.MODEL.DEVICE))  # an unknown DTYPE is told before the work
    cfg.freeze()
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        _join_processes(cfg.MODEL.DEVICE, int(os.environ.get("LOCAL_RANK", local_rank)))
    save_dir = cfg.OUTPUT_DIR if log_to_file else ""
    logger = setup_logger("maskrcnn_benchmark", save_dir, get_rank())
    if cfg.MODEL.DEVICE != wanted:
        logger.info("MODEL.DEVICE is %r but there is no GPU: running on the CPU", wanted)
    logger.info(
        "%d process(es) on %s, PyTorch %s, settings from %s",
        *(get_world_size(), _device_title(cfg.MODEL.DEVICE), torch.__version__, config_file),
    )
    seed_everything(cfg.SOLVER.SEED + get_rank())
    return cfg


def _join_processes(device_name: str, local_rank: int) -> None:
    """Join the process group of torchrun: NCCL on GPUs, gloo on CPUs."""
    on_gpu = device_name.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo")


def _device_title(device_name: str) -> str:
    if device_name.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{device_name} with {torch.get_num_threads()} threads each"
