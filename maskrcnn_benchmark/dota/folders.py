"""Which files a DOTA-format folder holds, and which of them belong together.

    FOLDER/images/P0706.png      FOLDER/labelTxt/P0706.txt

An image whose label file is empty shows no object; an image without a label file is unlabelled.
In place of labelTxt, a release of DOTA has labelTxt-v1.0, labelTxt-v1.5 or labelTxt-v2.0, with the
label files in it or in a folder labelTxt inside.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from maskrcnn_benchmark.images.files import by_stem, list_images


def find_images(folder: Path) -> dict[str, Path]:
    """Find a folder's images, by name.

    Raises:
        FileNotFoundError: no images/, or nothing in it.
        ValueError: two images of one name.
    """
    if not (folder / "images").is_dir():
        raise FileNotFoundError(
            f"{folder}: expected a folder images/ in it, and labelTxt/ for the labels"
        )
    return by_stem(list_images(folder / "images"))


def find_label_folder(folder: Path, version: str | None = None) -> Path | None:
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


def find_label_files(
    label_folder: Path, images: Mapping[str, Path], report: Callable[[str], None]
) -> dict[str, Path]:
    """Find the label files of images, by the images' names.

    Args:
        label_folder: holds `<image>.txt` files.
        images: by name.
        report: is told how many images have no label file, and how many label files no image.

    Raises:
        FileNotFoundError: not one image has a label file.
    """
    files = {path.stem: path for path in sorted(label_folder.glob("[!.]*.txt"))}
    unlabelled = [name for name in images if name not in files]
    strangers = [path for name, path in files.items() if name not in images]
    if len(unlabelled) == len(images):
        raise FileNotFoundError(
            f"{label_folder}: expected a label file for each image, for example "
            f"{unlabelled[0]}.txt, found none; without labels the folder {label_folder.name} must "
            "not be there"
        )
    if unlabelled:
        report(
            f"{label_folder}: {len(unlabelled)} of {len(images)} images have no label file and are "
            f"left out of training and evaluation, the first is {images[unlabelled[0]].name}; an "
            f"image that shows no object needs an empty file ({unlabelled[0]}.txt)"
        )
    if strangers:
        report(
            f"{label_folder}: {len(strangers)} of {len(files)} label files have no image and are "
            f"not read, the first is {strangers[0].name}: add the images, or delete these files"
        )
    return {name: path for name, path in files.items() if name in images}
