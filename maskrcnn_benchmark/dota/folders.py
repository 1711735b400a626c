"""Which files a DOTA-format folder holds, and which of them belong together.

    FOLDER/images/P0706.png      FOLDER/labelTxt/P0706.txt

An image whose label file is empty shows no object; an image without a label file is unlabelled.
In place of labelTxt, a release of DOTA has labelTxt-v1.0, labelTxt-v1.5 or labelTxt-v2.0, with the
label files in it or in a folder labelTxt inside. FOLDER/tiles.json says that the images are tiles
that dota/split.py made, all tiles of each image; the labels of the whole images then lie in
FOLDER/labelTxt-original.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.dota.plan import PLAN, read_plan
from maskrcnn_benchmark.images.files import by_stem, check_name, list_images

ORIGINALS = "labelTxt-original"


@dataclass(frozen=True)
class DotaFolder:
    """A folder's files.

    Attributes:
        path: the folder.
        images: by name.
        label_folder: None if there are no labels.
        label_files: of the images that have one, by the images' names.
        plan: what tiles.json says; None if there is none.
        unlabelled: how many images have no label file; of tiles, how many images they are of.
    """

    path: Path
    images: dict[str, Path]
    label_folder: Path | None
    label_files: dict[str, Path]
    plan: dict[str, Any] | None
    unlabelled: int

    def truth_file(self, image: str) -> Path:
        """Return the label file of a whole image, or of a tile that counts as an image."""
        if self.plan is not None:
            return self.path / ORIGINALS / f"{image}.txt"
        return self.label_files[image]


def read_folder(folder: Path, version: str | None, report: Callable[[str], None]) -> DotaFolder:
    """Find a folder's files.

    Args:
        folder: holds images/ and, unless its labels are not known, labelTxt/.
        version: DOTA's version whose labels are wanted, such as "1.0"; None: whatever is there.
        report: is told, with a count, of images without labels and of labels without an image.

    Raises:
        FileNotFoundError: no images/, nothing in it, or a label folder without label files.
        ValueError: two images of one name; or no label folder of the version wanted, or several.
    """
    images = _find_images(folder)
    label_folder = _find_label_folder(folder, version)
    plan = read_plan(folder) if (folder / PLAN).is_file() else None
    if label_folder is None:
        return DotaFolder(folder, images, None, {}, plan, 0)
    files = {path.stem: path for path in sorted(label_folder.glob("[!.]*.txt"))}
    unlabelled = [name for name in images if name not in files]
    if len(unlabelled) == len(images):
        raise FileNotFoundError(
            f"{label_folder}: expected a label file for each image, for example "
            f"{unlabelled[0]}.txt, found none; without labels the folder {label_folder.name} must "
            "not be there"
        )
    strangers = [path for name, path in files.items() if name not in images]
    if strangers:
        report(
            f"{label_folder}: {len(strangers)} of {len(files)} label files have no image and are "
            f"not read, the first is {strangers[0].name}: add the images, or delete these files"
        )
    count = len(unlabelled)
    if unlabelled and plan is None:
        report(
            f"{label_folder}: {count} of {len(images)} images have no label file and are left out "
            f"of training and evaluation, the first is {images[unlabelled[0]].name}; an image that "
            f"shows no object needs an empty file ({unlabelled[0]}.txt)"
        )
    elif unlabelled and plan is not None:
        count = _check_tiles(folder, plan, unlabelled, report)
    known = {name: path for name, path in files.items() if name in images}
    return DotaFolder(folder, images, label_folder, known, plan, count)


def report_outside(folder: Path, counts: Mapping[str, int], report: Callable[[str], None]) -> None:
    """Report how many objects lie wholly outside their image; counts are by image name."""
    affected = [name for name, count in counts.items() if count]
    if affected:
        report(
            f"{folder}: {sum(counts.values())} objects of {len(affected)} images lie wholly "
            f"outside their image and can never be found, the first in {affected[0]}: do labels "
            "and images belong together (the same size, the same crop)?"
        )


def _check_tiles(
    folder: Path, plan: Mapping, unlabelled: Sequence[str], report: Callable[[str], None]
) -> int:
    """Return of how many images tiles have no label file because the images have none."""
    sources = [name for name, entry in plan["sources"].items() if entry.get("labels", 0) is None]
    expected = {tile for name in sources for tile in plan["sources"][name]["tiles"]}
    lost = [name for name in unlabelled if name not in expected]
    if lost:
        raise FileNotFoundError(
            f"{folder}: {len(lost)} tiles lack their label files, the first is {lost[0]}: run "
            "`tools/dota.py split` again"
        )
    report(
        f"{folder}: {len(sources)} of {len(plan['sources'])} images have no label file and are "
        f"left out of training and evaluation, the first is {sources[0]}; for an image that shows "
        "no object add an empty one to the folder that was split, and split it again"
    )
    return len(sources)


def _find_images(folder: Path) -> dict[str, Path]:
    """Find a folder's images, by name.

    Raises:
        FileNotFoundError: no images/, or nothing in it.
        ValueError: two images of one name, or a name that is not UTF-8.
    """
    if not (folder / "images").is_dir():
        raise FileNotFoundError(
            f"{folder}: expected a folder images/ in it, and labelTxt/ for the labels"
        )
    images = by_stem(list_images(folder / "images"))
    for path in images.values():
        check_name(path)
    return images


def _find_label_folder(folder: Path, version: str | None) -> Path | None:
    """Find the folder of the label files.

    Args:
        folder: holds images/.
        version: DOTA's version whose labels are wanted, such as "1.0"; None: whatever is there.

    Returns:
        FOLDER/labelTxt; or the folder of DOTA's name that is meant; None if there are no labels.

    Raises:
        ValueError: there is none of the version wanted, or several of which any could be meant.
        FileNotFoundError: the folder of DOTA's name holds no label files.
    """
    if (folder / "labelTxt").is_dir():
        return folder / "labelTxt"
    named = {path.name.removeprefix("labelTxt-v"): path for path in folder.glob("labelTxt-v*/")}
    if not named:
        return None
    if version is None and len(named) == 1:
        (version,) = named
    if version not in named:
        found = ", ".join(sorted(path.name for path in named.values()))
        wanted = "labelTxt" if version is None else f"labelTxt or labelTxt-v{version}"
        raise ValueError(
            f"{folder}: expected a folder {wanted}, found {found}: set DOTA.VERSION to the version "
            "that is there, or rename the folder that you mean to labelTxt"
        )
    for place in (named[version] / "labelTxt", named[version]):
        if any(place.glob("*.txt")):
            return place
    raise FileNotFoundError(
        f"{named[version]}: expected label files <image>.txt in it, found none: move them there"
    )
