"""Drawn scenes that resemble aerial images, with exact oriented labels in DOTA's format.

The demonstration and the tests use them instead of real data: seven of DOTA's classes in crowds,
in rows and at all angles, on ground with roads, water, houses and trees. A scene depends only on
the seed and its number: image 3 of 5 is the same as image 3 of 500.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from maskrcnn_benchmark.dota.annotations import DotaObject, write_labels
from maskrcnn_benchmark.dota.toy.drawing import draw_object, draw_shadow
from maskrcnn_benchmark.dota.toy.ground import darken, draw_ground
from maskrcnn_benchmark.dota.toy.layout import KINDS, lay_out
from maskrcnn_benchmark.images.image_io import write_image

TOY_CLASSES = tuple(KINDS)
SMALLEST_SIDE = 64


def draw_scene(
    rng: np.random.Generator, width: int, height: int, count: int
) -> tuple[np.ndarray, list[DotaObject]]:
    """Draw a scene.

    Args:
        rng: source of all random decisions; the same state gives the same pixels.
        width, height: of the image, pixels.
        count: number of objects; fewer are drawn if they do not fit at a quarter of full size.

    Returns:
        the image, uint8 (H, W, 3) BGR, and the objects. Their corners are in clockwise order; if
        the class has a front, the first is the front left one.
    """
    layout = lay_out(rng, width, height, count)
    angle = rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(angle), np.sin(angle)])
    image = draw_ground(rng, layout, width, height, sun)
    shadows = np.zeros((height, width), np.uint8)
    for item in layout.objects:
        draw_shadow(shadows, item, sun, layout.scale)
    darken(image, shadows)
    for item in layout.objects:
        draw_object(image, item, rng)
    return _photograph(rng, image), [
        DotaObject(item.corners(), item.name) for item in layout.objects
    ]


def write_toy_set(
    folder: str | Path,
    images: int,
    width: int,
    height: int,
    objects: int,
    seed: int,
    report: Callable[[str], None] = print,
) -> Iterator[Path]:
    """Write scenes to `folder`/images/*.png and their labels to `folder`/labelTxt/*.txt.

    Args:
        folder: a new folder, or one with a toy set of at most as many images, which is overwritten.
        images: number of images.
        width, height: of each image, pixels.
        objects: number of objects per image.
        seed: the same seed gives the same bytes.
        report: called with a line of text for each image into which not all objects fit.

    Yields:
        the path of each image, once the image and its labels are written.

    Raises:
        ValueError: a number is out of range, or the folder holds other images.
    """
    if images < 1 or objects < 0 or seed < 0:
        raise ValueError(
            "expected at least 1 image, and no negative number of objects or seed, "
            f"got {images}, {objects} and {seed}"
        )
    if min(width, height) < SMALLEST_SIDE:
        raise ValueError(
            f"expected images of {SMALLEST_SIDE}x{SMALLEST_SIDE} or more, got {width}x{height}"
        )
    folder = Path(folder)
    names = [f"T{number:04d}" for number in range(images)]
    _make_folders(folder, names)
    for number, name in enumerate(names):
        image, labels = draw_scene(np.random.default_rng([seed, number]), width, height, objects)
        if len(labels) < objects:
            report(f"{name}: {len(labels)} of {objects} objects fit into {width}x{height}")
        path = folder / "images" / f"{name}.png"
        write_labels(folder / "labelTxt" / f"{name}.txt", labels)
        write_image(path, image)
        yield path


def _make_folders(folder: Path, names: list[str]) -> None:
    """Make images/ and labelTxt/; refuse a folder with images of other names."""
    others = {path.stem for path in (folder / "images").glob("[!.]*")} - set(names)
    if others:
        raise ValueError(
            f"{folder}: holds other images, {sorted(others)[0]} for one; name a new folder"
        )
    for part in ("images", "labelTxt"):
        (folder / part).mkdir(parents=True, exist_ok=True)


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Return the image with a camera's blur, exposure, colour cast, haze and noise."""
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.45, 0.8))
    gain = rng.uniform(0.8, 1.12) * rng.uniform(0.95, 1.05, 3)
    haze = rng.uniform(0, 22)
    table = np.clip(np.arange(256)[:, None] * gain + haze, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table.reshape(256, 1, 3))
    strength = np.float32(rng.uniform(2, 5))
    for rows in image:  # by rows, since float32 of the whole image would take four times its memory
        rows[:] = np.clip(rows + strength * rng.standard_normal(rows.shape, np.float32), 0, 255)
    return image
