"""Write a trained detector into a file that runs without PyTorch's model code.

python tools/export.py --config-file output/config.yml --weights output/model_final.pth ship.onnx

OUT.onnx runs in onnxruntime and by `tools/predict.py --weights OUT.onnx`; OUT.pt2 is torch.export's
form of the same. Suppression and selection are inside, and the settings, class names and the way to
normalise an image are in the metadata.
"""

import argparse

from maskrcnn_benchmark.config.settings import given_keys
from maskrcnn_benchmark.data.num_classes import settle_num_classes
from maskrcnn_benchmark.engine.predictor import read_class_names
from maskrcnn_benchmark.export.files import check_ending, export_detector
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.utils.checkpoint import load_trained
from maskrcnn_benchmark.utils.command_line import add_run_arguments, parse_with_pairs, run_tool
from maskrcnn_benchmark.utils.processes import start_run


def main() -> None:
    """Export as the command line says."""
    parser = argparse.ArgumentParser(description="Write a trained detector into an .onnx or .pt2")
    parser.add_argument("out", metavar="OUT", help="file that ends in .onnx or .pt2")
    parser.add_argument("--weights", required=True, metavar="FILE", help=".pth, .pkl or a URL")
    add_run_arguments(parser)
    args = parse_with_pairs(parser)
    check_ending(args.out)  # before a model is built and loaded
    cfg = start_run(
        args.config_file, [*args.opts, "MODEL.DEVICE", "cpu"], args.local_rank, log_to_file=False
    )
    cfg = settle_num_classes(cfg, given_keys(args.config_file, args.opts))
    model = build_detection_model(cfg)
    load_trained(cfg, model, args.weights, use_latest=False)
    export_detector(cfg, model, read_class_names(cfg, args.weights), args.out)
    print(f"written: {args.out} (classes: {', '.join(read_class_names(cfg, args.weights))})")


def run() -> None:
    """Run the program and end it, as run_tool does."""
    run_tool(main)
