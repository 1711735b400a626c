"""Label files, and the way between corners and BoxList's boxes."""

import numpy as np
import pytest

from maskrcnn_benchmark.dota.annotations import (
    DotaObject,
    boxlist_xyxy_to_corners,
    corners_to_boxlist_xyxy,
    read_labels,
    stack_corners,
    write_labels,
)
from maskrcnn_benchmark.dota.classes import class_names

SHIP = "807 331 800.5 324 817 309 823 316 ship 0\n"


def write(tmp_path, text):
    path = tmp_path / "P0001.txt"
    path.write_bytes(text.encode())
    return path


def test_all_forms_of_line(tmp_path):
    text = (
        "\ufeffimagesource:GoogleEarth\r\ngsd:0.146\r\n\r\n"
        "807 331 800.5 324 817 309 823 316 ship 1\r\n"
        "1.0 2.0 3.0 2.0 3.0 4.0 -1.5 4.0 plane\r\n"
        "  \n"
        "1 2 3 2 3 4 1 4 harbor 2"
    )
    ship, plane, harbor = read_labels(write(tmp_path, text))
    assert (ship.name, ship.difficult) == ("ship", 1)
    assert ship.corners.dtype == np.float64
    assert ship.corners.tolist() == [[807, 331], [800.5, 324], [817, 309], [823, 316]]
    assert (plane.name, plane.difficult) == ("plane", 0)
    assert plane.corners[3].tolist() == [-1.5, 4.0]
    assert (harbor.name, harbor.difficult) == ("harbor", 2)


def test_file_without_objects(tmp_path):
    assert read_labels(write(tmp_path, "imagesource:x\ngsd:null\n")) == []
    assert stack_corners([]).shape == (0, 4, 2)


@pytest.mark.parametrize(
    "line, message",
    [
        ("1 2 3 4 5 6 7 8", "got 8 fields"),
        ("1 2 3 4 5 6 7 8 ship 0 0.9", "got 11 fields"),
        ("1 2 3 4 5 6 7 x ship 0", "expected 8 numbers, got 1 2 3 4 5 6 7 x"),
        ("1 2 3 4 5 6 7 nan ship 0", "finite"),
        ("1 2 3 4 5 6 7 8 ship -1", "got -1"),
        ("1 2 3 4 5 6 7 8 boat 0", "unknown class 'boat'"),
        ("1 2 3 4 5 6 7 8 boat 0", "DOTA.VERSION or DOTA.CLASSES, or DOTA.IGNORE_OTHER_CLASSES"),
        ("3 0.2 0.1 0.3 0.1 0.3 0.2 0.2 0.4", "in pixels, got .* YOLO-OBB"),
        ("0 -0.01 0.1 0.3 0.1 0.3 0.2 0.2 1.02", "YOLO-OBB"),
        ("0 0.5 0.5 0.1 0.2", "YOLO's boxes"),
        ("2 0.1 0.1 0.2 0.1 0.2 0.2", "YOLO's outlines"),
    ],
)
def test_malformed_line_is_named(tmp_path, line, message):
    path = write(tmp_path, SHIP + "\n" + line + "\n")
    with pytest.raises(ValueError, match=message) as caught:
        read_labels(path, class_names("1.0"))
    assert str(caught.value).startswith(f"{path}:3: ")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("1_000 2 3 4 5 6 7 8 ship 0", "expected 8 numbers, got 1_000 2"),
        ("\u0661 2 3 4 5 6 7 8 ship 0", "expected 8 numbers"),
        ("1 2 3 4 5 6 7 8 ship 3", "difficult flag 0, 1 or 2, got 3"),
        ("1 2 3 4 5 6 7 8 ship \u0661", "difficult flag 0, 1 or 2, got \u0661"),
        ("1 2 3 4 5 6 7 8 ship 01", "difficult flag 0, 1 or 2, got 01"),
        ("1 2 3 4 -inf 6 7 8 ship 0", "finite"),
        ("1 2 1e9 2 1e9 6 1 6 ship 0", "at most 1000000 pixels, got 1 2 1e9"),
    ],
)
def test_fault_numbers_that_only_python_reads_were_labels(tmp_path, line, told):
    path = write(tmp_path, SHIP + line)
    with pytest.raises(ValueError, match=f"P0001.txt:2: .*{told}"):
        read_labels(path)


def test_fault_a_yolo_line_is_an_object_of_class_0_4(tmp_path):
    """Without a list of classes, as `split` reads them, it was taken for an object."""
    with pytest.raises(ValueError, match=r"P0001\.txt:1: .*got what looks like YOLO-OBB"):
        read_labels(write(tmp_path, "3 0.2 0.1 0.3 0.1 0.3 0.2 0.2 0.4"))


@pytest.mark.parametrize("line", ["0 0 1 0 1 1 0 1 ship", "10 20 30 20 30 40 10 40 3"])
def test_small_and_numbered_objects_are_no_yolo_lines(tmp_path, line):
    assert read_labels(write(tmp_path, line))[0].name == line.split()[-1]


def test_any_class_where_none_are_given(tmp_path):
    assert read_labels(write(tmp_path, "1 2 3 4 5 6 7 8 airplane"))[0].name == "airplane"


def test_absent_file():
    with pytest.raises(FileNotFoundError, match="no/such.txt"):
        read_labels("no/such.txt")


def test_write_then_read(tmp_path):
    corners = np.random.default_rng(1).uniform(-5, 9000, (3, 4, 2)).round(4)
    objects = [DotaObject(quad, "ship", flag) for flag, quad in enumerate(corners)]
    write_labels(tmp_path / "a.txt", objects)
    back = read_labels(tmp_path / "a.txt")
    np.testing.assert_array_equal(stack_corners(back), corners)
    assert [item.difficult for item in back] == [0, 1, 2]
    whole = DotaObject(np.array([[12, 3.25], [-0.0, 3], [0, 1], [7, 1e-9]]), "plane")
    write_labels(tmp_path / "b.txt", [whole])
    assert (tmp_path / "b.txt").read_text() == "12.0 3.25 0.0 3.0 0.0 1.0 7.0 0.0 plane 0\n"


def test_corners_and_boxlist_boxes():
    # pixels 10 ... 19 in x, 5 ... 9 in y: edges 10 ... 20 and 5 ... 10; BoxList width 19 - 10 + 1
    corners = np.array([[[15, 5], [20, 8], [13, 10], [10, 6]]])
    assert corners_to_boxlist_xyxy(corners).tolist() == [[10, 5, 19, 9]]
    upright = boxlist_xyxy_to_corners(np.array([[10, 5, 19, 9]]))
    assert upright.tolist() == [[[10, 5], [20, 5], [20, 10], [10, 10]]]
    assert corners_to_boxlist_xyxy(upright).tolist() == [[10, 5, 19, 9]]
    assert corners_to_boxlist_xyxy(np.zeros((0, 4, 2))).shape == (0, 4)
    assert boxlist_xyxy_to_corners(np.zeros((0, 4))).shape == (0, 4, 2)


def test_every_real_label_file_is_read(shared_data):
    paths = sorted((shared_data / "dota" / "labelTxt").glob("*.txt"))
    counts = {path.stem: len(read_labels(path, class_names("1.0"))) for path in paths}
    assert len(counts) == 26
    assert (counts["P0020"], counts["P0706"], counts["P0000"]) == (924, 536, 323)
