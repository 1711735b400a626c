"""Images of 12 bits in 16 are told, for they turn almost black."""

import cv2
import numpy as np
import pytest

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


def told(paths):
    reports = []
    report_dark_images(paths, reports.append)
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
