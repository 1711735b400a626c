import cv2
import numpy as np
import pytest
from made_data import gradient, make_coco_folder

from maskrcnn_benchmark.data.datasets import COCODataset, ListDataset
from maskrcnn_benchmark.data.datasets.coco import has_valid_annotation
from maskrcnn_benchmark.data.transforms import RandomHorizontalFlip
from maskrcnn_benchmark.images.image_io import write_image

POLYGON = [[5.0, 6, 25, 6, 25, 16, 5, 16]]


def points(visible):
    """17 keypoints, so many of them labelled."""
    return [value for place in range(17) for value in (10 + place, 8, 2 if place < visible else 0)]


@pytest.fixture
def folder(tmp_path):
    person = {"segmentation": POLYGON, "keypoints": points(12), "num_keypoints": 12}
    annotations = [
        {"image_id": 5, "category_id": 7, "bbox": [5, 6, 20, 10], **person},
        {"image_id": 5, "category_id": 3, "bbox": [50, 30, 40, 5], **person},  # over the border
        {"image_id": 5, "category_id": 7, "bbox": [1, 1, 50, 30], "iscrowd": 1, **person},
        {"image_id": 2, "category_id": 7, "bbox": [3, 4, 0.5, 9], **person},  # no width
    ]
    images = {5: (60, 40), 2: (44, 50), 9: (30, 20)}
    return make_coco_folder(tmp_path / "coco", images, {7: "ship", 3: "plane"}, annotations)


def test_sample(folder):
    annotations, images = folder
    dataset = COCODataset(str(annotations), str(images), False)
    assert dataset.ids == [2, 5, 9] and dataset.id_to_img_map == {0: 2, 1: 5, 2: 9}
    image, target, index = dataset[1]
    assert index == 1
    assert np.array_equal(image, gradient(60, 40))
    assert target.size == (60, 40) and target.mode == "xyxy"
    # x2 = 5 + 20 - 1, y2 = 6 + 10 - 1; the second is cut at 59; the crowd is left out
    assert target.bbox.tolist() == [[5, 6, 24, 15], [50, 30, 59, 34]]
    assert target.get_field("labels").tolist() == [1, 2]
    assert target.image_name == str(images / "5.png")
    mask = target.get_field("masks").get_mask_tensor()[0]
    assert mask[10, 15] and not mask[20, 15]
    assert target.get_field("keypoints").keypoints[0, 3].tolist() == [13, 8, 2]


def test_categories_become_contiguous_labels(folder):
    dataset = COCODataset(*map(str, folder), False)
    assert dataset.categories == {7: "ship", 3: "plane"}
    assert dataset.json_category_id_to_contiguous_id == {7: 1, 3: 2}
    assert dataset.contiguous_category_id_to_json_id == {1: 7, 2: 3}


def test_info(folder):
    info = COCODataset(*map(str, folder), False).get_img_info(0)
    assert (info["width"], info["height"], info["file_name"]) == (44, 50, "2.png")


@pytest.mark.parametrize("index", [0, 2])
def test_images_without_objects_have_the_same_fields(folder, index):
    _, target, _ = COCODataset(*map(str, folder), False)[index]
    assert target.bbox.shape == (0, 4)
    assert sorted(target.fields()) == ["keypoints", "labels", "masks"]
    assert all(len(target.get_field(name)) == 0 for name in ("labels", "masks"))


def test_training_leaves_out_images_with_nothing_to_learn(folder):
    assert COCODataset(*map(str, folder), True).ids == [5]


def test_transforms_see_image_and_target(folder):
    dataset = COCODataset(*map(str, folder), False, RandomHorizontalFlip(1.0))
    image, target, _ = dataset[1]
    assert np.array_equal(image, gradient(60, 40)[:, ::-1])
    assert target.bbox[0].tolist() == [35, 6, 54, 15]  # 59 - 24, 59 - 5


@pytest.mark.parametrize(
    "annotations, is_valid",
    [
        pytest.param([], False, id="none"),
        pytest.param([{"bbox": [0, 0, 1, 50]}], False, id="too thin"),
        pytest.param([{"bbox": [0, 0, 1, 50]}, {"bbox": [0, 0, 2, 3]}], True, id="one is large"),
        pytest.param([{"bbox": [0, 0, 9, 9], "keypoints": points(9)}], False, id="few keypoints"),
        pytest.param([{"bbox": [0, 0, 9, 9], "keypoints": points(10)}], True, id="keypoints"),
        pytest.param(
            [{"bbox": [0, 0, 9, 9], "keypoints": points(5)}] * 2, True, id="keypoints together"
        ),
    ],
)
def test_valid_annotations(annotations, is_valid):
    assert has_valid_annotation(annotations) == is_valid


def test_fault_run_lengths_of_an_object_were_told_without_the_file(tmp_path):
    codes = {"size": [40, 60], "counts": [2400]}
    objects = [{"image_id": 5, "category_id": 7, "bbox": [5, 6, 20, 10], "segmentation": codes}]
    paths = make_coco_folder(tmp_path / "coco", {5: (60, 40)}, {7: "ship"}, objects)
    dataset = COCODataset(*map(str, paths))
    with pytest.raises(ValueError, match="annotations.json: annotation 1: expected polygons, got"):
        dataset[0]


def test_missing_paths_are_named(folder, tmp_path):
    annotations, images = map(str, folder)
    with pytest.raises(FileNotFoundError, match="annotation file .*nothing.json"):
        COCODataset(str(tmp_path / "nothing.json"), images, False)
    with pytest.raises(FileNotFoundError, match="image folder .*nowhere"):
        COCODataset(annotations, str(tmp_path / "nowhere"), False)


def test_images_come_through_the_one_reader(folder):
    """A 16-bit grey file, which PIL's convert("RGB") would turn white."""
    annotations, images = folder
    cv2.imwrite(str(images / "9.png"), np.full((20, 30), 257 * 40, dtype=np.uint16))
    image, _, _ = COCODataset(str(annotations), str(images), False)[2]
    assert image.shape == (20, 30, 3) and (image == 40).all()


def test_list_of_files(tmp_path):
    write_image(tmp_path / "a.png", gradient(33, 21))
    files = ListDataset([str(tmp_path / "a.png")])
    image, target = files[0]
    assert np.array_equal(image, gradient(33, 21))
    assert target.size == (33, 21) and len(target) == 1
    assert files.get_img_info(0) == {
        "height": 21,
        "width": 33,
        "file_name": str(tmp_path / "a.png"),
    }


def test_real_images(shared_data):
    folder = shared_data / "tiny_coco"
    dataset = COCODataset(
        str(folder / "annotations" / "instances_val2017.json"), str(folder / "val2017"), False
    )
    assert len(dataset) == 50 and len(dataset.categories) == 80
    image, target, _ = dataset[0]
    info = dataset.get_img_info(0)
    assert image.shape == (info["height"], info["width"], 3)
    coco = dataset.coco
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=dataset.ids[0], iscrowd=0))
    names = [coco.cats[item["category_id"]]["name"] for item in annotations]
    labels = target.get_field("labels").tolist()
    to_json = dataset.contiguous_category_id_to_json_id
    assert [dataset.categories[to_json[label]] for label in labels] == names
