"""Count and measure the labels of FOLDER, raw or split.

Size is the square root of an object's area in pixels; aspect, its longer side through the shorter
one; direction, that of the longer side, clockwise on the screen.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from maskrcnn_benchmark.dota.statistics import collect_statistics, format_statistics
from maskrcnn_benchmark.images.charts import draw_bars, stack_charts
from maskrcnn_benchmark.images.image_io import write_image
from maskrcnn_benchmark.utils.atomic_write import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--plot", type=Path, metavar="OUT.png", help="draw them as bar charts")


def run(args: argparse.Namespace) -> None:
    """Print the table; write the figures and the picture."""
    figures = collect_statistics(args.folder, print)
    print(format_statistics(str(args.folder), figures))
    for path in filter(None, (args.json, args.plot)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if args.json is not None:
        write_text(args.json, json.dumps(figures, indent=1) + "\n")
    if args.plot is not None:
        write_image(args.plot, _draw(figures))


def _draw(figures: dict) -> np.ndarray:
    """Draw the distributions over all classes."""
    own = figures["all"]
    classes = [(name, entry["objects"]) for name, entry in figures["classes"].items()]
    counts = figures["objects_per_image"]["histogram"]
    directions = [(f"{angle} deg", count) for angle, count in own["directions"]]
    charts = {
        "objects per class": classes,
        "size: square root of the area, px": own["sizes"],
        "aspect: longer side / shorter side": own["aspects"],
        "direction of the longer side": directions,
        "files with so many objects": counts,
    }
    return stack_charts([draw_bars(title, bars) for title, bars in charts.items()])
