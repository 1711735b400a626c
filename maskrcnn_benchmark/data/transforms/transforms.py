"""Transforms of an image and its target.

An image is a BGR uint8 array (H, W, 3), as `image_io.read_image` returns it, or a PIL image, which
is RGB by definition; before `ToTensor` each transform returns the type that it is given. A target
is a BoxList or None. With a target every transform returns (image, target); without one `Resize`
and `Normalize` return the image alone, as the original's do, and the others (image, None).
`Compose` always returns both. Random numbers come from Python's `random`, those of `ColorJitter`
from PyTorch's generator.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.transforms import functional as F

from maskrcnn_benchmark.images.image_io import to_bgr
from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    BoxList,
)

AnyImage = np.ndarray | Image.Image
Target = BoxList | None


class Compose:
    """Apply transforms in sequence."""

    def __init__(self, transforms: Sequence[Callable]):
        self.transforms = transforms

    def __call__(self, image: AnyImage, target: Target = None) -> tuple[Any, Target]:
        for step in self.transforms:
            outcome = step(image, target)
            # a transform without a target may return the image alone
            image, target = outcome if isinstance(outcome, tuple) else (outcome, None)
        return image, target

    def __repr__(self) -> str:
        steps = "".join(f"\n    {step}" for step in self.transforms)
        return f"{type(self).__name__}({steps}\n)"


class Resize:
    """Scale so that the short side has a given length, or the long side its greatest length.

    Args:
        min_size: length of the short side in pixels; of several, one is drawn per image.
        max_size: greatest length of the long side in pixels, or None.
    """

    def __init__(self, min_size: int | Sequence[int], max_size: int | None):
        self.min_size = tuple(min_size) if isinstance(min_size, (list, tuple)) else (min_size,)
        self.max_size = max_size

    def get_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the new (height, width) of an image of the size (width, height)."""
        return self.size_for(image_size, random.choice(self.min_size))

    def size_for(self, image_size: tuple[int, int], min_size: int) -> tuple[int, int]:
        """Return the new (height, width) of an image (width, height) whose short side is given."""
        short, long = sorted(image_size)
        new_short = min_size
        if self.max_size is not None and long / short * new_short > self.max_size:
            # a very thin image keeps at least one pixel
            new_short = max(1, int(round(self.max_size * short / long)))
        new_long = int(new_short * long / short)
        is_tall = image_size[0] < image_size[1]
        return (new_long, new_short) if is_tall else (new_short, new_long)

    def __call__(self, image: AnyImage, target: Target = None) -> Any:
        is_array = isinstance(image, np.ndarray)
        # PIL scales the channels independently, so BGR may be passed as RGB
        picture = Image.fromarray(image) if is_array else image
        new_height, new_width = self.get_size(picture.size)
        if picture.size != (new_width, new_height):
            picture = picture.resize((new_width, new_height), Image.Resampling.BILINEAR)
            image = np.asarray(picture) if is_array else picture
        if target is None:
            return image
        return image, target.resize((new_width, new_height))


class _RandomFlip:
    """Mirror image and target with a probability."""

    methods: tuple[int, ...]

    def __init__(self, prob: float = 0.5):
        self.prob = prob

    def __call__(self, image: AnyImage, target: Target = None) -> tuple[AnyImage, Target]:
        if random.random() >= self.prob:
            return image, target
        for method in self.methods:
            if isinstance(image, np.ndarray):
                image = np.flip(image, axis=1 if method == FLIP_LEFT_RIGHT else 0)
            else:
                image = image.transpose(Image.Transpose(method))
            target = None if target is None else target.transpose(method)
        return image, target


class RandomHorizontalFlip(_RandomFlip):
    """Swap left and right with a probability."""

    methods = (FLIP_LEFT_RIGHT,)


class RandomVerticalFlip(_RandomFlip):
    """Swap top and bottom with a probability."""

    methods = (FLIP_TOP_BOTTOM,)


class RandomDiagonalFlip(_RandomFlip):
    """Swap left and right, and top and bottom, at once with a probability: half a turn."""

    methods = (FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM)


class ColorJitter:
    """Change brightness, contrast, saturation and hue at random, by torchvision's ColorJitter.

    Args:
        brightness, contrast, saturation: greatest relative change; 0 or None: no change.
        hue: greatest shift as a fraction of the colour circle, at most 0.5.
    """

    def __init__(
        self,
        brightness: float | None = None,
        contrast: float | None = None,
        saturation: float | None = None,
        hue: float | None = None,
    ):
        strengths = [value or 0.0 for value in (brightness, contrast, saturation, hue)]
        self.color_jitter = torchvision.transforms.ColorJitter(*strengths)
        self.is_off = not any(strengths)

    def __call__(self, image: AnyImage, target: Target = None) -> tuple[AnyImage, Target]:
        if self.is_off:
            return image, target
        if not isinstance(image, np.ndarray):
            return self.color_jitter(image), target
        jittered = self.color_jitter(Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])))
        return np.asarray(jittered)[:, :, ::-1], target


class ToTensor:
    """Convert an image, BGR array or PIL image, to a float tensor (3, H, W), RGB in [0, 1]."""

    def __call__(self, image: AnyImage, target: Target = None) -> tuple[torch.Tensor, Target]:
        bgr = to_bgr(image)
        rgb = np.ascontiguousarray(bgr[:, :, ::-1].transpose(2, 0, 1))  # [3, H, W]
        return torch.from_numpy(rgb).to(torch.float32).div_(255), target


class Normalize:
    """Subtract the mean of each channel and divide by its standard deviation.

    Only this transform changes the order of channels for the network; its input is RGB in [0, 1].

    Args:
        mean, std: one number per channel, in the order and scale that `to_bgr255` sets.
        to_bgr255: True: convert the tensor to BGR in 0-255 first; False: keep RGB in [0, 1].
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], to_bgr255: bool = True):
        self.mean = mean
        self.std = std
        self.to_bgr255 = to_bgr255

    def __call__(self, image: torch.Tensor, target: Target = None) -> Any:
        scaled = image.flip(0).mul_(255) if self.to_bgr255 else image.clone()
        normalized = F.normalize(scaled, mean=self.mean, std=self.std, inplace=True)
        return normalized if target is None else (normalized, target)
