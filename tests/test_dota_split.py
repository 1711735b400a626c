"""Folders of images become folders of tiles: exact, resumable, refusing what does not fit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from launching import ROOT

from maskrcnn_benchmark.dota import split as split_module
from maskrcnn_benchmark.dota.annotations import DotaObject, read_labels, stack_corners, write_labels
from maskrcnn_benchmark.dota.folders import read_folder
from maskrcnn_benchmark.dota.split import split_folder
from maskrcnn_benchmark.dota.tiles import parse_tile_name, tile_grid, tile_name
from maskrcnn_benchmark.images.image_io import read_image

SIZES = {"P1": (300, 170), "P2": (90, 200), "P3": (64, 40)}
TILE, OVERLAP = 100, 30


def quiet(_text):
    pass


def rectangle(x1, y1, x2, y2):
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=float)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    (folder / "labelTxt").mkdir()
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "images" / f"{name}.png"), image)
    objects = [
        DotaObject(rectangle(10, 20, 30, 28), "ship", 0),
        DotaObject(rectangle(95, 150, 115, 160), "plane", 1),
    ]
    write_labels(folder / "labelTxt" / "P1.txt", objects)
    (folder / "labelTxt" / "P2.txt").write_text("imagesource:x\r\ngsd:0.1\r\n")
    return folder  # P3 has no label file


def split(source, destination, **options):
    settings = {"tile": TILE, "overlap": OVERLAP, "report": quiet} | options
    return split_folder(source, destination, **settings)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_tiles_are_the_images_windows(source, tmp_path):
    count = split(source, tmp_path / "tiles")
    expected = {}
    for name, (width, height) in SIZES.items():
        image = read_image(source / "images" / f"{name}.png")
        for w in tile_grid(width, height, TILE, OVERLAP):
            part = image[w.y0 : w.y0 + w.height, w.x0 : w.x0 + w.width]
            expected[tile_name(name, 1, w)] = part
    # P1: x 0 70 140 200, y 0 70; P2: x 0 (90 wide), y 0 70 100; P3: one
    assert count == len(expected) == 4 * 2 + 3 + 1
    made = {path.stem: path for path in (tmp_path / "tiles" / "images").iterdir()}
    assert set(made) == set(expected)
    for name, pixels in expected.items():
        np.testing.assert_array_equal(read_image(made[name]), pixels)


def test_labels_go_with_their_tiles(source, tmp_path):
    tiles = tmp_path / "tiles"
    split(source, tiles)
    labelled = {path.stem for path in (tiles / "labelTxt").iterdir()}
    assert labelled == {path.stem for path in (tiles / "images").glob("P[12]__*")}
    (ship,) = read_labels(tiles / "labelTxt" / "P1__1__0___0.txt")
    assert ship.corners.tolist() == rectangle(10, 20, 30, 28).tolist()
    # the plane from x = 95 to 115: 5 of 20 columns in the tile that ends at 100, all in 70 ... 170
    (cut,) = read_labels(tiles / "labelTxt" / "P1__1__0___70.txt")
    assert (cut.name, cut.difficult) == ("plane", 2)
    assert cut.corners.tolist() == rectangle(95, 80, 100, 90).tolist()
    (whole,) = read_labels(tiles / "labelTxt" / "P1__1__70___70.txt")
    assert whole.difficult == 1
    assert whole.corners.tolist() == rectangle(25, 80, 45, 90).tolist()
    # moved back, it is the label of the whole image
    _, _, x, y = parse_tile_name("P1__1__70___70")
    original = read_labels(tiles / "labelTxt-original" / "P1.txt")
    assert (whole.corners + [x, y]).tolist() == original[1].corners.tolist()


def test_originals_are_copied_to_the_byte(source, tmp_path):
    split(source, tmp_path / "tiles")
    assert contents(tmp_path / "tiles" / "labelTxt-original") == contents(source / "labelTxt")


def test_fault_an_unlabelled_image_becomes_background_for_ever(source, tmp_path):
    """Its tiles got empty label files, as those of an image that shows no object have."""
    said = []
    split(source, tmp_path / "tiles", report=said.append)
    assert (tmp_path / "tiles" / "images" / "P3__1__0___0.png").is_file()
    assert not list((tmp_path / "tiles").glob("labelTxt*/P3*"))
    assert (tmp_path / "tiles" / "labelTxt" / "P2__1__0___0.txt").read_bytes() == b""
    (line,) = said
    assert "1 of 3 images have no label file" in line and "P3.png" in line
    assert "an image that shows no object needs an empty file (P3.txt)" in line


def test_labels_that_come_or_go_are_followed(source, tmp_path):
    tiles = tmp_path / "tiles"
    split(source, tiles)
    (source / "labelTxt" / "P3.txt").write_text("")
    split(source, tiles)
    expected = ["labelTxt-original/P3.txt", "labelTxt/P3__1__0___0.txt"]
    found = sorted(str(path.relative_to(tiles)) for path in tiles.glob("labelTxt*/P3*"))
    assert found == expected
    (source / "labelTxt" / "P1.txt").unlink()
    split(source, tiles)
    assert not list(tiles.glob("labelTxt*/P1*")) and len(list(tiles.glob("images/P1*"))) == 8


def test_empty_labels_of_an_earlier_version_are_made_anew(source, tmp_path, monkeypatch):
    tiles = tmp_path / "tiles"
    split(source, tiles)
    fresh = contents(tiles)
    plan = json.loads((tiles / "tiles.json").read_text())
    for entry in plan["sources"].values():
        del entry["labels"]
    (tiles / "tiles.json").write_text(json.dumps(plan))
    for name in ("labelTxt/P3__1__0___0.txt", "labelTxt-original/P3.txt"):
        (tiles / name).write_text("")
    cut = count_cuts(monkeypatch)
    split(source, tiles)
    assert cut == ["P1", "P2", "P3"] and contents(tiles) == fresh


def test_tiles_of_an_image_that_changed_its_size_go(source, tmp_path):
    split(source, tmp_path / "tiles")
    cv2.imwrite(str(source / "images" / "P2.png"), np.zeros((90, 95, 3), np.uint8))
    assert split(source, tmp_path / "tiles") == 8 + 1 + 1
    assert len(list((tmp_path / "tiles" / "images").glob("P2*"))) == 1
    assert len(list((tmp_path / "tiles" / "labelTxt").glob("P2*"))) == 1


def test_what_the_labels_hold_is_counted(source, tmp_path):
    with (source / "labelTxt" / "P1.txt").open("a") as stream:
        stream.write("-30 10 -5 10 -5 20 -30 20 ship 0\n")  # ends left of the image
    said = []
    split(source, tmp_path / "tiles", report=said.append)
    sources = json.loads((tmp_path / "tiles" / "tiles.json").read_text())["sources"]
    assert sources["P3"]["labels"] is None
    # P2 has three tiles without an object; P1 eight, of which the ship is in one, the plane from
    # 95 to 115 whole in that from 70 to 170 and cut (5 of 20 columns) in that from 0 to 100, in
    # rows 70 to 170 both; rows 150 to 160 are in no tile that begins at row 0
    assert sources["P2"]["labels"] == {
        "classes": {},
        "difficult": 0,
        "cut_away": 0,
        "empty": 3,
        "outside": 0,
    }
    assert sources["P1"]["labels"] == {
        "classes": {"ship": 1, "plane": 1},
        "difficult": 1,
        "cut_away": 1,
        "empty": 5,
        "outside": 1,
    }
    assert len(said) == 2 and "1 objects of 1 images lie wholly outside their image" in said[1]
    assert "the first in P1: do labels and images belong together" in said[1]


def test_labels_without_an_image_are_told(source, tmp_path):
    for name in ("P3", "P7", "P8"):
        (source / "labelTxt" / f"{name}.txt").write_text("")
    (source / "labelTxt" / "._P1.txt").write_text("hidden")
    said = []
    split(source, tmp_path / "tiles", report=said.append)
    (line,) = said
    assert "2 of 5 label files have no image" in line and "P7.txt" in line
    assert not list((tmp_path / "tiles").glob("labelTxt*/P7*"))


def test_no_label_file_at_all_is_refused(source, tmp_path):
    for path in (source / "labelTxt").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"labelTxt: expected .* P1\.txt, found none"):
        split(source, tmp_path / "tiles")


def test_dotas_own_name_of_the_label_folder_is_known(source, tmp_path):
    split(source, tmp_path / "expected")
    (source / "labelTxt").rename(source / "labelTxt-v1.5")
    split(source, tmp_path / "tiles")
    assert contents(tmp_path / "tiles") == contents(tmp_path / "expected")
    (source / "labelTxt-v1.0").mkdir()
    with pytest.raises(ValueError, match="found labelTxt-v1.0, labelTxt-v1.5: .*rename the folder"):
        split(source, tmp_path / "tiles")


def test_a_split_that_ended_before_anything_was_cut_does_not_bind(source, tmp_path):
    """A file of five bands: the bands must be said, and are said then."""
    rasterio = pytest.importorskip("rasterio")
    shape = {"count": 5, "width": 90, "height": 70, "dtype": "uint16"}
    folder = tmp_path / "bands"
    (folder / "images").mkdir(parents=True)
    with rasterio.open(folder / "images" / "P1.tif", "w", driver="GTiff", **shape) as file:
        file.write(np.full((5, 70, 90), 3000, np.uint16))
        file.write(np.full((70, 90), 60000, np.uint16), 5)
    with pytest.raises(ValueError, match="5 bands: say which by --bands"):
        split(folder, tmp_path / "tiles")
    said = []
    split(folder, tmp_path / "tiles", bands="4,3,2", report=said.append)
    assert len(list((tmp_path / "tiles" / "images").iterdir())) > 0
    assert any("hold no value above 3000" in line for line in said)  # in those bands


def test_dark_images_are_told(source, tmp_path):
    cv2.imwrite(str(source / "images" / "P3.png"), np.full((40, 64, 3), 4000, np.uint16))
    said = []
    split(source, tmp_path / "tiles", report=said.append)
    assert "1 of 3 images looked at store 16 bits but hold no value above 4000" in said[1]


def test_tiles_json_says_how_to_merge_back(source, tmp_path):
    split(source, tmp_path / "tiles")
    plan = json.loads((tmp_path / "tiles" / "tiles.json").read_text())
    assert (plan["tile"], plan["overlap"]) == (TILE, OVERLAP)
    assert "0.7" in plan["rule"]
    assert list(plan["sources"]) == ["P1", "P2", "P3"]
    assert (plan["sources"]["P2"]["width"], plan["sources"]["P2"]["height"]) == (90, 200)
    assert plan["sources"]["P2"]["tiles"] == [
        "P2__1__0___0",
        "P2__1__0___70",
        "P2__1__0___100",
    ]


def test_processes_give_the_same_files(source, tmp_path):
    split(source, tmp_path / "one")
    split(source, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def count_cuts(monkeypatch):
    cut, original = [], split_module._cut

    def counting(job):
        cut.append(job.image.stem)
        return original(job)

    monkeypatch.setattr(split_module, "_cut", counting)
    return cut


def test_finished_sources_are_passed_over(source, tmp_path, monkeypatch):
    split(source, tmp_path / "tiles")
    before = contents(tmp_path / "tiles")
    cut = count_cuts(monkeypatch)
    assert split(source, tmp_path / "tiles") == 12
    assert cut == [] and contents(tmp_path / "tiles") == before


def test_changed_sources_are_cut_again(source, tmp_path, monkeypatch):
    split(source, tmp_path / "tiles")
    cut = count_cuts(monkeypatch)
    write_labels(source / "labelTxt" / "P2.txt", [DotaObject(rectangle(1, 2, 9, 8), "ship")])
    (tmp_path / "tiles" / "images" / "P3__1__0___0.png").unlink()
    cv2.imwrite(str(source / "images" / "P4.png"), np.zeros((50, 60, 3), np.uint8))
    assert split(source, tmp_path / "tiles") == 13
    assert cut == ["P2", "P3", "P4"]
    assert len(read_labels(tmp_path / "tiles" / "labelTxt" / "P2__1__0___0.txt")) == 1


def repaint(path, was=None):
    """Change a BMP's pixels, which leaves its size in bytes, and set its time to what it was."""
    before = path.stat()
    cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    assert path.stat().st_size == before.st_size
    if was is not None:
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


@pytest.fixture
def bitmaps(source):
    """The source with its images as BMP, made an hour ago."""
    for path in list((source / "images").iterdir()):
        cv2.imwrite(str(path.with_suffix(".bmp")), cv2.imread(str(path)))
        path.unlink()
    hour_ago = time.time() - 3600
    for path in (source / "images").iterdir():
        os.utime(path, (hour_ago, hour_ago))
    return source


@pytest.mark.parametrize("same_time", [False, True])
def test_fault_a_repainted_image_of_the_same_size_kept_its_old_tile(bitmaps, tmp_path, same_time):
    split(bitmaps, tmp_path / "tiles")
    image = bitmaps / "images" / "P3.bmp"
    repaint(image, image.stat() if same_time else None)
    split(bitmaps, tmp_path / "tiles")
    tile = tmp_path / "tiles" / "images" / "P3__1__0___0.png"
    np.testing.assert_array_equal(read_image(tile), read_image(image))


def test_an_image_that_is_only_newer_is_passed_over(bitmaps, tmp_path, monkeypatch):
    split(bitmaps, tmp_path / "tiles")
    (bitmaps / "images" / "P3.bmp").touch()
    cut = count_cuts(monkeypatch)
    split(bitmaps, tmp_path / "tiles")
    assert cut == []
    # its new time is noted: the checksum is not taken again
    monkeypatch.setattr(split_module, "file_sha256", None)
    split(bitmaps, tmp_path / "tiles")


def test_tiles_of_earlier_versions_count_unless_the_image_is_newer(bitmaps, tmp_path, monkeypatch):
    tiles = tmp_path / "tiles"
    split(bitmaps, tiles)
    made = json.loads((tiles / "tiles.json").read_text())
    plan = json.loads((tiles / "tiles.json").read_text())
    for entry in plan["sources"].values():
        del entry["times"], entry["sha256"]
    (tiles / "tiles.json").write_text(json.dumps(plan))
    cut = count_cuts(monkeypatch)
    split(bitmaps, tiles)
    assert cut == []
    assert json.loads((tiles / "tiles.json").read_text()) == made  # what is noted today is added
    (tiles / "tiles.json").write_text(json.dumps(plan))
    repaint(bitmaps / "images" / "P3.bmp")
    split(bitmaps, tiles)
    assert cut == ["P3"]


def test_fault_parts_of_files_stayed_after_a_kill(source, tmp_path):
    split(source, tmp_path / "tiles")
    made = contents(tmp_path / "tiles")
    parts = ["images/.P1__1__0___0.png.123.part", "labelTxt/.P1.txt.9.part", ".tiles.json.77.part"]
    for name in [*parts, "images/.mine.part"]:
        (tmp_path / "tiles" / name).write_text("half")
    split(source, tmp_path / "tiles")
    assert contents(tmp_path / "tiles") == made | {"images/.mine.part": b"half"}


ENTRY = '{"bytes": 1, "tiles": ["a"], "labels": %s}'
COUNTS = '{"classes": {"ship": 1}, "difficult": 0, "cut_away": 0, "empty": %s}'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", "expected .*sources"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"tile": "100", "overlap": 30, "sources": {}}', "expected .*tile"),
        ('{"sources": ["P1"]}', "expected .*sources"),
        ('{"sources": {"P1": []}}', "of P1 is not what"),
        ('{"sources": {"P1": {"bytes": 1, "tiles": []}}}', "of P1 is not what"),
        ('{"sources": {"P1": {"bytes": 1, "tiles": ["../a"]}}}', "of P1 is not what"),
        ('{"sources": {"P1": %s}}' % (ENTRY % "[]"), "of P1 is not what"),
        ('{"sources": {"P1": %s}}' % (ENTRY % (COUNTS % "null")), "of P1 is not what"),
    ],
    ids=["list", "cut", "deep", "tile", "sources", "entry", "no tiles", "away", "labels", "count"],
)
def test_fault_a_malformed_tiles_json_was_no_message(source, tmp_path, text, told):
    tiles = tmp_path / "tiles"
    split(source, tiles)
    (tiles / "tiles.json").write_text(text)
    for use in (lambda: split(source, tiles), lambda: read_folder(tiles, None, quiet)):
        with pytest.raises(ValueError, match=f"tiles.json: .*{told}.*into a new folder"):
            use()


def test_fault_a_malformed_journal_was_no_message(source, tmp_path, monkeypatch):
    tiles = tmp_path / "tiles"
    split(source, tiles)
    made = contents(tiles)
    plan = json.loads((tiles / "tiles.json").read_text())
    sources = plan.pop("sources")
    good = json.dumps({"name": "P1"} | sources["P1"])
    lines = [json.dumps(plan), "[1]", '{"name": "P2"}', '{"name": 3, "bytes": 1}', "\xff", good]
    (tiles / "tiles.json").unlink()
    (tiles / "tiles-unfinished.jsonl").write_bytes("\n".join(lines).encode("latin-1"))
    cut = count_cuts(monkeypatch)
    split(source, tiles)
    assert cut == ["P2", "P3"] and contents(tiles) == made


def processes_below(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [int(line) for line in found.split()]


def start_split(source, tiles):
    """Start tools/dota.py split with two processes on an image that takes long."""
    image = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), np.uint8)
    for number in range(6):
        cv2.imwrite(str(source / "images" / f"Q{number}.png"), image)
        (source / "labelTxt" / f"Q{number}.txt").write_text("")
    command = [sys.executable, "tools/dota.py", "split", str(source), str(tiles), "--workers", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    journal = tiles / "tiles-unfinished.jsonl"
    for _ in range(600):
        if journal.is_file() and len(journal.read_text().splitlines()) > 1:
            return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError("no source was finished within a minute")


@pytest.mark.slow
def test_fault_processes_of_a_killed_split_stayed(source, tmp_path):
    process = start_split(source, tmp_path / "tiles")
    workers = processes_below(process.pid)
    process.kill()
    process.communicate()
    for _ in range(100):
        alive = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        if not alive:
            break
        time.sleep(0.1)
    assert len(workers) >= 2 and alive == []


@pytest.mark.slow
def test_fault_a_killed_process_of_split_was_a_traceback(source, tmp_path):
    process = start_split(source, tmp_path / "tiles")
    os.kill(processes_below(process.pid)[-1], signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    lines = [line for line in told.splitlines() if line.startswith(("error", "Traceback"))]
    assert process.returncode == 2
    assert len(lines) == 1 and "cutting processes was killed" in lines[0]


def test_interrupted_run_goes_on(source, tmp_path, monkeypatch):
    tiles = tmp_path / "tiles"
    original = split_module._cut

    def interrupted(job):
        if job.image.stem == "P2":
            raise KeyboardInterrupt
        return original(job)

    with monkeypatch.context() as patch:
        patch.setattr(split_module, "_cut", interrupted)
        with pytest.raises(KeyboardInterrupt):
            split(source, tiles)
    assert not (tiles / "tiles.json").exists()
    journal = tiles / "tiles-unfinished.jsonl"
    with journal.open("a") as stream:
        stream.write('{"name": "P2", "wid')  # killed while it wrote a line
    cut = count_cuts(monkeypatch)
    assert split(source, tiles) == 12
    assert cut == ["P2", "P3"]
    assert not journal.exists()
    split(source, tmp_path / "fresh")
    assert contents(tiles) == contents(tmp_path / "fresh")


def test_other_settings_are_refused(source, tmp_path):
    split(source, tmp_path / "tiles")
    with pytest.raises(ValueError, match="tile 100, overlap 30, not tile 80, overlap 30"):
        split(source, tmp_path / "tiles", tile=80)
    (tmp_path / "other" / "images").mkdir(parents=True)
    (tmp_path / "other" / "images" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="did not make"):
        split(source, tmp_path / "other")


def test_test_sets_have_images_only(source, tmp_path):
    for path in (source / "labelTxt").iterdir():
        path.unlink()
    (source / "labelTxt").rmdir()
    said = []
    assert split(source, tmp_path / "tiles", report=said.append) == 12
    assert "no labelTxt" in said[0]
    assert sorted(path.name for path in (tmp_path / "tiles").iterdir()) == [
        ".lock",
        "images",
        "tiles.json",
    ]


def test_troubles_are_named(source, tmp_path):
    with pytest.raises(ValueError, match="overlap of 100 and a tile of 100"):
        split(source, tmp_path / "tiles", overlap=100)
    with pytest.raises(FileNotFoundError, match="expected a folder images/"):
        split(tmp_path, tmp_path / "tiles")
    with (source / "labelTxt" / "P1.txt").open("a") as stream:
        stream.write("1 2 3 ship\n")
    with pytest.raises(ValueError, match="P1.txt:3: "):
        split(source, tmp_path / "tiles")
    (source / "labelTxt" / "P1.txt").write_text("")
    (source / "images" / "P2.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match="P2.png"):
        split(source, tmp_path / "tiles", workers=2)
    cv2.imwrite(str(source / "images" / "P1.jpg"), np.zeros((50, 60, 3), np.uint8))
    with pytest.raises(ValueError, match="P1.jpg and .*P1.png have the same name"):
        split(source, tmp_path / "tiles")


def test_empty_folder_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no image"):
        split(tmp_path, tmp_path / "tiles")


def test_real_image_as_the_devkit_cut_it(shared_data, tmp_path):
    (tmp_path / "source" / "images").mkdir(parents=True)
    (tmp_path / "source" / "labelTxt").mkdir()
    image = shared_data / "dota" / "images" / "P0032.png"
    (tmp_path / "source" / "images" / "P0032.png").symlink_to(image)
    labels = (shared_data / "tiles_P0032" / "P0032_full.txt").read_bytes()
    (tmp_path / "source" / "labelTxt" / "P0032.txt").write_bytes(labels)
    assert split(tmp_path / "source", tmp_path / "tiles", tile=1024, overlap=200) == 6
    for theirs in (shared_data / "tiles_P0032" / "images").iterdir():
        ours = tmp_path / "tiles" / "images" / theirs.name
        np.testing.assert_array_equal(read_image(ours), read_image(theirs))
        name = f"{theirs.stem}.txt"
        own_labels = read_labels(tmp_path / "tiles" / "labelTxt" / name)
        their_labels = read_labels(shared_data / "tiles_P0032" / "labelTxt" / name)
        np.testing.assert_allclose(
            stack_corners(own_labels), stack_corners(their_labels), atol=1.01
        )


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_tiles_without_data_are_left_out_unless_they_show_an_object(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    source, tiles = tmp_path / "source", tmp_path / "tiles"
    (source / "images").mkdir(parents=True)
    (source / "labelTxt").mkdir()
    bands = np.zeros((4, 100, 240), np.uint16)
    bands[:, :, :80] = [[[500]], [[1000]], [[1500]], [[2000]]]
    shape = {"count": 4, "height": 100, "width": 240, "dtype": "uint16", "nodata": 0}
    for name in ("A", "B"):  # B has nothing at all
        path = source / "images" / f"{name}.tif"
        with rasterio.open(path, "w", driver="GTiff", **shape) as file:
            file.write(bands if name == "A" else bands * 0)
    # windows of 100 start at 0, 70 and 140; the object lies in that at 140 alone
    item = DotaObject(rectangle(180, 20, 190, 28), "ship", 0)
    write_labels(source / "labelTxt" / "A.txt", [item])
    options = {"bands": "4,3,2", "stretch": "0,2550"}
    assert split(source, tiles, **options) == 3
    names = sorted(path.stem for path in (tiles / "images").iterdir())
    assert names == ["A__1__0___0", "A__1__140___0", "A__1__70___0"]
    # 2000 / 10 is red, 150 green, 100 blue
    assert read_image(tiles / "images" / "A__1__0___0.png")[5, 5].tolist() == [100, 150, 200]
    (source / "labelTxt" / "A.txt").write_text("")
    assert split(source, tiles, **options) == 2
    before = contents(tiles)
    assert split(source, tiles, **options) == 2 and contents(tiles) == before
    # 120 x 50 at half the size: tiles at 0 and 20, both of which show data
    assert split(source, tmp_path / "half", **options, rates=[0.5]) == 2
    with pytest.raises(ValueError, match="tile 100, overlap 30, bands 4,3,2, .*not tile 100"):
        split(source, tiles)
