"""Cut SRC/images and SRC/labelTxt into overlapping tiles in DST, named as DOTA's devkit names them.

--rates 0.5,1,1.5 cuts each image at three scales, in one folder. --gsd 0.3 first brings the images
to that ground-sample distance, by the line `gsd:` of their label files. Evaluation and
`dota.py merge` bring results of such tiles back to the images as they were.

Interrupted, it goes on where it stopped when run again.
"""

import argparse
from pathlib import Path

from maskrcnn_benchmark.dota.rates import as_named
from maskrcnn_benchmark.dota.split import split_folder, summarize_tiles
from maskrcnn_benchmark.images.image_io import MAX_PIXELS, set_max_pixels
from maskrcnn_benchmark.utils.command_line import add_band_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("source", type=Path, metavar="SRC")
    parser.add_argument("destination", type=Path, metavar="DST")
    parser.add_argument("--size", type=int, default=1024, help="of a tile, pixels (1024)")
    parser.add_argument("--overlap", type=int, default=200, help="of neighbours, pixels (200)")
    parser.add_argument(
        "--rates", type=rates, default=(1.0,), metavar="R,R", help="scales, as 0.5,1,1.5 (1)"
    )
    parser.add_argument(
        "--gsd", type=float, metavar="METERS", help="ground that a pixel shall show (as it is)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        help="larger images are refused; reading takes up to 7 bytes per pixel (%(default)s)",
    )
    add_band_arguments(parser)


def rates(text: str) -> tuple[float, ...]:
    """Read rates between commas, such as 0.5,1,1.5; a type for argparse."""
    try:
        return tuple(as_named(float(part)) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, in {text!r}") from None


def run(args: argparse.Namespace) -> None:
    """Split the folder and print what came of it."""
    set_max_pixels(args.max_pixels)
    split_folder(
        args.source,
        args.destination,
        args.size,
        args.overlap,
        args.workers,
        rates=args.rates,
        gsd=args.gsd,
        bands=args.bands,
        stretch=args.stretch,
    )
    print(summarize_tiles(args.destination).describe(str(args.destination)))
