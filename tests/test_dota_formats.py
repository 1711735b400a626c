"""Label formats: hand-computed numbers of each, and what is refused, with its place.

The objects of the tables are in an image "a" of 200x100 pixels: a ship of 20x10 around (50, 40),
turned by a quarter, its first corner at (55, 30); and a quadrilateral that is no rectangle.
"""

import json

import numpy as np
import pytest
from made_data import gradient

from maskrcnn_benchmark.dota.annotations import DotaObject, read_header
from maskrcnn_benchmark.dota.formats import FORMATS, LabelledImage, Source
from maskrcnn_benchmark.dota.formats.labelled_image import Losses, link_image
from maskrcnn_benchmark.dota.formats.rectangles import (
    corners_to_rectangle,
    is_rectangle,
    rectangle_to_corners,
    smallest_rectangle,
)
from maskrcnn_benchmark.images.image_io import write_image

SHIP = [[55, 30], [55, 50], [45, 50], [45, 30]]
QUAD = [[100, 10], [140, 20], [130, 60], [90, 40]]


def write_files(folder, files):
    """Write texts, and an image for each name that ends in .png: its (width, height)."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            write_image(path, gradient(*content))
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def read(kind, path, **settings):
    """Read a set; return its images and losses."""
    source = Source(path, **settings)
    return list(FORMATS[kind].read(source)), source.losses.lines()


def write(kind, folder, objects, classes=("plane", "ship"), header=None):
    """Write the image "a" with these objects; return what was lost."""
    losses = Losses()
    folder.mkdir()
    item = LabelledImage("a", None, (200, 100), objects, header or {})
    FORMATS[kind].write(folder, [item], classes, losses)
    return losses.lines()


def labelme(*shapes, **changes):
    content = {"imagePath": "a.png", "imageWidth": 200, "imageHeight": 100, "shapes": list(shapes)}
    return {"a.json": content | changes}


def shape(points, kind="polygon", **more):
    return {"label": "ship", "shape_type": kind, "points": points} | more


def coco(*annotations, **changes):
    content = {
        "images": [{"id": 7, "file_name": "x/a.png", "width": 200, "height": 100}],
        "categories": [{"id": 9, "name": "plane"}, {"id": 4, "name": "ship"}],
        "annotations": [{"image_id": 7, "category_id": 4} | each for each in annotations],
    }
    return {"some.json": content | changes}


def xml(body, size="<size><width>200</width><height>100</height></size>"):
    return {"a.xml": f"<annotation>{size}<object><name>ship</name>{body}</object></annotation>"}


def box(cx, cy, w, h, angle):
    values = zip(("cx", "cy", "w", "h", "angle"), (cx, cy, w, h, angle), strict=True)
    return f"<robndbox>{''.join(f'<{key}>{value}</{key}>' for key, value in values)}</robndbox>"


def task(*regions, **changes):
    content = {"data": {"image": "/data/upload/3/0a1b2c3d-a.png"}}
    content["annotations"] = [{"result": [SIZED | region for region in regions]}]
    return {"export.json": [content | changes]}


SIZED = {"type": "rectanglelabels", "original_width": 200, "original_height": 100}


def region(x, y, w, h, rotation=None, **more):
    value = {"x": x, "y": y, "width": w, "height": h, "rectanglelabels": ["ship"]}
    return {"value": value | ({} if rotation is None else {"rotation": rotation})} | more


def polygon(points):
    return {"type": "polygonlabels", "value": {"points": points, "polygonlabels": ["ship"]}}


IMAGE, NAMES = {"images/a.png": (200, 100)}, {"data.yaml": "names:\n  0: plane\n  1: ship\n"}
YOLO_SHIP = "1 0.275 0.3 0.275 0.5 0.225 0.5 0.225 0.3\n"
DOTA_SHIP = "55 30 55 50 45 50 45 30 ship"


@pytest.mark.parametrize(
    ("kind", "files", "expected"),
    [
        pytest.param("dota", IMAGE | {"labelTxt/a.txt": DOTA_SHIP}, SHIP, id="dota-9-columns"),
        pytest.param(
            "dota",
            IMAGE
            | {"labelTxt/a.txt": f"\ufeffimagesource:X\r\ngsd:0.1\r\n{DOTA_SHIP} 0\r\n".encode()},
            SHIP,
            id="dota-header-crlf-bom",
        ),
        pytest.param("yolo-obb", IMAGE | NAMES | {"labels/a.txt": YOLO_SHIP}, SHIP, id="yolo"),
        pytest.param(
            "yolo-obb",
            {"images/v/a.png": (200, 100), "labels/v/a.txt": YOLO_SHIP, "classes.txt": "p\nship"},
            SHIP,
            id="yolo-val-classes",
        ),
        pytest.param(
            "coco",
            coco({"bbox": [45, 30, 10, 20], "segmentation": [[55, 30, 55, 50, 45, 50, 45, 30]]}),
            SHIP,
            id="coco-oriented",
        ),
        pytest.param(
            "coco",
            coco({"segmentation": [[55, 30, 55, 50, 45, 50, 45, 30, 55, 30]]}),
            SHIP,
            id="coco-closed",
        ),
        pytest.param(
            "coco",
            coco({"bbox": [45, 30, 10, 20]}),
            [[45, 30], [55, 30], [55, 50], [45, 50]],
            id="coco-upright",
        ),
        pytest.param("labelme", labelme(shape(QUAD)), QUAD, id="labelme-polygon"),
        pytest.param(
            "labelme", labelme(shape(SHIP, "rotation", direction=1.57)), SHIP, id="x-anylabeling"
        ),
        pytest.param(
            "labelme",
            labelme(shape([[55, 30], [45, 50]], "rectangle")),
            [[45, 30], [55, 30], [55, 50], [45, 50]],
            id="labelme-rectangle",
        ),
        pytest.param("rolabelimg", xml(box(50, 40, 20, 10, 1.57079633)), SHIP, id="rolabelimg"),
        # 0.6435 is the angle of (4, 3): first side 10 along (0.8, 0.6), second 5 along (-0.6, 0.8);
        # corner 1 is (50, 40) - (4, 3) - (-1.5, 2) = (47.5, 35)
        pytest.param(
            "rolabelimg",
            xml(box(50, 40, 10, 5, 0.6435011)),
            [[47.5, 35], [55.5, 41], [52.5, 45], [44.5, 39]],
            id="rolabelimg-slanted",
        ),
        pytest.param(
            "rolabelimg",
            xml("<bndbox><xmin>3</xmin><ymin>5</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"),
            [[3, 5], [9, 5], [9, 8], [3, 8]],
            id="rolabelimg-upright",
        ),
        pytest.param("labelstudio", task(region(27.5, 30, 10, 10, 90)), SHIP, id="labelstudio"),
        # 10x5 pixels are 5 % of 200 and 5 % of 100; from corner 1 at (20, 10) the first side goes
        # 10 along (0.8, 0.6), the second 5 along (-0.6, 0.8)
        pytest.param(
            "labelstudio",
            task(region(10, 10, 5, 5, 36.86989765)),
            [[20, 10], [28, 16], [25, 20], [17, 14]],
            id="labelstudio-slanted",
        ),
        pytest.param(
            "labelstudio",
            task(region(10, 10, 5, 5)),
            [[20, 10], [30, 10], [30, 15], [20, 15]],
            id="labelstudio-upright",
        ),
        pytest.param(
            "labelstudio",
            task(polygon([[50, 10], [70, 20], [65, 60], [45, 40]])),
            QUAD,
            id="labelstudio-polygon",
        ),
    ],
)  # fmt: skip
def test_what_is_read(tmp_path, kind, files, expected):
    (item,), losses = read(kind, write_files(tmp_path, files))
    assert (item.name, item.size, losses) == ("a", (200, 100), [])
    (found,) = item.objects
    assert (found.name, found.difficult) == ("ship", 0)
    np.testing.assert_allclose(found.corners, expected, atol=1e-4)


OBJECTS = [DotaObject(np.array(SHIP, float), "ship", 1), DotaObject(np.array(QUAD, float), "plane")]


def test_dota_is_written(tmp_path):
    header = {"imagesource": "GF-2", "gsd": "0.5"}
    names = [DotaObject(np.array(SHIP, float), "storage  tank", 2)]
    losses = write("dota", tmp_path / "out", names, header=header)
    assert losses == ["spaces in class names became -: 1, first in a"]
    text = (tmp_path / "out" / "labelTxt" / "a.txt").read_text()
    assert text.splitlines() == [
        "imagesource:GF-2",
        "gsd:0.5",
        "55.0 30.0 55.0 50.0 45.0 50.0 45.0 30.0 storage-tank 2",
    ]


def test_yolo_is_written(tmp_path):
    over = DotaObject(np.array([[190, -5], [210, -5], [210, 20], [190, 20]], float), "ship")
    losses = write("yolo-obb", tmp_path / "out", [*OBJECTS, over], header={"gsd": "1"})
    assert losses == [
        "objects with corners moved to the image's border: 1, first in a",
        "difficult flags are lost: 1, first in a",
        "imagesource and gsd are lost: 1, first in a",
    ]
    assert (tmp_path / "out" / "labels" / "a.txt").read_text().splitlines() == [
        "1 0.275 0.3 0.275 0.5 0.225 0.5 0.225 0.3",
        "0 0.5 0.1 0.7 0.2 0.65 0.6 0.45 0.4",
        "1 0.95 0.0 1.0 0.0 1.0 0.2 0.95 0.2",
    ]
    lines = (tmp_path / "out" / "data.yaml").read_text().splitlines()
    assert lines[-3:] == ["names:", "  0: plane", "  1: ship"]


def test_coco_is_written(tmp_path):
    assert write("coco", tmp_path / "out", OBJECTS, header={"gsd": "1"}) == []
    content = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert content["images"] == [
        {"id": 1, "file_name": "a.png", "width": 200, "height": 100, "gsd": "1"}
    ]
    assert content["categories"] == [{"id": 1, "name": "plane"}, {"id": 2, "name": "ship"}]
    ship, quad = content["annotations"]
    assert ship == {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "bbox": [45.0, 30.0, 10.0, 20.0],
        "area": 200.0,
        "iscrowd": 0,
        "difficult": 1,
        "segmentation": [[55.0, 30.0, 55.0, 50.0, 45.0, 50.0, 45.0, 30.0]],
    }
    # shoelace of QUAD: diagonals (30, 50) and (-50, 20): (30 * 20 + 50 * 50) / 2
    assert quad["area"] == 1550 and quad["bbox"] == [90, 10, 50, 50]
    losses = write("coco-upright", tmp_path / "upright", OBJECTS)
    assert losses == [
        "turned boxes and first corners are lost: upright boxes around: 2, first in a"
    ]
    content = json.loads((tmp_path / "upright" / "annotations.json").read_text())
    assert [(each["bbox"], each["area"]) for each in content["annotations"]] == [
        ([45, 30, 10, 20], 200),
        ([90, 10, 50, 50], 2500),
    ]
    assert "segmentation" not in content["annotations"][0]


def test_labelme_is_written(tmp_path):
    cut = DotaObject(np.array(SHIP, float), "ship", 2)
    assert write("labelme", tmp_path / "out", [*OBJECTS, cut]) == [
        "difficult flags 2 became 1: 1, first in a"
    ]
    content = json.loads((tmp_path / "out" / "a.json").read_text())
    assert (content["imagePath"], content["imageWidth"], content["imageData"]) == (
        "a.png",
        200,
        None,
    )
    first, second, _ = content["shapes"]
    assert (first["label"], first["points"], first["flags"]) == ("ship", SHIP, {"difficult": True})
    assert (second["shape_type"], second["points"], second["flags"]) == ("polygon", QUAD, {})


def test_rolabelimg_is_written(tmp_path):
    losses = write("rolabelimg", tmp_path / "out", OBJECTS)
    assert losses == ["no rectangles, or not clockwise: the smallest one around: 1, first in a"]
    text = "".join((tmp_path / "out" / "a.xml").read_text().split())
    assert "<robndbox><cx>50.0</cx><cy>40.0</cy><w>20.0</w><h>10.0</h><angle>1.57079633<" in text
    assert "<type>robndbox</type><name>ship</name>" in text and "<difficult>1</difficult>" in text


def test_labelstudio_is_written(tmp_path):
    assert write("labelstudio", tmp_path / "out", OBJECTS) == []
    ((ship, quad),) = [
        entry["annotations"][0]["result"]
        for entry in json.loads((tmp_path / "out" / "labelstudio.json").read_text())
    ]
    value = ship["value"]
    expected = {"x": 27.5, "y": 30, "width": 10, "height": 10, "rotation": 90}
    assert {key: value[key] for key in expected} == pytest.approx(expected)
    assert (ship["type"], value["rectanglelabels"]) == ("rectanglelabels", ["ship"])
    assert (ship["original_width"], ship["original_height"]) == (200, 100)
    assert ship["meta"] == {"text": ["difficult 1"]}
    np.testing.assert_allclose(quad["value"]["points"], [[50, 10], [70, 20], [65, 60], [45, 40]])
    config = (tmp_path / "out" / "label_config.xml").read_text()
    for result in (ship, quad):
        assert f'name="{result["from_name"]}" toName="{result["to_name"]}"' in config
    assert config.count('<Label value="ship" />') == 2


@pytest.mark.parametrize(
    ("kind", "files", "message"),
    [
        ("dota", IMAGE | {"labelTxt/a.txt": "gsd:1\n1 2 3\n"}, "a.txt:2: expected 8 coordinates"),
        ("dota", IMAGE, "expected a folder labelTxt/"),
        ("yolo-obb", IMAGE | {"labels/a.txt": ""}, "expected data.yaml with `names`"),
        ("yolo-obb", IMAGE | {"data.yaml": "names: 3"}, "data.yaml:names: expected the classes'"),
        ("yolo-obb", IMAGE | {"data.yaml": "names: [a"}, "data.yaml: expected YAML"),
        ("yolo-obb", IMAGE | NAMES | {"labels/a.txt": "\n2" + " 0.5" * 8}, "a.txt:2: class 2 has"),
        ("yolo-obb", IMAGE | NAMES | {"labels/a.txt": "1 0.5 0.5 0.1 0.1"}, "a.txt:1: expected a"),
        ("yolo-obb", IMAGE | NAMES | {"labels/a.txt": "1" + " 50" * 8}, "got pixels"),
        ("yolo-obb", NAMES | {"labels/a.txt": ""}, "expected images in it"),
        ("coco", {"a.json": "{\n\n"}, "a.json:3: expected JSON"),
        ("coco", {"a.json": "9" * 5000}, "a.json: expected JSON"),
        ("coco", {"a.json": b"{\xff"}, "a.json: expected JSON"),
        ("coco", coco({"bbox": [1, 2, 3, int("9" * 400)]}), "[0].bbox[3]: expected a number"),
        ("coco", coco({"bbox": [1, 2, 3, 4], "difficult": -1}), "[0].difficult: expected a diff"),
        ("coco", {"a.json": "[" * 100_000}, "a.json: expected JSON"),
        ("coco", coco() | labelme(), "holds 2 JSON files"),
        ("coco", coco(categories=None), "some.json:categories: missing"),
        ("coco", coco({"category_id": 5}), "annotations[0].category_id: no category has the id 5"),
        ("coco", coco({}, {"image_id": 8}), "annotations[1].image_id: no image has the id 8"),
        ("coco", coco({}), "some.json:annotations[0].bbox: missing"),
        ("coco", coco({"bbox": [1, 2, 3, "4"]}), "annotations[0].bbox[3]: expected a number"),
        ("coco", coco({"bbox": [1, 2, 3, 4, 5]}), "expected [x, y, width, height]"),
        ("coco", coco({"segmentation": [[1, 2, 3]]}), "[0].segmentation: expected lists"),
        ("labelme", labelme(shape([[1, 2], [3, float("nan")]])), "a.json:shapes[0].points[1][1]: "),
        ("labelme", labelme(shape([[1, 2], [3, 4]])), "expected the points of a polygon, got 2"),
        ("labelme", labelme(shape([[1, 2, 3]])), "points: expected a list of [x, y]"),
        ("labelme", labelme(imageWidth=None), "a.json: expected the image, for its size"),
        ("labelme", labelme(imageWidth=2.5), "a.json:imageWidth: expected an image's size"),
        ("labelme", labelme() | {"a.png": (90, 80)}, "has 200x100 pixels, but"),
        ("labelme", {"a.txt": ""}, "expected label files *.json, found none"),
        ("rolabelimg", {"a.xml": "<annotation>\n<object></annotation>"}, "a.xml:2: expected XML"),
        ("rolabelimg", xml(box(1, 2, 3, "", 5)), "a.xml:object[1]/robndbox/h: missing"),
        ("rolabelimg", xml(box(1, 2, 3, "inf", 5)), "robndbox/h: expected a number, got 'inf'"),
        ("rolabelimg", xml(box(1, 2, 3, 4, 5) + "<difficult>.5</difficult>"), "[1]/difficult: exp"),
        ("rolabelimg", xml(""), "a.xml:object[1]: expected robndbox or bndbox"),
        ("labelstudio", task(region(1, 2, 3, None)), "result[0].value.height: missing"),
        ("labelstudio", task(region(1, 2, 3, 4, image_rotation=90)), "image that is not turned"),
        ("labelstudio", task(polygon([[1, 2]])), "value.points: expected corners, got 1"),
        ("labelstudio", task(data={"image": "a.mp4"}), "json:[0].data: expected the path"),
    ],
)  # fmt: skip
def test_bad_input_is_told_with_its_place(tmp_path, kind, files, message):
    write_files(tmp_path, files)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        read(kind, tmp_path)
    assert message in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    "declaration",
    ['<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]>', '<!DOCTYPE a SYSTEM "file:///etc/passwd">'],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(tmp_path, declaration, encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?>{declaration}<a>&c;</a>'
    write_files(tmp_path, {"a.xml": text.encode(encoding)})
    with pytest.raises(ValueError, match="a.xml: expected no DOCTYPE"):
        read("rolabelimg", tmp_path)


@pytest.mark.parametrize(
    ("kind", "files", "losses"),
    [
        (
            "coco",
            coco(
                {"bbox": [1, 2, 3, 4], "iscrowd": 1},
                {"bbox": [1, 2, 3, 4], "segmentation": {"counts": "x", "size": [100, 200]}},
                {"segmentation": [[0, 0, 8, 0, 8, 4, 4, 4, 0, 4]]},
            ),
            [
                "crowds (iscrowd) are left out",
                "masks as run lengths: their upright boxes are taken",
                "outlines of other than 4 corners: the smallest rectangle around",
            ],
        ),
        (
            "labelme",
            labelme(shape([[0, 0], [8, 0], [8, 4], [4, 4], [0, 4]]), shape([[1, 2]], "circle")),
            [
                "outlines of other than 4 corners: the smallest rectangle around",
                "shapes of the type circle are left out",
            ],
        ),
        ("labelstudio", task({"type": "choices"}), ["results of the type choices are left out"]),
        (
            "labelstudio",
            task(annotations=[{"was_cancelled": True, "result": []}]),
            ["tasks without an annotation are left out"],
        ),
        (
            "labelstudio",
            task(annotations=[{"result": []}, {"result": [1]}])
            | IMAGE,
            ["further annotations of a task are left out"],
        ),
        (
            "dota",
            {"images/a.png": (20, 10), "images/b.png": (20, 10), "labelTxt/b.txt": ""},
            ["images without a label file are left out"],
        ),
        (
            "dota",
            {"images/b.png": (20, 10), "labelTxt/a.txt": "", "labelTxt/b.txt": ""},
            ["label files without an image are left out"],
        ),
        (
            "yolo-obb",
            NAMES | {"images/b.png": (20, 10), "labels/a.txt": YOLO_SHIP},
            ["label files without an image are left out"],
        ),
    ],
)  # fmt: skip
def test_what_is_left_out_is_counted(tmp_path, kind, files, losses):
    items, told = read(kind, write_files(tmp_path, files))
    assert told == [f"{line}: 1, first in a" for line in losses]
    for item in items:
        for each in item.objects[1:]:
            np.testing.assert_allclose(each.corners, [[0, 0], [8, 0], [8, 4], [0, 4]], atol=1e-4)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/local-files/?d=images/a%20b.png", "a b"),
        ("https://host/x/P0706.tif?token=1", "P0706"),
        ("s3://bucket/P0706__1__0___0.jpg", "P0706__1__0___0"),
        ("/data/upload/12/0a1b2c3d-a.png", "a"),
        ("C:\\images\\0a1b2c3d-a.png", "0a1b2c3d-a"),
    ],
)
def test_names_in_label_studio(tmp_path, path, name):
    files = task(region(1, 2, 3, 4), data={"id": 4, "picture": path})
    assert [item.name for item in read("labelstudio", write_files(tmp_path, files))[0]] == [name]


@pytest.mark.parametrize("mark", [{"difficult": True}, {"flags": {"difficult": True}}])
def test_difficult_flags_of_labelme(tmp_path, mark):
    (item,), _ = read("labelme", write_files(tmp_path, labelme(shape(SHIP, **mark))))
    assert item.objects[0].difficult == 1


def test_headers(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfimagesource:GoogleEarth\r\ngsd:null\r\n1 1 2 1 2 2 1 2 a 0\r\n")
    assert read_header(path) == {"imagesource": "GoogleEarth"}
    path.write_text("1 1 2 1 2 2 1 2 gsd 0\ngsd:3\n")
    assert read_header(path) == {}


def test_images_are_linked_and_never_overwritten(tmp_path):
    write_files(tmp_path, {"x/a.png": (20, 10), "y/a.png": (30, 10)})
    link_image(tmp_path / "x" / "a.png", tmp_path / "out")
    assert (tmp_path / "out" / "a.png").samefile(tmp_path / "x" / "a.png")
    before = (tmp_path / "x" / "a.png").read_bytes()
    with pytest.raises(ValueError, match="another image has the same name"):
        link_image(tmp_path / "y" / "a.png", tmp_path / "out")
    assert (tmp_path / "x" / "a.png").read_bytes() == before


def test_images_are_copied_where_links_are_impossible(tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    write_files(tmp_path, {"x/a.png": (20, 10)})
    link_image(tmp_path / "x" / "a.png", tmp_path / "out")
    copy = tmp_path / "out" / "a.png"
    assert not copy.samefile(tmp_path / "x" / "a.png")
    assert copy.read_bytes() == (tmp_path / "x" / "a.png").read_bytes()


def test_rectangles_round_trip():
    rng = np.random.default_rng(3)
    for _ in range(200):
        rectangle = (*rng.uniform(0, 20_000, 2), *rng.uniform(0, 900, 2), rng.uniform(0, 6.28))
        corners = rectangle_to_corners(rectangle)
        assert corners_to_rectangle(corners) == pytest.approx(rectangle, abs=1e-6)
        assert is_rectangle(corners) and not is_rectangle(corners[::-1])
        assert not is_rectangle(corners + [[0.02, 0], [0, 0], [0, 0], [0, 0]])


@pytest.mark.parametrize(
    "corners",
    [
        [[5, 5], [5, 5], [5, 5], [5, 5]],
        [[5, 5], [9, 8], [9, 8], [5, 5]],
        [[5, 5], [5, 5], [9, 8], [9, 8]],
    ],
    ids=["point", "line along w", "line along h"],
)
def test_rectangles_without_area(corners):
    corners = np.array(corners, float)
    assert is_rectangle(corners)
    np.testing.assert_allclose(rectangle_to_corners(corners_to_rectangle(corners)), corners)


def test_smallest_rectangle_begins_at_the_first_point_and_is_clockwise():
    # the square around the diamond's corners, and a point inside
    points = np.array([[1030, 2010], [1020, 2020], [1010, 2010], [1019, 2010], [1020, 2000]])
    expected = [[1030, 2010], [1020, 2020], [1010, 2010], [1020, 2000]]
    np.testing.assert_allclose(smallest_rectangle(points), expected, atol=1e-3)
    np.testing.assert_allclose(smallest_rectangle(points[::-1])[0], [1020, 2000], atol=1e-3)
