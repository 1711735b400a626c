"""Convert a labelled set: DOTA, YOLO-OBB, COCO, labelme, roLabelImg, Label Studio.

Corners stay where they are, to 0.01 pixels, and keep their order. What the format DST cannot hold
(difficult flags, ground-sample distance, ...) is told once, with a count. DST is new or empty, and
is there only when all is written. The images come along as hard links, which take no room but share
their content with the originals; where the file system has none, as copies.
"""

import argparse
from pathlib import Path

from maskrcnn_benchmark.dota.classes import VERSIONS
from maskrcnn_benchmark.dota.convert import convert_labels
from maskrcnn_benchmark.dota.formats import FORMATS, Source
from maskrcnn_benchmark.dota.label_pictures import draw_labels

DRAWN = "drawn"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("source", type=Path, metavar="SRC", help="a folder; or a JSON file")
    parser.add_argument("destination", type=Path, metavar="DST")
    parser.add_argument("--from", dest="source_format", choices=FORMATS, required=True)
    parser.add_argument("--to", dest="target_format", choices=FORMATS, required=True)
    add_source_arguments(parser)
    parser.add_argument(
        "--draw",
        type=int,
        nargs="?",
        const=5,
        default=0,
        metavar="N",
        help=f"draw the first images' labels, read from DST, into DST/{DRAWN} (N: 5)",
    )


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `convert` and `draw` may have to know of a set's folder."""
    parser.add_argument(
        "--image-folder", type=Path, metavar="DIR", help="where the images are (beside the labels)"
    )
    parser.add_argument(
        "--dota-version", choices=VERSIONS, help="which labels, if there are several labelTxt-v..."
    )


def run(args: argparse.Namespace) -> None:
    """Convert, draw, and print what came of it."""
    source = Source(args.source, args.image_folder, args.dota_version)
    count = convert_labels(source, args.source_format, args.destination, args.target_format)
    print(f"{args.destination}: {count} images with labels")
    if args.draw:
        out = args.destination / DRAWN
        pictures = draw_labels(Source(args.destination), args.target_format, out, args.draw)
        print(f"{out}: {len(pictures)} pictures")
