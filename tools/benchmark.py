"""Measure the time and memory that the README states.

    python tools/benchmark.py crowd
    python tools/benchmark.py memory --config-file configs/dota/faster_rcnn_R_50_FPN_1x.yaml
    python tools/benchmark.py original CHECKOUT [--ours KEY value ...]
    python tools/benchmark.py torchvision [--ours KEY value ...]
    python tools/benchmark.py oriented
    python tools/benchmark.py oriented_accuracy
    python tools/benchmark.py merging
    python tools/benchmark.py exported IMAGES --config-file FILE --weights FILE [--opts …]

`crowd`: time and memory of matching 100, 1,000 and 5,000 ground truths with the anchors of a
1024 x 1024 tile, compared with the computation on the whole IoU matrix, and whether the indices
are the same. Where the whole matrix does not fit into memory it is left out. Some minutes.

`memory`: what the tensors of a training step and of inference take under some settings, counted
on the CPU, so that they can be chosen before a GPU is there. IMS_PER_BATCH is one GPU's. A minute.

`original`: time of training steps and inference of Faster and Mask R-CNN (R-50-FPN) on an image of
1056 x 800 pixels, and of pasting masks, compared with a checkout of the original that runs on this
PyTorch (after `python tools/apply_patches.py CHECKOUT`). Ten minutes.

`torchvision`: CPU time of a training step and of inference of Faster R-CNN (R-50-FPN), compared
with torchvision's. Five minutes.

`oriented`: CPU time of rotated RoIAlign, target assignment, suppression, and steps of Oriented
R-CNN, each compared with its upright counterpart. Some minutes.

`oriented_accuracy`: accuracy of Oriented and of Mask R-CNN (both narrow) on the demo's scenes after
the same CPU minutes of training on one thread. 20 minutes.

`merging`: average precision after merging tiles of crowded toy scenes, if detections suppress those
of other tiles only, and if they suppress all; the detector is played. A minute.

`exported`: CPU time and differences of a trained detector in onnxruntime (extra `onnx`) and in
PyTorch, on the middle of images, a tile of DOTA.TILE each.
"""

import argparse
from pathlib import Path

from maskrcnn_benchmark.benchmarks.beside_torchvision import torchvision_table
from maskrcnn_benchmark.benchmarks.crowd import crowd_table
from maskrcnn_benchmark.benchmarks.exported import exported_table
from maskrcnn_benchmark.benchmarks.memory import memory_table
from maskrcnn_benchmark.benchmarks.merging import merging_table
from maskrcnn_benchmark.benchmarks.oriented import oriented_table
from maskrcnn_benchmark.benchmarks.oriented_accuracy import accuracy_table
from maskrcnn_benchmark.benchmarks.side_by_side import compare
from maskrcnn_benchmark.config.settings import given_keys, load_config
from maskrcnn_benchmark.data.num_classes import settle_num_classes
from maskrcnn_benchmark.engine.predict_files import find_images
from maskrcnn_benchmark.utils.command_line import image_size, run_tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    crowd = commands.add_parser("crowd", help="matching of crowds: time, memory, exactness")
    crowd.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 5000], metavar="N")
    crowd.add_argument("--size", type=image_size, default=(1024, 1024), metavar="WIDTHxHEIGHT")
    crowd.add_argument("--seed", type=int, default=0)
    memory = commands.add_parser("memory", help="memory of training and inference")
    memory.add_argument("--config-file", required=True, metavar="FILE")
    memory.add_argument("--objects", type=int, default=100, help="per image (%(default)s)")
    memory.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY value")
    original = commands.add_parser("original", help="time compared with the original's")
    original.add_argument("checkout", type=Path, metavar="CHECKOUT")
    original.add_argument("--repeats", type=int, default=10, metavar="N")
    original.add_argument(
        "--ours", nargs="+", default=[], metavar="KEY value", help="settings of ours alone"
    )
    beside = commands.add_parser("torchvision", help="time compared with torchvision's")
    beside.add_argument("--repeats", type=int, default=5, metavar="N")
    beside.add_argument(
        "--size", type=image_size, default=(1056, 800), metavar="WIDTHxHEIGHT", help="of the image"
    )
    beside.add_argument(
        "--ours", nargs="+", default=[], metavar="KEY value", help="settings of ours"
    )
    oriented = commands.add_parser("oriented", help="time of oriented models' parts")
    oriented.add_argument("--repeats", type=int, default=5, metavar="N")
    accuracy = commands.add_parser("oriented_accuracy", help="oriented boxes by two models")
    accuracy.add_argument("--minutes", type=float, default=7, help="of CPU, for each (%(default)s)")
    accuracy.add_argument(
        "--out",
        type=Path,
        default=Path("output/oriented_accuracy"),
        help="new folder (%(default)s)",
    )
    merging = commands.add_parser("merging", help="what the rule of merging tiles brings")
    merging.add_argument("--scenes", type=int, default=6, metavar="N")
    merging.add_argument("--objects", type=int, default=600, metavar="N", help="in each scene")
    merging.add_argument("--seed", type=int, default=0)
    exported = commands.add_parser("exported", help="onnxruntime beside PyTorch")
    exported.add_argument("images", nargs="+", metavar="IMAGES", help="files and folders")
    exported.add_argument("--config-file", required=True, metavar="FILE")
    exported.add_argument("--weights", required=True, metavar="FILE")
    exported.add_argument("--opts", nargs="+", default=[], metavar="KEY value", help="settings")
    args = parser.parse_args()
    if args.command == "crowd":
        lines = crowd_table(args.counts, *args.size, args.seed)
    elif args.command == "memory":
        cfg = load_config(args.config_file, args.opts)
        cfg = settle_num_classes(cfg, given_keys(args.config_file, args.opts))
        lines = memory_table(cfg, args.objects)
    elif args.command == "original":
        lines = compare(args.checkout, args.repeats, args.ours)
    elif args.command == "torchvision":
        lines = torchvision_table(args.repeats, *args.size, args.ours)
    elif args.command == "oriented_accuracy":
        lines = accuracy_table(args.minutes, args.out)
    elif args.command == "merging":
        lines = merging_table(args.scenes, args.objects, args.seed)
    elif args.command == "exported":
        cfg = load_config(args.config_file, [*args.opts, "MODEL.DEVICE", "cpu"])
        cfg = settle_num_classes(cfg, given_keys(args.config_file, args.opts))
        lines = exported_table(cfg, args.weights, find_images(args.images))
    else:
        lines = oriented_table(args.repeats)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    run_tool(main)
