"""Images of 12 bits in 16 are told, for they turn almost black."""

import cv2
import numpy as np
import pytest

from maskrcnn_benchmark.images.bands import BandChoice
from maskrcnn_benchmark.images.dark_images import report_dark_images


@pytest.fixture
def made(tmp_path):
    def write(greatest_values):
        paths = []
        for number, greatest in enumerate(greatest_values):
            pixels = np.full((6, 9, 3), 7, np.uint16 if greatest > 255 else np.uint8)
            pixels[2, 3, 1] = greatest
            paths.append(tmp_path / f"{number:02d}.tif")
            cv2.imwrite(str(paths[-1]), pixels)
        return paths

    return write


def told(paths, choice=None):
    reports = []
    report_dark_images(paths, reports.append, choice)
    return reports


def test_fault_twelve_bits_in_sixteen_are_read_as_almost_black(made):
    paths = made([4095, 65535, 3000])
    (report,) = told(paths)
    assert "2 of 3 images looked at store 16 bits but hold no value above 4095 (00.tif)" in report
    assert str(paths[0].parent) in report and "gdal_translate" in report


def test_other_images_are_not_told(made):
    assert told(made([255, 4096, 65535])) == []
    assert told([]) == []


def test_at_most_five_images_are_looked_at(made):
    # of twelve, every third: 0, 3, 6 and 9
    paths = made([4095 if number in (0, 9) else 255 for number in range(12)])
    (report,) = told(paths)
    assert "2 of 4 images" in report
    assert told(made([255] * 4 + [4095] + [255] * 7)) == []


def test_a_broken_image_is_left_to_those_who_read_it(made):
    paths = made([4095, 4095])
    paths[1].write_bytes(b"no image")
    assert "1 of 2 images" in told(paths)[0]


@pytest.fixture
def large(tmp_path):
    """A file of five bands of 12 bits and of much more than the windows that are looked at."""
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "large.tif"
    shape = {"count": 5, "width": 2000, "height": 1700, "dtype": "uint16"}
    with rasterio.open(path, "w", driver="GTiff", compress="deflate", **shape) as file:
        file.write(np.full((5, 1700, 2000), 4095, np.uint16))
        file.write(np.full((1700, 2000), 50000, np.uint16), 5)
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_chosen_bands_are_looked_at(large):
    assert "1 of 1 images" in told([large], BandChoice(bands=(4, 3, 2)))[0]
    assert told([large], BandChoice(bands=(5, 3, 2))) == []
    assert told([large]) == []  # which bands must be said; those who read it say so


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("x", "y"), [(0, 0), (1999, 1699), (590, 490)])
def test_windows_all_over_a_large_image_are_looked_at(large, x, y):
    # they start at 0, 581, 1162, 1744 and 0, 481, 962, 1444, and are 256 pixels wide and high
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(large, "r+") as file:
        file.write(np.full((1, 1), 4096, np.uint16), 2, window=((y, y + 1), (x, x + 1)))
    assert told([large], BandChoice(bands=(4, 3, 2))) == []
