"""Prepare DOTA-format data; evaluate result files, check and pack them for DOTA's server.

    python tools/dota.py toy DATA --images 20 --size 1024x768 --objects 150 --seed 1
    python tools/dota.py split DATA TILES --size 1024 --overlap 200
    python tools/dota.py evaluate --labels DATA/labelTxt --detections RESULTS --task 1
    python tools/dota.py report RESULTS --labels DATA/labelTxt --images DATA/images report.html
    python tools/dota.py compare RESULTS OTHERS --labels DATA/labelTxt
    python tools/dota.py submit RESULTS Task1.zip --task 1 --images TEST/images

`COMMAND --help` says more about each. Exit status: 0; 1 if a check found something to mend; 2 with
one line that says what is wrong.
"""

import argparse
import sys
from importlib import import_module

from maskrcnn_benchmark.utils.command_line import run_tool

# Each command is a module of this folder with its description, add_arguments(parser) and run(args).
COMMANDS = {
    "toy": "draw aerial-like scenes with exact oriented labels",
    "convert": "labels from one format to another: DOTA, YOLO-OBB, COCO, labelme, ...",
    "draw": "pictures of labels, with the order of corners",
    "stats": "what labels hold: counts, sizes, shapes, directions, density",
    "split": "cut images and labels into overlapping tiles",
    "audit": "what training will meet: crowds, anchors, faults, images in two sets",
    "merge": "results of tiles to results of whole images",
    "evaluate": "average precision of DOTA result files",
    "report": "why the score is what it is: errors told apart, on a page with pictures",
    "compare": "whether two results differ by more than noise",
    "check": "what would cost a submission points, before it is sent",
    "submit": "check result files, and pack them for DOTA's server",
}


def main() -> int | None:
    """Run the command that the command line names; return its exit status, None for 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, title in COMMANDS.items():
        command = commands.add_parser(
            name, help=title, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name in sys.argv[1:2]:  # only the command that is called is imported
            module = import_module(f"{__name__}.{name}")
            command.description = module.__doc__
            command.set_defaults(run=module.run)
            module.add_arguments(command)
    args = parser.parse_args()
    return args.run(args)


def run() -> None:
    """Run the program and end it, as run_tool does."""
    run_tool(main)
