"""Base class for data sets whose annotations are in a format of their own."""

import copy
from typing import Any

from torch.utils.data import Dataset

from maskrcnn_benchmark.structures.bounding_box import BoxList


class AbstractDataset(Dataset):
    """Data set that COCO's and Cityscapes' rules can evaluate.

    A subclass defines `CLASSES` (names in the order of the labels, "__background__" first),
    `__getitem__(idx)` -> (image, BoxList target with "labels", idx), `__len__` and
    `get_img_info(idx)` -> dict with at least "height" and "width" in pixels.
    """

    CLASSES: tuple[str, ...] | list[str]

    def __init__(self, *args: Any, **kwargs: Any):
        self.name_to_id: dict[str, int] | None = None
        self.id_to_name: dict[int, str] | None = None

    def initMaps(self) -> None:  # noqa: N802 (the original's name)
        """Set `name_to_id` and `id_to_name` from `CLASSES`.

        Raises:
            ValueError: the first class is not "__background__".
        """
        if not isinstance(self.CLASSES, (list, tuple)) or self.CLASSES[0] != "__background__":
            raise ValueError(
                f'CLASSES must be a list that begins with "__background__", got {self.CLASSES!r}'
            )
        self.id_to_name = dict(enumerate(self.CLASSES))
        self.name_to_id = {name: number for number, name in self.id_to_name.items()}

    def __getitem__(self, idx: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def get_groundtruth(self, index: int) -> BoxList:
        """Return the ground truth for evaluation: the objects of an image, in its own pixels.

        It is the target that `__getitem__` returns while the attribute `transforms` is None. If a
        data set keeps its transforms in another attribute, the target is resized to the image.
        """
        plain = copy.copy(self)
        if hasattr(self, "transforms"):
            plain.transforms = None
        target, info = plain[index][1], self.get_img_info(index)
        size = (info["width"], info["height"])
        return target if tuple(target.size) == size else target.resize(size)

    def get_img_info(self, index: int) -> dict:
        """Return at least the "height" and "width" of an image in pixels, without decoding it."""
        raise NotImplementedError(f"{type(self).__name__} must define get_img_info")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")
