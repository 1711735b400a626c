"""The only file that opens an image, but for geotiff.py: all becomes uint8 (H, W, 3) BGR.

Convention: BGR, uint8, rows first, the pixel order of the file. A pure red image is (0, 0, 255) in
every pixel. An EXIF orientation is not applied, because labels were drawn on the stored pixels.
16-bit values are divided by 257 and rounded, so that 65535 -> 255, 257 -> 1 and 128 -> 0.

A file may be damaged or made to harm: only FORMATS are opened (Pillow knows kinds that start other
programs), a size beyond `set_max_pixels` is refused by the header, and every error names the file.
"""

import base64
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from maskrcnn_benchmark.images.tiff_layout import HEIGHT, WIDTH, check_tiff_layout
from maskrcnn_benchmark.utils.atomic_write import written_whole

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
MAX_PIXELS = 2**30  # 32768 x 32768, 3.2 GB decoded; INPUT.MAX_PIXELS changes it
TIFF_ORIENTATION = 274
# What brings a TIFF back that its decoder turned upright by the orientation tag.
UNDO_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
STRIP_PIXELS = 1 << 22  # what is worked on beside the image; below Pillow's guard against bombs
CHANNEL_ORDERS = ("BGR", "RGB")

ImageSource = str | os.PathLike | Image.Image | np.ndarray

_lock = threading.Lock()
_readers = 0
_size_limit: int | None = None
_max_pixels = MAX_PIXELS


def set_max_pixels(count: int) -> None:
    """Refuse files of more pixels from now on, in this process and those that it forks off.

    Raises:
        ValueError: not a positive number.
    """
    global _max_pixels
    if not count > 0:
        raise ValueError(f"INPUT.MAX_PIXELS must be above 0, got {count}")
    _max_pixels = count


def get_max_pixels() -> int:
    """Return how many pixels a file may have in this process."""
    return _max_pixels


@contextmanager
def _any_size() -> Iterator[None]:
    """Lift Pillow's guard against decompression bombs, which aerial images honestly exceed.

    The guard is a variable of the whole process: the last of several threads puts it back.
    """
    global _readers, _size_limit
    with _lock:
        if _readers == 0:
            _size_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                Image.MAX_IMAGE_PIXELS = _size_limit


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read an image file of any common kind.

    Args:
        path: PNG, JPEG, TIFF or BMP; 8 or 16 bit; grey, bilevel, palette, colour or CMYK; alpha is
            dropped.

    Returns:
        uint8 (H, W, 3), BGR, in the stored pixel order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no image of these kinds, is damaged or cut short, has more pixels
            than `set_max_pixels` allows, or holds floating-point pixels.
    """
    with _any_size(), _open(path) as image, _naming(path):
        turned = UNDO_ORIENTATION.get(_tiff_tag(image, TIFF_ORIENTATION))  # decoding drops the tag
        _check_whole(image, path)
        if _has_16_bit_channels(image):
            pixels = to_bgr(_read_16_bit_colour(path))
        else:
            pixels = _pil_to_bgr(image)
        if turned is None:
            return pixels
        return np.array(Image.fromarray(pixels).transpose(turned))


def read_image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Read an image's (width, height) in pixels from its header, without decoding it."""
    with _any_size(), _open(path) as image:
        return _stored_size(image)


def to_bgr(image: ImageSource, channel_order: str = "BGR") -> np.ndarray:
    """Turn what a caller has into the package's one form of image.

    Args:
        image: a path; a PIL image (RGB by definition); or a uint8 or uint16 array that is (H, W),
            (H, W, 1), (H, W, 3) or (H, W, 4), the fourth channel being alpha.
        channel_order: "BGR" or "RGB", the order of an array's channels; not asked of the others.

    Returns:
        uint8 (H, W, 3) BGR, contiguous; the very same array when it is that already.

    Raises:
        FileNotFoundError, ValueError: a path that cannot be read, or pixels of another kind.
    """
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f'channel_order must be "BGR" or "RGB", got {channel_order!r}')
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    if not isinstance(image, Image.Image | np.ndarray):
        raise ValueError(
            f"expected a path, a PIL image or a numpy array, got {type(image).__name__}"
        )
    shape = image.size if isinstance(image, Image.Image) else image.shape
    if 0 in shape:
        raise ValueError(f"expected an image with pixels, got none: {shape}")
    if isinstance(image, Image.Image):
        return _pil_to_bgr(image)
    return _array_to_bgr(image, channel_order)


def write_image(path: str | os.PathLike, bgr: np.ndarray) -> None:
    """Write uint8 (H, W, 3) BGR to a file whose suffix says the format; whole or not at all."""
    path = Path(path)
    try:
        ok, encoded = cv2.imencode(path.suffix, bgr)
    except cv2.error as error:
        raise ValueError(f"{path}: cannot be written as an image: {error}") from error
    if not ok:
        raise ValueError(f"{path}: cannot be written as an image, shape {bgr.shape}")
    with written_whole(path) as part:
        part.write_bytes(encoded.data)  # no copy of what may be large


def jpeg_data_uri(bgr: np.ndarray, quality: int = 80) -> str:
    """Return uint8 (H, W, 3) BGR as a JPEG in a `data:` address, for pages that hold pictures."""
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def read_16_bit_maximum(path: str | os.PathLike) -> int | None:
    """Return the greatest value in a file of 16 bits per channel; None for files of other kinds."""
    with _any_size(), _open(path) as image, _naming(path):
        if image.mode.startswith("I"):
            return int(_integers_to_uint16(image).max(initial=0))
        _check_whole(image, path)
        return int(_read_16_bit_colour(path).max()) if _has_16_bit_channels(image) else None


def _open(path: str | os.PathLike) -> Image.Image:
    """Open a file and look at its header only."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such image file")
    if not os.path.isfile(path):  # reading a pipe would wait for ever
        raise ValueError(f"{path}: expected an image file, got a folder, a pipe or a device")
    with _naming(path):
        image = Image.open(path, formats=FORMATS)
    width, height = _stored_size(image)
    if width * height > _max_pixels:
        image.close()
        raise ValueError(
            f"{path}: {width} x {height} pixels by its header, more than INPUT.MAX_PIXELS "
            f"({_max_pixels}; for split, --max-pixels): raise it if the image is that large and "
            "memory suffices"
        )
    return image


@contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    """Turn whatever decoders raise on damaged files (all kinds, KeyError too) into ValueError."""
    try:
        yield
    except UnidentifiedImageError as error:
        kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise ValueError(f"{path}: no image of a kind that is read, expected {kinds}") from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: cannot be read as an image: {reason}") from error


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height as stored; a TIFF's .size is that of the picture turned upright."""
    if isinstance(image, TiffImageFile):
        return _tiff_tag(image, WIDTH), _tiff_tag(image, HEIGHT)
    return image.size


def _check_whole(image: Image.Image, path: str | os.PathLike) -> None:
    """Refuse what decoders let pass: parts that are missing, or have another checksum."""
    if isinstance(image, TiffImageFile):
        check_tiff_layout(image.tag_v2, os.path.getsize(path))
    elif image.format == "PNG":
        # Pillow decodes pixels without a look at their checksums; OpenCV believes parts to be as
        # long as they say, and takes 2 GB
        _open(path).verify()


def _tiff_tag(image: Image.Image, tag: int) -> int:
    return image.tag_v2.get(tag, 1) if isinstance(image, TiffImageFile) else 1


def _has_16_bit_channels(image: Image.Image) -> bool:
    """Say whether a colour file stores 16 bits a channel, which Pillow would cut to the upper 8."""
    if image.mode not in ("RGB", "RGBA", "LA", "CMYK"):
        return False
    return any(";16" in str(part) for tile in getattr(image, "tile", ()) for part in tile)


def _read_16_bit_colour(path: str | os.PathLike) -> np.ndarray:
    name = os.fsencode(path).decode(errors="replace")
    if name != os.fspath(path):  # OpenCV would end the process
        raise ValueError("the name of a file of 16 bits a channel must be UTF-8: rename it")
    pixels = cv2.imread(name, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError(
            "damaged, cut short, or 16 bits a channel in a form that OpenCV does not read"
        )
    return pixels


def _pil_to_bgr(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no stated range; convert to 8 or 16 bits")
    image.load()
    width, height = image.size
    bgr = np.empty((height, width, 3), np.uint8)
    for rows in _strips(width, height):  # a copy of the whole would double the memory
        strip = image.crop((0, rows.start, width, rows.stop))
        if image.mode.startswith("I"):
            bgr[rows] = _to_8_bits(_integers_to_uint16(strip))[..., None]
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # palettes with transparency: alpha is dropped anyway
            bgr[rows] = np.asarray(strip.convert("RGB"))[..., ::-1]
    return bgr


def _strips(width: int, height: int) -> Iterator[slice]:
    """Yield slices of rows that hold STRIP_PIXELS at most (one row at least)."""
    rows = max(STRIP_PIXELS // width, 1)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def _integers_to_uint16(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if values.dtype == np.uint16:
        return values
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ValueError(
            f"expected grey values of at most 16 bits, got {values.min()} to {values.max()}"
        )
    return values.astype(np.uint16)


def _to_8_bits(deep: np.ndarray) -> np.ndarray:
    return ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _array_to_bgr(pixels: np.ndarray, channel_order: str) -> np.ndarray:
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"expected uint8 or uint16 pixels, got {pixels.dtype}: convert to uint8 in 0-255, so "
            "that their range is certain"
        )
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"expected an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {pixels.shape}"
        )
    pixels = pixels[..., :3]
    if pixels.dtype == np.uint16:
        deep, pixels = pixels, np.empty(pixels.shape, np.uint8)
        for rows in _strips(deep.shape[1], len(deep)):
            pixels[rows] = _to_8_bits(deep[rows])
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    if channel_order == "RGB":
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(pixels)
