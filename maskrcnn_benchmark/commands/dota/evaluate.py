"""Evaluate Task1_<class>.txt (oriented) or Task2_<class>.txt (horizontal) files against labels.

The rule is that of DOTA's development kit.
"""

import argparse
import json
import sys
from pathlib import Path

from maskrcnn_benchmark.dota.average_precision import (
    COCO_IOUS,
    METRICS,
    evaluate_matches,
    evaluate_over_thresholds,
    format_table,
    format_threshold_table,
    match_detections,
    read_folders,
)
from maskrcnn_benchmark.dota.result_names import read_name
from maskrcnn_benchmark.utils.atomic_write import write_text
from maskrcnn_benchmark.utils.command_line import score

COCO_RANGE = "0.50:0.95"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR")
    parser.add_argument("--detections", type=Path, required=True, metavar="DIR")
    parser.add_argument("--task", type=int, choices=(1, 2), required=True)
    parser.add_argument(
        "--iou",
        type=_iou,
        default=0.5,
        help=f"must be exceeded (0.5); {COCO_RANGE}: the mean over 0.50, 0.55, ... 0.95",
    )
    parser.add_argument("--metric", choices=METRICS, default="voc07")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="LIST",
        help="file of image names, as result files have them (all that have labels)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")


def run(args: argparse.Namespace) -> None:
    """Evaluate, print the table and write the figures."""
    names = None
    if args.images is not None:
        if not args.images.is_file():
            raise FileNotFoundError(f"{args.images}: no such list of images")
        names = [read_name(field) for field in args.images.read_text(encoding="utf-8").split()]
    labels, results = read_folders(args.labels, args.detections, args.task, names, _tell)
    matches = match_detections(labels, results, args.task)
    if args.iou == COCO_RANGE:
        result = evaluate_over_thresholds(matches, COCO_IOUS, args.metric)
        print(format_threshold_table(result))
    else:
        result = evaluate_matches(matches, args.iou, args.metric)
        print(format_table(result))
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.json, json.dumps(result, indent=1) + "\n")


def _iou(text: str) -> float | str:
    return COCO_RANGE if text in (COCO_RANGE, "0.5:0.95") else score(text)


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
