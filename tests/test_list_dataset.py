"""Data sets of image files, and concatenated data sets."""

import pytest
from made_data import gradient

from maskrcnn_benchmark.data.datasets import ConcatDataset, ListDataset
from maskrcnn_benchmark.images.image_io import write_image

SIZES = {"a.png": (60, 40), "b.jpg": (30, 50)}


@pytest.fixture
def paths(tmp_path):
    for name, (width, height) in SIZES.items():
        write_image(tmp_path / name, gradient(width, height))
    return [str(tmp_path / name) for name in SIZES]


def test_the_target_is_the_whole_image(paths):
    dataset = ListDataset(paths)
    assert len(dataset) == 2
    image, target = dataset[0]
    assert (image == gradient(60, 40)).all()  # BGR
    assert target.bbox.tolist() == [[0, 0, 60, 40]] and target.size == (60, 40)
    assert target.mode == "xyxy" and target.image_name == paths[0]


def test_transforms_get_image_and_target(paths):
    dataset = ListDataset(paths, lambda image, target: (image.shape, target.resize((15, 25))))
    shape, target = dataset[1]
    assert shape == (50, 30, 3) and target.bbox.tolist() == [[0, 0, 15, 25]]


def test_sizes_come_without_the_image_being_decoded(paths):
    """The original's get_img_info returned None."""
    assert ListDataset(paths).get_img_info(1) == {"height": 50, "width": 30, "file_name": paths[1]}


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.png"):
        ListDataset([str(tmp_path / "absent.png")])[0]


def test_several_as_one(paths):
    both = ConcatDataset([ListDataset(paths), ListDataset(paths[1:]), ListDataset(paths[:1])])
    assert len(both) == 4
    assert [both.get_idxs(index) for index in range(4)] == [(0, 0), (0, 1), (1, 0), (2, 0)]
    names = [both[index][1].image_name for index in range(4)]
    assert names == [paths[0], paths[1], paths[1], paths[0]]
    assert [both.get_img_info(index)["file_name"] for index in range(4)] == names
