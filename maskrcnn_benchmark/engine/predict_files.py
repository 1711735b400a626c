"""A predictor over image files; one image's failure never ends the others."""

import json
import logging
import math
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tqdm.contrib.logging import logging_redirect_tqdm

from maskrcnn_benchmark.engine.journal import Journal
from maskrcnn_benchmark.engine.prediction_results import DRAWING, RESULTS, PredictionResults
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.engine.shared_prediction import SharedPrediction, check_shared
from maskrcnn_benchmark.images.bands import BandChoice
from maskrcnn_benchmark.images.files import by_stem, check_name, list_images
from maskrcnn_benchmark.images.image_reader import ImageReader
from maskrcnn_benchmark.images.open_image import open_image
from maskrcnn_benchmark.utils.comm import (
    all_gather,
    get_world_size,
    is_main_process,
    main_process_first,
)
from maskrcnn_benchmark.utils.progress import Progress
from maskrcnn_benchmark.utils.read_ahead import one_ahead

PIXELS_AHEAD = 2**26  # of an image that is decoded while another one is in memory: 0.2 GB
_package = logging.getLogger("maskrcnn_benchmark")


def find_images(places: Sequence[str]) -> list[Path]:
    """List image files.

    Args:
        places: files, taken as they are, and folders, of which the images directly inside are
            taken, without what an earlier prediction drew there.

    Raises:
        FileNotFoundError: nothing there, or a folder without images.
        ValueError: two files of the same stem, by which DOTA's text files name images.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            found += _without_drawings(place, list_images(place))
        elif place.is_file():
            found.append(place)
        else:
            raise FileNotFoundError(f"{place}: no such image or folder")
    return list(by_stem(dict.fromkeys(found)).values())


def check_out(images: Sequence[Path], out: str | Path) -> None:
    """Refuse to write into a folder of the images (ValueError), where pictures could be lost."""
    folder = Path(out).resolve()
    for path in images:
        if folder in (path.parent.resolve(), path.resolve().parent):
            raise ValueError(
                f"{out}: the results must not go where {path.name} is, they could replace pictures "
                f"there: name another folder, for example {Path(out) / 'found'}"
            )


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    out: str | Path,
    class_names: Sequence[str],
    score: float,
    about: dict[str, Any],
    choice: BandChoice | None = None,
    draw: bool = True,
    geopackage: bool = False,
) -> int:
    """Find objects in files; one that cannot be read or predicted on is told and passed over.

    Where there are several processes, all of them call this.

    Args:
        predictor: for whole images.
        images: with different stems.
        out: folder, made if it does not exist. Earlier results there are replaced when the new
            ones are whole; after an error or Ctrl-C, what was done lies in its folder "unfinished".
            A journal says which windows are done; they are not done again.
        class_names: label 1 first.
        score: detections below it are dropped.
        about: put at the head of the JSON file, and told first.
        choice: of the images' bands and their range; None: as they are.
        draw: whether pictures are made.
        geopackage: whether a GeoPackage is written beside GeoJSON.

    Returns:
        how many files have no result, or no picture since it cannot be written. If no file has a
        result, earlier ones stay.

    Raises:
        ValueError: settings by which nothing can be predicted, an image in `out`, or processes
            that do not share a disk.
    """
    check_out(images, out)
    results = PredictionResults(out, class_names, about, geopackage)
    job = SharedPrediction(predictor, images, choice, score, results)
    batches = {path: _count_batches(job, path) for path in images if is_main_process()}
    depends_on = {**predictor.depends_on(), "bands": str(choice)}
    outputs = [*map(_identify, images), [about, list(class_names), score, draw, geopackage]]
    if get_world_size() > 1:
        said = [outputs[-1], depends_on]
        check_shared(out, {"the images": outputs[:-1], "the settings and weights": said})
    with main_process_first():
        journal = Journal(out, depends_on)
    if journal.finished == json.loads(json.dumps(outputs)) and journal.has_results():
        if is_main_process():
            _package.info("nothing is left to do: the results are in %s", out)
        return 0
    if not is_main_process():
        job.detect([], journal, lambda _: None)
        if draw:
            job.draw(Journal(out, depends_on))
        return all_gather(0)[0]  # of process 0, once the results are written
    _package.info(_summary(predictor, batches, class_names, {**about, "results": out}))
    with (
        results,
        logging_redirect_tqdm([_package]),
        Progress(
            sum(map(sum, batches.values())), "window", _package, _count_done(batches, journal)
        ) as progress,
    ):
        if get_world_size() > 1:
            _detect_together(job, batches, journal, progress)
            journal = Journal(out, depends_on)
            if draw:
                job.draw(journal)
        _predict_each(job, batches, journal, draw, progress)
    where = f"results are in {out}" if len(results) else "there are no results"
    _package.info("%d of %d images done, %s", len(results), len(images), where)
    failed = sum(not results.is_whole(path, draw) for path in images)
    if len(results):
        journal.finish(None if failed else outputs, results.written)
    return all_gather(failed)[0]


def _count_done(batches: dict[Path, list[int]], journal: Journal) -> int:
    """Return how many windows the journal holds."""
    return sum(
        counts[batch] for path, counts in batches.items() for batch in _known(path, counts, journal)
    )


def _known(path: Path, counts: list[int], journal: Journal) -> Collection[int]:
    """Return the batches of an image that the journal holds; none of what is no image, or gone."""
    try:
        return journal.of_image(path) if counts else ()
    except OSError:
        return ()  # is told when it is read


def _detect_together(
    job: SharedPrediction, batches: dict[Path, list[int]], journal: Journal, progress: Progress
) -> None:
    """Share out the batches of windows that the journal lacks; called by process 0."""
    records = [_known(path, batches[path], journal) for path in job.images]
    items = [
        (image, batch)
        for image, path in enumerate(job.images)
        for batch in range(len(batches[path]))
        if batch not in records[image]
    ]
    before = progress.done
    job.detect(items, journal, lambda done: progress.reach(before + done))


def _predict_each(
    job: SharedPrediction,
    batches: dict[Path, list[int]],
    journal: Journal,
    draw: bool,
    progress: Progress,
) -> None:
    """Find what is in the images, one by one; each is decoded while the one before is looked at."""
    needed = {
        path: (draw and not job.results.has_picture(path))
        or len(_known(path, counts, journal)) < len(counts)
        for path, counts in batches.items()
    }
    before = 0
    with closing(one_ahead(_open_each(needed, job.choice))) as opened:
        for (path, counts), reader in zip(batches.items(), opened, strict=True):
            _predict_one(job, path, reader, journal, draw, _counted_from(before, progress))
            before += sum(counts)
            progress.reach(before)


def _open_each(
    needed: dict[Path, bool], choice: BandChoice | None
) -> Iterator[ImageReader | Exception]:
    """Open images whose pixels are needed or not, and decode those that are not large."""
    for path, is_needed in needed.items():
        try:
            check_name(path)
            reader = open_image(path, choice=choice)
            if is_needed and math.prod(reader.size) <= PIXELS_AHEAD:
                reader.prepare()
        except Exception as error:  # is told when the image's turn has come
            yield error
        else:
            yield reader


def _predict_one(
    job: SharedPrediction,
    path: Path,
    opened: ImageReader | Exception,
    journal: Journal,
    draw: bool,
    told: Callable[[int, int], None],
) -> None:
    """Find what is in an image and add it to the results, with a picture; tell what goes wrong."""
    with _told("skipped", path):
        if isinstance(opened, Exception):
            raise opened
        with opened as reader:
            found = job.find(reader, journal.of_image(path), told)
            job.results.add(path, reader, found)
            _package.info("%s: %d objects", path.name, len(found))
            if draw and not job.results.has_picture(path):
                with _told("no picture", path):
                    job.results.draw(path, reader, found)


def _without_drawings(folder: Path, images: list[Path]) -> list[Path]:
    """Leave out the pictures that an earlier prediction drew, and say so."""
    if not (folder / RESULTS).is_file():
        return images
    kept = [path for path in images if not path.name.endswith(DRAWING)]
    if len(kept) < len(images):
        _package.warning(
            "%s: %d files NAME%s beside a %s are passed over as drawings of an earlier prediction",
            *(folder, len(images) - len(kept), DRAWING, RESULTS),
        )
    if not kept:
        raise FileNotFoundError(f"{folder}: holds no image but drawings of an earlier prediction")
    return kept


def _count_batches(job: SharedPrediction, path: Path) -> list[int]:
    """Return how many windows each batch of an image has; none where the file is no image."""
    try:
        with open_image(path, choice=job.choice) as reader:
            size = reader.size
    except (ValueError, OSError):
        return []  # why is told when it is read
    return job.count_per_batch(size)


def _summary(
    predictor: Predictor,
    batches: dict[Path, list[int]],
    class_names: Sequence[str],
    about: dict[str, Any],
) -> str:
    """Say what is about to be done, a line per topic."""
    tile = "images are not cut"
    if predictor.tile:
        tile = f"{predictor.tile} pixels, overlap {predictor.overlap}"
    lines = {
        "images": f"{len(batches)}, in {sum(map(sum, batches.values()))} windows",
        "tile": tile,
        "classes": f"{len(class_names)}: {', '.join(class_names)}",
        **about,
    }
    return "\n".join(["predicting:", *(f"  {name}: {value}" for name, value in lines.items())])


def _identify(path: Path) -> list:
    """Return what tells a file from a changed one; its name alone if it cannot be looked at."""
    try:
        stat = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), stat.st_size, stat.st_mtime_ns]


@contextmanager
def _told(what: str, path: Path) -> Iterator[None]:
    """Log what goes wrong with an image, of whatever kind, so that the next one's turn comes."""
    try:
        yield
    except Exception as error:
        message = str(error) or type(error).__name__
        if str(path) not in message and repr(str(path)) not in message:
            message = f"{path}: {message}"
        debug = bool(os.environ.get("MASKRCNN_DEBUG"))
        _package.error("%s: %s", what, message, exc_info=debug)


def _counted_from(start: int, progress: Progress) -> Callable[[int, int], None]:
    """Return what turns the progress in one image into that in all, `start` windows on."""
    return lambda done, _: progress.reach(start + done)
