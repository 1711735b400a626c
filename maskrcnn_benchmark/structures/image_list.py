"""A batch of images of several sizes in one padded tensor."""

from collections.abc import Sequence
from typing import Any

import torch


class ImageList:
    """Images padded on the right and at the bottom, with their true sizes.

    Args:
        tensors: (N, C, H, W).
        image_sizes: the (height, width) of each image before padding.
    """

    def __init__(self, tensors: torch.Tensor, image_sizes: Sequence[Sequence[int]]) -> None:
        self.tensors = tensors
        self.image_sizes = image_sizes

    def to(self, *args: Any, **kwargs: Any) -> "ImageList":
        """Return the images moved or cast as by torch.Tensor.to; the sizes stay."""
        return ImageList(self.tensors.to(*args, **kwargs), self.image_sizes)

    def pin_memory(self) -> "ImageList":
        """Return the images in page-locked memory, from which a GPU copies without waiting."""
        return ImageList(self.tensors.pin_memory(), self.image_sizes)


def to_image_list(tensors: Any, size_divisible: int = 0) -> ImageList:
    """Put images into one batch, padded with zeros to the largest height and width.

    Args:
        tensors: an ImageList (returned unchanged), a (C, H, W) or (N, C, H, W) tensor, or a list
            or tuple of (C, H, W) tensors.
        size_divisible: if > 0, height and width of the batch are rounded up to multiples of this,
            pixels.

    Returns:
        the batch, (N, C, H, W), and the (height, width) of each image before padding.

    Raises:
        TypeError: `tensors` is of another type.
        ValueError: a tensor has another number of dimensions.
    """
    if isinstance(tensors, ImageList):
        return tensors
    if isinstance(tensors, torch.Tensor):
        if tensors.dim() not in (3, 4):
            raise ValueError(f"expected (C, H, W) or (N, C, H, W), got {tuple(tensors.shape)}")
        batch = tensors if tensors.dim() == 4 else tensors[None]
        if size_divisible <= 0:
            return ImageList(batch, [image.shape[-2:] for image in batch])
        tensors = list(batch)
    if not isinstance(tensors, (tuple, list)):
        raise TypeError(f"expected an ImageList, a tensor or a list of them, got {type(tensors)}")
    return _pad_to_batch(tensors, max(size_divisible, 1))


def _pad_to_batch(images: Sequence[torch.Tensor], multiple: int) -> ImageList:
    channels, height, width = (max(image.shape[axis] for image in images) for axis in range(3))
    padded_hw = [-(-length // multiple) * multiple for length in (height, width)]
    batch = images[0].new_zeros((len(images), channels, *padded_hw))
    for slot, image in zip(batch, images, strict=True):
        depth, rows, columns = image.shape
        slot[:depth, :rows, :columns] = image
    return ImageList(batch, [image.shape[-2:] for image in images])
