"""What stats counts and measures, by hand."""

import json

import numpy as np
import pytest
from made_data import make_dota_folder, rectangle

from maskrcnn_benchmark.dota.annotations import DotaObject
from maskrcnn_benchmark.dota.split import split_folder
from maskrcnn_benchmark.dota.statistics import collect_statistics, histogram, measure_shapes
from maskrcnn_benchmark.images.charts import BAR_COLOR, HEAD, LEFT, ROW, WIDTH, draw_bars
from maskrcnn_benchmark.images.image_io import read_image


def quiet(_text):
    pass


def turned(degrees, length=40, width=10, center=(50, 50)):
    """A rectangle whose longer side points clockwise from the x axis."""
    angle = np.radians(degrees)
    along = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    across = np.array([-np.sin(angle), np.cos(angle)]) * width / 2
    return np.array([along + across, along - across, -along - across, across - along]) + center


@pytest.mark.parametrize("degrees", [0, 30, 90, 135, 172])
def test_shapes(degrees):
    sizes, aspects, directions = measure_shapes(np.stack([turned(degrees)]))
    assert sizes[0] == pytest.approx(20) and aspects[0] == pytest.approx(4)
    difference = (directions[0] - degrees) % 180
    assert min(difference, 180 - difference) == pytest.approx(0, abs=1e-6)


def test_shapes_of_lines_and_points():
    corners = np.array([[[3, 4]] * 4, [[0, 0], [9, 0], [9, 0], [0, 0]]], dtype=float)
    sizes, aspects, _ = measure_shapes(corners)
    assert sizes.tolist() == [0, 0] and aspects.tolist() == [1, np.inf]
    assert [len(part) for part in measure_shapes(np.zeros((0, 4, 2)))] == [0, 0, 0]


def test_histogram():
    assert histogram(np.array([0, 1, 1.5, 2, 9]), (1, 2)) == [["<1", 1], ["1-2", 2], ["2+", 2]]


@pytest.fixture
def folder(tmp_path):
    ships = [DotaObject(turned(a), "ship") for a in (0, 178, 8)]
    square = rectangle(10, 10, 30, 30, "tank", 1)
    images = {"a": (200, 100, [*ships, square]), "b": (100, 100, []), "c": (90, 80, None)}
    made = make_dota_folder(tmp_path / "set", images)
    path = made / "labelTxt" / "a.txt"
    path.write_text("gsd:0.5\n" + path.read_text())
    return made


def test_figures(folder):
    said = []
    found = collect_statistics(folder, said.append)
    assert (found["images"], found["unlabelled"], found["empty"]) == (2, 1, 1)
    assert len(said) == 1 and found["whole_images"] is None
    assert list(found["classes"]) == ["ship", "tank"]
    ship, tank, every = found["classes"]["ship"], found["classes"]["tank"], found["all"]
    assert (ship["objects"], ship["images"], ship["difficult"]) == (3, 1, 0)
    assert (tank["objects"], tank["difficult"], every["objects"], every["images"]) == (1, 1, 4, 1)
    assert ship["size"]["median"] == pytest.approx(20, abs=1e-3)
    assert ship["aspect"]["most"] == pytest.approx(4, abs=1e-3) and tank["size"]["5 %"] == 20
    # 0 and 178 degrees are in the bin around 0, 8 is in that of 7.5 ... 22.5; a square has none
    assert every["directions"] == [[0, 2], [15, 1]] + [[angle, 0] for angle in range(30, 180, 15)]
    assert ["16-32", 4] in every["sizes"] and ["3-5", 3] in every["aspects"]
    # 4 objects on 0.02 megapixels
    assert found["objects_per_megapixel"]["most"] == pytest.approx(200)
    assert found["objects_per_image"]["crowded"] == [["a", 4], ["b", 0]]
    assert found["objects_per_image"]["histogram"][:2] == [["<1", 1], ["1-10", 1]]
    assert found["gsd"]["known"] == 1 and found["gsd"]["median"] == 0.5


def test_tiles_and_their_whole_images(folder, tmp_path):
    split_folder(folder, tmp_path / "tiles", 80, 20, report=quiet)
    found = collect_statistics(tmp_path / "tiles", quiet)
    # a: x at 0, 60, 120 and y at 0, 20; b: x and y at 0 and 20
    assert found["images"] == 3 * 2 + 2 * 2 and found["unlabelled"] == 2
    assert found["whole_images"]["crowded"] == [["a", 4], ["b", 0]]


def test_no_labels(tmp_path):
    folder = make_dota_folder(tmp_path, {"a": (30, 20, None)})
    (folder / "labelTxt").rmdir()
    with pytest.raises(FileNotFoundError, match="has no labelTxt"):
        collect_statistics(folder, quiet)


def test_no_object_at_all(tmp_path):
    found = collect_statistics(make_dota_folder(tmp_path, {"a": (30, 20, [])}), quiet)
    assert found["classes"] == {} and found["all"]["objects"] == 0 and found["gsd"] == {"known": 0}


def test_bars_are_as_long_as_their_values():
    picture = draw_bars("t", [("a", 4), ("b", 1), ("c", 0)])
    rows = [picture[HEAD + ROW * number + 5] for number in range(3)]
    lengths = [int((row == BAR_COLOR).all(axis=1).sum()) - 1 for row in rows]
    longest = WIDTH - LEFT - 80
    assert lengths == [longest, round(longest / 4), 0]


def test_command(run_dota, folder, tmp_path):
    picture = tmp_path / "new" / "p.png"
    status, out, _ = run_dota("stats", folder, "--json", tmp_path / "f.json", "--plot", picture)
    assert status in (0, None)
    row = next(line for line in out.splitlines() if line.startswith("ship"))
    assert row.split() == ["ship", "3", "1", "0", "20.0", "20.0", "20.0", "4.00", "4.00"]
    assert json.loads((tmp_path / "f.json").read_text())["classes"]["tank"]["objects"] == 1
    assert read_image(picture).shape[1] == 2 * WIDTH
