"""Every kind of file and array becomes the same uint8 BGR picture."""

import os
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from maskrcnn_benchmark.images import image_io
from maskrcnn_benchmark.images.files import list_images
from maskrcnn_benchmark.images.image_io import (
    MAX_PIXELS,
    read_16_bit_maximum,
    read_image,
    read_image_size,
    set_max_pixels,
    to_bgr,
    write_image,
)
from maskrcnn_benchmark.utils.process_memory import forget_peak, memory_mb, peak_memory_mb

HEIGHT, WIDTH = 7, 11
RNG = np.random.default_rng(3)
NOISE_RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
NOISE_BGR = NOISE_RGB[..., ::-1]
RED_BGR = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
RED_BGR[..., 2] = 255


def save_pil(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_colour_file_is_bgr(tmp_path, suffix):
    path = save_pil(tmp_path / f"a{suffix}", NOISE_RGB)
    np.testing.assert_array_equal(read_image(path), NOISE_BGR)
    assert read_image_size(path) == (WIDTH, HEIGHT)


def test_one_red_image_however_it_comes(tmp_path):
    rgb = np.ascontiguousarray(RED_BGR[..., ::-1])
    path = save_pil(tmp_path / "red.png", rgb)
    forms = {
        "path": to_bgr(path),
        "path as text": to_bgr(str(path)),
        "path, order of no account": to_bgr(path, "RGB"),
        "PIL": to_bgr(Image.open(path)),
        "PIL, order of no account": to_bgr(Image.fromarray(rgb), "BGR"),
        "BGR": to_bgr(RED_BGR),
        "RGB": to_bgr(rgb, "RGB"),
        "BGRA": to_bgr(cv2.cvtColor(RED_BGR, cv2.COLOR_BGR2BGRA)),
        "RGB 16 bit": to_bgr(rgb.astype(np.uint16) * 257, "RGB"),
    }
    for form, pixels in forms.items():
        assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous, form
        np.testing.assert_array_equal(pixels, RED_BGR, err_msg=form)


def test_grey_bilevel_and_palette(tmp_path):
    grey = NOISE_RGB[..., 0]
    np.testing.assert_array_equal(
        read_image(save_pil(tmp_path / "grey.png", grey)), np.dstack([grey] * 3)
    )
    np.testing.assert_array_equal(to_bgr(grey), np.dstack([grey] * 3))
    np.testing.assert_array_equal(to_bgr(grey[..., None]), np.dstack([grey] * 3))

    Image.fromarray(grey > 127).save(tmp_path / "bilevel.png")
    expected = np.where(grey > 127, 255, 0)
    np.testing.assert_array_equal(read_image(tmp_path / "bilevel.png"), np.dstack([expected] * 3))

    palette = Image.fromarray((grey > 127).astype(np.uint8), "P")
    palette.putpalette([10, 20, 30, 200, 100, 0])
    palette.save(tmp_path / "palette.png", transparency=0)
    expected = np.where((grey > 127)[..., None], [0, 100, 200], [30, 20, 10])
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), expected)


def test_alpha_is_dropped_not_blended(tmp_path):
    alpha = RNG.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    path = save_pil(tmp_path / "rgba.png", np.dstack([NOISE_RGB, alpha]))
    np.testing.assert_array_equal(read_image(path), NOISE_BGR)
    grey_alpha = Image.merge("LA", [Image.fromarray(NOISE_RGB[..., 1]), Image.fromarray(alpha)])
    grey_alpha.save(tmp_path / "la.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "la.png"), np.dstack([NOISE_RGB[..., 1]] * 3)
    )


def test_cmyk(tmp_path):
    ink = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    ink[..., 0] = 255  # full cyan ink: no red, all green and blue
    Image.fromarray(ink, "CMYK").save(tmp_path / "cyan.jpg", quality=100)
    Image.fromarray(ink, "CMYK").save(tmp_path / "cyan.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "cyan.tif")[0, 0], [255, 255, 0])
    assert np.abs(read_image(tmp_path / "cyan.jpg")[3, 4].astype(int) - [255, 255, 0]).max() <= 2


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_file_is_scaled_by_257(tmp_path, suffix, channels):
    deep = RNG.integers(0, 65536, (HEIGHT, WIDTH, channels), dtype=np.uint16)
    deep[0, :5, 0] = [0, 128, 129, 385, 65535]  # 128/257 = 0.498, 129/257 = 0.502, 385/257 = 1.498
    cv2.imwrite(str(tmp_path / f"deep{suffix}"), deep)
    pixels = read_image(tmp_path / f"deep{suffix}")
    assert pixels[0, :5, 0].tolist() == [0, 0, 1, 1, 255]
    expected = np.broadcast_to(np.round(deep[..., :3] / 257), pixels.shape)
    np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(to_bgr(deep), expected)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_orientation_tag_is_not_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    upright = save_pil(tmp_path / "upright.jpg", NOISE_RGB, quality=95)
    turned = save_pil(tmp_path / "turned.jpg", NOISE_RGB, quality=95, exif=exif)
    np.testing.assert_array_equal(read_image(turned), read_image(upright))
    tiff = save_pil(tmp_path / "turned.tif", NOISE_RGB, tiffinfo={274: orientation})
    np.testing.assert_array_equal(read_image(tiff), NOISE_BGR)
    assert read_image_size(turned) == read_image_size(tiff) == (WIDTH, HEIGHT)


def test_huge_image_is_not_taken_for_a_bomb(tmp_path):
    path = tmp_path / "huge.png"
    Image.new("1", (20000, 20000)).save(path, compress_level=1)
    assert read_image_size(path) == (20000, 20000)


def test_fault_pillows_guard_is_off_in_the_whole_process(tmp_path, monkeypatch):
    """It was switched off on import, for whatever else the importing program reads."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)  # 77 pixels are more than twice as many
    for suffix in (".png", ".tif"):
        path = save_pil(tmp_path / f"a{suffix}", NOISE_RGB)
        np.testing.assert_array_equal(read_image(path), NOISE_BGR)
        assert read_image_size(path) == (WIDTH, HEIGHT)
        with pytest.raises(FileNotFoundError):
            read_image(tmp_path / "absent.png")
        assert Image.MAX_IMAGE_PIXELS == 30
        with pytest.raises(Image.DecompressionBombError):
            Image.open(path)


def test_pillows_guard_returns_after_the_last_of_several_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    path = save_pil(tmp_path / "a.png", NOISE_RGB)
    with ThreadPoolExecutor(4) as pool:
        for pixels in pool.map(read_image, [path] * 200):
            np.testing.assert_array_equal(pixels, NOISE_BGR)
    assert Image.MAX_IMAGE_PIXELS == 30


def test_an_image_is_converted_in_strips_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(image_io, "STRIP_PIXELS", 2 * WIDTH + 3)  # two rows at a time
    np.testing.assert_array_equal(read_image(save_pil(tmp_path / "a.png", NOISE_RGB)), NOISE_BGR)
    deep = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    for pixels in (deep, deep[..., 0]):  # colour by OpenCV, grey by Pillow
        cv2.imwrite(str(tmp_path / "deep.png"), pixels)
        expected = np.round(pixels.reshape(HEIGHT, WIDTH, -1) / 257)
        np.testing.assert_array_equal(
            read_image(tmp_path / "deep.png"), np.broadcast_to(expected, (HEIGHT, WIDTH, 3))
        )
    monkeypatch.setattr(image_io, "STRIP_PIXELS", 1)
    np.testing.assert_array_equal(to_bgr(Image.fromarray(NOISE_RGB)), NOISE_BGR)


def test_greatest_value_of_16_bit_files(tmp_path):
    deep = RNG.integers(0, 4000, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    deep[3, 4, 1] = 4095
    for suffix in (".png", ".tif"):
        for channels, name in ((deep, "colour"), (deep[..., 1], "grey")):
            cv2.imwrite(str(tmp_path / f"{name}{suffix}"), channels)
            assert read_16_bit_maximum(tmp_path / f"{name}{suffix}") == 4095
    assert read_16_bit_maximum(save_pil(tmp_path / "a.png", NOISE_RGB)) is None
    assert read_16_bit_maximum(save_pil(tmp_path / "b.png", NOISE_RGB[..., 0])) is None


def test_absent_file():
    with pytest.raises(FileNotFoundError, match="no/such/file.png"):
        read_image("no/such/file.png")
    with pytest.raises(FileNotFoundError, match="no/such/file.png"):
        read_image_size("no/such/file.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_truncated_file_is_refused_by_name(tmp_path, suffix):
    noise = RNG.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    path = save_pil(tmp_path / f"cut{suffix}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(ValueError, match=f"cut{suffix}"):
        read_image(path)


def test_truncated_16_bit_file_is_refused(tmp_path):
    path = tmp_path / "cut.png"
    cv2.imwrite(str(path), RNG.integers(0, 65536, (50, 70, 3), dtype=np.uint16))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ValueError, match="cut.png"):
        read_image(path)


def test_what_is_no_image_is_refused_by_name(tmp_path):
    path = tmp_path / "text.png"
    path.write_text("not an image")
    for function in (read_image, read_image_size):
        with pytest.raises(ValueError, match="text.png"):
            function(path)
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with pytest.raises(ValueError, match="folder.png"):
        read_image(folder)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((4, 5, 3), np.float32), "float32"),
        (np.zeros((4, 5, 3), bool), "bool"),
        (np.zeros((4, 5, 2), np.uint8), r"\(4, 5, 2\)"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"\(2, 4, 5, 3\)"),
        ([[1, 2], [3, 4]], "list"),
        (Image.fromarray(np.zeros((4, 5), np.float32)), "floating-point"),
    ],
)
def test_arrays_of_other_kinds_are_refused(array, message):
    with pytest.raises(ValueError, match=message):
        to_bgr(array)


def test_unknown_channel_order_is_refused():
    with pytest.raises(ValueError, match="'GBR'"):
        to_bgr(RED_BGR, "GBR")


def test_write_then_read(tmp_path):
    write_image(tmp_path / "a.png", NOISE_BGR)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), NOISE_BGR)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match="a.nothing"):
        write_image(tmp_path / "a.nothing", NOISE_BGR)


def test_real_images_as_opencv_reads_them(shared_data):
    for name in ("P0075.png", "P1142__1024__0___824.jpg"):
        path = shared_data / "dota" / "images" / name
        expected = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        np.testing.assert_array_equal(read_image(path), expected)


def png(width, height):
    """Put an RGB file together whose header may lie."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.fixture
def max_pixels():
    yield set_max_pixels
    set_max_pixels(MAX_PIXELS)


def test_fault_a_header_of_billions_of_pixels_was_believed(tmp_path, max_pixels):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(60000, 60000))
    assert path.stat().st_size < 70
    for function in (read_image, read_image_size, read_16_bit_maximum):
        with pytest.raises(ValueError, match=r"bomb.png: 60000 x 60000 .*INPUT.MAX_PIXELS \(1073"):
            function(path)
    path.write_bytes(png(30000, 30000))
    assert read_image_size(path) == (30000, 30000)  # an honest size, though there is no more of it
    forget_peak()
    used = memory_mb()
    with pytest.raises(ValueError, match="bomb.png: cannot be read"):
        read_image(path)
    assert peak_memory_mb() - used < 200
    picture = save_pil(tmp_path / "a.bmp", NOISE_RGB)
    max_pixels(HEIGHT * WIDTH)
    np.testing.assert_array_equal(read_image(picture), NOISE_BGR)
    max_pixels(HEIGHT * WIDTH - 1)
    with pytest.raises(ValueError, match="a.bmp: 11 x 7 pixels"):
        read_image(picture)
    with pytest.raises(ValueError, match="MAX_PIXELS must be above 0, got 0"):
        max_pixels(0)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 20\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("kind", ["EPS", "PPM", "GIF", "WEBP", "AVIF", "DDS"])
def test_fault_kinds_that_are_not_stated_were_opened(tmp_path, monkeypatch, kind):
    """Pillow hands PostScript, under any name, to Ghostscript."""
    path = tmp_path / "a.png"
    if kind == "EPS":
        path.write_bytes(POSTSCRIPT)
    else:
        Image.fromarray(NOISE_RGB).save(path, kind)
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program started"))
    for function in (read_image, read_image_size):
        with pytest.raises(ValueError, match="a.png: no image of a kind that is read, expected PN"):
            function(path)


def test_fault_a_pipe_was_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match="a.png: expected an image file, got a folder, a pipe"):
        read_image(tmp_path / "a.png")
    save_pil(tmp_path / "b.png", NOISE_RGB)
    (tmp_path / "c.png").symlink_to("nothing")
    (tmp_path / "folder.png").mkdir()
    # the image that a link should lead to is missed when it is read
    assert [path.name for path in list_images(tmp_path)] == ["b.png", "c.png"]
    with pytest.raises(FileNotFoundError, match="c.png"):
        read_image(tmp_path / "c.png")


@pytest.mark.parametrize("error", [KeyError("x"), struct.error("short"), MemoryError()])
def test_fault_a_decoders_own_errors_did_not_name_the_file(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    path = save_pil(tmp_path / "a.png", NOISE_RGB)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ValueError, match="a.png: cannot be read as an image: (.x|short|MemoryErr)"):
        read_image(path)


def test_fault_opencv_ended_the_process_at_a_name_that_is_not_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    cv2.imwrite(str(tmp_path / "a.png"), NOISE_BGR.astype(np.uint16))
    (tmp_path / "a.png").rename(tmp_path / name)
    with pytest.raises(ValueError, match="must be UTF-8: rename it"):
        read_image(tmp_path / name)


def test_fault_opencv_took_gigabytes_for_a_part_of_a_16_bit_file(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), RNG.integers(0, 65536, (40, 52, 3), dtype=np.uint16))
    content = path.read_bytes()
    place = content.index(b"IDAT") - 4  # of the length of the pixels' first part
    path.write_bytes(content[:place] + b"\x7f\xff\xff\xf0" + content[place + 4 :])
    forget_peak()
    used = memory_mb()
    for function in (read_image, read_16_bit_maximum):
        with pytest.raises(ValueError, match="a.png: cannot be read as an image"):
            function(path)
    assert peak_memory_mb() - used < 200


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (0, 0), (4, 5, 0)])
def test_fault_arrays_without_pixels_went_on(shape):
    with pytest.raises(ValueError, match="expected an image with pixels, got none"):
        to_bgr(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="expected an image with pixels, got none"):
        to_bgr(Image.new("RGB", (0, 5)))


MEMORY_OF_READING = """
import sys
from maskrcnn_benchmark.images.image_io import read_image
from maskrcnn_benchmark.utils.process_memory import memory_mb, peak_memory_mb
before = memory_mb()
read_image(sys.argv[1])
print(peak_memory_mb() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "bytes_per_pixel"), [(np.uint8, 7), (np.uint16, 12)], ids=["8 bits", "16 bits"]
)
def test_fault_reading_took_up_to_33_bytes_per_pixel(tmp_path, dtype, bytes_per_pixel):
    side, path = 3500, str(tmp_path / "a.png")
    cv2.imwrite(path, np.ones((side, side, 3), dtype), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    command = [sys.executable, "-c", MEMORY_OF_READING, path]
    grown = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    # 4 million pixels are worked on at a time, with 11 bytes each and more for the allocator
    assert grown * 2**20 < side * side * bytes_per_pixel + 90e6
