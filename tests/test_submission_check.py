"""What would cost a submission points: each fault is found, with its place; clean results pass."""

import zipfile

import numpy as np
import pytest
from made_data import gradient

from maskrcnn_benchmark.dota.annotations import crosswise
from maskrcnn_benchmark.dota.classes import DOTA_V1_0, DOTA_V1_5
from maskrcnn_benchmark.dota.submission_check import check_submission, read_image_list
from maskrcnn_benchmark.images.image_io import write_image

SIZES = {"P1": (200, 100), "P2.x__1": (300, 150), "P3": None}
SHIPS = [
    "P1 0.9 10.0 5.0 30.0 5.0 30.0 15.0 10.0 15.0",
    "P2.x__1 0.12345678 210.0 5.0 230.0 5.0 230.0 15.0 210.0 15.0",
    "P3 1 4000.0 5.0 4030.0 5.0 4030.0 15.0 4000.0 15.0",
]
BOX = "10.0 5.0 30.0 5.0 30.0 15.0 10.0 15.0"


def results(folder, ships=SHIPS, task=1, classes=DOTA_V1_0):
    """Write a file per class, all empty but that of ships."""
    folder.mkdir(exist_ok=True)
    for name in classes:
        (folder / f"Task{task}_{name}.txt").write_text("")
    (folder / f"Task{task}_ship.txt").write_text("".join(f"{line}\n" for line in ships))
    return folder


def pack(path, names, ships=SHIPS):
    """Zip files of these names; those of ships hold the results."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "\n".join(ships) if name.endswith("ship.txt") else "")
    return path


def found(findings):
    return {finding.rule: (finding.count, finding.places) for finding in findings}


def test_clean_results_pass(tmp_path):
    folder = results(tmp_path / "results")
    results(folder, ["P1 0.5 10.0 5.0 30.0 15.0"], task=2)  # does not count
    assert check_submission(folder, 1, SIZES) == check_submission(folder, None, SIZES) == []
    names = [f"Task1_{name}.txt" for name in DOTA_V1_0]
    assert check_submission(pack(tmp_path / "a.zip", names), None, SIZES) == []
    results(folder, classes=DOTA_V1_5)
    assert check_submission(folder, 1, SIZES, version="1.5") == []


@pytest.mark.parametrize(
    ("line", "rule", "shown", "fatal"),
    [
        (f"P1__1__0___824 0.5 {BOX}", "tiles", "'P1__1__0___824'", True),
        (f"P4 0.5 {BOX}", "unknown image", "'P4'", True),
        (f"\ufeffP1 0.5 {BOX}", "unknown image", "'\\ufeffP1'", True),
        (f"P1 0.5 {BOX} 3.0", "malformed", f"'P1 0.5 {BOX} 3.0'", True),
        (f"P1  0.5 {BOX}", "malformed", f"'P1  0.5 {BOX}'", True),
        (f"P1 high {BOX}", "malformed", f"'P1 high {BOX}'", True),
        (f"P1 0.1_5 {BOX}", "malformed", f"'P1 0.1_5 {BOX}'", True),
        (f"P1 0.٥ {BOX}", "malformed", f"'P1 0.٥ {BOX}'", True),
        ("", "malformed", "''", True),
        (f"P1 nan {BOX}", "not finite", "[nan, 10.0, 5.0, ", True),
        (f"P1 0.5 {BOX[:-4]}inf", "not finite", "10.0, inf]", True),
        (f"P1 1.5 {BOX}", "score", "1.5", False),
        (f"P1 -0.5 {BOX}", "score", "-0.5", False),
        # the centre: x = (195 + 207) / 2 = 201 of 200
        ("P1 0.5 195 5 207 5 207 9 195 9", "outside", "195 5 207 5 207 9 195 9", False),
        ("P1 0.5 10 -9 30 -9 30 5 10 5", "outside", "10 -9 30 -9 30 5 10 5", False),
        ("P1 0.5 10 5 30 5 30 5 10 5", "no area", "10 5 30 5 30 5 10 5", False),
        ("P1 0.5 10 5 30 5 10 15 30 15", "crosswise", "10 5 30 5 10 15 30 15", False),
    ],
)
def test_a_line_with_a_fault_is_named(tmp_path, line, rule, shown, fatal):
    folder = results(tmp_path / "results", [*SHIPS, line, f"P1 0.5 {BOX}"])
    (finding,) = check_submission(folder, 1, SIZES)
    assert (finding.rule, finding.count, finding.fatal) == (rule, 1, fatal)
    assert finding.places[0].startswith("Task1_ship.txt:4: ") and shown in finding.places[0]


@pytest.mark.parametrize(
    ("box", "rules"),
    [
        ("10 5 30 15", []),
        ("195 5 204 9", []),  # reaches over the border; the centre is at 199.5 of 200
        ("197 5 205 9", ["outside"]),
        ("30 5 10 15", ["no area"]),
        ("10 15 30 5", ["no area"]),
        ("30 15 10 5", ["no area"]),
    ],
)
def test_boxes_of_task_2(tmp_path, box, rules):
    lines = [f"{name} 0.5 10 5 30 15" for name in SIZES]
    folder = results(tmp_path / "results", [*lines, f"P1 0.5 {box}"], task=2)
    assert [finding.rule for finding in check_submission(folder, None, SIZES)] == rules


def test_names_with_spaces_are_read_as_result_files_write_them(tmp_path):
    folder = results(tmp_path / "results", [*SHIPS, f"my%20scene 0.5 {BOX}"])
    (tmp_path / "list.txt").write_text("my%20scene.png\n" + "\n".join(SIZES))
    assert check_submission(folder, 1, read_image_list(tmp_path / "list.txt")) == []


@pytest.mark.parametrize("rows", [9, 10])
def test_scores_all_alike(tmp_path, rows):
    folder = results(tmp_path / "results", [f"{name} 1.0 {BOX}" for name in SIZES] * 4)
    lines = (folder / "Task1_ship.txt").read_text().splitlines()[:rows]
    results(folder, lines)
    expected = {} if rows == 9 else {"alike": (1, ["Task1_ship.txt: 10 of 1"])}
    assert found(check_submission(folder, 1, SIZES)) == expected


def test_more_than_a_stated_number(tmp_path):
    folder = results(tmp_path / "results")
    assert check_submission(folder, 1, SIZES, most=3) == []
    findings = check_submission(folder, 1, SIZES, most=2)
    assert found(findings) == {"too many": (1, ["Task1_ship.txt: 3"])}


def test_images_without_results_are_named(tmp_path):
    folder = results(tmp_path / "results", SHIPS[:1])
    (finding,) = check_submission(folder, 1, dict.fromkeys("ABCDEF") | SIZES, shown=3)
    assert finding.rule == "undetected" and not finding.fatal
    assert (finding.count, finding.places) == (8, ["A", "B", "C"])
    assert str(finding).splitlines()[-1].strip() == "... and 5 more"


def test_classes_and_files(tmp_path):
    folder = results(tmp_path / "results")
    (folder / "Task1_plane.txt").unlink()
    (folder / "Task1_helipad.txt").write_text("")
    (folder / "ap_table.txt").write_text("")  # test_net's; only a zip's other files matter
    assert found(check_submission(folder, 1, SIZES)) == {
        "missing": (1, ["plane"]),
        "unknown class": (1, ["Task1_helipad.txt"]),
    }
    results(folder, [])
    (folder / "Task1_helipad.txt").unlink()
    assert found(check_submission(folder, 1, SIZES))["empty"] == (1, [str(folder)])


@pytest.mark.parametrize(
    ("prefix", "extra", "rule", "place"),
    [
        ("out/", [], "folders", "out/Task1_plane.txt"),
        ("", ["__MACOSX/._Task1_plane.txt"], "stranger", "__MACOSX/._Task1_plane.txt"),
        ("", ["Task2_plane.txt"], "tasks", "Task2_plane.txt"),
    ],
)
def test_what_does_not_belong_into_a_zip(tmp_path, prefix, extra, rule, place):
    names = [f"{prefix}Task1_{name}.txt" for name in DOTA_V1_0]
    (finding,) = check_submission(pack(tmp_path / "a.zip", [*names, *extra]), None, SIZES)
    assert (finding.rule, finding.places[0]) == (rule, place)
    assert finding.fatal == (rule != "stranger")


def test_what_is_no_zip(tmp_path):
    with pytest.raises(FileNotFoundError, match="none: no such zip or folder"):
        check_submission(tmp_path / "none", 1, SIZES)
    (tmp_path / "a.zip").write_text("no zip")
    with pytest.raises(ValueError, match="a.zip: expected a zip, or a folder"):
        check_submission(tmp_path / "a.zip", 1, SIZES)
    names = [f"Task1_{name}.txt" for name in DOTA_V1_0]
    damaged = bytearray(pack(tmp_path / "b.zip", names).read_bytes())
    damaged[damaged.index(b"P1 0.9") + 3] ^= 1
    (tmp_path / "b.zip").write_bytes(damaged)
    with pytest.raises(ValueError, match="b.zip: Task1_ship.txt cannot be unpacked: Bad CRC"):
        check_submission(tmp_path / "b.zip", 1, SIZES)


def test_crosswise_against_a_plain_loop():
    def segments_cross(a, b, c, d):
        t, u = np.linalg.solve(np.array([b - a, c - d]).T, c - a)
        return 0 < t < 1 and 0 < u < 1

    quads = np.random.default_rng(5).uniform(-50, 90, (300, 4, 2))
    expected = [segments_cross(*q) or segments_cross(*q[[1, 2, 3, 0]]) for q in quads]
    assert crosswise(quads).tolist() == expected
    assert 50 < sum(expected) < 250
    assert crosswise(np.zeros((0, 4, 2))).shape == (0,)


def test_lists_of_images(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfP1.PNG\r\n\r\nP2.x__1 300 150\r\n")
    assert read_image_list(path) == {"P1": None, "P2.x__1": (300, 150)}
    (tmp_path / "test" / "images").mkdir(parents=True)
    write_image(tmp_path / "test" / "images" / "P7.png", gradient(40, 30))
    for folder in (tmp_path / "test", tmp_path / "test" / "images"):
        assert read_image_list(folder) == {"P7": (40, 30)}
    path.write_text("P1\nP2 300\n")
    with pytest.raises(ValueError, match="list.txt:2: expected an image's name, or name, width"):
        read_image_list(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="list.txt: expected names of images, found none"):
        read_image_list(path)
    with pytest.raises(FileNotFoundError, match="none: no such list"):
        read_image_list(tmp_path / "none")


def test_submit_then_check(run_dota, tmp_path):
    folder, out = results(tmp_path / "results"), tmp_path / "new" / "Task1.zip"
    (tmp_path / "list.txt").write_text("P1 200 100\nP2.x__1\nP3\nP4\n")
    images = ("--images", tmp_path / "list.txt")
    status, text, _ = run_dota("submit", folder, out, "--task", 1, *images)
    assert status == 0 and "warning: images without any result: 1" in text and "P4" in text
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == sorted(f"Task1_{name}.txt" for name in DOTA_V1_0)
        assert archive.read("Task1_ship.txt") == (folder / "Task1_ship.txt").read_bytes()
    assert run_dota("check", out, *images)[:2] == (1, text[: text.index(str(out))])
    (tmp_path / "list.txt").write_text("P1\nP2.x__1\nP3\n")
    assert run_dota("check", out, *images)[:2] == (0, f"{out}: nothing to mend found\n")
    before = out.read_bytes()
    status, _, err = run_dota("submit", folder, out, "--task", 1, *images)
    assert status == 2 and "is there already" in err and out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["Task1.zip"]


def test_what_would_score_zero_is_not_packed(run_dota, tmp_path):
    folder = results(tmp_path / "results", [f"P1__1__0___{y} 0.5 {BOX}" for y in range(7)])
    (tmp_path / "list.txt").write_text("P1\n")
    arguments = ("--images", tmp_path / "list.txt", "--task", 1, "--show", 2)
    status, text, _ = run_dota("submit", folder, tmp_path / "a.zip", *arguments)
    assert status == 1 and not (tmp_path / "a.zip").exists()
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0].startswith("fatal: results of tiles: 7 (")
    assert lines[1:4] == [
        "Task1_ship.txt:1: 'P1__1__0___0'",
        "Task1_ship.txt:2: 'P1__1__0___1'",
        "... and 5 more",
    ]
    assert lines[-1].endswith("a.zip: not written, for it would score zero")
    status, _, err = run_dota("submit", tmp_path / "none", tmp_path / "a.zip", *arguments)
    assert status == 2 and "none: no such folder of result files" in err


def test_real_results(shared_data):
    folder = shared_data / "eval_task1"
    images = read_image_list(folder / "images.txt")
    assert check_submission(folder / "merged_dets", 1, images) == []
    rules = [finding.rule for finding in check_submission(folder / "tile_dets", 1, images)]
    assert rules == ["tiles", "empty", "undetected"]
