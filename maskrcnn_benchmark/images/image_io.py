"""The only file that opens an image: whatever is stored becomes uint8 (H, W, 3) BGR.

Convention: BGR, uint8, rows first, the pixel order of the file. A pure red image is (0, 0, 255) in
every pixel. An EXIF orientation is not applied, because labels were drawn on the stored pixels.
16-bit values are divided by 257 and rounded, so that 65535 -> 255, 257 -> 1 and 128 -> 0.
"""

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

from maskrcnn_benchmark.utils.atomic_write import written_whole

TIFF_WIDTH, TIFF_HEIGHT, TIFF_ORIENTATION = 256, 257, 274
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
STRIP_PIXELS = 1 << 24  # well below Pillow's guard against decompression bombs
CHANNEL_ORDERS = ("BGR", "RGB")

ImageSource = str | os.PathLike | Image.Image | np.ndarray

_lock = threading.Lock()
_readers = 0
_size_limit: int | None = None


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
        path: 8 or 16 bit; grey, bilevel, palette, colour or CMYK; alpha is dropped.

    Returns:
        uint8 (H, W, 3), BGR, in the stored pixel order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no image, is cut short, or holds floating-point pixels.
    """
    with _any_size(), _open(path) as image:
        try:
            turned = UNDO_ORIENTATION.get(_tiff_tag(image, TIFF_ORIENTATION))
            sixteen_bit_colour = _has_16_bit_channels(image)
            image.load()  # before OpenCV looks: it takes a truncated file for a whole one
            if sixteen_bit_colour:
                pixels = to_bgr(_read_16_bit_colour(path))
            else:
                pixels = _pil_to_bgr(image)
            if turned is None:
                return pixels
            return np.array(Image.fromarray(pixels).transpose(turned))
        except (OSError, SyntaxError, EOFError, ValueError) as error:
            raise ValueError(f"{path}: cannot be read as an image: {error}") from error


def read_image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Read an image's (width, height) in pixels from its header, without decoding it."""
    with _any_size(), _open(path) as image:
        if isinstance(image, TiffImageFile):  # its .size is that of the picture turned upright
            return _tiff_tag(image, TIFF_WIDTH), _tiff_tag(image, TIFF_HEIGHT)
        return image.size


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
    if isinstance(image, Image.Image):
        return _pil_to_bgr(image)
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"expected a path, a PIL image or a numpy array, got {type(image).__name__}"
        )
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
        part.write_bytes(encoded.tobytes())


def read_16_bit_maximum(path: str | os.PathLike) -> int | None:
    """Return the greatest value in a file of 16 bits per channel; None for files of other kinds."""
    with _any_size(), _open(path) as image:
        if image.mode.startswith("I"):
            return int(_integers_to_uint16(image).max(initial=0))
        return int(_read_16_bit_colour(path).max()) if _has_16_bit_channels(image) else None


def _open(path: str | os.PathLike) -> Image.Image:
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such image file")
    try:
        image = Image.open(path)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not an image, or of a kind that cannot be read") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from error
    return image


def _tiff_tag(image: Image.Image, tag: int) -> int:
    return image.tag_v2.get(tag, 1) if isinstance(image, TiffImageFile) else 1


def _has_16_bit_channels(image: Image.Image) -> bool:
    """Say whether a colour file stores 16 bits a channel, which Pillow would cut to the upper 8."""
    if image.mode not in ("RGB", "RGBA", "LA", "CMYK"):
        return False
    return any(";16" in str(part) for tile in getattr(image, "tile", ()) for part in tile)


def _read_16_bit_colour(path: str | os.PathLike) -> np.ndarray:
    pixels = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("16 bits a channel in a form that OpenCV does not read")
    return pixels


def _pil_to_bgr(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no stated range; convert to 8 or 16 bits")
    if image.mode.startswith("I"):
        return _array_to_bgr(_integers_to_uint16(image), "BGR")
    width, height = image.size
    bgr = np.empty((height, width, 3), np.uint8)
    rows = max(STRIP_PIXELS // width, 1)
    for top in range(0, height, rows):  # strips: a copy of the whole would double the memory
        bottom = min(top + rows, height)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # palettes with transparency: alpha is dropped anyway
            strip = image.crop((0, top, width, bottom)).convert("RGB")
        bgr[top:bottom] = np.asarray(strip)[..., ::-1]
    return bgr


def _integers_to_uint16(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ValueError(
            f"expected grey values of at most 16 bits, got {values.min()} to {values.max()}"
        )
    return values.astype(np.uint16)


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
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    pixels = pixels[..., :3]
    if channel_order == "RGB":
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(pixels)
