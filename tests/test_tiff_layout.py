"""TIFF files whose strips or tiles are not all there."""

import struct
import zlib

import numpy as np
import pytest

from maskrcnn_benchmark.images.image_io import read_image
from maskrcnn_benchmark.images.tiff_layout import check_tiff_layout

HEIGHT, WIDTH, ROWS = 25, 14, 10  # strips of 10, 10 and 5 rows
PIXELS_RGB = np.random.default_rng(5).integers(0, 65536, (HEIGHT, WIDTH, 3))


def tiff(strips, sizes=None, bits=8, compression=1, extra=()):
    """Put a little-endian RGB file together: header, strips, directory, what does not fit there.

    Args:
        strips: bytes of each.
        sizes: what the header says of them; None: the truth.
        extra: more entries of the directory, (tag, kind, values).
    """
    offsets = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    body = b"".join(strips)
    entries = [
        (256, 4, [WIDTH]),
        (257, 4, [HEIGHT]),
        (258, 3, [bits] * 3),
        (259, 3, [compression]),
        (262, 3, [2]),
        (273, 4, offsets),
        (277, 3, [3]),
        (278, 4, [ROWS]),
        (279, 4, sizes or [len(strip) for strip in strips]),
        *extra,
    ]
    place = 8 + len(body) + 2 + 12 * len(entries) + 4
    directory, tail = struct.pack("<H", len(entries)), b""
    for tag, kind, values in sorted(entries):
        raw = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        directory += struct.pack("<HHI", tag, kind, len(values))
        directory += raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", place + len(tail))
        tail += raw if len(raw) > 4 else b""
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory + bytes(4) + tail


def cut_in_strips(bits=8, compress=bytes):
    pixels = (PIXELS_RGB >> (16 - bits)).astype(f"<u{bits // 8}")
    return [compress(pixels[top : top + ROWS].tobytes()) for top in range(0, HEIGHT, ROWS)]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("compression", "compress"), [(1, bytes), (8, zlib.compress)], ids=["plain", "deflate"]
)
def test_fault_strips_that_are_missing_or_too_short_were_read(
    tmp_path, bits, compression, compress
):
    path, strips = tmp_path / "a.tif", cut_in_strips(bits, compress)
    path.write_bytes(tiff(strips, bits=bits, compression=compression))
    rgb = PIXELS_RGB >> 8 if bits == 8 else np.round(PIXELS_RGB / 257)
    np.testing.assert_array_equal(read_image(path)[..., ::-1], rgb)
    sizes = [len(strip) for strip in strips]
    damaged = {
        "missing": tiff(strips[:2], bits=bits, compression=compression),
        "empty": tiff(strips, [sizes[0], 0, sizes[2]], bits, compression),
        "short": tiff(strips, [sizes[0], 60, sizes[2]], bits, compression),
        "short at the end": tiff(strips, [*sizes[:2], 60], bits, compression),
        "behind the end": tiff(strips, [*sizes[:2], 9000], bits, compression),
    }
    for kind, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a.tif: cannot be read as an image: \S"):
            read_image(path)
            pytest.fail(kind)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4])  # 16 bits on their side are refused
def test_orientation_tag_is_applied_to_no_depth(tmp_path, orientation, bits):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(cut_in_strips(bits), bits=bits, extra=[(274, 3, [orientation])]))
    rgb = PIXELS_RGB >> 8 if bits == 8 else np.round(PIXELS_RGB / 257)
    np.testing.assert_array_equal(read_image(path)[..., ::-1], rgb)


TILED = {256: 100, 257: 50, 258: (8, 8, 8), 259: 1, 277: 3, 322: 64, 323: 32}


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        # 100 x 50 in tiles of 64 x 32: 2 x 2 of 64 * 32 * 3 = 6144 bytes, whole at the border too
        ({324: (8,) * 4, 325: (6144,) * 4}, None),
        ({324: (8,) * 4, 325: (6144, 6144, 6144, 6143)}, "tile 3 holds 6143 bytes, expected 6144"),
        ({324: (8,) * 3, 325: (6144,) * 3}, "expected 4 tiles, its header lists 3"),
        ({324: (8, 8, 8, 4000), 325: (6144,) * 4}, "tile 3 goes on behind the file's end"),
        ({324: (8,) * 4, 325: (1,) * 4, 259: 5}, None),  # packed, of any size
        ({324: (8,) * 4, 325: (0,) * 4, 259: 5}, "tile 0 holds 0 bytes, expected 1 at least"),
        # each channel in tiles of its own: 12 of 2048 bytes
        ({324: (8,) * 12, 325: (2048,) * 12, 284: 2}, None),
        ({324: (8,) * 4, 325: (6144,) * 4, 284: 2}, "expected 12 tiles, its header lists 4"),
        ({324: (8,) * 4}, None),  # old files tell no sizes
        # YCbCr with halved colours: 100 * 50 * 1.5 bytes, in one strip
        ({262: 6, 273: 8, 279: 7500}, None),
    ],
)
def test_tiles_planes_and_kinds(tags, message):
    tags = TILED | tags
    if message is None:
        assert check_tiff_layout(tags, 8000) is None
        return
    with pytest.raises(ValueError, match=message):
        check_tiff_layout(tags, 8000)
