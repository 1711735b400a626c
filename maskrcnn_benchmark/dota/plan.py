"""What is noted of a folder of tiles: tiles.json, or a journal until the folder is finished.

tiles.json holds {"tile", "overlap", "rule", "gsd", "rates", "sources": {name: {"width", "height",
"bytes", "times", "sha256", "tiles": [names], "labels"}}}. "gsd" and "rates" are there if they were
given. "bytes", "times" and "sha256" say which file was cut; "labels" counts what its labels hold
(see `split._count`), and is null for an image without a label file. tiles-unfinished.jsonl has the
settings in its first line and a line per finished source.
"""

import json
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.utils.atomic_write import write_text

PLAN = "tiles.json"
JOURNAL = "tiles-unfinished.jsonl"
SIZES = ("tile", "overlap")  # pixels
SETTINGS = (*SIZES, "gsd", "rates", "bands", "stretch")  # the latter four where they were given
COUNTS = ("difficult", "cut_away", "empty")  # of the labels, beside "classes"
_ADVICE = "run `tools/dota.py split` into a new folder"


def read_plan(folder: Path) -> dict[str, Any]:
    """Read a folder's tiles.json.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it does not hold what `split` writes.
    """
    path = folder / PLAN
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no JSON ({error}): {_ADVICE}") from None
    sources = plan.get("sources", {}) if isinstance(plan, dict) else None
    if not isinstance(sources, dict) or {type(plan.get(key, 0)) for key in SIZES} != {int}:
        raise ValueError(
            f'{path}: expected {{"tile": pixels, "overlap": pixels, "sources": {{image: …}}}}: '
            f"{_ADVICE}"
        )
    for name, entry in sources.items():
        if not _is_entry(entry):
            raise ValueError(
                f"{path}: what stands there of {name} is not what `split` writes: {_ADVICE}"
            )
    return dict.fromkeys(SIZES, 0) | plan | {"sources": sources}


def read_finished(folder: Path, settings: dict) -> dict[str, dict]:
    """Read which sources are finished, from tiles.json or from an interrupted run's journal.

    Args:
        folder: of the tiles; may be missing.
        settings: those of this run.

    Raises:
        ValueError: the folder was made with other settings, or by something else.
    """
    if (folder / JOURNAL).is_file():
        made_with, finished = _read_journal(folder / JOURNAL, settings)
        if not finished and not any((folder / "images").glob("*")):
            return {}  # it ended before anything was cut
    elif (folder / PLAN).is_file():
        made_with = read_plan(folder)
        finished = made_with.pop("sources")
    elif (folder / "images").is_dir() and any((folder / "images").iterdir()):
        raise ValueError(f"{folder}: holds images that `split` did not make; name a new folder")
    else:
        return {}
    if made_with != settings:
        was, now = (
            ", ".join(f"{key} {made[key]}" for key in SETTINGS if key in made)
            for made in (made_with, settings)
        )
        raise ValueError(
            f"{folder}: was made with other settings ({was}, not {now}) or by another version; "
            "name a new folder or delete this one"
        )
    return finished


def write_journal(folder: Path, settings: dict, finished: dict[str, dict]) -> None:
    """Begin the journal with what is finished already."""
    entries = [settings, *({"name": name} | entry for name, entry in finished.items())]
    write_text(folder / JOURNAL, "".join(json.dumps(entry) + "\n" for entry in entries))


def write_plan(folder: Path, settings: dict, finished: dict[str, dict]) -> None:
    """Write tiles.json, now that all is finished, and remove the journal."""
    sources = {name: finished[name] for name in sorted(finished)}
    write_text(folder / PLAN, json.dumps(settings | {"sources": sources}, indent=1) + "\n")
    (folder / JOURNAL).unlink(missing_ok=True)


def _read_journal(path: Path, settings: dict) -> tuple[dict, dict[str, dict]]:
    """Read a journal's settings and finished sources; a source of a broken line is cut again.

    A line is broken where a run was killed while it wrote it.
    """
    made_with, finished = settings, {}
    for number, line in enumerate(path.read_bytes().splitlines()):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if number == 0 and isinstance(entry, dict):
            made_with = entry
        elif _is_entry(entry) and isinstance(entry.get("name"), str):
            finished[entry.pop("name")] = entry
    return made_with, finished


def _is_entry(entry: Any) -> bool:
    """Say whether a source's entry has all that is read of it; early ones have no "labels"."""
    if not isinstance(entry, dict) or type(entry.get("bytes")) is not int:
        return False
    tiles, labels = entry.get("tiles"), entry.get("labels")
    if not isinstance(tiles, list) or not tiles and "sha256" not in entry:
        return False  # an image without data has no tiles, which early versions did not know
    if not all(isinstance(tile, str) and "/" not in tile for tile in tiles):
        return False
    if labels is None:
        return True
    classes = labels.get("classes") if isinstance(labels, dict) else None
    if not isinstance(classes, dict):
        return False
    numbers = [*classes.values(), *map(labels.get, COUNTS), labels.get("outside", 0)]
    return all(type(number) is int for number in numbers)
