"""Draw aerial-like scenes with exact oriented labels: OUT/images and OUT/labelTxt.

The same seed gives the same bytes.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from maskrcnn_benchmark.dota.toy import TOY_CLASSES, write_toy_set
from maskrcnn_benchmark.utils.command_line import image_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.epilog = f"Classes: {', '.join(TOY_CLASSES)}."
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--images", type=int, default=20, help="how many (default: 20)")
    parser.add_argument(
        "--size", type=image_size, default=(1024, 768), metavar="WxH", help="default: 1024x768"
    )
    parser.add_argument(
        "--objects", type=int, default=150, help="per image, drawn smaller the more (150)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")


def run(args: argparse.Namespace) -> None:
    """Draw the scenes."""
    scenes = write_toy_set(
        args.out, args.images, *args.size, args.objects, args.seed, report=tqdm.write
    )
    for _ in tqdm(scenes, "draw", args.images, unit="image", disable=None):
        pass
    print(f"{args.images} images with labels in {args.out}")
