"""Cut a DOTA-format folder into a folder of tiles.

    SOURCE/images/P0706.png             DESTINATION/images/P0706__1__0___0.png, ...
    SOURCE/labelTxt/P0706.txt     ->    DESTINATION/labelTxt/P0706__1__0___0.txt, ...
                                        DESTINATION/labelTxt-original/P0706.txt   (a copy)
                                        DESTINATION/tiles.json

Tiles, names and clipped labels are those of dota/tiles.py, scales those of dota/rates.py; an image
without a label file gets none for its tiles. tiles.json (dota/plan.py) is there only when all is
finished; until then a journal says which sources are, so that a run which was interrupted goes on
where it stopped.
"""

import json
import math
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
from tqdm import tqdm

from maskrcnn_benchmark.dota.annotations import (
    DotaObject,
    outside,
    read_labels,
    stack_corners,
    write_labels,
)
from maskrcnn_benchmark.dota.folders import ORIGINALS, read_folder, report_outside
from maskrcnn_benchmark.dota.plan import (
    JOURNAL,
    PLAN,
    read_finished,
    read_plan,
    write_journal,
    write_plan,
)
from maskrcnn_benchmark.dota.rates import rates_of_images, scale_image, scale_labels
from maskrcnn_benchmark.dota.tiles import (
    CUT_AWAY,
    RULE,
    check_tile,
    clip_labels,
    tile_grid,
    tile_name,
)
from maskrcnn_benchmark.images.bands import BandChoice
from maskrcnn_benchmark.images.dark_images import report_dark_images
from maskrcnn_benchmark.images.files import file_sha256
from maskrcnn_benchmark.images.image_io import get_max_pixels, set_max_pixels, write_image
from maskrcnn_benchmark.images.image_reader import DecodedImage, ImageReader, Window
from maskrcnn_benchmark.images.open_image import open_image
from maskrcnn_benchmark.utils.atomic_write import remove_parts
from maskrcnn_benchmark.utils.data_summary import UNLABELLED, DataSummary
from maskrcnn_benchmark.utils.folder_lock import lock_folder
from maskrcnn_benchmark.utils.interrupt import end_with_parent

PARTS = ("images", "labelTxt", ORIGINALS)  # folders that split makes


@dataclass(frozen=True)
class _Job:
    """One source image's way to its tiles; plain values, so that another process can take it."""

    image: Path
    labels: Path | None  # None: it has no label file
    destination: Path
    tile: int
    overlap: int
    rates: tuple[float, ...]
    choice: BandChoice


def split_folder(
    source: str | Path,
    destination: str | Path,
    tile: int,
    overlap: int,
    workers: int = 1,
    report: Callable[[str], None] = print,
    rates: Sequence[float] = (1.0,),
    gsd: float | None = None,
    bands: str | None = None,
    stretch: str | None = None,
) -> int:
    """Cut all images of a folder into tiles, and their labels with them.

    Tiles without data and without an object are left out. Sources that are finished in the
    destination, unchanged since, are passed over.

    Args:
        source: holds images/ and, unless its labels are not known, labelTxt/ (or DOTA's own name,
            see dota/folders.py).
        destination: new, or one that was made with the same settings.
        tile, overlap: pixels; tile 0 copies each image as one tile.
        workers: how many processes cut.
        report: is told what the user should know.
        rates: scales at which each image is cut, 0.5 for half its sides.
        gsd: the size on the ground that pixels get before, as for `rates_of_images`.
        bands, stretch: of TIFF files, as for `BandChoice.parse`.

    Returns:
        how many tiles there are now.

    Raises:
        FileNotFoundError: no images/ in the source, none in it, or no label file for any of them.
        ValueError: impossible settings, settings other than the destination's, two images of one
            name, an unreadable image or a malformed label, by name.
        OSError: another process splits into the destination.
    """
    source, destination = Path(source), Path(destination)
    check_tile(tile, overlap)
    files = read_folder(source, None, report)
    if files.label_folder is None:
        report(f"{source}: has no labelTxt, so only images are cut")
    choice = BandChoice.parse(bands, stretch)
    if not choice.stretch:
        report_dark_images(list(files.images.values()), report, choice)
    rates_of = rates_of_images(files.images, files.label_files, rates, gsd, report)
    settings = {"tile": tile, "overlap": overlap, "rule": RULE}
    given = {"gsd": gsd, "rates": list(rates), "bands": bands, "stretch": stretch}
    if tuple(rates) == (1,):
        del given["rates"]
    settings |= {name: value for name, value in given.items() if value is not None}
    jobs = [
        _Job(image, files.label_files.get(name), destination, tile, overlap, rates_of[name], choice)
        for name, image in files.images.items()
    ]
    with lock_folder(destination):
        for folder in (destination, *(destination / name for name in PARTS)):
            remove_parts(folder)
        finished = read_finished(destination, settings)
        jobs = [job for job in jobs if not _is_finished(job, finished)]
        strangers = set(finished) - set(files.images)
        if strangers:
            report(f"{destination}: keeps the tiles of {len(strangers)} images not in {source}")
        if jobs:
            _run(jobs, settings, finished, workers)
        write_plan(destination, settings, finished)
    labels = {name: entry.get("labels") or {} for name, entry in finished.items()}
    outside_counts = {name: counts.get("outside", 0) for name, counts in labels.items()}
    report_outside(source, outside_counts, report)
    return sum(len(entry["tiles"]) for entry in finished.values())


def summarize_tiles(folder: str | Path) -> DataSummary:
    """Count what a folder that `split_folder` made holds, from its tiles.json."""
    entries = list(read_plan(Path(folder))["sources"].values())
    labels = [entry["labels"] for entry in entries if entry.get("labels") is not None]
    classes: Counter[str] = Counter()
    for counts in labels:
        classes.update(counts["classes"])
    return DataSummary(
        images=len(entries),
        samples=sum(len(entry["tiles"]) for entry in entries),
        classes=dict(classes.most_common()) if labels else None,
        difficult=sum(counts["difficult"] for counts in labels),
        cut_away=sum(counts["cut_away"] for counts in labels),
        empty=sum(counts["empty"] for counts in labels),
        left_out={UNLABELLED: len(entries) - len(labels)} if labels else {},
    )


def _is_finished(job: _Job, finished: dict[str, dict]) -> bool:
    """Say whether a source is cut already; if it has changed since, forget and remove its tiles."""
    name = job.image.stem
    if name not in finished:
        return False
    if _is_unchanged(job, finished[name]):
        return True
    _remove_tiles(job.destination, name, finished.pop(name))
    return False


def _is_unchanged(job: _Job, entry: dict) -> bool:
    """Say whether a source's tiles are all there and made from its present image and labels."""
    folder = job.destination
    present = all((folder / "images" / f"{name}.png").is_file() for name in entry["tiles"])
    if "labels" not in entry or not present or not _is_same_image(job, entry):
        return False
    if job.labels is None or entry["labels"] is None:
        return job.labels is None and entry["labels"] is None
    copy = folder / ORIGINALS / f"{job.image.stem}.txt"
    return (
        copy.is_file()
        and copy.read_bytes() == job.labels.read_bytes()
        and all((folder / "labelTxt" / f"{name}.txt").is_file() for name in entry["tiles"])
    )


def _is_same_image(job: _Job, entry: dict) -> bool:
    """Say whether an image is the one that was cut; if so, bring what is noted of it up to date."""
    size, times = _size_and_times(job.image)
    if entry["bytes"] != size:
        return False
    if entry.get("times") == times:
        return True
    checksum = file_sha256(job.image)
    if "sha256" in entry:
        same = entry["sha256"] == checksum
    else:  # earlier versions noted the size only: the image must not be newer than its tiles
        tile = job.destination / "images" / f"{entry['tiles'][0]}.png"
        same = times[0] < tile.stat().st_mtime_ns
    if same:
        entry |= {"times": times, "sha256": checksum}
    return same


def _size_and_times(image: Path) -> tuple[int, list[int]]:
    """Return a file's size in bytes, and the times of its last change and of its inode's, ns.

    The second time moves on with every write; the first one can be set to anything.
    """
    found = image.stat()
    return found.st_size, [found.st_mtime_ns, found.st_ctime_ns]


def _remove_tiles(destination: Path, name: str, entry: dict) -> None:
    """Remove what was made of a source before it or its labels changed."""
    (destination / ORIGINALS / f"{name}.txt").unlink(missing_ok=True)
    for tile in entry["tiles"]:
        (destination / "images" / f"{tile}.png").unlink(missing_ok=True)
        (destination / "labelTxt" / f"{tile}.txt").unlink(missing_ok=True)


def _run(jobs: list[_Job], settings: dict, finished: dict[str, dict], workers: int) -> None:
    """Cut the sources, and add what was made of each to `finished`."""
    destination = jobs[0].destination
    with_labels = any(job.labels for job in jobs)
    for part in PARTS if with_labels else PARTS[:1]:
        (destination / part).mkdir(parents=True, exist_ok=True)
    write_journal(destination, settings, finished)
    (destination / PLAN).unlink(missing_ok=True)
    results = map(_cut, jobs) if workers <= 1 else _cut_in_processes(jobs, workers)
    with (
        (destination / JOURNAL).open("a", encoding="utf-8") as stream,
        tqdm(total=len(jobs), desc="split", unit="image", disable=None) as bar,
    ):
        for name, entry in results:
            stream.write(json.dumps({"name": name} | entry) + "\n")
            stream.flush()
            finished[name] = entry
            bar.update()


def _cut_in_processes(jobs: list[_Job], workers: int) -> Iterator[tuple[str, dict]]:
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)),
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(get_max_pixels(),),
    )
    try:
        futures: list[Future] = [pool.submit(_cut, job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise ChildProcessError(
            "one of the cutting processes was killed, perhaps for want of memory: give the same "
            "command again, with fewer --workers; it goes on where this one stopped"
        ) from None
    finally:  # an error or Ctrl-C: what is in work is finished, nothing else begun
        pool.shutdown(cancel_futures=True)


def _start_worker(max_pixels: int) -> None:
    set_max_pixels(max_pixels)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    end_with_parent()


def _cut(job: _Job) -> tuple[str, dict]:
    """Write one source's tiles; each file whole, the copy of its labels last."""
    name = job.image.stem
    objects = read_labels(job.labels) if job.labels else []
    size, times = _size_and_times(job.image)  # before it is read: a later change is noticed
    checksum = file_sha256(job.image)
    shown: dict[str, list[DotaObject]] = {}
    with open_image(job.image, choice=job.choice) as reader:
        width, height = reader.size
        for rate in job.rates:
            shown |= _cut_at(job, reader, objects, rate)
    if job.labels:
        shutil.copyfile(job.labels, job.destination / ORIGINALS / f"{name}.txt")
    return name, {
        "width": width,
        "height": height,
        "bytes": size,
        "times": times,
        "sha256": checksum,
        "tiles": list(shown),
        "labels": _count(shown.values(), objects, width, height) if job.labels else None,
    }


def _cut_at(
    job: _Job, reader: ImageReader, objects: list[DotaObject], rate: float
) -> dict[str, list[DotaObject]]:
    """Write one source's tiles of one rate; return what each shows, by its name."""
    try:
        scaled = reader if rate == 1 else _scale(reader, rate)
    except ValueError as error:
        raise ValueError(f"{job.image}: {error}") from None
    objects = scale_labels(objects, rate)
    shown = {}
    for window in tile_grid(*scaled.size, job.tile, job.overlap):
        labels = clip_labels(objects, window)
        if not labels and not reader.has_data(_in_source(window, rate, reader.size)):
            continue
        tile = tile_name(job.image.stem, rate, window)
        write_image(job.destination / "images" / f"{tile}.png", scaled.read(window))
        shown[tile] = labels
        if job.labels:
            write_labels(job.destination / "labelTxt" / f"{tile}.txt", labels)
    return shown


def _scale(reader: ImageReader, rate: float) -> ImageReader:
    """Return a whole image at another rate, in memory."""
    width, height = reader.size
    if width * height > get_max_pixels():
        raise ValueError(f"{width}x{height} pixels, more than --max-pixels: cut it at rate 1 only")
    return DecodedImage(scale_image(reader.read(Window(0, 0, width, height)), rate))


def _in_source(window: Window, rate: float, size: tuple[int, int]) -> Window:
    """Return the part of the source image, of some (width, height), that a scaled window shows."""
    x0, y0 = (int(start / rate) for start in (window.x0, window.y0))
    x1 = min(math.ceil((window.x0 + window.width) / rate), size[0])
    y1 = min(math.ceil((window.y0 + window.height) / rate), size[1])
    return Window(x0, y0, x1 - x0, y1 - y0)


def _count(
    tiles: Collection[list[DotaObject]], objects: list[DotaObject], width: int, height: int
) -> dict:
    """Count the objects that a source's tiles show.

    Returns:
        "classes": objects per class, over all tiles, without those cut away; "difficult": how many
        of these are marked as difficult; "cut_away": parts of objects of which a tile shows too
        little; "empty": tiles that show no object; "outside": objects wholly outside the image.
    """
    kept = [item for tile in tiles for item in tile if item.difficult != CUT_AWAY]
    return {
        "classes": dict(Counter(item.name for item in kept)),
        "difficult": sum(item.difficult != 0 for item in kept),
        "cut_away": sum(map(len, tiles)) - len(kept),
        "empty": sum(not tile for tile in tiles),
        "outside": int(outside(stack_corners(objects), width, height).sum()),
    }
