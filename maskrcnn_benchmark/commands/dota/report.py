"""Say why a score is what it is: OUT.html, a page that needs nothing else, and OUT.json.

The page has AP tables and curves, the errors told apart with what mending each kind would bring,
confusions, AP by size, crowd and distance to a tile's seam, and the worst images. It needs the
images for the latter only. Errors at seams are told apart where the tiles are known: by --tiles, or
by --tile and --overlap, which need the images for their sizes.
"""

import argparse
from pathlib import Path

from maskrcnn_benchmark.dota.average_precision import METRICS, read_folders
from maskrcnn_benchmark.dota.plan import read_plan
from maskrcnn_benchmark.dota.report import PICTURES, ImageFile, Rule, write_report
from maskrcnn_benchmark.dota.seams import planned_tiles
from maskrcnn_benchmark.dota.submission import task_of
from maskrcnn_benchmark.dota.tiles import Window, check_tile, tile_grid
from maskrcnn_benchmark.images.files import by_stem, list_images
from maskrcnn_benchmark.images.image_io import read_image_size
from maskrcnn_benchmark.utils.command_line import score


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("results", type=Path, metavar="RESULTS")
    parser.add_argument("out", type=Path, metavar="OUT.html")
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the whole images")
    parser.add_argument(
        "--task", type=int, choices=(1, 2), help="1 (oriented) or 2 (default: that of the files)"
    )
    parser.add_argument("--iou", type=score, default=Rule.iou, help="must be exceeded (0.5)")
    parser.add_argument("--metric", choices=METRICS, default=Rule.metric)
    parser.add_argument(
        "--score",
        type=score,
        default=Rule.score,
        help="the least of detections in confusions and pictures (0.3)",
    )
    parser.add_argument("--tiles", type=Path, metavar="DIR", help="what `split` made")
    parser.add_argument("--tile", type=int, metavar="PIXELS", help="side of the tiles")
    parser.add_argument(
        "--overlap", type=int, default=200, metavar="PIXELS", help="of neighbouring tiles (200)"
    )
    parser.add_argument(
        "--pictures", type=int, default=PICTURES, metavar="N", help=f"images drawn ({PICTURES})"
    )


def run(args: argparse.Namespace) -> None:
    """Write the report and print where it is."""
    if args.out.suffix not in (".html", ".htm"):
        raise ValueError(f"expected a name that ends in .html for the page, got {args.out}")
    if args.tile is not None:
        check_tile(args.tile, args.overlap)
    task = args.task or task_of(args.results)
    labels, results = read_folders(args.labels, args.results, task)
    paths = {} if args.images is None else by_stem(list_images(args.images))
    files = {name: [ImageFile(path)] for name, path in paths.items()}
    figures = write_report(
        args.out,
        labels,
        results,
        task,
        Rule(args.iou, args.metric, args.score),
        _tiles(args, {name: path for name, path in paths.items() if name in labels}),
        files if args.images is not None else None,
        args.pictures,
    )
    print(f"mAP {figures['mAP']:.4f}" if figures["mAP"] is not None else "no object to find")
    print(f"{args.out}: written, and {args.out.with_suffix('.json').name} beside it")


def _tiles(args: argparse.Namespace, images: dict[str, Path]) -> dict[str, list[Window]] | None:
    """Return the tiles per image, as the arguments tell them; None: they do not."""
    if args.tiles is not None:
        return planned_tiles(read_plan(args.tiles))
    if args.tile is None:
        return None
    if args.images is None:
        raise ValueError("--tile needs --images, for the images' sizes")
    return {
        name: tile_grid(*read_image_size(path), args.tile, args.overlap)
        for name, path in images.items()
    }
