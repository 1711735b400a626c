"""Data sets named by their paths, in no catalog: "dota:FOLDER", "coco:ANNOTATIONS.json:FOLDER"."""

import os
import re
import zlib
from collections.abc import Sequence
from typing import Any

LONGEST_FOLDER_NAME = 120  # characters; file systems end at 255 bytes


def resolve_dataset_name(name: str) -> dict | None:
    """Say what to build for a name that holds its own paths.

    Args:
        name: "dota:FOLDER", where FOLDER holds images/ and labelTxt/; or
            "coco:ANNOTATIONS.json:IMAGES_FOLDER".

    Returns:
        dict(factory=..., args=...) as DatasetCatalog.get gives it; None for any other name.

    Raises:
        ValueError: a path is missing in the name.
    """
    kind, colon, rest = name.partition(":")
    if not colon:
        return None
    if kind == "dota":
        if not rest:
            raise ValueError(f'expected "dota:FOLDER" as the data set\'s name, got "{name}"')
        return dict(factory="DotaDataset", args=dict(folder=rest))
    if kind == "coco":
        annotations, images = _split_paths(rest)
        if not annotations or not images:
            raise ValueError(
                'expected "coco:ANNOTATIONS.json:IMAGES_FOLDER" as the data set\'s name, '
                f'got "{name}"'
            )
        return dict(factory="COCODataset", args=dict(ann_file=annotations, root=images))
    return None


def find_entry(name: str, catalog: Any) -> dict:
    """Say what to build for a name that holds its paths, or that a catalog knows.

    Args:
        name: as in DATASETS.TRAIN.
        catalog: its `get(name)` returns dict(factory=..., args=...), or raises for an unknown name.

    Raises:
        ValueError: an unknown name; the message says how to write it, if it is a path.
    """
    entry = resolve_dataset_name(name)
    if entry is not None:
        return entry
    try:
        return catalog.get(name)
    except (RuntimeError, KeyError) as error:
        if os.path.isdir(name):
            advice = f'it is a folder: write "dota:{name}" if it holds images/ and labelTxt/'
        elif os.path.isfile(name):
            advice = f'it is a file: write "coco:{name}:IMAGES_FOLDER" for annotations as of COCO'
        else:
            raise ValueError(str(error)) from error
        raise ValueError(f'there is no data set "{name}" in the catalog; {advice}') from error


def _split_paths(paths: str) -> tuple[str, str]:
    # the file's suffix tells the separator from a colon inside one of the paths
    annotations, separator, images = paths.partition(".json:")
    if separator:
        return annotations + ".json", images
    annotations, _, images = paths.rpartition(":")
    return annotations, images


def dataset_folder_name(name: str) -> str:
    """Turn a data set's name into one folder name: "dota:/data/my set" -> "dota_data_my_set".

    Of a very long name the end is kept, behind a checksum of the whole.
    """
    folder = re.sub(r"[^\w.-]+", "_", name).strip("_")
    if len(folder) <= LONGEST_FOLDER_NAME:
        return folder
    return f"{zlib.crc32(name.encode()):08x}_{folder[9 - LONGEST_FOLDER_NAME :]}"


def dataset_folder_names(names: Sequence[str]) -> list[str]:
    """Give each data set a folder name of its own, as `dataset_folder_name` does.

    Where another set before it came to the same name ("dota:a/b", "dota:a_b"), a checksum of its
    own name follows.
    """
    folders: dict[str, str] = {}
    for name in names:
        folder = dataset_folder_name(name)
        if folder in folders.values() and name not in folders:
            folder = f"{folder}_{zlib.crc32(name.encode()):08x}"
        folders.setdefault(name, folder)
    return [folders[name] for name in names]
