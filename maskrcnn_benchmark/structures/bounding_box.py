"""The boxes of one image, with fields that hold a value per box.

Boxes are pixel indices, x right, y down, both ends included: ``width = x2 - x1 + 1``, so the box
(3, 4, 12, 8) is 10 pixels wide and 5 high, and fills columns 3..12 of its image.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from maskrcnn_benchmark.structures.rotated_boxes import (
    boxlist_to_edges,
    corners_to_edges,
    edges_to_boxlist,
    edges_to_corners,
)

FLIP_LEFT_RIGHT = 0
FLIP_TOP_BOTTOM = 1

MODES = ("xyxy", "xywh")
# Names of fields that hold points on the image, float tensors (N, ..., 2), which change with the
# boxes. Their coordinates are edges, not pixel indices: an object that fills columns 3..12 spans
# x = 3 .. 13.
GEOMETRIC_FIELDS = ("corners",)
_PLAIN = (torch.Tensor, np.ndarray, list, tuple)


class BoxList:
    """Boxes of one image; indexing a BoxList indexes its boxes and fields alike.

    A field holds a value per box. Tensors, arrays and lists (labels, scores …) do not change when
    the image is resized, flipped or cropped, except those named in GEOMETRIC_FIELDS; any other
    object (SegmentationMask, Corners, Keypoints, another BoxList) changes by its own resize /
    transpose / crop / warp.

    After `BoxList.checks_field_lengths = False` fields may have any length. Some projects rely on
    that (siam-mot: boxes per proposal and class, but ids per proposal).

    Args:
        bbox: (N, 4) tensor or nested list; converted to float32.
        image_size: (width, height) of the image in pixels.
        mode: "xyxy" (both ends included) or "xywh" (``w = x2 - x1 + 1``).

    Raises:
        ValueError: a wrong shape or mode.
    """

    checks_field_lengths = True

    def __init__(self, bbox: Any, image_size: Sequence[Any], mode: str = "xyxy") -> None:
        where = bbox.device if isinstance(bbox, torch.Tensor) else torch.device("cpu")
        boxes = torch.as_tensor(bbox, dtype=torch.float32, device=where)
        if boxes.dim() != 2 or boxes.shape[1] != 4:
            raise ValueError(f"bbox must be of shape (N, 4), got {tuple(boxes.shape)}")
        _check_mode(mode)
        self.bbox = boxes
        self.size = image_size
        self.mode = mode
        self.extra_fields: dict[str, Any] = {}
        self.image_name: str | None = None

    def add_field(self, field: str, field_data: Any) -> None:
        """Set a field.

        Args:
            field: its name.
            field_data: one value per box, or any object without a length. If the name is in
                GEOMETRIC_FIELDS, it is converted to a tensor.

        Raises:
            ValueError: the length is not the number of boxes.
        """
        if field in GEOMETRIC_FIELDS and isinstance(field_data, _PLAIN):
            field_data = torch.as_tensor(field_data)
        scalar = isinstance(field_data, (torch.Tensor, np.ndarray)) and field_data.ndim == 0
        has_length = hasattr(field_data, "__len__") and not scalar
        if self.checks_field_lengths and has_length and len(field_data) != len(self):
            raise ValueError(
                f"field '{field}' must have one value per box: expected length {len(self)}, got "
                f"{len(field_data)} (BoxList.checks_field_lengths = False accepts it)"
            )
        self.extra_fields[field] = field_data

    def get_field(self, field: str) -> Any:
        """Return the field of that name.

        Raises:
            KeyError: there is none.
        """
        return self.extra_fields[field]

    def has_field(self, field: str) -> bool:
        """Say whether the field is set."""
        return field in self.extra_fields

    def fields(self) -> list[str]:
        """Return the names of the fields."""
        return list(self.extra_fields)

    def _copy_extra_fields(self, bbox: "BoxList") -> None:
        self.extra_fields.update(bbox.extra_fields)

    def _derive(
        self,
        boxes: torch.Tensor,
        size: Sequence[Any] | None = None,
        mode: str | None = None,
        change: Callable[[str, Any], Any] | None = None,
    ) -> "BoxList":
        """Return a BoxList with other boxes, this one's image name and its fields.

        Args:
            boxes: (N, 4).
            size, mode: of the new list; None: as in this one.
            change: `change(name, value)` returns the new value of a field; None: unchanged.
        """
        new = BoxList(boxes, self.size if size is None else size, mode or self.mode)
        new.image_name = self.image_name
        for name, value in self.extra_fields.items():
            new.add_field(name, value if change is None else change(name, value))
        return new

    def _move(
        self,
        boxes: torch.Tensor,
        size: Sequence[Any],
        mode: str,
        move_points: Callable[[torch.Tensor], torch.Tensor],
        move_object: Callable[[Any], Any],
    ) -> "BoxList":
        """Return a BoxList of moved boxes, whose fields are moved too, in this one's mode.

        Args:
            boxes: the moved boxes (N, 4).
            size: (width, height) of the new image, pixels.
            mode: of `boxes`.
            move_points: moves points (N, ..., 2) of the fields named in GEOMETRIC_FIELDS.
            move_object: moves fields that are objects, such as masks.
        """

        def change(name: str, value: Any) -> Any:
            if name in GEOMETRIC_FIELDS and isinstance(value, torch.Tensor):
                return move_points(value)
            return value if isinstance(value, _PLAIN) else move_object(value)

        return self._derive(boxes, size, mode, change).convert(self.mode)

    def convert(self, mode: str) -> "BoxList":
        """Return the boxes in the mode "xyxy" or "xywh"; this list itself if that is its mode."""
        _check_mode(mode)
        if mode == self.mode:
            return self
        x1, y1, x2, y2 = self._split_into_xyxy()
        ends = (x2, y2) if mode == "xyxy" else (x2 - x1 + 1, y2 - y1 + 1)
        return self._derive(torch.cat((x1, y1, *ends), dim=-1), mode=mode)

    def _split_into_xyxy(self) -> tuple[torch.Tensor, ...]:
        """Return x1, y1, x2, y2, each (N, 1)."""
        columns = self.bbox.split(1, dim=-1)
        if self.mode == "xyxy":
            return tuple(columns)
        x1, y1, width, height = columns
        return x1, y1, x1 + (width - 1).clamp(min=0), y1 + (height - 1).clamp(min=0)

    def resize(self, size: Sequence[Any], *args: Any, **kwargs: Any) -> "BoxList":
        """Return the boxes on the image resized to `size`.

        Args:
            size: (width, height) in pixels.
            args, kwargs: further arguments for the fields' own resize.
        """
        ratio_x, ratio_y = (
            float(new) / float(old) for new, old in zip(size, self.size, strict=True)
        )

        if ratio_x == ratio_y:
            boxes, mode = self.bbox * ratio_x, self.mode
        else:
            x1, y1, x2, y2 = self._split_into_xyxy()
            boxes = torch.cat((x1 * ratio_x, y1 * ratio_y, x2 * ratio_x, y2 * ratio_y), dim=-1)
            mode = "xyxy"
        return self._move(
            boxes,
            size,
            mode,
            lambda points: points * _xy(points, ratio_x, ratio_y),
            lambda value: value.resize(size, *args, **kwargs),
        )

    def transpose(self, method: int) -> "BoxList":
        """Return the boxes on the flipped image.

        Args:
            method: FLIP_LEFT_RIGHT or FLIP_TOP_BOTTOM. Column (row) i becomes ``length - 1 - i``;
                an edge at x, as in "corners", becomes ``length - x``.

        Raises:
            NotImplementedError: any other method.
        """
        check_flip(method)
        axis = 0 if method == FLIP_LEFT_RIGHT else 1
        length = self.size[axis]

        def flip_points(points: torch.Tensor) -> torch.Tensor:
            flipped = points.clone()
            flipped[..., axis] = length - points[..., axis]
            return flipped

        ends = list(self._split_into_xyxy())
        low, high = ends[axis], ends[axis + 2]
        ends[axis], ends[axis + 2] = length - high - 1, length - low - 1
        boxes = torch.cat(ends, dim=-1)
        return self._move(
            boxes, self.size, "xyxy", flip_points, lambda value: value.transpose(method)
        )

    def crop(self, box: Sequence[Any]) -> "BoxList":
        """Return the boxes on the cropped image, clipped to it (boxes outside become empty).

        The field "corners" is moved and not clipped, since a clipped oriented box would no longer
        be a rectangle.

        Args:
            box: (x1, y1, x2, y2), pixels; the cropped image is x2 - x1 wide and y2 - y1 high.
        """
        width, height = box[2] - box[0], box[3] - box[1]

        x1, y1, x2, y2 = self._split_into_xyxy()
        xs = [(x - box[0]).clamp(min=0, max=width) for x in (x1, x2)]
        ys = [(y - box[1]).clamp(min=0, max=height) for y in (y1, y2)]
        boxes = torch.cat((xs[0], ys[0], xs[1], ys[1]), dim=-1)
        return self._move(
            boxes,
            (width, height),
            "xyxy",
            lambda points: points - _xy(points, box[0], box[1]),
            lambda value: value.crop(box),
        )

    def warp(self, matrix: torch.Tensor, size: Sequence[Any]) -> "BoxList":
        """Return the boxes on the image that an affine matrix makes of this one.

        An upright box becomes the upright box around its moved corners: those of the field
        "corners", where there is one, or else its own. They are not clipped to the image.

        Args:
            matrix: (2, 3); takes an edge (x, y, 1) to its new place. An image 40 wide and 20 high
                is turned by 90 degrees clockwise with [[0, -1, 20], [1, 0, 0]].
            size: (width, height) of the new image, pixels; (20, 40) there.

        Raises:
            ValueError: a field cannot be warped.
        """

        def move_points(points: torch.Tensor) -> torch.Tensor:
            return warp_points(points, matrix)

        def move_object(value: Any) -> Any:
            if not hasattr(value, "warp"):
                raise ValueError(
                    f"a field of the type {type(value).__name__} cannot be rotated with its image: "
                    "set INPUT.ROTATE_PROB_TRAIN to 0.0"
                )
            return value.warp(matrix, size)

        points = edges_to_corners(boxlist_to_edges(torch.cat(self._split_into_xyxy(), dim=-1)))
        if "corners" in self.extra_fields:
            corners = self.extra_fields["corners"]
            points = corners if isinstance(corners, torch.Tensor) else corners.points
        boxes = edges_to_boxlist(corners_to_edges(move_points(points)))
        return self._move(boxes, size, "xyxy", move_points, move_object)

    def to(self, device: Any, **kwargs: Any) -> "BoxList":
        """Return the boxes, and every field that has a `to`, on a device.

        Args:
            device: as torch.Tensor.to takes it.
            kwargs: more of its arguments, such as non_blocking=True; for the boxes and the fields
                that have a `pin_memory`. Other objects get the device alone.
        """

        def move(_: str, value: Any) -> Any:
            if hasattr(value, "pin_memory"):
                return value.to(device, **kwargs)
            return value.to(device) if hasattr(value, "to") else value

        return self._derive(self.bbox.to(device, **kwargs), change=move)

    def pin_memory(self) -> "BoxList":
        """Return the boxes, and every field that has a `pin_memory`, in page-locked memory."""
        return self._derive(
            self.bbox.pin_memory(),
            change=lambda _, value: value.pin_memory() if hasattr(value, "pin_memory") else value,
        )

    def __getitem__(self, item: Any) -> "BoxList":
        """Return the boxes that a slice, a boolean mask or a list or tensor of indices selects."""
        return self._derive(self.bbox[item], change=lambda _, value: _pick(value, item))

    def __len__(self) -> int:
        return self.bbox.shape[0]

    def clip_to_image(self, remove_empty: bool = True) -> "BoxList":
        """Clip the boxes to the image, in place.

        Args:
            remove_empty: return only the boxes that have x2 > x1 and y2 > y1 afterwards.

        Returns:
            this list, or a list of the boxes that remain.
        """
        limits = (self.size[0] - 1, self.size[1] - 1) * 2
        ends = self._split_into_xyxy()
        cut = torch.cat([e.clamp(min=0, max=m) for e, m in zip(ends, limits, strict=True)], dim=-1)
        # Not in place: self.bbox may be a view of a tensor that autograd needs unchanged.
        self.bbox = BoxList(cut, self.size).convert(self.mode).bbox
        if not remove_empty:
            return self
        return self[(cut[:, 3] > cut[:, 1]) & (cut[:, 2] > cut[:, 0])]

    def area(self) -> torch.Tensor:
        """Return the areas in square pixels, (N,)."""
        if self.mode == "xywh":
            return self.bbox[:, 2] * self.bbox[:, 3]
        x1, y1, x2, y2 = self.bbox.unbind(dim=1)
        return (x2 - x1 + 1) * (y2 - y1 + 1)

    def copy_with_fields(self, fields: Any, skip_missing: bool = False) -> "BoxList":
        """Return the same boxes with some of the fields.

        Args:
            fields: a name or names.
            skip_missing: leave out the fields that do not exist.

        Raises:
            KeyError: a field does not exist and `skip_missing` is False.
        """
        names = fields if isinstance(fields, (list, tuple)) else [fields]
        missing = [name for name in names if not self.has_field(name)]
        if missing and not skip_missing:
            raise KeyError(f"Field '{missing[0]}' not found in {self}")
        new = BoxList(self.bbox, self.size, self.mode)
        new.image_name = self.image_name
        new.extra_fields = {n: self.extra_fields[n] for n in names if n not in missing}
        return new

    def __repr__(self) -> str:
        width, height = self.size
        return (
            f"{type(self).__name__}(num_boxes={len(self)}, image_width={width}, "
            f"image_height={height}, mode={self.mode})"
        )


def check_flip(method: int) -> None:
    """Raise NotImplementedError unless `method` is one of the two flips."""
    if method not in (FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM):
        raise NotImplementedError(
            f"only FLIP_LEFT_RIGHT (0) and FLIP_TOP_BOTTOM (1) are known, got {method!r}"
        )


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, got {mode!r}")


def _xy(like: torch.Tensor, x: Any, y: Any) -> torch.Tensor:
    """Return (x, y) as a tensor that broadcasts over points (..., 2)."""
    return torch.tensor([float(x), float(y)], dtype=like.dtype, device=like.device)


def warp_points(points: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Return points (..., 2) moved by an affine matrix (2, 3)."""
    matrix = matrix.to(points)
    return points @ matrix[:, :2].T + matrix[:, 2]


def numbers_of(item: Any, length: int) -> list[int]:
    """Return the positions that an index of a tensor selects in a sequence.

    Args:
        item: a number, a slice, a boolean mask or indices, as list or tensor.
        length: number of elements of the sequence.
    """
    if isinstance(item, slice):
        return list(range(length))[item]
    index = torch.as_tensor(item).cpu()
    if index.numel() == 0:  # an empty list has no integer type
        return []
    return torch.arange(length)[index].reshape(-1).tolist()


def _pick(value: Any, item: Any) -> Any:
    """Index a field; arrays and lists accept the same kinds of index as tensors."""
    if not isinstance(value, (np.ndarray, list, tuple)):
        return value[item]
    numbers = numbers_of(item, len(value))
    return value[numbers] if isinstance(value, np.ndarray) else [value[i] for i in numbers]
