"""Prepare DOTA-format data, and evaluate result files.

    python tools/dota.py toy DATA --images 20 --size 1024x768 --objects 150 --seed 1
    python tools/dota.py split DATA TILES --size 1024 --overlap 200
    python tools/dota.py evaluate --labels DATA/labelTxt --detections RESULTS --task 1

`COMMAND --help` says more about each. Exit status: 0, or 2 with one line that says what is wrong.
"""

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from maskrcnn_benchmark.dota.average_precision import METRICS, evaluate_folders, format_table
from maskrcnn_benchmark.dota.split import split_folder, summarize_tiles
from maskrcnn_benchmark.dota.toy import TOY_CLASSES, write_toy_set
from maskrcnn_benchmark.utils.atomic_write import write_text
from maskrcnn_benchmark.utils.command_line import image_size


def toy(args: argparse.Namespace) -> None:
    scenes = write_toy_set(
        args.out, args.images, *args.size, args.objects, args.seed, report=tqdm.write
    )
    for _ in tqdm(scenes, "draw", args.images, unit="image", disable=None):
        pass
    print(f"{args.images} images with labels in {args.out}")


def split(args: argparse.Namespace) -> None:
    split_folder(args.source, args.destination, args.size, args.overlap, args.workers)
    print(summarize_tiles(args.destination).describe(str(args.destination)))


def evaluate(args: argparse.Namespace) -> None:
    names = None
    if args.images is not None:
        if not args.images.is_file():
            raise FileNotFoundError(f"{args.images}: no such list of images")
        names = args.images.read_text(encoding="utf-8").split()
    result = evaluate_folders(args.labels, args.detections, args.task, args.iou, args.metric, names)
    print(format_table(result))
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.json, json.dumps(result, indent=1) + "\n")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "toy",
        help="draw aerial-like scenes with exact oriented labels",
        description=f"Draw scenes into OUT/images and labels into OUT/labelTxt. Classes: "
        f"{', '.join(TOY_CLASSES)}. The same seed gives the same bytes.",
    )
    command.set_defaults(run=toy)
    command.add_argument("out", type=Path, metavar="OUT")
    command.add_argument("--images", type=int, default=20, help="how many (default: 20)")
    command.add_argument(
        "--size", type=image_size, default=(1024, 768), metavar="WxH", help="default: 1024x768"
    )
    command.add_argument(
        "--objects", type=int, default=150, help="per image, drawn smaller the more (150)"
    )
    command.add_argument("--seed", type=int, default=0, help="default: 0")

    command = commands.add_parser(
        "split",
        help="cut images and labels into overlapping tiles",
        description="Cut SRC/images and SRC/labelTxt into tiles in DST, named as DOTA's "
        "development kit names them. Interrupted, it goes on where it stopped when run again.",
    )
    command.set_defaults(run=split)
    command.add_argument("source", type=Path, metavar="SRC")
    command.add_argument("destination", type=Path, metavar="DST")
    command.add_argument("--size", type=int, default=1024, help="of a tile, pixels (1024)")
    command.add_argument("--overlap", type=int, default=200, help="of neighbours, pixels (200)")
    command.add_argument("--workers", type=int, default=1, help="processes (1)")

    command = commands.add_parser(
        "evaluate",
        help="average precision of DOTA result files",
        description="Evaluate Task1_<class>.txt (oriented) or Task2_<class>.txt (horizontal) files "
        "against labels, by the rule of DOTA's development kit.",
    )
    command.set_defaults(run=evaluate)
    command.add_argument("--labels", type=Path, required=True, metavar="DIR")
    command.add_argument("--detections", type=Path, required=True, metavar="DIR")
    command.add_argument("--task", type=int, choices=(1, 2), required=True)
    command.add_argument("--iou", type=float, default=0.5, help="must be exceeded (0.5)")
    command.add_argument("--metric", choices=METRICS, default="voc07")
    command.add_argument(
        "--images", type=Path, metavar="LIST", help="file of image names (all that have labels)"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


def main() -> int:
    args = make_parser().parse_args()
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; give the same command again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
