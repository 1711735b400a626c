"""Check a folder's result files of one task, and pack them into a zip for DOTA's server.

What would score zero is refused, with exit status 1; anything else that `check` finds is told. The
files are packed as they are, at full precision.
"""

import argparse
from pathlib import Path

from maskrcnn_benchmark.commands.dota.check import add_check_arguments, find_and_print
from maskrcnn_benchmark.dota.submission import zip_task_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("results", type=Path, metavar="RESULTS")
    parser.add_argument("out", type=Path, metavar="OUT.zip")
    parser.add_argument("--task", type=int, choices=(1, 2), required=True)
    add_check_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check and pack; return the exit status."""
    if not args.results.is_dir():
        raise FileNotFoundError(f"{args.results}: no such folder of result files")
    findings = find_and_print(args.results, args)
    if any(finding.fatal for finding in findings):
        print(f"{args.out}: not written, for it would score zero")
        return 1
    args.out.parent.mkdir(parents=True, exist_ok=True)
    zip_task_files(args.results, args.out, args.task)
    print(f"{args.out}: written")
    return 0
