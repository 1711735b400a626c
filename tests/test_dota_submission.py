"""DOTA's result files: written, read back, packed."""

import zipfile

import numpy as np
import pytest

from maskrcnn_benchmark.dota.merge import Detections
from maskrcnn_benchmark.dota.result_names import class_to_file_part, image_to_field, read_name
from maskrcnn_benchmark.dota.submission import (
    ClassResults,
    format_results,
    read_task_file,
    read_task_folder,
    results_by_class,
    write_task_files,
    zip_task_files,
)

NAMES = ("plane", "ship", "harbor")


def two_images(with_corners=True):
    corners = np.array(
        [[[15, 5], [20, 8.126], [13, 10], [10, 6]], [[1, 2], [3, 2], [3, 4], [1, 4]]]
    )
    first = Detections(
        [[10, 5, 19, 9], [1, 2, 2, 3]], [0.123456789, 1], [2, 1], corners if with_corners else None
    )
    return {"P1": first, "P2": Detections.empty(with_corners)}


def test_files_hold_edges_of_whole_image_boxes(tmp_path):
    paths = write_task_files(tmp_path / "new" / "folder", two_images(), NAMES)
    assert sorted(path.name for path in paths) == sorted(
        f"Task{task}_{name}.txt" for task in (1, 2) for name in NAMES
    )
    texts = {path.name: path.read_text() for path in paths}
    assert texts["Task2_ship.txt"] == "P1 0.12345679 10.0 5.0 20.0 10.0\n"
    assert texts["Task1_ship.txt"] == "P1 0.12345679 15.0 5.0 20.0 8.13 13.0 10.0 10.0 6.0\n"
    assert texts["Task2_plane.txt"] == "P1 1.00000000 1.0 2.0 3.0 4.0\n"
    assert texts["Task1_harbor.txt"] == texts["Task2_harbor.txt"] == ""


def test_no_task_1_without_corners(tmp_path):
    paths = write_task_files(tmp_path, two_images(with_corners=False), NAMES)
    assert {path.name[:5] for path in paths} == {"Task2"}
    with pytest.raises(ValueError, match="P1: task 1 needs corners"):
        results_by_class(two_images(with_corners=False), NAMES, 1)


def test_task_1_takes_what_the_oriented_merge_kept():
    detections = two_images()
    detections["P1"].in_task1 = np.array([False, True])
    results = results_by_class(detections, NAMES, 1)
    assert {name: len(found) for name, found in results.items()} == {
        "plane": 1,
        "ship": 0,
        "harbor": 0,
    }
    assert len(results_by_class(detections, NAMES, 2)["ship"]) == 1


@pytest.mark.parametrize("task", [1, 2])
def test_write_then_read_gives_the_same_results(tmp_path, task):
    rng = np.random.default_rng(task)
    detections = {}
    for name in ("P9", "P3", "P5"):
        boxes, count = rng.uniform(0, 5000, (40, 4)), 40
        corners = rng.uniform(0, 5000, (count, 4, 2))
        scores = rng.random(count).astype(np.float32)
        detections[name] = Detections(boxes, scores, rng.integers(1, 4, count), corners)
    write_task_files(tmp_path, detections, NAMES)
    written, read = results_by_class(detections, NAMES, task), read_task_folder(tmp_path, task)
    assert set(read) == set(NAMES)
    for name in NAMES:
        assert read[name].image_names == written[name].image_names
        np.testing.assert_array_equal(read[name].scores, written[name].scores)
        np.testing.assert_array_equal(read[name].coordinates, written[name].coordinates)


@pytest.mark.parametrize(
    "line",
    ["P1 0.5 1 2 3", "P1 0.5 1 2 3 4 5", "P1 high 1 2 3 4", "P1 nan 1 2 3 4", "P1"],
)
def test_malformed_line_is_named(tmp_path, line):
    path = tmp_path / "Task2_ship.txt"
    path.write_text(f"P1 0.5 1 2 3 4\r\n\r\n{line}\n")
    with pytest.raises(
        ValueError, match="Task2_ship.txt:3: expected an image's name, a score and 4"
    ):
        read_task_file(path, 2)


@pytest.mark.parametrize("line", ["P1 0.5 1 2 3", "P1 0.5 1 2 3 4 5", "P1 0.5 1 2 3 inf"])
def test_a_malformed_line_far_down_is_named(tmp_path, line):
    """Lines are parsed many at once; the one before lacks or has what this one has or lacks."""
    path = tmp_path / "Task2_ship.txt"
    rows = ["P1 0.5 1 2 3 4\n"] * 5000
    path.write_text("\n".join(rows) + "\n")  # an empty line after each
    assert len(read_task_file(path, 2)) == 5000
    rows[4999] = line
    path.write_text("".join(rows))
    with pytest.raises(ValueError, match=f"ship.txt:5000: .*got '{line}'"):
        read_task_file(path, 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12, "12.0"),
        (-0.001, "0.0"),
        (0.01, "0.01"),
        (829.125, "829.12"),
        (123456789012.349, "123456789012.35"),
        (2e16, "20000000000000000.0"),
        (1e300, "1" + "0" * 300 + ".0"),
    ],
)
def test_numbers_have_no_power(value, text):
    results = ClassResults(["P1"], np.array([0.5]), np.array([[value, 1.5, 2, 3]]))
    assert format_results(results) == f"P1 0.50000000 {text} 1.5 2.0 3.0\n"


@pytest.mark.parametrize("line", ["P1 0.5 1_0 2 3 4", "P1 0.5 1 2 3 \u0664", "P1 0.\u0665 1 2 3 4"])
def test_fault_numbers_that_only_python_reads_were_results(tmp_path, line):
    (tmp_path / "Task2_ship.txt").write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="Task2_ship.txt:1: expected"):
        read_task_file(tmp_path / "Task2_ship.txt", 2)


def test_absent_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="Task2_ship.txt"):
        read_task_file(tmp_path / "Task2_ship.txt", 2)
    with pytest.raises(FileNotFoundError, match="Task1_<class>.txt, found none"):
        read_task_folder(tmp_path, 1)
    (tmp_path / "Task2_ship.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"Task1_<class>.txt, found only Task2_\*.txt"):
        read_task_folder(tmp_path, 1)
    with pytest.raises(FileNotFoundError, match="Task1"):
        zip_task_files(tmp_path, tmp_path / "a.zip", 1)
    with pytest.raises(ValueError, match="task must be 1"):
        read_task_folder(tmp_path, 3)


def test_zip_is_flat(tmp_path):
    write_task_files(tmp_path / "results", two_images(), NAMES)
    zip_task_files(tmp_path / "results", tmp_path / "Task1.zip", 1)
    with zipfile.ZipFile(tmp_path / "Task1.zip") as archive:
        assert archive.namelist() == ["Task1_harbor.txt", "Task1_plane.txt", "Task1_ship.txt"]
        assert archive.read("Task1_plane.txt").startswith(b"P1 1.0")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("P0706__1__824___0", "P0706__1__824___0"),
        ("my scene", "my%20scene"),
        ("a\tb\u00a0c\u2028d", "a%09b%C2%A0c%E2%80%A8d"),  # all that str.split parts at
        ("100%", "100%"),
        ("a%20b", "a%2520b"),
        ("Käfer", "Käfer"),
    ],
)
def test_an_images_name_is_one_field_and_comes_back(name, field):
    assert image_to_field(name) == field and field.split() == [field]
    assert read_name(field) == name


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("ground-track-field", "ground-track-field"),
        ("traffic light", "traffic light"),
        ("car/van", "car%2Fvan"),
        ("../../a:b*", "..%2F..%2Fa%3Ab%2A"),
        ("50%2F", "50%252F"),
    ],
)
def test_a_classs_name_is_part_of_a_files_name_and_comes_back(tmp_path, name, part):
    assert class_to_file_part(name) == part and read_name(part) == name
    write_task_files(tmp_path, {"P1": Detections([[1, 2, 3, 4]], [0.5], [1])}, [name])
    assert [path.name for path in tmp_path.iterdir()] == [f"Task2_{part}.txt"]
    assert list(read_task_folder(tmp_path, 2)) == [name]


def test_fault_files_of_one_task_were_replaced_before_the_other_was_known(tmp_path):
    write_task_files(tmp_path, two_images(), NAMES)
    earlier = {path: path.read_text() for path in tmp_path.iterdir()}
    detections = two_images()
    detections["P2"] = Detections([[1, 2, 3, 4]], [0.5], [3], None)  # no corners, with an object
    with pytest.raises(ValueError, match="P2: task 1 needs corners"):
        write_task_files(tmp_path, detections | {"P3": detections["P1"]}, NAMES)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == earlier
    with pytest.raises(ValueError, match="too long for a file's name"):
        write_task_files(tmp_path, two_images(), ["a", "b", "c" * 241])
    assert {path: path.read_text() for path in tmp_path.iterdir()} == earlier
