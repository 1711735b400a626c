"""Merge result files of tiles (lines name tiles, as P0706__1__824___0) to those of whole images.

TILE_RESULTS holds Task1_<class>.txt, Task2_<class>.txt or both. A result is dropped if a better one
of another tile overlaps it by more than the threshold; within a tile, nothing is dropped.
"""

import argparse
from pathlib import Path

from maskrcnn_benchmark.utils.command_line import score


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("source", type=Path, metavar="TILE_RESULTS")
    parser.add_argument("destination", type=Path, metavar="OUT")
    parser.add_argument("--nms-obb", type=score, default=0.1, help="IoU of polygons, Task1 (0.1)")
    parser.add_argument(
        "--nms-hbb", type=score, default=0.5, help="IoU of upright boxes, Task2 (0.5)"
    )


def run(args: argparse.Namespace) -> None:
    """Merge, and print a line per file."""
    from maskrcnn_benchmark.dota.merge_files import merge_folder  # PyTorch: not for --help

    for path, before, after in merge_folder(
        args.source, args.destination, args.nms_hbb, args.nms_obb
    ):
        print(f"{path}: {after} of {before}")
