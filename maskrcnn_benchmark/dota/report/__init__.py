"""Why a score is what it is: a page for people, and its figures as JSON beside it."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from maskrcnn_benchmark.dota.annotations import DotaObject
from maskrcnn_benchmark.dota.errors import find_errors
from maskrcnn_benchmark.dota.image_files import ImageFile
from maskrcnn_benchmark.dota.overlaps import assign, find_overlaps
from maskrcnn_benchmark.dota.report.figures import Rule, report_figures
from maskrcnn_benchmark.dota.report.page import Notes, report_page
from maskrcnn_benchmark.dota.report.pictures import Picture, draw_worst
from maskrcnn_benchmark.dota.seams import Tiles
from maskrcnn_benchmark.dota.submission import ClassResults
from maskrcnn_benchmark.utils.atomic_write import write_text

__all__ = ["ImageFile", "Rule", "write_report"]

PICTURES = 8


def write_report(
    path: str | Path,
    labels: Mapping[str, Sequence[DotaObject]],
    results: Mapping[str, ClassResults],
    task: int,
    rule: Rule | None = None,
    tiles: Tiles | None = None,
    files: Mapping[str, Sequence[ImageFile]] | None = None,
    pictures: int = PICTURES,
) -> dict:
    """Write a report of results.

    Args:
        path: of the page, NAME.html; its figures go to NAME.json beside it.
        labels: per image name, the whole image's objects.
        results: per class name; every image that they name must be in `labels`.
        task: 1 (oriented) or 2 (horizontal).
        rule: by what to count; None: by Rule's defaults.
        tiles: per image, the tiles that the network saw; None: not known. Where they are known of
            some images only, errors at seams are told apart in these.
        files: per image; images without any are not drawn. None: no pictures.
        pictures: how many images are drawn at most.

    Returns:
        the figures, as in the JSON file.
    """
    path, rule = Path(path), rule or Rule()
    table = find_overlaps(labels, results, task)
    lacking = [name for name in table.image_names if tiles is not None and not tiles.get(name)]
    no_seams = None
    if tiles is None:
        no_seams = "it is not known how the images were cut into tiles (--tiles, or --tile)."
    elif lacking and len(lacking) == len(table.image_names):
        no_seams = f"the tiles of the images are not known, such as those of {lacking[0]}."
        tiles = None
    assignment = assign(table, rule.iou)
    errors = find_errors(table, assignment, rule.iou, tiles)
    figures = report_figures(table, assignment, errors, rule, tiles)
    worst = [entry for entry in figures["worst_images"] if entry["errors"]][:pictures]
    draw = partial(draw_worst, table, assignment, errors, rule.score)
    drawn, no_pictures = _draw(draw, worst, files)
    notes = Notes(
        f"{path.resolve().parent.name}: why the score is what it is", no_seams, no_pictures
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path.with_suffix(".json"), json.dumps(figures, indent=1) + "\n")
    write_text(path, report_page(figures, drawn, notes))
    return figures


def _draw(
    draw: Callable[[str, Sequence[ImageFile]], Picture | None],
    worst: Sequence[dict],
    files: Mapping[str, Sequence[ImageFile]] | None,
) -> tuple[list[tuple[dict, Picture]], str | None]:
    """Draw images; return their pictures, and what to say of those that could not be drawn."""
    if files is None:
        return [], "No pictures: the images were not given."
    drawn, lacking = [], []
    for entry in tqdm(worst, "draw", unit="image", disable=None):
        own = files.get(entry["name"], ())
        picture = draw(entry["name"], own) if own else None
        if picture is None:
            lacking.append(entry["name"])
        else:
            drawn.append((entry, picture))
    names = ", ".join(lacking)
    return drawn, f"Not drawn, for want of a readable file: {names}." if lacking else None
