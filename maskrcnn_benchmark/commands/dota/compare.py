"""Say whether two results on the same images differ by more than noise.

Prints the average precision (AP) of both per class and their mean, the difference B - A, and its
95 % interval by a paired bootstrap over the images: sets of as many images are drawn with
replacement, and both results are evaluated on each. "noise": the interval has 0 in it. It shows
what another choice of images would change, not what training again would.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from maskrcnn_benchmark.dota.average_precision import METRICS, format_ap, read_folders
from maskrcnn_benchmark.dota.classes import in_order
from maskrcnn_benchmark.dota.comparison import FEW_IMAGES, Difference, compare
from maskrcnn_benchmark.dota.overlaps import find_overlaps
from maskrcnn_benchmark.dota.submission import task_of
from maskrcnn_benchmark.dota.submission_check import read_image_list
from maskrcnn_benchmark.utils.atomic_write import write_text
from maskrcnn_benchmark.utils.command_line import score


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("a", type=Path, metavar="RESULTS_A")
    parser.add_argument("b", type=Path, metavar="RESULTS_B")
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--task", type=int, choices=(1, 2), help="1 (oriented) or 2 (default: that of the files)"
    )
    parser.add_argument("--iou", type=score, default=0.5, help="must be exceeded (0.5)")
    parser.add_argument("--metric", choices=METRICS, default="voc07")
    parser.add_argument(
        "--images", type=Path, metavar="LIST", help="file of image names (all that have labels)"
    )
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="sets (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the sets (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")


def run(args: argparse.Namespace) -> None:
    """Compare, print the table and write the figures."""
    names = None if args.images is None else list(read_image_list(args.images))
    task = args.task or task_of(args.a)
    tables = []
    for folder in (args.a, args.b):
        labels, results = read_folders(args.labels, folder, task, names)
        tables.append(find_overlaps(labels, results, task))
    compared = compare(*tables, args.iou, args.metric, args.resamples, args.seed)
    print(_format(compared))
    nothing = in_order({name for table in tables for name in table.class_names} - set(compared))
    if nothing:
        print(f"Without objects, and so not in the mean: {', '.join(nothing)}")
    print(
        f"Task {task}, {args.metric} @{args.iou:g}. {len(labels)} images; {args.resamples} sets of "
        f"them drawn with seed {args.seed}."
    )
    if len(labels) < FEW_IMAGES:
        print(f"Of fewer than {FEW_IMAGES} images, the interval is likely too narrow.")
    if args.json is not None:
        settings = {
            "task": task,
            "iou": args.iou,
            "metric": args.metric,
            "images": len(labels),
            "resamples": args.resamples,
            "seed": args.seed,
        }
        classes = {
            name: asdict(entry) | {"verdict": entry.verdict} for name, entry in compared.items()
        }
        figures = settings | {"mAP": classes.pop("mAP"), "classes": classes}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.json, json.dumps(figures, indent=1) + "\n")


def _format(compared: Mapping[str, Difference]) -> str:
    """Lay out differences as text, a line per class and one for the mean."""
    width = max(map(len, [*compared, "class"]))
    lines = [f"{'class':{width}}       A       B    B - A      95 % interval"]
    for name, entry in compared.items():
        figures = f"{name:{width}} {format_ap(entry.a)} {format_ap(entry.b)}"
        if entry.a is not None and entry.b is not None:
            figures += f"  {entry.b - entry.a:+.4f}"
        if entry.low is not None and entry.high is not None:
            figures += f"  {entry.low:+.4f} … {entry.high:+.4f}  {entry.verdict}"
        lines.append(figures)
    return "\n".join(lines)
