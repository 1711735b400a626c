"""The report: its figures, its page as a parser and as a browser read it, and its command."""

import base64
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from browser import find_browser, open_page
from made_data import class_results, gradient, make_dota_folder, rectangle

from maskrcnn_benchmark.dota.average_precision import evaluate_detections
from maskrcnn_benchmark.dota.errors import KINDS
from maskrcnn_benchmark.dota.overlaps import assign, find_overlaps
from maskrcnn_benchmark.dota.report import ImageFile, Rule, write_report
from maskrcnn_benchmark.dota.report.figures import precision_curve
from maskrcnn_benchmark.dota.report.pictures import STATES
from maskrcnn_benchmark.dota.tiles import tile_grid
from maskrcnn_benchmark.images.drawing import class_color
from maskrcnn_benchmark.images.image_io import write_image

SIZE = (180, 100)
OBJECTS = {
    "A": [
        rectangle(10, 10, 30, 20),
        rectangle(10, 40, 30, 50),
        rectangle(60, 60, 142, 70),
        rectangle(150, 10, 170, 30, "<plane>"),  # a name that is no HTML
    ],
    "B & C": [rectangle(10, 10, 30, 20), rectangle(50, 10, 70, 20, difficult=1)],
}
ROWS = [
    ("A", "ship", 0.9, rectangle(10, 10, 30, 20).corners),
    ("A", "ship", 0.8, rectangle(20, 40, 40, 50).corners),  # localisation
    ("A", "ship", 0.7, rectangle(60, 60, 100, 70).corners),  # a part at the seam x = 100
    ("A", "<plane>", 0.6, rectangle(120, 80, 130, 90).corners),  # background
    ("A", "<plane>", 0.1, rectangle(150, 10, 170, 30).corners),
    ("B & C", "ship", 0.85, rectangle(10, 10, 30, 20).corners),
    ("B & C", "ship", 0.75, rectangle(50, 10, 70, 20).corners),
]
TILES = {name: tile_grid(*SIZE, 100, 20) for name in OBJECTS}
VOID = ("meta", "img", "br", "path", "polyline")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Write a report with everything in it; return the page's path and the figures."""
    folder = tmp_path_factory.mktemp("set")
    files = {}
    for number, name in enumerate(OBJECTS):
        write_image(folder / f"{number}.png", gradient(*SIZE))
        files[name] = [ImageFile(folder / f"{number}.png")]
    page = folder / "out" / "report.html"
    figures = write_report(page, OBJECTS, class_results(ROWS), 1, Rule(metric="area"), TILES, files)
    return page, figures


class Page(HTMLParser):
    """Notes the tags, and whether they are closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for key, value in attrs if key in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_figures(report):
    page, figures = report
    assert json.loads(page.with_name("report.json").read_text()) == figures
    assert (figures["images"], figures["objects"], figures["difficult"]) == (2, 5, 1)
    results = class_results(ROWS)
    for column in ("voc07@0.5", "area@0.5", "area@0.75"):
        metric, iou = column.split("@")
        expected = evaluate_detections(OBJECTS, results, 1, float(iou), metric)
        assert figures["ap"][column]["mAP"] == expected["mAP"]
    ious = [k / 100 for k in range(50, 100, 5)]
    at_ious = [evaluate_detections(OBJECTS, results, 1, iou, "area")["mAP"] for iou in ious]
    assert figures["ap"]["area@0.50:0.95"]["mAP"] == pytest.approx(np.mean(at_ious))
    assert figures["mAP"] == figures["ap"]["area@0.5"]["mAP"]
    assert figures["classes"]["ship"] == {"npos": 4, "tp": 2, "ndet": 5}
    counts = {kind: entry["count"] for kind, entry in figures["errors"].items() if entry["count"]}
    assert counts == {
        "seam": 1,
        "localisation": 1,
        "background": 1,
        "every false positive": 3,
        "every object not found": 2,
    }
    # the plane is found at 0.1 only, below the score of 0.3
    assert figures["confusion"]["classes"] == ["ship", "<plane>", "background"]
    assert figures["confusion"]["matrix"] == [[2, 0, 2], [0, 0, 1], [2, 1, 0]]
    assert figures["worst_images"] == [
        {
            "name": "A",
            "errors": 6,
            "true": 1,
            "unfound": 3,
            "kinds": dict.fromkeys(KINDS, 0) | {"seam": 1, "localisation": 1, "background": 1},
        },
        {"name": "B & C", "errors": 0, "true": 1, "unfound": 0, "kinds": dict.fromkeys(KINDS, 0)},
    ]
    assert [entry["objects"] for entry in figures["strata"]["seam"]] == [1, 0, 0, 4]


def test_curve_and_best_score():
    labels = {"A": [rectangle(30 * k, 10, 30 * k + 20, 20) for k in range(4)]}
    rows = [
        ("A", "ship", 0.9, rectangle(0, 10, 20, 20).corners),
        ("A", "ship", 0.8, rectangle(0, 50, 20, 60).corners),  # false
        ("A", "ship", 0.7, rectangle(30, 10, 50, 20).corners),
        ("A", "ship", 0.6, rectangle(60, 10, 80, 20).corners),
        *(("A", "ship", 0.1, rectangle(0, 50, 20, 60).corners) for _ in range(9)),
        ("A", "ship", 0.05, rectangle(90, 10, 110, 20).corners),
    ]
    table = find_overlaps(labels, class_results(rows), 1)
    curve = precision_curve(table, assign(table, 0.5), 0)
    assert curve["recall"] == [0.25, 0.5, 0.75, 1.0]
    assert curve["precision"] == pytest.approx([1, 2 / 3, 3 / 4, 4 / 14])
    assert curve["score"] == [0.9, 0.7, 0.6, 0.05]
    # F1 0.75 of precision and recall 3/4
    assert curve["best"] == pytest.approx(
        {"score": 0.6, "precision": 0.75, "recall": 0.75, "f1": 0.75}
    )


def test_long_curves_are_thinned():
    labels = {"A": [rectangle(30 * k, 10, 30 * k + 20, 20) for k in range(500)]}
    rows = [("A", "ship", 1 - k / 1000, item.corners) for k, item in enumerate(labels["A"])]
    table = find_overlaps(labels, class_results(rows, 2), 2)
    curve = precision_curve(table, assign(table, 0.5), 0)
    assert len(curve["recall"]) == 200
    assert (curve["recall"][0], curve["recall"][-1]) == (0.002, 1.0)


def test_page_is_whole_and_loads_nothing(report):
    text = report[0].read_text()
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags and "link" not in page.tags
    assert all(source.startswith(("#s", "data:image/jpeg;base64,")) for source in page.sources)
    assert "default-src 'none'" in text and not re.search(r"https?://|url\(|@import", text)
    assert "&lt;plane&gt;" in text and "<plane>" not in text
    for kind, meaning in KINDS.items():
        assert f"<dt>{kind}</dt><dd>{meaning[:20]}" in text.replace("&#x27;", "'")


def test_pictures_show_truth_and_detections(report):
    sources = [s for s in Page(report[0].read_text()).sources if s.startswith("data:")]
    assert len(sources) == 2  # of A alone: B & C has no errors
    truth, found = (
        cv2.imdecode(np.frombuffer(base64.b64decode(s.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
        for s in sources
    )
    assert truth.shape == found.shape == (100, 180, 3)

    def has_color(picture, x, y, state):
        wanted = np.array(class_color(STATES.index(state) + 1), dtype=int)
        near = picture[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3)
        return bool((np.abs(near - wanted).max(axis=1) < 90).any())

    assert has_color(truth, 120, 60, "not found") and not has_color(found, 120, 60, "not found")
    assert has_color(found, 90, 60, "seam") and not has_color(truth, 90, 60, "seam")
    assert has_color(found, 125, 80, "background")
    assert has_color(truth, 160, 30, "not found")  # the detection at 0.1 is below the score


def test_without_tiles_and_images_the_page_says_so(tmp_path):
    figures = write_report(tmp_path / "r.html", OBJECTS, class_results(ROWS), 1)
    text = (tmp_path / "r.html").read_text()
    assert "seam" not in figures["strata"] and "seam" not in figures["errors"]
    assert "Absent: it is not known how the images were cut" in text
    assert "No pictures: the images were not given." in text
    figures = write_report(
        tmp_path / "r.html",
        *(OBJECTS, class_results(ROWS), 1),
        tiles={"A": TILES["A"]},
        files={"A": [ImageFile(tmp_path / "none.png")]},
    )
    text = (tmp_path / "r.html").read_text()
    assert "Seams are known in all images but 1 of 2." in text and "Absent: " not in text
    assert "Not drawn, for want of a readable file: A." in text


def test_images_of_unknown_tiles_are_left_out_of_the_seams_alone(tmp_path):
    rows = [row for row in ROWS if row[0] == "A"]
    objects = {"A": OBJECTS["A"]}
    only = write_report(tmp_path / "a.html", objects, class_results(rows), 1, tiles=TILES)
    both = write_report(
        tmp_path / "r.html", OBJECTS, class_results(ROWS), 1, tiles={"A": TILES["A"]}
    )
    assert (only["images_without_tiles"], both["images_without_tiles"]) == (0, 1)
    assert both["errors"]["seam"]["count"] == only["errors"]["seam"]["count"] == 1
    assert [entry["objects"] for entry in both["strata"]["seam"]] == [
        entry["objects"] for entry in only["strata"]["seam"]
    ]
    assert (
        both["objects"] > only["objects"]
        and sum(entry["objects"] for entry in both["strata"]["size"]) == both["objects"]
    )


@pytest.mark.parametrize("objects, rows", [([], []), ([], ROWS[:2]), (OBJECTS["A"], [])])
@pytest.mark.parametrize("task", [1, 2])
def test_nothing_to_report(tmp_path, objects, rows, task):
    write_image(tmp_path / "A.png", gradient(*SIZE))
    files = {"A": [ImageFile(tmp_path / "A.png")]}
    results = class_results(rows, task)
    write_report(tmp_path / "r.html", {"A": objects}, results, task, None, TILES, files)
    assert Page((tmp_path / "r.html").read_text()).open == []


def test_large_images_are_shown_where_the_errors_are(tmp_path):
    """Of two files of one image, the one whose middle is nearest, and a window of it."""
    objects = [rectangle(2000 + 30 * k, 300, 2020 + 30 * k, 320) for k in range(5)]
    objects.append(rectangle(10, 10, 30, 30))
    for name, width in (("left", 1200), ("right", 1300)):
        write_image(tmp_path / f"{name}.png", gradient(width, 700))
    files = [ImageFile(tmp_path / "left.png"), ImageFile(tmp_path / "right.png", 1000, 0)]
    write_report(tmp_path / "r.html", {"A": objects}, {}, 1, files={"A": files})
    text = (tmp_path / "r.html").read_text()
    # centres 2010 … 2130 and y 310: from 2010 - 320, but the first row is 0
    assert "from column 1660, row 0" in text or "from column 1690, row 0" in text
    assert 'width="640" height="640"' in text


def test_files_of_the_rate_nearest_to_1_are_shown(tmp_path):
    objects = [rectangle(2000 + 30 * k, 300, 2020 + 30 * k, 320) for k in range(5)]
    write_image(tmp_path / "half.png", gradient(1200, 400))
    write_image(tmp_path / "fifth.png", gradient(480, 160))
    files = [
        ImageFile(tmp_path / "fifth.png", rate=0.2),
        ImageFile(tmp_path / "half.png", rate=0.5),
    ]
    write_report(tmp_path / "r.html", {"A": objects}, {}, 1, files={"A": files})
    text = (tmp_path / "r.html").read_text()
    # halved, the centres are 1005 … 1065; from the first - 320 or so, but no more than 1200 - 640
    assert "from column 1120, row 0" in text
    assert 'width="640" height="400"' in text


@pytest.mark.slow
def test_page_in_a_browser(report, tmp_path):
    """No error in the console, no picture broken, nothing wider than a telephone."""
    if find_browser() is None:
        pytest.skip("no Chromium installed")
    told, errors = open_page(report[0], [360, 1200])
    assert errors == []
    for width, entry in told.items():
        assert entry["width"] <= width and entry["broken"] == 0 and entry["images"] == 2
        assert "What mending would bring" in entry["text"] and "<plane>" in entry["text"]
    # the harness itself can fail
    broken = tmp_path / "broken.html"
    text = report[0].read_text()
    wide = '<div style="width:2000px">wide</div><img src="data:image/jpeg;base64,AAAA">'
    broken.write_text(text.replace("</body>", f"<script>gone()</script>{wide}</body>"))
    told, errors = open_page(broken, [360])
    assert errors and told[360]["width"] > 1900 and told[360]["broken"] == 1


def write_results(folder):
    folder.mkdir()
    for image, name, score, corners in ROWS:
        with (folder / f"Task1_{name.strip('<>')}.txt").open("a") as stream:
            image = image.replace(" & ", "")
            stream.write(f"{image} {score} {' '.join(map(str, corners.ravel()))}\n")


@pytest.fixture
def folders(tmp_path):
    """DATA with two images, and RESULTS."""
    objects = {
        name.replace(" & ", ""): [
            type(item)(item.corners, item.name.strip("<>"), item.difficult) for item in items
        ]
        for name, items in OBJECTS.items()
    }
    make_dota_folder(tmp_path / "DATA", {name: (*SIZE, o) for name, o in objects.items()})
    write_results(tmp_path / "RESULTS")
    return tmp_path


def test_command(run_dota, folders):
    out = folders / "new" / "mine.html"
    arguments = ("report", folders / "RESULTS", "--labels", folders / "DATA" / "labelTxt")
    images = ("--images", folders / "DATA" / "images")
    status, text, _ = run_dota(*arguments, *images, "--tile", 100, "--overlap", 20, out)
    assert status == 0 and text.endswith("mine.html: written, and mine.json beside it\n")
    figures = json.loads(out.with_suffix(".json").read_text())
    assert figures["task"] == 1 and figures["errors"]["seam"]["count"] == 1
    assert out.read_text().count("<img") == 2

    run_dota("split", folders / "DATA", folders / "TILES", "--size", 100, "--overlap", 20)
    status, _, _ = run_dota(*arguments, out, "--tiles", folders / "TILES", "--score", 0.05)
    assert status == 0
    again = json.loads(out.with_suffix(".json").read_text())
    assert again["errors"] == figures["errors"] and again["score"] == 0.05
    assert "<img" not in out.read_text()


@pytest.mark.parametrize(
    "more, message",
    [
        (["OUT.txt"], "ends in .html"),
        (["OUT.html", "--tile", "300"], "--tile needs --images"),
        (["OUT.html", "--tile", "100", "--overlap", "100"], "overlap must be smaller"),
        (["OUT.html", "--tiles", "none"], "none"),
    ],
)
def test_troubles_are_one_line(run_dota, folders, more, message):
    labels = ("--labels", folders / "DATA" / "labelTxt")
    status, _, err = run_dota("report", folders / "RESULTS", *labels, *more)
    assert status == 2 and message in err and err.count("\n") == 1


def test_real_results(run_dota, shared_data, tmp_path):
    folder = shared_data / "eval_task1"
    status, text, _ = run_dota(
        *("report", folder / "merged_dets", tmp_path / "r.html"),
        *("--labels", folder / "labelTxt", "--pictures", 1),
        *("--images", shared_data / "dota" / "images"),
    )
    assert status == 0 and text.startswith("mAP 0.5319")
    figures = json.loads((tmp_path / "r.json").read_text())
    assert figures["worst_images"][0]["name"] == "P0706"
    assert figures["errors"]["class"]["classes"]["plane"]["count"] == 5  # helicopters
    assert Page((tmp_path / "r.html").read_text()).open == []
