"""Windows of images: what they show is what the whole image shows there, and memory stays small."""

import time

import cv2
import numpy as np
import pytest
from PIL import Image
from test_tiff_layout import cut_in_strips, tiff

from maskrcnn_benchmark.images.bands import BandChoice
from maskrcnn_benchmark.images.geotiff import GeoTiffReader
from maskrcnn_benchmark.images.image_io import MAX_PIXELS, read_image, set_max_pixels
from maskrcnn_benchmark.images.image_reader import DecodedImage, Window
from maskrcnn_benchmark.images.open_image import open_image

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
HEIGHT, WIDTH = 70, 90
RNG = np.random.default_rng(11)
WINDOWS = [Window(0, 0, 90, 70), Window(17, 33, 40, 21), Window(89, 69, 1, 1)]


def write_tiff(path, bands, **options):
    """Write bands (K, H, W) by GDAL."""
    count, height, width = bands.shape
    shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **options) as file:
        file.write(bands)
    return path


def noise(count, dtype="uint8"):
    return RNG.integers(0, np.iinfo(dtype).max, (count, HEIGHT, WIDTH), dtype, endpoint=True)


TILED = {"tiled": True, "blockxsize": 32, "blockysize": 16}


@pytest.mark.parametrize("layout", [{}, TILED, {"blockysize": 3}], ids=["rows", "tiles", "strips"])
@pytest.mark.parametrize(
    ("count", "dtype", "options"),
    [
        (1, "uint8", {}),
        (3, "uint8", {"photometric": "RGB"}),
        (3, "uint8", {"interleave": "band", "compress": "deflate"}),
        (4, "uint8", {"photometric": "RGB", "alpha": "yes"}),
        (4, "uint8", {"photometric": "RGB", "alpha": "no"}),
        (1, "uint16", {"compress": "lzw"}),
        (3, "uint16", {"photometric": "RGB"}),
        (3, "uint8", {"BIGTIFF": "YES"}),
    ],
)
def test_a_window_of_a_tiff_is_that_part_of_the_whole(tmp_path, layout, count, dtype, options):
    bands = noise(count, dtype)
    if options.get("alpha") == "yes":
        bands[3] = 128  # averages are weighted by it
    path = write_tiff(tmp_path / "a.tif", bands, **layout, **options)
    eight = bands if dtype == "uint8" else np.round(bands / 257).astype(np.uint8)
    rgb = np.moveaxis(eight[:3], 0, 2) if count > 1 else np.repeat(eight[0][..., None], 3, 2)
    with open_image(path) as reader:
        assert isinstance(reader, GeoTiffReader) and reader.size == (WIDTH, HEIGHT)
        assert reader.georeference is None
        for w in WINDOWS:
            wanted = rgb[w.y0 : w.y0 + w.height, w.x0 : w.x0 + w.width, ::-1]
            np.testing.assert_array_equal(reader.read(w), wanted)
            assert reader.has_data(w)
        half = cv2.resize(rgb[..., ::-1], (45, 35), interpolation=cv2.INTER_AREA)
        assert np.abs(reader.read_reduced(45, 35).astype(int) - half).max() <= 1


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("P", "tif"),
        ("CMYK", "tif"),
        ("1", "tif"),
        ("I", "tif"),
        ("RGB", "tif"),
        ("L", "tif"),
        ("RGB", "png"),
        ("RGB", "jpg"),
        ("RGB", "bmp"),
    ],
)
def test_every_kind_shows_what_read_image_reads(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.moveaxis(noise(3), 0, 2)).convert(mode).save(path)
    whole = read_image(path)
    with open_image(path) as reader:
        assert reader.size == (WIDTH, HEIGHT)
        for w in WINDOWS:
            wanted = whole[w.y0 : w.y0 + w.height, w.x0 : w.x0 + w.width]
            np.testing.assert_array_equal(reader.read(w), wanted)
            assert reader.has_data(w)


def test_white_is_zero(tmp_path):
    path = write_tiff(tmp_path / "a.tif", noise(1), photometric="MINISWHITE")
    with open_image(path) as reader:
        np.testing.assert_array_equal(reader.read(WINDOWS[0]), read_image(path))


def test_arrays_are_in_memory():
    bgr = np.moveaxis(noise(3), 0, 2)
    reader = open_image(bgr, "RGB")
    assert isinstance(reader, DecodedImage)
    np.testing.assert_array_equal(reader.read(WINDOWS[1]), bgr[33:54, 17:57, ::-1])
    assert not np.shares_memory(open_image(bgr).read_reduced(90, 70), bgr)  # to be drawn on


BANDS_16 = np.stack([np.full((HEIGHT, WIDTH), v, np.uint16) for v in (100, 200, 300, 400, 500)])


@pytest.mark.parametrize(
    ("bands", "stretch", "bgr"),
    [
        # value 300 of 0 to 510: 150; 400: 200; 500: 250
        ("5,4,3", "0,510", (150, 200, 250)),
        ("1", "100,600", (0, 0, 0)),
        ("4", "0,200", (255, 255, 255)),
        ("3", None, (1, 1, 1)),  # 300 / 257
        ("3", "-100,700", (128, 128, 128)),  # 400 / 800 of 255 is 127.5, to the even one
    ],
)
def test_bands_and_a_range(tmp_path, bands, stretch, bgr):
    path = write_tiff(tmp_path / "a.tif", BANDS_16)
    with open_image(path, choice=BandChoice.parse(bands, stretch)) as reader:
        assert reader.read(WINDOWS[1])[5, 7].tolist() == list(bgr)


def test_percentiles_are_each_bands_and_leave_out_what_is_no_data(tmp_path):
    bands = np.zeros((3, HEIGHT, WIDTH), np.float32)
    # 0, 1, 2, ... 99 in all columns; in band 2 ten times that; band 3 is even
    ramp = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 101
    bands[0], bands[1], bands[2] = ramp, 10 * ramp, 7
    bands[:, :20] = -9999
    path = write_tiff(tmp_path / "a.tif", bands, nodata=-9999)
    with open_image(path, choice=BandChoice.parse(None, "10%,90%")) as reader:
        read = reader.read(WINDOWS[0])[20:]
    # by hand: the values 10 and 90 of 0..100 become 0 and 255, and 50 lies in the middle
    values = ramp[20:]
    for channel in (2, 1):
        assert read[values <= 10, channel].max() <= 1
        assert read[values >= 90, channel].min() >= 254
        assert abs(int(read[values == 50, channel][0]) - 127.5) <= 2
    assert np.ptp(read[..., 0]) == 0


def test_windows_without_data(tmp_path):
    bands = noise(3)
    bands[:, :, :40] = 0
    bands[:, 50:, 40:] = 0
    bands[1, 60, 80] = 3
    path = write_tiff(tmp_path / "a.tif", bands, nodata=0)
    with open_image(path) as reader:
        assert not reader.has_data(Window(0, 0, 40, 70))
        assert not reader.has_data(Window(45, 52, 40, 8))
        assert reader.has_data(Window(45, 52, 40, 9))  # one pixel in one band
    alpha = np.zeros((4, HEIGHT, WIDTH), np.uint8)
    alpha[3, :, 50:] = 255
    path = write_tiff(tmp_path / "b.tif", alpha, photometric="RGB", alpha="yes")
    with open_image(path) as reader:
        assert not reader.has_data(Window(0, 0, 50, 70)) and reader.has_data(Window(1, 0, 50, 70))
    path = write_tiff(tmp_path / "c.tif", np.zeros((3, HEIGHT, WIDTH), np.uint8))
    with open_image(path) as reader:
        assert reader.has_data(WINDOWS[0])  # black, but nothing says that this is no data


def test_georeference(tmp_path):
    # on UTM zone 33's central meridian, where 500,000 m east of its origin are 15 degrees
    transform = rasterio.Affine(0.5, 0, 500000 - 10, 0, -0.5, 5)
    options = {"crs": "EPSG:32633", "transform": transform}
    with open_image(write_tiff(tmp_path / "a.tif", noise(3), **options)) as reader:
        place = reader.georeference
    assert place.crs == "EPSG:32633" and place.transform == (0.5, 0, 499990, 0, -0.5, 5)
    np.testing.assert_allclose(place.to_lonlat(np.array([[20.0, 10.0]])), [[15, 0]], atol=1e-9)
    # Web Mercator: x = R * longitude in radians, R = 6378137
    transform = rasterio.Affine(1, 0, 6378137 * np.pi / 4, 0, -1, 0)
    options = {"crs": "EPSG:3857", "transform": transform}
    with open_image(write_tiff(tmp_path / "a.tif", noise(1), **options)) as reader:
        np.testing.assert_allclose(
            reader.georeference.to_lonlat(np.zeros((1, 1, 2))), [[[45, 0]]], atol=1e-9
        )


def test_fault_a_system_that_is_not_of_the_earth_cost_the_image_its_detections(tmp_path):
    site = rasterio.crs.CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    options = {"crs": site, "transform": rasterio.Affine(0.5, 0, 5, 0, -0.5, 6)}
    with open_image(write_tiff(tmp_path / "a.tif", noise(3), **options)) as reader:
        assert reader.georeference is None


@pytest.mark.parametrize(
    ("bands", "stretch", "message"),
    [
        ("1,2", None, "--bands 1,2: expected the numbers of three bands"),
        ("0", None, "--bands 0: expected"),
        (None, "5,3", "--stretch 5,3: expected the values"),
        (None, "2%,98", "--stretch 2%,98: expected"),
        (None, "2%,101%", "--stretch 2%,101%: expected"),
    ],
)
def test_malformed_choices(bands, stretch, message):
    with pytest.raises(ValueError, match=message):
        BandChoice.parse(bands, stretch)


def test_choices_that_a_file_cannot_follow(tmp_path):
    path = write_tiff(tmp_path / "a.tif", BANDS_16)
    with pytest.raises(ValueError, match="a.tif: .*it has 5 bands: say which by --bands"):
        open_image(path)
    with pytest.raises(ValueError, match=r"a.tif: .*--bands \(6, 5, 4\): it has 5 bands"):
        open_image(path, choice=BandChoice.parse("6,5,4", None))
    path = write_tiff(tmp_path / "b.tif", noise(3).astype(np.float32))
    with pytest.raises(ValueError, match="b.tif: .*float32 pixels have no stated range.*--stretch"):
        open_image(path)
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((3, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="c.png: no TIFF file; --bands and --stretch"):
        open_image(tmp_path / "c.png", choice=BandChoice.parse("1", None))
    with pytest.raises(FileNotFoundError, match="no such image file"):
        open_image(tmp_path / "nothing.tif")


def test_without_rasterio_a_tiff_is_decoded_whole(tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "a.tif", noise(3))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with open_image(path) as reader:
        assert isinstance(reader, DecodedImage)
    with pytest.raises(ImportError, match="need rasterio: pip install"):
        open_image(path, choice=BandChoice.parse("1", None))


def test_the_greatest_size_is_that_of_what_is_decoded_at_once(tmp_path):
    tiled = write_tiff(tmp_path / "tiled.tif", noise(3), **TILED)  # tiles of 512 pixels
    strip = write_tiff(tmp_path / "strip.tif", noise(3), blockysize=HEIGHT, compress="lzw")
    try:
        set_max_pixels(2000)
        with open_image(tiled) as reader:
            assert reader.read(WINDOWS[0]).shape == (HEIGHT, WIDTH, 3)
        with pytest.raises(ValueError, match="strip.tif: .*strips or tiles of 90 x 70 pixels"):
            open_image(strip)
        with pytest.raises(ValueError, match="more than INPUT.MAX_PIXELS"):
            read_image(tiled)
    finally:
        set_max_pixels(MAX_PIXELS)


@pytest.mark.parametrize("kind", ["missing", "empty", "short", "behind the end", "cut"])
def test_damaged_files_are_refused_by_name(tmp_path, kind):
    strips = cut_in_strips()
    sizes = [len(strip) for strip in strips]
    content = {
        "missing": tiff(strips[:2]),
        "empty": tiff(strips, [sizes[0], 0, sizes[2]]),
        "short": tiff(strips, [sizes[0], 60, sizes[2]]),
        "behind the end": tiff(strips, [*sizes[:2], 9000]),
        "cut": tiff(strips)[:-100],
    }[kind]
    path = tmp_path / "bad.tif"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="bad.tif: cannot be read as an image: "):
        with open_image(path) as reader:
            reader.read(Window(0, 0, *reader.size))


def test_tiles_that_gdal_left_out_have_no_data(tmp_path):
    bands = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    bands[:, :16, :32] = 200
    path = write_tiff(tmp_path / "a.tif", bands, **TILED, SPARSE_OK="TRUE", nodata=0)
    with open_image(path) as reader:
        assert reader.read(WINDOWS[0])[15, 31].tolist() == [200] * 3
        assert reader.has_data(Window(0, 0, 40, 40)) and not reader.has_data(Window(40, 20, 9, 9))


class CountingFile:
    """A file of rasterio's that counts how often it is read."""

    def __init__(self, file):
        self.file, self.reads = file, 0

    def read(self, *arguments, **options):
        self.reads += 1
        return self.file.read(*arguments, **options)


@pytest.mark.parametrize(("strip_rows", "reads"), [(90, 2), (30, 6)], ids=["one strip", "three"])
def test_fault_one_compressed_strip_was_unpacked_for_each_window(tmp_path, strip_rows, reads):
    pixels = np.random.default_rng(2).integers(0, 256, (90, 70, 3), np.uint8)
    path = tmp_path / "strip.tif"
    options = {"compression": "tiff_adobe_deflate", "strip_size": 70 * 3 * strip_rows}
    Image.fromarray(pixels).save(path, **options)
    with open_image(path) as reader:
        file = reader._file
        counting = reader._file = CountingFile(file)
        for y0 in (0, 40):  # rows of windows
            for x0 in (0, 20, 40):
                part = reader.read(Window(x0, y0, 30, 50))
                assert np.array_equal(part, pixels[y0 : y0 + 50, x0 : x0 + 30, ::-1])
        reader._file = file
    assert counting.reads == reads


def test_fault_a_tag_of_another_type_was_told_of_no_file(tmp_path):
    """The strips' height in bytes: TypeError, which ended a prediction on many images."""
    path = write_tiff(tmp_path / "x.tif", RNG.integers(0, 255, (1, 70, 90), np.uint8))
    data = bytearray(path.read_bytes())
    start = int.from_bytes(data[4:8], "little") + 2
    entries = range(start, start + 12 * data[start - 2], 12)
    (entry,) = (at for at in entries if int.from_bytes(data[at : at + 2], "little") == 278)
    data[entry + 2] = 1  # BYTE
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x.tif: cannot be read as an image"):
        open_image(path)


def test_fault_gdals_cache_held_nothing_so_that_tiles_were_unpacked_again_and_again(tmp_path):
    bands = RNG.integers(0, 4000, (3, 1200, 1500), np.uint16)
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    path = write_tiff(tmp_path / "a.tif", bands, **layout)

    def seconds(window, choice):
        with open_image(path, choice=choice) as reader:
            start = time.process_time()
            reader.read(window)
            return time.process_time() - start

    percentiles = BandChoice.parse(None, "2%,98%")  # of a sample of all the image
    whole = min(seconds(Window(0, 0, 1500, 1200), None) for _ in range(3))
    sample = min(seconds(Window(0, 0, 20, 20), percentiles) for _ in range(3))
    assert sample < 10 * whole  # it was 200 times as long
