"""Cut SRC/images and SRC/labelTxt into overlapping tiles in DST, named as DOTA's devkit names them.

Interrupted, it goes on where it stopped when run again.
"""

import argparse
from pathlib import Path

from maskrcnn_benchmark.dota.split import split_folder, summarize_tiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("source", type=Path, metavar="SRC")
    parser.add_argument("destination", type=Path, metavar="DST")
    parser.add_argument("--size", type=int, default=1024, help="of a tile, pixels (1024)")
    parser.add_argument("--overlap", type=int, default=200, help="of neighbours, pixels (200)")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")


def run(args: argparse.Namespace) -> None:
    """Split the folder and print what came of it."""
    split_folder(args.source, args.destination, args.size, args.overlap, args.workers)
    print(summarize_tiles(args.destination).describe(str(args.destination)))
