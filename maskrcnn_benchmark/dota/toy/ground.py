"""Drawing of the ground of a toy scene: soil, roads, water, houses and trees."""

import cv2
import numpy as np

from maskrcnn_benchmark.dota.toy.drawing import fill, line
from maskrcnn_benchmark.dota.toy.layout import KINDS, ROAD_WIDTH, Block, Layout, Placed

GROUNDS = {  # mean colour, BGR, and the largest difference of a block's brightness from it
    "plane": ((152, 156, 156), 16),
    "small-vehicle": ((98, 98, 100), 14),
    "large-vehicle": ((128, 134, 138), 16),
    "ship": ((92, 78, 48), 0),
    "tennis-court": ((72, 112, 88), 12),
    "storage-tank": ((132, 152, 162), 14),
    "swimming-pool": ((66, 108, 90), 14),
    "houses": ((78, 116, 100), 14),
    "park": ((70, 110, 96), 20),
}
GREEN = ("tennis-court", "swimming-pool", "houses", "park")
WITH_HOUSES = ("swimming-pool", "houses")
ROOFS = ((70, 85, 150), (96, 104, 118), (130, 138, 146), (62, 70, 92), (160, 170, 178))


def draw_ground(
    rng: np.random.Generator, layout: Layout, width: int, height: int, sun: np.ndarray
) -> np.ndarray:
    """Paint a scene without its objects.

    Args:
        rng: source of all random decisions.
        layout: blocks and roads.
        width, height: of the image, pixels.
        sun: the direction of shadows, unit vector (2,).

    Returns:
        uint8 (H, W, 3) BGR.
    """
    tone = rng.uniform(0.9, 1.1)
    image = np.full((height, width, 3), 104 * tone, np.uint8)
    free = np.zeros((height, width), np.uint8)  # 255 where a tree may stand
    _draw_roads(image, layout)
    water = GROUNDS["ship"][0] + rng.uniform(-12, 12, 3)
    for block in layout.blocks:
        if block.zone == "ship":  # with half of the road, so that neighbouring waters join
            fill(image, block.polygon(ROAD_WIDTH * layout.scale / 2), water)
        else:
            _draw_block(rng, image, free, block, layout.scale)
    _roughen(rng, image)
    for block in layout.blocks:
        _draw_stands(image, free, block, layout.scale)
    shadows = np.zeros((height, width), np.uint8)
    houses = _place_houses(rng, free, layout)
    trees = _place_trees(rng, free, layout.scale)
    for house in houses:
        fill(shadows, house.corners() + sun * 9 * layout.scale, (255,))
    for x, y, radius in trees:
        fill(shadows, _blob(x, y, radius) + sun * 6 * layout.scale, (255,))
    darken(image, shadows)
    for house in houses:
        _draw_house(rng, image, house)
    for x, y, radius in trees:
        _draw_tree(rng, image, x, y, radius)
    return image


def darken(image: np.ndarray, shadows: np.ndarray) -> None:
    """Darken an image in place, by half where the mask `shadows` (H, W) is 255."""
    soft = cv2.GaussianBlur(shadows, (3, 3), 0)
    rows, columns = np.nonzero(soft)
    share = 1 - 0.5 * soft[rows, columns, None] / 255
    image[rows, columns] = (image[rows, columns] * share).astype(np.uint8)


def noise(rng: np.random.Generator, width: int, height: int, grain: float) -> np.ndarray:
    """Return smooth noise, float32 (H, W), about -2 to 2, with details of `grain` pixels."""
    coarse = (max(2, int(height / grain) + 2), max(2, int(width / grain) + 2))
    values = rng.standard_normal(coarse, dtype=np.float32)
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)


def _roughen(rng: np.random.Generator, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    light = np.ones((height, width), np.float32)
    for grain, share in ((90, 0.05), (22, 0.035), (6, 0.03), (2.2, 0.03)):
        light += share * noise(rng, width, height, grain)
    for channel in range(3):  # by channel, to hold less float32 in memory
        image[..., channel] = np.clip(image[..., channel] * light, 0, 255)


def _draw_roads(image: np.ndarray, layout: Layout) -> None:
    dash = 16 * layout.scale
    for start, end in layout.roads:
        length = float(np.hypot(*(end - start)))
        for begin in np.arange(0, length, 2 * dash):
            ends = [start + (end - start) * min(at / length, 1) for at in (begin, begin + dash)]
            line(image, np.array(ends), (186, 192, 192), 1.6 * layout.scale)


def _draw_block(
    rng: np.random.Generator, image: np.ndarray, free: np.ndarray, block: Block, scale: float
) -> None:
    usual, spread = GROUNDS[block.zone]
    colour = np.array(usual) + rng.uniform(-spread, spread) + rng.uniform(-5, 5, 3)
    fill(image, block.polygon(3 * scale), (150, 156, 158))  # the kerb
    fill(image, block.polygon(), colour)
    if block.zone == "park" and rng.random() < 0.6:
        _draw_furrows(rng, image, block, colour, scale)
    if block.zone in GREEN:
        fill(free, block.polygon(-5 * scale), (255,))


def _draw_furrows(
    rng: np.random.Generator, image: np.ndarray, block: Block, colour: np.ndarray, scale: float
) -> None:
    soil = np.array((88, 128, 148)) * rng.uniform(0.8, 1.1)
    mixed = colour + (soil - colour) * rng.uniform(0.3, 0.9)
    fill(image, block.polygon(-4 * scale), mixed)
    half = np.array([block.width, block.height]) / 2 - 4 * scale
    for y in np.arange(-half[1], half[1], 7 * scale):
        ends = block.to_image(np.array([[-half[0], y], [half[0], y]]))
        line(image, ends, mixed * 0.87, 2.5 * scale)


def _draw_stands(image: np.ndarray, free: np.ndarray, block: Block, scale: float) -> None:
    """Draw the ground of a block's cells, with objects or not: bays, piers, aprons, pads."""
    kind = KINDS.get(block.zone)
    if kind is None:
        return
    long, wide = scale * kind.length[1], scale * (kind.width[1] + kind.gap)
    for x, y, heading in block.cells:
        cell = Placed(block.zone, x, y, heading, long, wide)
        front, side = long / 2, wide / 2
        fill(free, cell.corners(), (0,))
        if block.zone in ("small-vehicle", "large-vehicle"):
            for edge in (-side, side):
                ends = cell.to_image(np.array([[-front, edge], [front, edge]]))
                line(image, ends, (190, 196, 196), 1.3 * scale)
        elif block.zone == "ship":
            pier = np.array([[0, -1], [1, -1], [1, 1], [0, 1]])
            depth = scale * kind.between / 2 + 0.5
            fill(image, cell.to_image(pier * (depth, side) + (front, 0)), (150, 162, 170))
        elif block.zone == "plane":
            ends = cell.to_image(np.array([[-front, 0], [front, 0]]))
            line(image, ends, (70, 180, 205), 1.4 * scale)
        elif block.zone == "storage-tank":
            fill(image, cell.corners(), (150, 164, 170))


def _place_houses(rng: np.random.Generator, free: np.ndarray, layout: Layout) -> list[Placed]:
    houses = []
    height, width = free.shape
    for block in layout.blocks:
        if block.zone not in WITH_HOUSES:
            continue
        for _ in range(10):
            share = rng.uniform(-0.42, 0.42, 2)
            long, wide = rng.uniform(30, 54) * layout.scale, rng.uniform(22, 34) * layout.scale
            turn = block.angle + rng.integers(2) * np.pi / 2
            (x, y) = block.to_image(np.array([share * (block.width, block.height)]))[0]
            house = Placed("house", x, y, turn, long, wide)
            x1, y1 = np.floor(house.corners().min(axis=0) - 2).astype(int)
            x2, y2 = np.ceil(house.corners().max(axis=0) + 2).astype(int)
            if min(x1, y1) < 0 or x2 > width or y2 > height or not free[y1:y2, x1:x2].all():
                continue
            fill(free, house.corners(), (0,))
            houses.append(house)
    return houses


def _place_trees(rng: np.random.Generator, free: np.ndarray, scale: float) -> np.ndarray:
    """Choose places of trees on free ground: (N, 3) x, y, radius, pixels."""
    height, width = free.shape
    count = int(height * width / (1500 * scale**2))
    trees = rng.uniform((0, 0, 4 * scale), (width, height, 10 * scale), (count, 3))
    reach = 2 * int(np.ceil(11 * scale)) + 1
    clear = cv2.erode(free, np.ones((reach, reach), np.uint8))
    groves = noise(rng, width, height, 120 * scale)
    x, y = trees[:, 0].astype(int), trees[:, 1].astype(int)
    return trees[(clear[y, x] > 0) & (groves[y, x] > 0.1)]


def _blob(x: float, y: float, radius: float) -> np.ndarray:
    angles = np.arange(12) * np.pi / 6
    uneven = 1 + 0.14 * np.sin(3 * angles + x) + 0.1 * np.cos(5 * angles + y)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * (radius * uneven)[:, None] + (x, y)


def _draw_tree(
    rng: np.random.Generator, image: np.ndarray, x: float, y: float, radius: float
) -> None:
    leaves = np.array((48, 82, 60)) * rng.uniform(0.75, 1.2)
    fill(image, _blob(x, y, radius), leaves)
    fill(image, _blob(x - radius * 0.22, y - radius * 0.22, radius * 0.55), leaves * 1.25)


def _draw_house(rng: np.random.Generator, image: np.ndarray, house: Placed) -> None:
    roof = np.array(ROOFS[rng.integers(len(ROOFS))]) * rng.uniform(0.85, 1.1)
    front_left, front_right, rear_right, rear_left = house.corners()
    ahead, behind = house.to_image(np.array([[house.length / 2, 0], [-house.length / 2, 0]]))
    fill(image, np.array([front_left, ahead, behind, rear_left]), np.minimum(roof * 1.12, 255))
    fill(image, np.array([front_right, ahead, behind, rear_right]), roof * 0.86)
