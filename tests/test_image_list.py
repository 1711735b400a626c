"""Batches of images of several sizes."""

import pytest
import torch

from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list


def images() -> list[torch.Tensor]:
    return [torch.ones(3, 5, 9), 2 * torch.ones(3, 7, 4)]


@pytest.mark.parametrize(
    ("multiple", "height", "width"), [(0, 7, 9), (4, 8, 12), (32, 32, 32)], ids=str
)
def test_padding(multiple, height, width):
    batch = to_image_list(images(), multiple)
    assert batch.tensors.shape == (2, 3, height, width)
    assert [tuple(size) for size in batch.image_sizes] == [(5, 9), (7, 4)]
    # the images lie at the top left, and all else is zero
    assert batch.tensors[0, :, :5, :9].eq(1).all() and batch.tensors[1, :, :7, :4].eq(2).all()
    assert batch.tensors.sum() == 3 * (5 * 9 + 2 * 7 * 4)


def test_tuple_is_a_list():
    assert to_image_list(tuple(images())).tensors.shape == (2, 3, 7, 9)


@pytest.mark.parametrize(
    ("shape", "multiple", "expected"),
    [
        ((3, 5, 9), 0, (1, 3, 5, 9)),
        ((2, 3, 5, 9), 0, (2, 3, 5, 9)),
        ((3, 5, 9), 8, (1, 3, 8, 16)),
        ((2, 3, 5, 9), 8, (2, 3, 8, 16)),
    ],
)
def test_single_tensors(shape, multiple, expected):
    batch = to_image_list(torch.ones(shape), multiple)
    assert batch.tensors.shape == expected
    assert [tuple(size) for size in batch.image_sizes] == [(5, 9)] * expected[0]


def test_image_list_is_returned_as_it_is():
    batch = to_image_list(images())
    assert to_image_list(batch, 32) is batch


def test_cast_keeps_sizes():
    batch = to_image_list(images()).to(torch.float64)
    assert isinstance(batch, ImageList) and batch.tensors.dtype == torch.float64
    assert tuple(batch.image_sizes[1]) == (7, 4)


def test_bad_input():
    with pytest.raises(TypeError, match="got <class 'str'>"):
        to_image_list("image.png")
    with pytest.raises(ValueError, match=r"got \(5, 9\)"):
        to_image_list(torch.ones(5, 9))
