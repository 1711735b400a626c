"""Key points of objects as in COCO: x, y, visibility, and x = y = 0 where that is 0."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    check_flip,
)

__all__ = [
    "FLIP_LEFT_RIGHT",
    "FLIP_TOP_BOTTOM",
    "Keypoints",
    "PersonKeypoints",
    "keypoints_to_heat_map",
    "kp_connections",
]


class Keypoints:
    """Points of N objects on one image; a subclass names the points.

    Args:
        keypoints: (N, K, 3), or anything that can be viewed so: x, y in pixels, visibility.
        size: (width, height) of the image.
        mode: kept for callers that set it.
    """

    # for each point, the one that takes its place when the image is mirrored; None: itself
    FLIP_INDS: torch.Tensor | None = None

    def __init__(self, keypoints: Any, size: Sequence[Any], mode: Any = None) -> None:
        where = keypoints.device if isinstance(keypoints, torch.Tensor) else torch.device("cpu")
        points = torch.as_tensor(keypoints, dtype=torch.float32, device=where)
        if len(points):
            points = points.reshape(len(points), -1, 3)
        elif points.dim() != 3:  # an empty list does not say how many points an object has
            names = type(self).FLIP_INDS
            points = points.new_zeros((0, 0 if names is None else len(names), 3))
        self.keypoints = points
        self.size = size
        self.mode = mode
        self.extra_fields: dict[str, Any] = {}

    def _with(self, points: torch.Tensor, size: Sequence[Any]) -> "Keypoints":
        """Return other points with this object's fields."""
        new = type(self)(points, size, self.mode)
        new.extra_fields.update(self.extra_fields)
        return new

    def crop(self, box: Sequence[Any]) -> "Keypoints":
        """Return the points on the image cropped to (x1, y1, x2, y2).

        Those that fall outside become invisible.
        """
        size = (box[2] - box[0], box[3] - box[1])
        points = self.keypoints.clone()
        for axis in (0, 1):
            points[..., axis] -= float(box[axis])
            place = points[..., axis]
            points[(place < 0) | (place > float(size[axis]))] = 0
        return self._with(_hide_invisible(points), size)

    def resize(self, size: Sequence[Any], *args: Any, **kwargs: Any) -> "Keypoints":
        """Return the points on the image resized to (width, height)."""
        points = self.keypoints.clone()
        for axis in (0, 1):
            points[..., axis] *= float(size[axis]) / float(self.size[axis])
        return self._with(points, size)

    def transpose(self, method: int) -> "Keypoints":
        """Return the points on the flipped image, left and right ones (FLIP_INDS) exchanged.

        Either flip mirrors the object, so that its left hand looks like a right one.
        """
        check_flip(method)
        order = type(self).FLIP_INDS
        points = self.keypoints.clone() if order is None else self.keypoints[:, order]
        axis = 0 if method == FLIP_LEFT_RIGHT else 1
        points[..., axis] = self.size[axis] - points[..., axis] - 1
        return self._with(_hide_invisible(points), self.size)

    def to(self, *args: Any, **kwargs: Any) -> "Keypoints":
        """Return the points, and every field that has a `to`, cast as torch.Tensor.to does."""
        new = self._with(self.keypoints.to(*args, **kwargs), self.size)
        for name, value in self.extra_fields.items():
            if hasattr(value, "to"):
                new.extra_fields[name] = value.to(*args, **kwargs)
        return new

    def pin_memory(self) -> "Keypoints":
        """Return the points in page-locked memory, from which a GPU copies without waiting."""
        pinned = self._with(self.keypoints.pin_memory(), self.size)
        pinned.extra_fields.update(self.extra_fields)
        return pinned

    def blank(self, count: int) -> "Keypoints":
        """Return `count` objects without a visible point on an image of the same size."""
        shape = (count, *self.keypoints.shape[1:])
        return type(self)(self.keypoints.new_zeros(shape), self.size, self.mode)

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, item: Any) -> "Keypoints":
        """Return the objects picked by a slice, a mask or indices."""
        new = self._with(self.keypoints[item], self.size)
        for name, value in self.extra_fields.items():
            new.extra_fields[name] = value[item]
        return new

    def add_field(self, field: str, field_data: Any) -> None:
        """Set a field, one value per object."""
        self.extra_fields[field] = field_data

    def get_field(self, field: str) -> Any:
        """Return a field by its name (KeyError where there is none)."""
        return self.extra_fields[field]

    def __repr__(self) -> str:
        width, height = self.size
        return (
            f"{type(self).__name__}(num_instances={len(self)}, "
            f"image_width={width}, image_height={height})"
        )


def _hide_invisible(points: torch.Tensor) -> torch.Tensor:
    """Set x and y to 0, in place, where the visibility is 0."""
    points[points[..., 2] == 0] = 0
    return points


def _create_flip_indices(names: Sequence[str], flip_map: Mapping[str, str]) -> torch.Tensor:
    """Return for each name the index of its mirror image, (K,) int64.

    Args:
        names: the points' names in order.
        flip_map: left name -> right name; either direction is enough.
    """
    mirror = dict(flip_map) | {right: left for left, right in flip_map.items()}
    return torch.tensor([list(names).index(mirror.get(name, name)) for name in names])


def kp_connections(keypoints: Sequence[str]) -> list[list[int]]:
    """Return the lines of a drawn person, as pairs of indices into the points' names."""
    lines = (
        "left_eye right_eye, left_eye nose, right_eye nose, right_eye right_ear, "
        "left_eye left_ear, right_shoulder right_elbow, right_elbow right_wrist, "
        "left_shoulder left_elbow, left_elbow left_wrist, right_hip right_knee, "
        "right_knee right_ankle, left_hip left_knee, left_knee left_ankle, "
        "right_shoulder left_shoulder, right_hip left_hip"
    )
    return [[keypoints.index(name) for name in line.split()] for line in lines.split(", ")]


_PAIRED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")


class PersonKeypoints(Keypoints):
    """COCO's 17 points of a person."""

    NAMES = ["nose"] + [f"{side}_{part}" for part in _PAIRED for side in ("left", "right")]
    FLIP_MAP = {f"left_{part}": f"right_{part}" for part in _PAIRED}
    FLIP_INDS = _create_flip_indices(NAMES, FLIP_MAP)
    CONNECTIONS = kp_connections(NAMES)


def keypoints_to_heat_map(
    keypoints: torch.Tensor, rois: torch.Tensor, heatmap_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cell of each point in a square heat map laid over its box.

    Args:
        keypoints: (N, K, 3).
        rois: (N, 4) xyxy.
        heatmap_size: cells per side.

    Returns:
        (N, K) int64 of cells ``y * heatmap_size + x``, 0 where the point does not count, and
        (N, K) int64 that is 1 where it counts: visible and inside the box, far border included.
    """
    if rois.numel() == 0:
        empty = torch.empty(0, dtype=torch.int64, device=rois.device)
        return empty, empty
    cells, counts = [], keypoints[..., 2] > 0
    for axis in (0, 1):
        near, far = rois[:, axis, None], rois[:, axis + 2, None]  # [N, 1]
        place = keypoints[..., axis]
        cell = ((place - near) * (heatmap_size / (far - near))).floor().long()
        cell = torch.where(place == far, heatmap_size - 1, cell)
        counts = counts & (cell >= 0) & (cell < heatmap_size)
        cells.append(cell)
    return (cells[1] * heatmap_size + cells[0]) * counts, counts.long()
