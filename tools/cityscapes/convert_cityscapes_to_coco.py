#!/usr/bin/env python
"""Write Cityscapes' annotations in COCO's format.

    python tools/cityscapes/convert_cityscapes_to_coco.py --dataset cityscapes_instance_only \\
        --datadir datasets/cityscapes --outdir datasets/cityscapes/annotations
"""

import argparse
import logging

from maskrcnn_benchmark.data.datasets.cityscapes_to_coco import (
    convert_cityscapes_instance_only,
    poly_to_box,
    xyxy_to_xywh,
)
from maskrcnn_benchmark.utils.command_line import run_tool

__all__ = ["convert_cityscapes_instance_only", "main", "parse_args", "poly_to_box", "xyxy_to_xywh"]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--dataset",
        choices=["cityscapes_instance_only"],
        default="cityscapes_instance_only",
        help="what to convert",
    )
    parser.add_argument("--datadir", required=True, help="folder that holds gtFine")
    parser.add_argument("--outdir", required=True, help="where the JSON files go")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    convert_cityscapes_instance_only(args.datadir, args.outdir)


if __name__ == "__main__":
    run_tool(main)
