"""Cut SRC/images and SRC/labelTxt into overlapping tiles in DST, named as DOTA's devkit names them.

Interrupted, it goes on where it stopped when run again.
"""

import argparse
from pathlib import Path

from maskrcnn_benchmark.dota.split import split_folder, summarize_tiles
from maskrcnn_benchmark.images.image_io import MAX_PIXELS, set_max_pixels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("source", type=Path, metavar="SRC")
    parser.add_argument("destination", type=Path, metavar="DST")
    parser.add_argument("--size", type=int, default=1024, help="of a tile, pixels (1024)")
    parser.add_argument("--overlap", type=int, default=200, help="of neighbours, pixels (200)")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        help="larger images are refused; reading takes up to 7 bytes per pixel (%(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Split the folder and print what came of it."""
    set_max_pixels(args.max_pixels)
    split_folder(args.source, args.destination, args.size, args.overlap, args.workers)
    print(summarize_tiles(args.destination).describe(str(args.destination)))
