"""Image and target transforms, called as `transform(image, target)`."""

from .build import build_transforms
from .rotation import RandomRotation
from .transforms import (
    ColorJitter,
    Compose,
    Normalize,
    RandomDiagonalFlip,
    RandomHorizontalFlip,
    RandomVerticalFlip,
    Resize,
    ToTensor,
)

__all__ = [
    "ColorJitter",
    "Compose",
    "Normalize",
    "RandomDiagonalFlip",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToTensor",
    "build_transforms",
]
