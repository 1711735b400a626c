"""The outlines of all objects of one image, as polygons or as binary masks.

SegmentationMask is what other parts use. It holds either a PolygonList (an object is one or more
rings of float points) or a BinaryMaskList (one tensor for all objects), and hands work on to it.
All of this lives on the CPU: outlines are cropped to boxes and rasterized there.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_utils
import torch
from torch.nn.functional import interpolate

from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    check_flip,
    numbers_of,
    warp_points,
)
from maskrcnn_benchmark.structures.polygons import cut_far_parts

__all__ = [
    "FLIP_LEFT_RIGHT",
    "FLIP_TOP_BOTTOM",
    "BinaryMaskList",
    "PolygonInstance",
    "PolygonList",
    "SegmentationMask",
]


class _Outlines:
    """What the representations share: a size (width, height) and a length."""

    size: tuple

    def __len__(self) -> int:
        raise NotImplementedError

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Return itself: outlines stay on the CPU."""
        return self

    def __repr__(self) -> str:
        width, height = self.size
        return (
            f"{type(self).__name__}(num_instances={len(self)}, "
            f"image_width={width}, image_height={height})"
        )


class BinaryMaskList(_Outlines):
    """Binary masks of all objects in one tensor.

    Args:
        masks: (N, H, W) or (H, W) tensor, a list of (H, W) tensors, a list of COCO run-length
            encodings, or a BinaryMaskList. The data is copied.
        size: (width, height) of the image.

    Raises:
        ValueError: the masks are of another kind or size.
    """

    def __init__(self, masks: Any, size: Sequence[Any]) -> None:
        width, height = self.size = _as_size(size)
        stack: torch.Tensor
        if isinstance(masks, BinaryMaskList):
            stack = masks.masks.clone()
        elif isinstance(masks, torch.Tensor):
            stack = masks.clone()
        elif not isinstance(masks, (list, tuple)):
            raise ValueError(f"masks must be a tensor or a list, got {type(masks)}")
        elif len(masks) == 0:
            stack = torch.empty((0, height, width), dtype=torch.uint8)
        elif isinstance(masks[0], dict):
            stack = _decode_run_lengths(masks, width, height)
        else:
            stack = torch.stack([torch.as_tensor(mask) for mask in masks])
        self.masks: torch.Tensor = stack[None] if stack.dim() == 2 else stack
        if self.masks.dim() != 3 or tuple(self.masks.shape[1:]) != (height, width):
            raise ValueError(
                f"masks must be of shape (N, {height}, {width}), got {tuple(self.masks.shape)}"
            )

    @classmethod
    def _wrap(cls, masks: torch.Tensor) -> "BinaryMaskList":
        """Make a list of an (N, H, W) tensor without copying it."""
        new = cls.__new__(cls)
        new.masks = masks
        new.size = (masks.shape[2], masks.shape[1])
        return new

    def transpose(self, method: int) -> "BinaryMaskList":
        """Return the masks flipped; see BoxList.transpose."""
        check_flip(method)
        return self._wrap(self.masks.flip(2 if method == FLIP_LEFT_RIGHT else 1))

    def crop(self, box: Sequence[Any]) -> "BinaryMaskList":
        """Return the part inside (x1, y1, x2, y2), rounded, at least one pixel per side."""
        x1, y1, x2, y2 = crop_window([round(float(end)) for end in box], self.size)
        return self._wrap(self.masks[:, y1:y2, x1:x2])

    def resize(self, size: Any) -> "BinaryMaskList":
        """Return the masks resized bilinearly to (width, height), or to a square of one number."""
        width, height = (int(side) for side in _as_pair(size))
        return self._wrap(_resize_masks(self.masks, width, height))

    def convert_to_polygon(self) -> "PolygonList":
        """Return the outer contours of the masks."""
        return PolygonList(self._findContours(), self.size)

    def _findContours(self) -> list[list[list[float]]]:
        outlines = []
        for mask in self.masks:
            pixels = np.ascontiguousarray(mask.detach().cpu().numpy(), dtype=np.uint8)
            found = cv2.findContours(pixels, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1)[-2]
            outlines.append([ring.reshape(-1).tolist() for ring in found])
        return outlines

    def blank(self, count: int) -> "BinaryMaskList":
        """Return `count` empty masks that share one mask's memory."""
        width, height = self.size
        return self._wrap(self.masks.new_zeros((1, height, width)).expand(count, -1, -1))

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: Any) -> "BinaryMaskList":
        """Return the masks picked by a number, a slice, a mask or indices (of any device)."""
        if isinstance(index, torch.Tensor):
            index = index.to(self.masks.device)
        chosen = self.masks[index]
        return self._wrap(chosen[None] if chosen.dim() == 2 else chosen)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.masks)


class PolygonInstance(_Outlines):
    """One object: a set of polygons.

    Args:
        polygons: sequences of numbers x1 y1 x2 y2 …; those of fewer than three points are left
            out. Or another PolygonInstance.
        size: (width, height) of the image.
    """

    def __init__(self, polygons: Any, size: Sequence[Any]) -> None:
        self.size = tuple(size)
        self.polygons: list[torch.Tensor]
        if isinstance(polygons, PolygonInstance):
            self.polygons = list(polygons.polygons)
            return
        if not isinstance(polygons, (list, tuple)):
            raise ValueError(f"an object must be a list of polygons, got {type(polygons)}")
        # Double as long as nothing moved: then the pixels are those of COCO's own rasterizing.
        rings = [torch.as_tensor(ring, dtype=torch.float64) for ring in polygons]
        if any(ring.dim() != 1 or len(ring) % 2 for ring in rings):
            raise ValueError(f"a polygon must be a flat list x1 y1 x2 y2 …, got {polygons}")
        self.polygons = [ring for ring in rings if len(ring) >= 6]

    def _moved(
        self, size: Sequence[Any], axes: Sequence[int], move: Callable[[torch.Tensor, int], Any]
    ) -> "PolygonInstance":
        """Return the polygons, float32, with some axes' coordinates passed through `move`."""
        new = PolygonInstance([], size)
        for ring in self.polygons:
            moved = ring.to(torch.float32, copy=True)
            for axis in axes:
                moved[axis::2] = move(moved[axis::2], axis)
            new.polygons.append(moved)
        return new

    def transpose(self, method: int) -> "PolygonInstance":
        """Return the polygons flipped; x goes to width - 1 - x, as the original has it."""
        check_flip(method)
        axes = [0] if method == FLIP_LEFT_RIGHT else [1]
        return self._moved(self.size, axes, lambda v, axis: self.size[axis] - v - 1)

    def crop(self, box: Sequence[Any]) -> "PolygonInstance":
        """Return the polygons seen from the corner of (x1, y1, x2, y2); they are not cut."""
        x1, y1, x2, y2 = crop_window([float(end) for end in box], self.size)
        start = (x1, y1)
        return self._moved((x2 - x1, y2 - y1), (0, 1), lambda v, axis: v - start[axis])

    def resize(self, size: Any) -> "PolygonInstance":
        """Return the polygons on an image of another size, (width, height) or one number."""
        size = _as_pair(size)
        ratios = [float(new) / float(old) for new, old in zip(size, self.size, strict=True)]
        return self._moved(size, (0, 1), lambda v, axis: v * ratios[axis])

    def warp(self, matrix: torch.Tensor, size: Sequence[Any]) -> "PolygonInstance":
        """Return the polygons as BoxList.warp moves corners."""
        new = PolygonInstance([], size)
        for ring in self.polygons:
            points = warp_points(ring.reshape(-1, 2), matrix)
            new.polygons.append(points.reshape(-1).to(torch.float32))
        return new

    def convert_to_binarymask(self) -> torch.Tensor:
        """Return the object's pixels as COCO rasterizes polygons, (H, W) uint8."""
        width, height = (int(side) for side in self.size)
        if not self.polygons:
            return torch.zeros((height, width), dtype=torch.uint8)
        rings = [cut_far_parts(ring.numpy(), width, height) for ring in self.polygons]
        joined = mask_utils.merge(mask_utils.frPyObjects(rings, height, width))
        return torch.from_numpy(mask_utils.decode(joined))

    def __len__(self) -> int:
        return len(self.polygons)

    def __repr__(self) -> str:
        return super().__repr__().replace("num_instances", "num_groups")


class PolygonList(_Outlines):
    """All objects of an image as polygons.

    Args:
        polygons: one list of polygons per object, or PolygonInstances, or a PolygonList. An object
            without a polygon stays, as one without pixels, so that masks and boxes stay in step.
        size: (width, height) of the image.
    """

    def __init__(self, polygons: Any, size: Sequence[Any]) -> None:
        if isinstance(polygons, PolygonList):
            size, polygons = polygons.size, polygons.polygons
        if not isinstance(polygons, (list, tuple)):
            raise ValueError(f"polygons must be a list with an item per object, got {polygons!r}")
        self.size = _as_size(size)
        self.polygons: list[PolygonInstance] = [
            PolygonInstance(instance, self.size) for instance in polygons
        ]

    def transpose(self, method: int) -> "PolygonList":
        """Return all objects flipped."""
        return PolygonList([p.transpose(method) for p in self.polygons], self.size)

    def crop(self, box: Sequence[Any]) -> "PolygonList":
        """Return all objects seen from the box's corner, on an image as large as the box."""
        sides = [float(box[2] - box[0]), float(box[3] - box[1])]
        # a box of one pixel has x2 - x1 = 0; nothing can be resized from there
        size = [side if side > 0 else 1.0 for side in sides]
        return PolygonList([p.crop(box) for p in self.polygons], size)

    def resize(self, size: Any) -> "PolygonList":
        """Return all objects on an image of another size."""
        return PolygonList([p.resize(size) for p in self.polygons], _as_pair(size))

    def warp(self, matrix: torch.Tensor, size: Sequence[Any]) -> "PolygonList":
        """Return all objects as BoxList.warp moves corners."""
        return PolygonList([p.warp(matrix, size) for p in self.polygons], size)

    def convert_to_binarymask(self) -> BinaryMaskList:
        """Return all objects as masks; a size in fractions of a pixel is rounded down."""
        size = [int(side) for side in self.size]
        return BinaryMaskList([p.convert_to_binarymask() for p in self.polygons], size)

    def blank(self, count: int) -> "PolygonList":
        """Return `count` objects without polygons."""
        return PolygonList([[]] * count, self.size)

    def __len__(self) -> int:
        return len(self.polygons)

    def __getitem__(self, item: Any) -> "PolygonList":
        """Return the objects picked by a number, a slice, a mask or indices."""
        chosen = [self.polygons[i] for i in numbers_of(item, len(self))]
        return PolygonList(chosen, self.size)

    def __iter__(self) -> Iterator[PolygonInstance]:
        return iter(self.polygons)


class SegmentationMask:
    """The outlines of all objects of an image.

    Args:
        instances: polygons (see PolygonList) or masks (see BinaryMaskList), as `mode` says.
        size: (width, height) of the image.
        mode: "poly" or "mask".

    Raises:
        ValueError: outlines of another kind or size.
        NotImplementedError: an unknown mode.
    """

    def __init__(self, instances: Any, size: Sequence[Any], mode: str = "poly") -> None:
        size = _as_size(size)
        kinds: dict[str, Any] = {"poly": PolygonList, "mask": BinaryMaskList}
        kind = kinds.get(mode)
        if kind is None:
            raise NotImplementedError(f"mode must be 'poly' or 'mask', got {mode!r}")
        self.instances: Any = instances if isinstance(instances, kind) else kind(instances, size)
        self.mode = mode
        self.size = size
        self.iter_idx = 0

    def _with(self, instances: Any) -> "SegmentationMask":
        return SegmentationMask(instances, instances.size, self.mode)

    def transpose(self, method: int) -> "SegmentationMask":
        """Return the outlines flipped (FLIP_LEFT_RIGHT or FLIP_TOP_BOTTOM)."""
        return self._with(self.instances.transpose(method))

    def crop(self, box: Sequence[Any]) -> "SegmentationMask":
        """Return the outlines on the image cropped to (x1, y1, x2, y2)."""
        return self._with(self.instances.crop(box))

    def resize(self, size: Any, *args: Any, **kwargs: Any) -> "SegmentationMask":
        """Return the outlines on the image resized to (width, height)."""
        return self._with(self.instances.resize(size))

    def warp(self, matrix: torch.Tensor, size: Sequence[Any]) -> "SegmentationMask":
        """Return the outlines as BoxList.warp moves corners.

        Raises:
            ValueError: they are not polygons.
        """
        if self.mode != "poly":
            raise ValueError(
                "only polygons can be rotated with their image, got masks of pixels (mode "
                f"{self.mode!r}): set INPUT.ROTATE_PROB_TRAIN to 0.0"
            )
        return self._with(self.instances.warp(matrix, size))

    def to(self, *args: Any, **kwargs: Any) -> "SegmentationMask":
        """Return itself: outlines stay on the CPU."""
        return self

    def convert(self, mode: str) -> "SegmentationMask":
        """Return the outlines as "poly" or "mask" (itself where they are that already)."""
        if mode == self.mode:
            return self
        if mode == "poly":
            instances: Any = self.instances.convert_to_polygon()
        elif mode == "mask":
            instances = self.instances.convert_to_binarymask()
        else:
            raise NotImplementedError(f"mode must be 'poly' or 'mask', got {mode!r}")
        return SegmentationMask(instances, instances.size, mode)

    def get_mask_tensor(self) -> torch.Tensor:
        """Return the masks (N, H, W), or (H, W) of a single one."""
        return self.convert("mask").instances.masks.squeeze(0)

    def blank(self, count: int) -> "SegmentationMask":
        """Return `count` objects without pixels on an image of the same size."""
        return self._with(self.instances.blank(count))

    def __len__(self) -> int:
        return len(self.instances)

    def __getitem__(self, item: Any) -> "SegmentationMask":
        """Return the outlines picked by a number, a slice, a mask or indices."""
        return self._with(self.instances[item])

    def __iter__(self) -> Iterator["SegmentationMask"]:
        self.iter_idx = 0
        return (self[i] for i in range(len(self)))

    def __next__(self) -> "SegmentationMask":
        """Return the next outline since `iter()` was last called on this object."""
        if self.iter_idx >= len(self):
            raise StopIteration
        self.iter_idx += 1
        return self[self.iter_idx - 1]

    def __repr__(self) -> str:
        width, height = self.size
        return (
            f"SegmentationMask(num_instances={len(self)}, image_width={width}, "
            f"image_height={height}, mode={self.mode})"
        )


def _as_size(size: Sequence[Any]) -> tuple:
    """Return (width, height) as plain numbers."""
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        raise ValueError(f"size must be (width, height), got {size!r}")
    return tuple(v.item() if isinstance(v, torch.Tensor) else v for v in size)


def _as_pair(size: Any) -> tuple:
    return (size, size) if isinstance(size, (int, float)) else tuple(size)


def crop_window(box: Sequence[Any], size: tuple) -> tuple:
    """Return box (x1, y1, x2, y2) inside the image (width, height), at least 1 wide and high."""
    x1, y1, x2, y2 = box
    if x1 > x2 or y1 > y2:
        raise ValueError(f"a crop's x1 y1 must not be beyond its x2 y2, got {tuple(box)}")
    width, height = size
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, max(min(max(x2, 0), width), x1 + 1), max(min(max(y2, 0), height), y1 + 1)


def _resize_masks(masks: torch.Tensor, width: int, height: int) -> torch.Tensor:
    if len(masks) == 0:
        return masks.new_zeros((0, height, width))
    resized = interpolate(
        masks[None].float(), size=(height, width), mode="bilinear", align_corners=False
    )
    return resized[0].type_as(masks)


def _decode_run_lengths(codes: Sequence[dict], width: int, height: int) -> torch.Tensor:
    """Return COCO run-length encodings as masks (N, H, W), resized where they are of another size.

    Raises:
        ValueError: they differ in size.
    """
    if isinstance(codes[0]["counts"], (list, tuple)):
        codes = mask_utils.frPyObjects(list(codes), height, width)
    sizes = {tuple(code["size"]) for code in codes}
    if len(sizes) > 1:
        raise ValueError(f"run-length encodings must be of one size, got {sorted(sizes)}")
    masks = torch.from_numpy(mask_utils.decode(list(codes))).permute(2, 0, 1)  # [N, H, W]
    if sizes != {(height, width)}:
        masks = _resize_masks(masks, width, height)
    return masks.contiguous()
