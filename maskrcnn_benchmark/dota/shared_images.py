"""Images that stand in more than one set, by their pixels and by their names.

The same pixels in another kind of file, or compressed otherwise, are the same image. So pixels are
compared, but only of images whose width and height another set has, too: few are decoded.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from maskrcnn_benchmark.dota.folders import DotaFolder
from maskrcnn_benchmark.dota.tiles import parse_tile_name
from maskrcnn_benchmark.images.files import file_sha256
from maskrcnn_benchmark.images.image_io import read_image, read_image_size


def content_checksums(
    sets: Mapping[str, DotaFolder],
) -> tuple[dict[str, dict[str, list[str]]], list[str]]:
    """Return checksums of each whole image's content: of its pixels and of its file.

    Of a split set the pixels are put together from the tiles of rate 1, if it has them.

    Args:
        sets: by title.

    Returns:
        per set, by image name, none of an image that is as large as none in another set; and what
        is wrong with the images that cannot be decoded, which have none either.
    """
    sizes = {title: _sizes(files) for title, files in sets.items()}
    in_sets = Counter(size for own in sizes.values() for size in set(own.values()))
    found: dict[str, dict[str, list[str]]] = {title: {} for title in sets}
    faults = []
    for title, own in sizes.items():
        for name, size in tqdm(own.items(), f"compare {title}", unit="image", disable=None):
            found[title][name] = []
            if in_sets[size] > 1:
                try:
                    found[title][name] = _checksums(sets[title], name, size)
                except (OSError, ValueError) as error:
                    faults.append(str(error))
    return found, faults


def shared_images(sets: Mapping[str, Mapping[str, Sequence[str]]]) -> list[dict[str, Any]]:
    """Find images that stand in more than one set.

    Args:
        sets: per set, checksums of the content by name; those of one image mean the same.

    Returns:
        {"by": "content" or "name", "images": ["SET: NAME", …]} per group; images that have the same
        content are not told again for their name.
    """
    by_content: dict[str, list[tuple[str, str]]] = {}
    by_name: dict[str, list[tuple[str, str]]] = {}
    for title, checksums in sets.items():
        for name, own in checksums.items():
            by_name.setdefault(name, []).append((title, name))
            for checksum in own:
                by_content.setdefault(checksum, []).append((title, name))
    same: list[list[tuple[str, str]]] = []
    told: set[tuple[str, str]] = set()
    for group in sorted(by_content.values(), key=len, reverse=True):
        if len({title for title, _ in group}) > 1 and not told.issuperset(group):
            same.append(group)
            told.update(group)
    named = [group for group in by_name.values() if len(group) > 1 and not told.issuperset(group)]
    return [
        {"by": by, "images": [f"{title}: {name}" for title, name in group]}
        for by, groups in (("content", same), ("name", named))
        for group in groups
    ]


def _sizes(files: DotaFolder) -> dict[str, tuple[int, int]]:
    """Return each whole image's width and height."""
    if files.plan is None:
        return {name: read_image_size(path) for name, path in files.images.items()}
    sources = files.plan["sources"]
    return {name: (entry["width"], entry["height"]) for name, entry in sources.items()}


def _checksums(files: DotaFolder, name: str, size: tuple[int, int]) -> list[str]:
    """Return the SHA-256 of a whole image's pixels and of its file, as far as they are known."""
    if files.plan is None:
        pixels = read_image(files.images[name])
        return [hashlib.sha256(pixels.data).hexdigest(), file_sha256(files.images[name])]
    entry = files.plan["sources"][name]
    found = [entry["sha256"]] if "sha256" in entry else []
    parts = {tile: parse_tile_name(tile) for tile in entry["tiles"]}
    places = {tile: place[2:] for tile, place in parts.items() if place and place[1] == 1}
    if places:
        whole = np.zeros((size[1], size[0], 3), np.uint8)
        for tile, (x, y) in places.items():
            part = read_image(files.images[tile])
            whole[y : y + len(part), x : x + part.shape[1]] = part
        found.append(hashlib.sha256(whole.data).hexdigest())
    return found
