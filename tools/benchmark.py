"""Measure what the package promises.

    python tools/benchmark.py crowd

`crowd`: time and memory of matching 100, 1,000 and 5,000 ground truths with the anchors of a
1024 x 1024 tile, against the plain computation with the whole matrix in the same run, and whether
the indices are the same. The plain one is left out where it does not fit the memory. Some minutes.
"""

import argparse
import re

from maskrcnn_benchmark.engine.benchmark import crowd_table


def image_size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 1024x768, got {text!r}")
    return int(match[1]), int(match[2])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    crowd = commands.add_parser("crowd", help="matching of crowds: time, memory, exactness")
    crowd.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 5000], metavar="N")
    crowd.add_argument("--size", type=image_size, default=(1024, 1024), metavar="WIDTHxHEIGHT")
    crowd.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for line in crowd_table(args.counts, *args.size, args.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
