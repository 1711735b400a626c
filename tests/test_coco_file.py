"""Files of annotations in COCO's format: what is checked, and how it is told."""

import copy
import json
import math

import pytest

from maskrcnn_benchmark.data.datasets.coco_file import count_categories, read_coco_file

RING = [1.0, 2.0, 11.0, 2.0, 11.0, 7.0]
CONTENT = {
    "images": [
        {"id": 3, "file_name": "3.png", "width": 60, "height": 40},
        {"id": 5, "file_name": "5.png", "width": 60, "height": 40},
    ],
    "categories": [{"id": 7, "name": "ship"}, {"id": 2, "name": "plane"}],
    "annotations": [
        {"id": 11, "image_id": 3, "category_id": 7, "bbox": [1, 2, 10, 5], "segmentation": [RING]},
        {"id": 12, "image_id": 5, "category_id": 2, "bbox": [1, 2, 4, 5], "segmentation": []},
    ],
}


def write(tmp_path, content):
    path = tmp_path / "set.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def changed(place, value):
    """Return CONTENT with one entry changed, or left out where the value is None."""
    content = copy.deepcopy(CONTENT)
    *way, last = place
    entry = content
    for key in way:
        entry = entry[key]
    if value is None:
        del entry[last]
    else:
        entry[last] = value
    return content


def test_what_is_missing_is_filled_in(tmp_path):
    """Without iscrowd and area, COCO's evaluation stopped at a KeyError."""
    content = read_coco_file(write(tmp_path, CONTENT))
    filled = [(item["iscrowd"], item["area"]) for item in content["annotations"]]
    assert filled == [(0, 50), (0, 20)]
    without = changed(["annotations"], None)
    assert read_coco_file(write(tmp_path, without)) == without | {"annotations": []}
    crowd = changed(["annotations", 1, "iscrowd"], 1)
    crowd["annotations"][1]["segmentation"] = {"size": [40, 60], "counts": [2400]}
    crowd["annotations"][1]["area"] = 9e9
    assert read_coco_file(write(tmp_path, crowd))["annotations"][1]["area"] == 9e9


A, B = ("annotations", 0), ("annotations", 1)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (["images"], None, 'expected a list "images", got NoneType'),
        (["images"], {}, 'expected a list "images", got dict'),
        (["categories"], None, 'expected a list "categories"'),
        (["annotations"], {"a": 1}, 'expected a list "annotations"'),
        (["images", 1], 5, r"images\[1\]: expected an entry with an id"),
        (["images", 1, "id"], None, r"images\[1\]: expected an entry with an id"),
        (["images", 1, "id"], "5", "images' ids of one kind"),
        (["images", 1, "id"], 3, "image 3: a second one of this id"),
        (["images", 1, "file_name"], None, "image 5: expected a file_name, got None"),
        (["images", 1, "height"], "40", "image 5: expected width and height"),
        (["images", 1, "width"], 0, "image 5: expected width and height"),
        (["categories", 0, "id"], "7", "category 7: expected a whole number as id"),
        (["categories", 0, "name"], 3, "category 7: expected a whole number as id and a name"),
        ([*B, "id"], None, r"annotations\[1\]: expected an entry with an id"),
        ([*B, "id"], 11, "annotation 11: a second one of this id"),
        ([*B, "image_id"], 4, "annotation 12: image_id 4 is not among"),
        ([*B, "image_id"], [5], r"annotation 12: image_id \[5\] is not among"),
        ([*B, "category_id"], None, "annotation 12: category_id None is not among"),
        ([*B, "bbox"], None, r"annotation 12: expected bbox \[x, y, width, height\].*None"),
        ([*B, "bbox"], [1, 2, 3], "annotation 12: expected bbox"),
        ([*B, "bbox"], [1, 2, 3, "4"], "annotation 12: expected bbox"),
        ([*B, "bbox"], [1, 2, -3, 4], "annotation 12: expected bbox"),
        ([*B, "bbox"], [1, math.nan, 3, 4], "annotation 12: expected bbox"),
        ([*B, "bbox"], [1, 1e9, 3, 4], "annotation 12: expected bbox"),
        ([*B, "iscrowd"], "no", "annotation 12: iscrowd is 0 or 1"),
        ([*B, "area"], math.inf, "annotation 12: expected an area"),
        ([*B, "area"], [3], "annotation 12: expected an area"),
        ([*B, "segmentation"], None, "annotation 12: no segmentation, which the file's first"),
        ([*B, "segmentation"], {"size": [4, 6]}, "12: expected polygons or run lengths"),
        ([*B, "segmentation"], RING, "annotation 12: expected polygons .*got 1.0"),
        ([*B, "segmentation"], [RING[:5]], "annotation 12: expected polygons"),
        ([*B, "segmentation"], [[*RING[:5], 1e9]], "annotation 12: expected polygons"),
        ([*B, "segmentation"], [[*RING[:5], "7"]], "annotation 12: expected polygons"),
        ([*B, "keypoints"], [1, 2], "annotation 12: expected keypoints"),
        ([*A, "keypoints"], [1, 2, 2], "annotation 12: no keypoints, which the file's first"),
    ],
)
def test_fault_wrong_entries_were_tracebacks_or_taken(tmp_path, place, value, told):
    with pytest.raises(ValueError, match=f"set.json: .*{told}"):
        read_coco_file(write(tmp_path, changed(place, value)))


def test_numbers_of_keypoints_must_agree(tmp_path):
    content = changed([*A, "keypoints"], [1, 2, 2, 3, 4, 2])
    content["annotations"][1]["keypoints"] = [1, 2, 2]
    with pytest.raises(ValueError, match="12: 1 keypoints, the file's first object has 2"):
        read_coco_file(write(tmp_path, content))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, "\x00"])
def test_fault_no_json_was_told_without_the_files_name(tmp_path, text):
    for read in (read_coco_file, count_categories):
        with pytest.raises(ValueError, match="set.json: (no JSON|expected)"):
            read(write(tmp_path, text))


def test_categories_are_counted_without_the_rest(tmp_path):
    assert count_categories(write(tmp_path, changed(["images"], None))) == 2
    with pytest.raises(ValueError, match='set.json: expected a list "categories"'):
        count_categories(write(tmp_path, changed(["categories"], None)))
