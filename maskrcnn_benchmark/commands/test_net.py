"""Evaluate a trained detector on the sets of DATASETS.TEST.

python tools/test_net.py --config-file configs/quickstart.yaml
python tools/test_net.py --config-file configs/quickstart.yaml --ckpt output/model_0001000.pth
python tools/test_net.py --config-file configs/quickstart.yaml --dtype bfloat16
"""

import argparse

from maskrcnn_benchmark.config.settings import given_keys
from maskrcnn_benchmark.data.num_classes import settle_num_classes
from maskrcnn_benchmark.engine.inference import run_test
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.utils.checkpoint import load_trained
from maskrcnn_benchmark.utils.comm import get_world_size
from maskrcnn_benchmark.utils.command_line import (
    add_dtype_argument,
    add_run_arguments,
    parse_with_pairs,
    run_tool,
)
from maskrcnn_benchmark.utils.processes import start_run


def main() -> None:
    """Evaluate as the command line says."""
    parser = argparse.ArgumentParser(description="Evaluate a trained detector")
    parser.add_argument(
        "--ckpt",
        help="weights to evaluate; without it OUTPUT_DIR's last checkpoint or MODEL.WEIGHT",
    )
    add_dtype_argument(parser)
    add_run_arguments(parser)
    args = parse_with_pairs(parser)
    args.opts += ["DTYPE", args.dtype] if args.dtype else []
    cfg = start_run(args.config_file, args.opts, args.local_rank, log_to_file=False)
    cfg = settle_num_classes(cfg, given_keys(args.config_file, args.opts))
    model = build_detection_model(cfg).to(cfg.MODEL.DEVICE)
    weights = load_trained(cfg, model, args.ckpt or cfg.MODEL.WEIGHT, use_latest=args.ckpt is None)
    run_test(cfg, model, distributed=get_world_size() > 1, weights=weights)


def run() -> None:
    """Run the program and end it, as run_tool does."""
    run_tool(main)
