"""Draw the labels of a set's first images, into OUT/NAME_labels.jpg.

Each class has its colour. A dot marks each object's corner 1, and the side to corner 2 is white, so
that the order of the corners can be seen.
"""

import argparse
from pathlib import Path

from maskrcnn_benchmark.commands.dota.convert import add_source_arguments
from maskrcnn_benchmark.dota.formats import FORMATS, Source
from maskrcnn_benchmark.dota.label_pictures import draw_labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--from", dest="source_format", choices=FORMATS, default="dota", help="default: dota"
    )
    parser.add_argument("--images", type=int, default=5, metavar="N", help="how many (5)")
    parser.add_argument("--out", type=Path, default=Path("drawn"), metavar="DIR", help="drawn/")
    add_source_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Draw the pictures."""
    source = Source(args.folder, args.image_folder, args.dota_version)
    pictures = draw_labels(source, args.source_format, args.out, args.images)
    print(f"{args.out}: {len(pictures)} pictures, the first is {pictures[0].name}")
