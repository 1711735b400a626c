import numpy as np
import pytest
from made_data import gradient

from maskrcnn_benchmark.data.datasets import AbstractDataset, PascalVOCDataset
from maskrcnn_benchmark.data.transforms import RandomHorizontalFlip
from maskrcnn_benchmark.images.image_io import write_image

OBJECT = """
<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>
<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax>
</bndbox></object>"""


def write_sample(folder, name, size, objects):
    write_image(folder / "JPEGImages" / f"{name}.jpg", gradient(*size))
    text = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    text += "".join(OBJECT.format(name=n, difficult=d, box=b) for n, d, b in objects)
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")


@pytest.fixture
def folder(tmp_path):
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("000007\n000012\n")
    boat, dog = ("boat", 0, (5, 4, 24, 13)), ("Dog", 1, (11, 21, 40, 36))
    write_sample(tmp_path, "000007", (60, 40), [boat, dog])
    write_sample(tmp_path, "000012", (30, 50), [])
    return tmp_path


def test_sample(folder):
    dataset = PascalVOCDataset(str(folder), "val", use_difficult=True)
    assert len(dataset) == 2 and dataset.id_to_img_map == {0: "000007", 1: "000012"}
    image, target, index = dataset[0]
    assert image.shape == (40, 60, 3) and index == 0
    assert target.size == (60, 40)
    # VOC's pixels count from 1
    assert target.bbox.tolist() == [[4, 3, 23, 12], [10, 20, 39, 35]]
    names = [dataset.map_class_id_to_class_name(k) for k in target.get_field("labels").tolist()]
    assert names == ["boat", "dog"]
    assert target.get_field("difficult").tolist() == [False, True]
    assert target.image_name == str(folder / "JPEGImages" / "000007.jpg")


def test_difficult_objects_are_left_out_of_training(folder):
    _, target, _ = PascalVOCDataset(str(folder), "val")[0]
    assert target.bbox.tolist() == [[4, 3, 23, 12]]


def test_image_without_objects(folder):
    _, target, _ = PascalVOCDataset(str(folder), "val")[1]
    assert target.bbox.shape == (0, 4) and sorted(target.fields()) == ["difficult", "labels"]


def test_info_and_names(folder):
    dataset = PascalVOCDataset(str(folder), "val")
    info = dataset.get_img_info(1)
    assert (info["height"], info["width"]) == (50, 30)
    assert len(dataset.categories) == 21 and dataset.class_to_ind["tvmonitor"] == 20


def test_transforms_see_image_and_target(folder):
    _, target, _ = PascalVOCDataset(str(folder), "val", transforms=RandomHorizontalFlip(1.0))[0]
    assert target.bbox.tolist() == [[36, 3, 55, 12]]  # 59 - 23, 59 - 4


def test_wrong_input_is_named(folder):
    with pytest.raises(FileNotFoundError, match="train.txt"):
        PascalVOCDataset(str(folder), "train")
    write_sample(folder, "000012", (30, 50), [("ship", 0, (1, 1, 9, 9))])
    with pytest.raises(ValueError, match="000012.xml: unknown class 'ship'.*boat"):
        PascalVOCDataset(str(folder), "val")[1]


class Pair(AbstractDataset):
    CLASSES = ("__background__", "ship", "plane")


def test_maps_of_a_data_set_of_ones_own():
    dataset = Pair()
    assert dataset.name_to_id is None
    dataset.initMaps()
    assert dataset.name_to_id == {"__background__": 0, "ship": 1, "plane": 2}
    assert dataset.id_to_name == {0: "__background__", 1: "ship", 2: "plane"}
    with pytest.raises(NotImplementedError, match="Pair must define __getitem__"):
        dataset[0]
    dataset.CLASSES = ("ship",)
    with pytest.raises(ValueError, match="__background__"):
        dataset.initMaps()


def test_pixels_are_bgr(folder):
    image, _, _ = PascalVOCDataset(str(folder), "val")[0]
    # blue rises with x, green with y, red is 128; JPEG changes them a little
    assert np.abs(image.astype(int) - gradient(60, 40)).mean() < 6
