"""Rotation of an image and its target about the image's centre.

Angles are in degrees, positive clockwise on the screen. The image keeps its size; what becomes free
is black (0). Matrices are those of BoxList.warp: they move edges. OpenCV's move the centres of
pixels, and the centre of pixel i lies at the edge i + 0.5. Worked numbers: on an image 40 wide and
30 high, 90 degrees take the edge (20, 5), 10 above the centre, to (30, 15), 10 right of it.
"""

import math
import random
from collections.abc import Collection

import cv2
import numpy as np
import torch
from PIL import Image

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.rotated_boxes import boxlist_to_edges

from .transforms import AnyImage, Target


class RandomRotation:
    """Rotate image and target by a random angle, with a probability.

    As mmrotate's PolyRandomRotate, except that an image which loses all its objects stays, as
    background, that 180 degrees are as frequent as 90 and 270, not twice as frequent, and that an
    object is too small where its upright box is one pixel wide or high, as in every data set, not
    where one of its sides is below 2 pixels.

    Args:
        prob: of a rotation.
        degrees: greatest angle; it is drawn evenly from -degrees to degrees.
        quarter_turn_labels: an image that shows an object with one of these labels rotates by 90,
            180 or 270 degrees instead.

    Raises:
        ValueError: prob outside 0 ... 1, degrees outside 0 ... 180.
    """

    def __init__(
        self, prob: float, degrees: float = 180, quarter_turn_labels: Collection[int] = ()
    ):
        if not 0 <= prob <= 1:
            raise ValueError(f"the probability of a rotation must be 0 to 1, got {prob}")
        if not 0 <= degrees <= 180:
            raise ValueError(
                f"the greatest angle of a random rotation must be 0 to 180 degrees, got {degrees}"
            )
        self.prob = prob
        self.degrees = degrees
        self.quarter_turn_labels = frozenset(quarter_turn_labels)

    def __call__(self, image: AnyImage, target: Target = None) -> tuple[AnyImage, Target]:
        if random.random() >= self.prob:
            return image, target
        if self._turns_by_quarters(target):
            return rotate(image, target, random.choice((90, 180, 270)))
        return rotate(image, target, random.uniform(-self.degrees, self.degrees))

    def _turns_by_quarters(self, target: Target) -> bool:
        if target is None or not self.quarter_turn_labels:
            return False
        return not self.quarter_turn_labels.isdisjoint(target.get_field("labels").tolist())


def rotate(image: AnyImage, target: Target, degrees: float) -> tuple[AnyImage, Target]:
    """Rotate an image and its target.

    Args:
        image: array (H, W, 3), or PIL image; the same kind is returned.
        target: its objects, or None. Those whose centre leaves the image are dropped. Corners that
            leave it stay outside; upright boxes are clipped.
        degrees: clockwise. At multiples of 90 pixels are moved and none is interpolated; where
            width and height differ by an odd number, a quarter turn's centre is therefore half a
            pixel off the image's.
    """
    pixels = image if isinstance(image, np.ndarray) else np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    matrix = _matrix(degrees, width, height)
    turns = degrees / 90 % 4
    if turns in range(4):
        rotated = _turn_pixels(pixels, int(turns))
    else:
        rotated = _warp_pixels(pixels, matrix)
    if target is not None:
        target = _rotate_target(target, torch.from_numpy(matrix))
    return rotated if isinstance(image, np.ndarray) else Image.fromarray(rotated), target


def _matrix(degrees: float, width: int, height: int) -> np.ndarray:
    """Return the matrix (2, 3), float64, of a rotation about the image's centre."""
    turns = degrees / 90 % 4
    is_quarter = turns in range(4)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if is_quarter:  # of 90 degrees, cos above is 6e-17
        cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[int(turns)]
    turn = np.array([[cos, -sin], [sin, cos]])
    center = np.array([width, height]) / 2
    shift = center - turn @ center
    return np.column_stack([turn, np.floor(shift) if is_quarter else shift])


def _turn_pixels(pixels: np.ndarray, turns: int) -> np.ndarray:
    """Return an image of the same size, turned by quarters, black where nothing lands."""
    turned = np.rot90(pixels, -turns)  # NumPy counts counter-clockwise
    if turned.shape == pixels.shape:
        return turned
    width, height = pixels.shape[1], pixels.shape[0]
    left, top = (width - height) // 2, (height - width) // 2  # of the turned image; one is negative
    rows, columns = slice(max(top, 0), top + width), slice(max(left, 0), left + height)
    placed = np.zeros_like(pixels)
    placed[rows, columns] = turned[max(-top, 0) : height - top, max(-left, 0) : width - left]
    return placed


def _warp_pixels(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return an image of the same size, bilinearly interpolated, black where nothing lands."""
    turn, shift = matrix[:, :2], matrix[:, 2]
    of_centers = np.column_stack([turn, shift + turn @ (0.5, 0.5) - 0.5])
    height, width = pixels.shape[:2]
    return cv2.warpAffine(
        np.ascontiguousarray(pixels), of_centers, (width, height), flags=cv2.INTER_LINEAR
    )


def _rotate_target(target: BoxList, matrix: torch.Tensor) -> BoxList:
    moved = target.warp(matrix, target.size)
    x1, y1, x2, y2 = boxlist_to_edges(moved.convert("xyxy").bbox).unbind(dim=1)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    width, height = target.size
    inside = (x > 0) & (x < width) & (y > 0) & (y < height)
    return moved[inside].clip_to_image(remove_empty=True)
