"""From a list of samples to a batch."""

from collections.abc import Sequence

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list


class BatchCollator:
    """Put images into one padded tensor.

    Args:
        size_divisible: height and width are padded to a multiple of this, pixels; 0 for none.
    """

    def __init__(self, size_divisible: int = 0):
        self.size_divisible = size_divisible

    def __call__(self, batch: Sequence[tuple]) -> tuple[ImageList, list[BoxList], list[int]]:
        images, targets, image_ids = (list(column) for column in zip(*batch, strict=True))
        return to_image_list(images, self.size_divisible), targets, image_ids


class BBoxAugCollator:
    """Leave the images as they are: test-time augmentation makes the tensors itself."""

    def __call__(self, batch: Sequence[tuple]) -> list[tuple]:
        return list(zip(*batch, strict=True))
