"""Find what would cost a submission points, and say in which line.

SOURCE is a zip or a folder of result files. "fatal" is what costs the whole submission. Exit
status: 0 if all is well, 1 if anything was found.
"""

import argparse
from pathlib import Path

from maskrcnn_benchmark.dota.classes import VERSIONS
from maskrcnn_benchmark.dota.submission_check import Finding, check_submission, read_image_list


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument(
        "--task", type=int, choices=(1, 2), help="1 (oriented) or 2 (default: that of the files)"
    )
    add_check_arguments(parser)


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `check` and `submit` have in common."""
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="LIST",
        help="the test images: their folder, or a file of lines `name` or `name width height`",
    )
    parser.add_argument("--dota-version", choices=VERSIONS, default="1.0", help="default: 1.0")
    parser.add_argument(
        "--most", type=int, metavar="N", help="results that a class may have (any number)"
    )
    parser.add_argument(
        "--show", type=int, default=5, metavar="N", help="places named of each finding (5)"
    )


def run(args: argparse.Namespace) -> int:
    """Check, print what was found, and return the exit status."""
    findings = find_and_print(args.source, args)
    if not findings:
        print(f"{args.source}: nothing to mend found")
    return 1 if findings else 0


def find_and_print(source: Path, args: argparse.Namespace) -> list[Finding]:
    """Check result files by the arguments of `add_check_arguments`."""
    images = read_image_list(args.images)
    findings = check_submission(
        source, args.task, images, args.dota_version, args.most, max(args.show, 1)
    )
    for finding in findings:
        print(finding)
    return findings
