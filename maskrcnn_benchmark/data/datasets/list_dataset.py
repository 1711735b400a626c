"""Data set of a list of image files."""

from collections.abc import Callable, Sequence
from typing import Any

from maskrcnn_benchmark.images.image_io import read_image, read_image_size
from maskrcnn_benchmark.structures.bounding_box import BoxList


class ListDataset:
    """Images without annotations; the target is one box around the whole image.

    Args:
        image_lists: paths of the images.
        transforms: called with (BGR image, target), or None.
    """

    def __init__(self, image_lists: Sequence[str], transforms: Callable | None = None):
        self.image_lists = image_lists
        self.transforms = transforms

    def __getitem__(self, item: int) -> tuple[Any, BoxList]:
        path = self.image_lists[item]
        image = read_image(path)
        height, width = image.shape[:2]
        target = BoxList([[0, 0, width, height]], (width, height))
        target.image_name = str(path)
        if self.transforms is None:
            return image, target
        return self.transforms(image, target)

    def __len__(self) -> int:
        return len(self.image_lists)

    def get_img_info(self, item: int) -> dict:
        """Return height, width (pixels, read from the header) and file_name of an image."""
        path = self.image_lists[item]
        width, height = read_image_size(path)
        return {"height": height, "width": width, "file_name": str(path)}
