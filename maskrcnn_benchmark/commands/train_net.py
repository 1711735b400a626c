"""Train a detector, then evaluate it.

python tools/train_net.py --config-file configs/quickstart.yaml
torchrun --nproc_per_node=8 tools/train_net.py --config-file configs/dota/….yaml
"""

import argparse
import os

import torch

from maskrcnn_benchmark.config.settings import given_keys
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.num_classes import settle_num_classes
from maskrcnn_benchmark.engine.inference import run_test
from maskrcnn_benchmark.engine.trainer import do_train
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.utils.checkpoint import AVERAGED, DetectronCheckpointer
from maskrcnn_benchmark.utils.comm import get_world_size, is_main_process
from maskrcnn_benchmark.utils.command_line import add_run_arguments, parse_with_pairs, run_tool
from maskrcnn_benchmark.utils.miscellaneous import save_config
from maskrcnn_benchmark.utils.processes import share_gradients, start_run


def train(cfg, distributed: bool):
    """Train from MODEL.WEIGHT, or from OUTPUT_DIR's last checkpoint where there is one.

    OUTPUT_DIR/config.yml gets the settings as soon as an iteration is about to be trained with
    them.

    Returns:
        the trained model, wrapped in DistributedDataParallel in a distributed run; with
        SOLVER.EMA it has the averaged weights.
    """
    device = torch.device(cfg.MODEL.DEVICE)
    model = build_detection_model(cfg).to(device)
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    checkpointer = DetectronCheckpointer(
        cfg, model, optimizer, scheduler, cfg.OUTPUT_DIR, save_to_disk=is_main_process()
    )
    arguments = {"iteration": 0, **checkpointer.load(cfg.MODEL.WEIGHT)}
    if distributed:
        model = share_gradients(model, device)
    loader = make_data_loader(
        cfg, is_train=True, is_distributed=distributed, start_iter=arguments["iteration"]
    )
    validation_loader = None
    if cfg.SOLVER.TEST_PERIOD > 0:
        validation_loader = make_data_loader(
            cfg, is_train=False, is_distributed=distributed, is_for_period=True
        )
    if arguments["iteration"] < cfg.SOLVER.MAX_ITER:
        save_config(cfg, os.path.join(cfg.OUTPUT_DIR, "config.yml"))
    do_train(
        cfg,
        model,
        loader,
        validation_loader,
        optimizer,
        scheduler,
        checkpointer,
        device,
        cfg.SOLVER.CHECKPOINT_PERIOD,
        cfg.SOLVER.TEST_PERIOD,
        arguments,
    )
    if AVERAGED in arguments:
        getattr(model, "module", model).load_state_dict(arguments[AVERAGED])
    return model


def main() -> None:
    """Train and evaluate as the command line says."""
    parser = argparse.ArgumentParser(description="Train a detector, then evaluate it")
    parser.add_argument(
        "--skip-test", action="store_true", help="do not evaluate the trained model"
    )
    add_run_arguments(parser)
    args = parse_with_pairs(parser)
    cfg = start_run(args.config_file, args.opts, args.local_rank, log_to_file=True)
    cfg = settle_num_classes(cfg, given_keys(args.config_file, args.opts))
    distributed = get_world_size() > 1
    if not args.skip_test:  # what is wrong with DATASETS.TEST is told before the training
        make_data_loader(cfg, is_train=False, is_distributed=distributed)
    model = train(cfg, distributed)
    if not args.skip_test:
        run_test(cfg, model, distributed)


def run() -> None:
    """Run the program and end it, as run_tool does."""
    run_tool(main)
