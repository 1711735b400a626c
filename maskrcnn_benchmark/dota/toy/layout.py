"""Layout of a toy scene: blocks between roads, and objects in rows on the blocks.

A square that covers the image is turned by a random angle and cut repeatedly; the cuts are roads,
the parts between them blocks. Each block gets a zone (car park, marina, tank farm …), whose objects
stand in the cells of a lattice. A cell has room for the largest object of its class, so that
objects never overlap. Sizes are in pixels at scale 1; a crowded image has a smaller scale.
"""

from dataclasses import dataclass, field

import numpy as np

SMALLEST_SCALE = 0.25  # small vehicles are then 4 pixels wide
BLOCK_SIDE = (130.0, 300.0)  # smallest and greatest
ROAD_WIDTH = 34.0
MARGIN = 5.0  # border of a block without objects
TRIES = 3  # layouts per scale, before the scale is lowered
MANY_OBJECTS = 300  # from this number on one layout per scale, since layouts then differ little
ROOM_PER_OBJECT = 6500.0  # least square pixels per object at scale 1, with the space between


@dataclass(frozen=True)
class Kind:
    """Sizes (pixels at scale 1) and arrangement of a class's objects.

    Attributes:
        length, width: smallest and greatest size along and across the heading.
        gap: free space between neighbours in a row.
        aisle: free space behind each pair of rows; None: rows at equal distances, not in pairs.
        between: free space between the two rows of a pair, which face each other.
        upright: the objects are round, and their rows are parallel to the image's sides at any
            angle of the block, so that their boxes are upright, as annotators draw them.
        weight: relative frequency of blocks of this class.
    """

    length: tuple[float, float]
    width: tuple[float, float]
    gap: float
    aisle: float | None = None
    between: float = 0.0
    upright: bool = False
    weight: float = 1.0


KINDS = {
    "plane": Kind((54, 72), (50, 68), 10, weight=2.5),
    "small-vehicle": Kind((32, 40), (16, 20), 6, aisle=26, between=4, weight=0.7),
    "large-vehicle": Kind((60, 82), (19, 24), 8, aisle=30, between=6, weight=1.2),
    "ship": Kind((52, 86), (18, 26), 7, aisle=22, between=14, weight=2.0),
    "tennis-court": Kind((70, 82), (36, 42), 12, weight=1.6),
    "storage-tank": Kind((34, 56), (34, 56), 10, upright=True, weight=1.8),
    "swimming-pool": Kind((36, 50), (22, 30), 22, weight=1.1),
}


@dataclass
class Placed:
    """An object in the scene.

    Attributes:
        name: its class.
        x, y: its centre, pixels.
        heading: direction of its front, radians from x towards y.
        length, width: size along and across the heading, pixels.
    """

    name: str
    x: float
    y: float
    heading: float
    length: float
    width: float

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Convert points (N, 2) from the object's frame (x ahead, y to its right) to the image."""
        return points @ rotation(self.heading) + (self.x, self.y)

    def corners(self) -> np.ndarray:
        """Return the corners (4, 2), the front left one first, then clockwise on the screen."""
        signs = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])
        return self.to_image(signs * (self.length / 2, self.width / 2))


@dataclass
class Block:
    """A turned rectangle of ground.

    Attributes:
        x, y: its centre, pixels.
        angle: of its width, radians from x towards y.
        width, height: pixels.
        zone: a class's name, "park" or "houses".
        cells: (N, 3) x, y and heading of the places for objects, in the image.
        count: number of cells, from the first on, that have an object.
    """

    x: float
    y: float
    angle: float
    width: float
    height: float
    zone: str = "park"
    cells: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    count: int = 0

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Convert points (N, 2) from the block's frame (origin in its centre) to the image."""
        return points @ rotation(self.angle) + (self.x, self.y)

    def polygon(self, margin: float = 0.0) -> np.ndarray:
        """Return the corners (4, 2), moved outwards by `margin` pixels."""
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        return self.to_image(signs * (self.width / 2 + margin, self.height / 2 + margin))


@dataclass
class Layout:
    """A scene before it is drawn.

    Attributes:
        scale: factor of all sizes, at most 1.
        blocks: the ground between the roads.
        roads: both ends, (2,) each, of each road's middle line, pixels.
        objects: the objects on the blocks.
    """

    scale: float
    blocks: list[Block]
    roads: list[tuple[np.ndarray, np.ndarray]]
    objects: list[Placed]


def lay_out(rng: np.random.Generator, width: int, height: int, count: int) -> Layout:
    """Lay out a scene at the greatest scale at which its objects fit.

    Args:
        rng: source of all random decisions.
        width, height: of the image, pixels.
        count: number of objects.

    Returns:
        a layout with `count` objects, or with as many as fit at the smallest scale.
    """
    fitting = (width * height / (ROOM_PER_OBJECT * max(count, 1))) ** 0.5
    scale, tries = float(np.clip(fitting, SMALLEST_SCALE, 1)), 0
    while True:
        blocks, roads = _cut(rng, width, height, scale)
        _assign_zones(rng, blocks, width, height, scale)
        for block in blocks:
            _fill_with_cells(rng, block, scale, width, height)
            block.cells = block.cells[: max(4, count // 4)]  # no class takes the whole image
        room = sum(len(block.cells) for block in blocks)
        if room >= 1.05 * count or scale == SMALLEST_SCALE:
            break
        tries += 1
        if count >= MANY_OBJECTS or tries % TRIES == 0:
            scale = max(SMALLEST_SCALE, scale * (0.8 if room < count / 2 else 0.92))
    _share_out(rng, blocks, min(count, room))
    objects = [item for block in blocks for item in _objects(rng, block, scale)]
    return Layout(scale, blocks, roads, objects)


def _cut(
    rng: np.random.Generator, width: int, height: int, scale: float
) -> tuple[list[Block], list[tuple[np.ndarray, np.ndarray]]]:
    """Cut the turned square into blocks with roads between them."""
    side = float(np.hypot(width, height)) + ROAD_WIDTH * scale
    frame = Block(width / 2, height / 2, rng.uniform(0, np.pi / 2), side, side)
    shortest, longest = (side * scale for side in BLOCK_SIDE)
    road = ROAD_WIDTH * scale
    blocks, roads = [], []
    open_parts: list[tuple[float, ...]] = [(-side / 2, -side / 2, side / 2, side / 2)]
    while open_parts:
        x1, y1, x2, y2 = part = open_parts.pop()
        axis = int(y2 - y1 > x2 - x1)  # cut across the longer side
        low, high = part[axis], part[axis + 2]
        room = high - low - road
        if high - low <= longest or room < 2 * shortest:
            middle = frame.to_image(np.array([[(x1 + x2) / 2, (y1 + y2) / 2]]))[0]
            blocks.append(Block(middle[0], middle[1], frame.angle, x2 - x1, y2 - y1))
            continue
        share = np.clip(rng.uniform(0.25, 0.75), shortest / room, 1 - shortest / room)
        cut = low + room * share
        first, second = list(part), list(part)
        first[axis + 2], second[axis] = cut, cut + road
        open_parts += [tuple(first), tuple(second)]
        ends = np.array([part[:2], part[2:]])
        ends[:, axis] = cut + road / 2
        ends = frame.to_image(ends)
        roads.append((ends[0], ends[1]))
    return [block for block in blocks if _touches(block.polygon(), width, height)], roads


def _touches(polygon: np.ndarray, width: int, height: int) -> bool:
    return bool((polygon.max(axis=0) > 0).all() and (polygon.min(axis=0) < (width, height)).all())


def _assign_zones(
    rng: np.random.Generator, blocks: list[Block], width: int, height: int, scale: float
) -> None:
    """Choose each block's zone; those of ships lie together at one side of the image."""
    towards = rng.uniform(0, 2 * np.pi)
    seaward = np.array(
        [
            (block.x - width / 2) * np.cos(towards) + (block.y - height / 2) * np.sin(towards)
            for block in blocks
        ]
    )
    names = list(KINDS)
    weights = np.array([kind.weight for kind in KINDS.values()])
    areas = np.array([kind.length[1] * kind.width[1] for kind in KINDS.values()])
    weights /= areas ** (1 - scale)  # small objects are more frequent in a crowd
    drawn = rng.choice(names, len(blocks), p=weights / weights.sum())
    drawn[rng.random(len(blocks)) < 0.1] = "houses"
    wet = drawn == "ship"
    by_sea = np.argsort(seaward, kind="stable")
    dry_names = iter(drawn[~wet])
    shore = len(blocks) - int(wet.sum())
    for place, index in enumerate(by_sea):
        blocks[index].zone = str(next(dry_names)) if place < shore else "ship"


def _fill_with_cells(
    rng: np.random.Generator, block: Block, scale: float, width: int, height: int
) -> None:
    """Choose a block's cells; a zone on land of which no object fits is replaced by another."""
    if block.zone not in KINDS:
        return
    others = [name for name in KINDS if name != "ship"]
    names = [block.zone, *rng.permutation(others)] if block.zone != "ship" else [block.zone]
    for name in names:
        block.zone = str(name)
        block.cells = _cells(rng, block, KINDS[block.zone], scale, width, height)
        if len(block.cells):
            return


def _cells(
    rng: np.random.Generator, block: Block, kind: Kind, scale: float, width: int, height: int
) -> np.ndarray:
    """Return a class's cells (N, 3) x, y, heading that lie inside the block and the image."""
    size = scale * np.array([kind.length[1], kind.width[1]])
    half = np.array([block.width, block.height]) / 2 - MARGIN * scale
    quarters = int(rng.integers(0, 4))
    room = 2 * half[::-1] if quarters % 2 else 2 * half
    turn = quarters * np.pi / 2
    oblique = kind.aisle is not None and rng.random() < 0.25
    if kind.upright or oblique:
        turn = -block.angle if kind.upright else turn + rng.uniform(-0.6, 0.6)
        room = np.full(2, 2 * np.hypot(*half))
    rows, flips = _rows(kind, scale, room[0])
    columns = np.arange(0, room[1] - size[1], size[1] + scale * kind.gap)
    if not len(rows) or not len(columns):
        return np.zeros((0, 3))
    slack = room - [rows.max() + size[0], columns[-1] + size[1]]
    shift = rng.uniform(0, 1, 2) * slack + size / 2 - room / 2
    local = np.stack(np.meshgrid(rows + shift[0], columns + shift[1]), axis=-1).reshape(-1, 2)
    heading = np.tile(flips, len(columns)) + turn
    local = local @ rotation(turn)
    extent = size / 2 if kind.upright else np.abs(rotation(turn)).T @ size / 2
    local, heading = (
        v[(np.abs(local) + extent <= half + 0.01).all(axis=1)] for v in (local, heading)
    )
    places = block.to_image(local)
    extent = np.abs(rotation(turn + block.angle)).T @ size / 2 + 1
    inside = ((places > extent) & (places < np.array([width, height]) - extent)).all(axis=1)
    cells = np.column_stack([places, heading + block.angle])[inside]
    return rng.permutation(cells, axis=0) if kind.aisle is None else _in_runs(rng, cells)


def rotation(angle: float) -> np.ndarray:
    """Return the matrix (2, 2) that turns row vectors by an angle (radians) from x towards y."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


def _rows(kind: Kind, scale: float, room: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rear edges of rows, between 0 and `room`, and the angle of each row's heading."""
    length, gap = scale * kind.length[1], scale * kind.gap
    if kind.aisle is None:
        rows = np.arange(0, room - length, length + gap)
        return rows, np.zeros(len(rows))
    apart = length + scale * kind.between
    starts = np.arange(0, room - length, apart + length + scale * kind.aisle)
    rows = np.concatenate([starts, starts + apart])
    flips = np.repeat([0, np.pi], len(starts))
    return rows[rows <= room - length], flips[rows <= room - length]


def _in_runs(rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
    """Sort cells so that the first ones are a crowd around a random one, with some holes."""
    if len(cells) == 0:
        return cells
    start = cells[rng.integers(len(cells)), :2]
    distance = np.linalg.norm(cells[:, :2] - start, axis=1)
    return cells[np.argsort(distance * rng.uniform(0.6, 1.4, len(cells)), kind="stable")]


def _share_out(rng: np.random.Generator, blocks: list[Block], count: int) -> None:
    """Distribute `count` objects over the blocks' cells."""
    order = rng.permutation(len(blocks))
    fills = rng.uniform(0.5, 0.95, len(blocks))
    for limited in (True, False):  # the second round fills the cells that the first left free
        for index in order:
            block = blocks[index]
            room = len(block.cells)
            if limited:
                room = int(np.ceil(room * fills[index]))
            taken = min(room - block.count, count)
            block.count += taken
            count -= taken


def _objects(rng: np.random.Generator, block: Block, scale: float) -> list[Placed]:
    if not block.count:
        return []
    kind = KINDS[block.zone]
    placed = []
    for x, y, heading in block.cells[: block.count]:
        length, width = (scale * rng.uniform(*size) for size in (kind.length, kind.width))
        if kind.upright:
            width = length
        placed.append(Placed(block.zone, x, y, heading, length, width))
    return placed
