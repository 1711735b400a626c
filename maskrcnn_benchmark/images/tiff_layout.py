"""Whether a TIFF file holds all the strips or tiles that its header promises.

Decoders leave black what is missing, or take what lies behind a short strip for its rest.
"""

import math
from collections.abc import Mapping
from typing import Any

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
CHANNELS, PLANES = 277, 284
STRIP_OFFSETS, STRIP_HEIGHT, STRIP_BYTES = 273, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
UNCOMPRESSED, SEPARATE_PLANES, SUBSAMPLED = 1, 2, 6


def check_tiff_layout(tags: Mapping[int, Any], file_bytes: int, sparse: bool = False) -> None:
    """Refuse a TIFF file of which strips or tiles are missing or too short.

    Args:
        tags: of the first image, by number.
        file_bytes: size of the file.
        sparse: whether strips or tiles at offset 0 are without data, as GDAL leaves them out.

    Raises:
        ValueError: the file does not hold what its header promises.
    """
    width, height = tags[WIDTH], tags[HEIGHT]
    if TILE_OFFSETS in tags:
        kind, columns, rows = "tile", tags[TILE_WIDTH], tags[TILE_HEIGHT]
        offsets, sizes = _numbers(tags, TILE_OFFSETS), _numbers(tags, TILE_BYTES)
    else:
        kind, columns, rows = "strip", width, min(tags.get(STRIP_HEIGHT, height), height)
        offsets, sizes = _numbers(tags, STRIP_OFFSETS), _numbers(tags, STRIP_BYTES)
    separate = tags.get(PLANES) == SEPARATE_PLANES
    per_plane = math.ceil(width / columns) * math.ceil(height / rows)
    wanted = per_plane * tags.get(CHANNELS, 1) if separate else per_plane
    if len(offsets) < wanted:
        raise ValueError(f"expected {wanted} {kind}s, its header lists {len(offsets)}")
    bits = _numbers(tags, BITS) or (1,)
    row_bytes = math.ceil(columns * (bits[0] if separate else sum(bits)) / 8)
    # without sizes (old files have none) only the beginning of each is known
    for number, (offset, size) in enumerate(zip(offsets[:wanted], sizes, strict=False)):
        if sparse and offset == size == 0:
            continue
        least = 1
        if tags.get(COMPRESSION) == UNCOMPRESSED and tags.get(PHOTOMETRIC) != SUBSAMPLED:
            is_last = kind == "strip" and number % per_plane == per_plane - 1
            least = row_bytes * (height - rows * (per_plane - 1) if is_last else rows)
        if size < least:
            raise ValueError(f"{kind} {number} holds {size} bytes, expected {least} at least")
        if offset + size > file_bytes:
            raise ValueError(f"{kind} {number} goes on behind the file's end: it is cut short")


def _numbers(tags: Mapping[int, Any], tag: int) -> tuple[int, ...]:
    values = tags.get(tag, ())
    return values if isinstance(values, tuple) else (values,)
