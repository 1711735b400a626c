"""What the command-line tools share: settings, device, processes, log, and how they end."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
import yaml
from yacs.config import CfgNode

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.engine.precision import autocast
from maskrcnn_benchmark.engine.random_state import seed_everything
from maskrcnn_benchmark.utils.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.utils.comm import get_rank, get_world_size
from maskrcnn_benchmark.utils.logger import setup_logger


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that train_net and test_net have in common, by the original's names."""
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument(
        "--local_rank",
        "--local-rank",
        type=int,
        default=0,
        help="GPU of this process; torchrun sets LOCAL_RANK instead",
    )
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY value",
        help="change settings, for example: SOLVER.MAX_ITER 1000 MODEL.DEVICE cpu",
    )


def load_config(config_file: str, opts: Sequence[str]) -> CfgNode:
    """Reads a config file over the defaults, then single settings over both.

    Args:
        config_file: YAML.
        opts: KEY, value, KEY, value …

    Raises:
        FileNotFoundError: no such file.
        ValueError: none named, an unknown key, a value of the wrong type, bad YAML.
    """
    if not config_file:
        raise ValueError("name the settings: --config-file configs/quickstart.yaml")
    if not os.path.isfile(config_file):
        raise FileNotFoundError(f"{config_file}: no such config file")
    cfg = default_cfg.clone()
    try:
        cfg.merge_from_file(config_file)
    except (AssertionError, KeyError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{config_file}: {_one_line(error)}") from error
    if len(opts) % 2:
        raise ValueError(f"expected pairs KEY value after the options, got {' '.join(opts)}")
    try:
        cfg.merge_from_list(list(opts))
    except (AssertionError, KeyError, ValueError) as error:
        raise ValueError(f"in {' '.join(opts)}: {_one_line(error)}") from error
    return cfg


def start_run(config_file: str, opts: Sequence[str], local_rank: int, log_to_file: bool) -> CfgNode:
    """Sets a tool up: settings, device, processes (those that torchrun started), log, seeds.

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


class _TrainedModel(DetectronCheckpointer):
    """Loads a whole detector: what training may leave out, judging and predicting need."""

    def _load_model(self, checkpoint):
        report = super()._load_model(checkpoint)
        learnt = {name for name, _ in self.model.named_parameters()}
        lost = report.misfits + [name for name in report.missing if name in learnt]
        if lost:
            raise ValueError(
                f"the weights are not those of a detector with these settings: {len(lost)} parts "
                f"have another shape or are missing, such as {lost[0]}. Give the config.yml that "
                "training left beside them"
            )
        return report


def load_trained(cfg, model, weights: str, use_latest: bool) -> None:
    """Loads all of a trained detector.

    Args:
        cfg: its settings.
        model: built from them.
        weights: a .pth or .pkl file, a URL or catalog://NAME.
        use_latest: take OUTPUT_DIR's last checkpoint instead, where there is one.

    Raises:
        FileNotFoundError: neither weights nor a last checkpoint.
        ValueError: the weights are not those of a whole detector of these settings.
    """
    checkpointer = _TrainedModel(cfg, model, save_dir=cfg.OUTPUT_DIR)
    if not weights and not (use_latest and checkpointer.has_checkpoint()):
        raise FileNotFoundError(
            f"no trained weights: {cfg.OUTPUT_DIR!r} has no last_checkpoint; train first, or name "
            "weights with MODEL.WEIGHT FILE"
        )
    checkpointer.load(weights, use_latest=use_latest)


def run_tool(main: Callable[[], int | None]) -> None:
    """Runs a tool's main and ends the program: 0, or what main returns.

    Errors that a user can mend are told in one line and end with 2, a loss that is not finite
    ends with 1, Ctrl-C with 130. With MASKRCNN_DEBUG set, tracebacks are shown instead.
    """
    try:
        code = main()
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
    except KeyboardInterrupt:
        code = 130
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if os.environ.get("MASKRCNN_DEBUG"):
            raise
        print(
            f"error: {_one_line(error)} (MASKRCNN_DEBUG=1 shows where)", file=sys.stderr, flush=True
        )
        code = 1 if isinstance(error, FloatingPointError) else 2
    logging.shutdown()
    sys.exit(code)


def _join_processes(device_name: str, local_rank: int) -> None:
    """Joins the process group of torchrun: NCCL on GPUs, gloo on CPUs."""
    on_gpu = device_name.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo")


def _device_title(device_name: str) -> str:
    if device_name.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{device_name} with {torch.get_num_threads()} threads each"


def _one_line(error: Exception) -> str:
    """The message; of an error that came out of a loading process, its last line."""
    message = str(error).strip() or type(error).__name__
    if message.startswith("Caught "):
        message = message.splitlines()[-1]
    return " ".join(message.split())
