"""At which scale the network sees an image's pixels, and whether tiles keep theirs.

INPUT.MIN_SIZE_* and MAX_SIZE_* resize what the network is shown: a tile of 1024 pixels that is
shown with 800 is seen at scale 0.78. A network knows objects at the scale of its training.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from yacs.config import CfgNode

from .datasets import DotaDataset
from .transforms import Resize

SAME = 0.05  # scales that differ by a smaller part are taken for the same

Size = tuple[int, int]  # (width, height), pixels


def scale_range(cfg: CfgNode, sizes: Iterable[Size], is_train: bool) -> tuple[float, float]:
    """Return the least and the greatest scale of samples of these sizes.

    Args:
        cfg: INPUT is read.
        sizes: at least one.
        is_train: in training, or in evaluation and prediction.
    """
    options = cfg.INPUT
    min_sizes = options.MIN_SIZE_TRAIN if is_train else (options.MIN_SIZE_TEST,)
    resize = Resize(min_sizes, options.MAX_SIZE_TRAIN if is_train else options.MAX_SIZE_TEST)
    scales = [
        min(resize.size_for(size, min_size)) / min(size)
        for size in set(sizes)
        for min_size in resize.min_size
    ]
    return min(scales), max(scales)


def describe_scale(cfg: CfgNode, dataset: DotaDataset, is_train: bool) -> str:
    """Return the scales of a data set's samples as a line of its summary."""
    sizes = {(sample.width, sample.height) for sample in dataset.samples}
    low, high = scale_range(cfg, sizes, is_train)
    return f"scale: {low:.2f}" + (f" to {high:.2f}" if high - low >= 0.005 else "")


def report_scale(
    cfg: CfgNode, name: str, dataset: DotaDataset, is_train: bool, report: Callable[[str], None]
) -> None:
    """Report tiles that are trained at another scale than they are cut or evaluated.

    Args:
        cfg: the run's settings.
        name: the data set's.
        dataset: its samples are tiles, or images that are not cut.
        is_train: whether it is trained on.
        report: is told what differs, and what to set.
    """
    side, is_tile = _reference_side(cfg, dataset)
    low, high = scale_range(cfg, [(side, side)], is_train=True)
    _, test = scale_range(cfg, [(side, side)], is_train=False)
    kind = "tiles" if is_tile else "images"
    trained = f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
    if is_train and is_tile and not _is_within(1.0, low, high):
        report(
            f"{name}: {kind} of {side} pixels are trained at scale {trained}, not at the one at "
            f"which they are cut: unless that is meant, set INPUT.MIN_SIZE_TRAIN ({side},), "
            f"MAX_SIZE_TRAIN {side}, MIN_SIZE_TEST {side} and MAX_SIZE_TEST {side}"
        )
    if not _is_within(test, low, high):
        report(
            f"{name}: {kind} of {side} pixels are trained at scale {trained} and evaluated at "
            f"{test:.2f}: set INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST as MIN_SIZE_TRAIN and "
            "MAX_SIZE_TRAIN are"
        )
    cut = dataset.files.plan.get("tile") if dataset.files.plan else None
    if cut and cfg.DOTA.TILE != cut:
        what = "are cut again" if 0 < cfg.DOTA.TILE < cut else "are not what prediction cuts"
        report(
            f"{name}: its tiles of {cut} pixels {what} by DOTA.TILE {cfg.DOTA.TILE}: set DOTA.TILE "
            f"{cut} and DOTA.OVERLAP {dataset.files.plan['overlap']}"
        )


def report_prediction_scale(cfg: CfgNode, trained_tile: int, report: Callable[[str], None]) -> None:
    """Report windows of prediction that are seen at another scale than the tiles of training.

    Args:
        cfg: the run's settings; DOTA.TILE is the window's side.
        trained_tile: side of training's tiles, pixels; 0: images were not cut.
        report: is told what differs, and what to set.
    """
    tile = cfg.DOTA.TILE
    if tile == trained_tile or trained_tile == 0:
        return
    low, high = scale_range(cfg, [(trained_tile, trained_tile)], is_train=True)
    if tile == 0:
        report(
            f"whole images are resized to INPUT.MIN_SIZE_TEST {cfg.INPUT.MIN_SIZE_TEST}, however "
            f"large they are; the model was trained on tiles of {trained_tile} pixels: leave the "
            "tile as it was trained"
        )
        return
    _, test = scale_range(cfg, [(tile, tile)], is_train=False)
    if not _is_within(test, low, high):
        report(
            f"windows of {tile} pixels are seen at scale {test:.2f}, but the model was trained on "
            f"tiles of {trained_tile} at {low:.2f}: leave the tile as it was trained, or set "
            f"INPUT.MIN_SIZE_TEST {round(tile * low)} and INPUT.MAX_SIZE_TEST {round(tile * low)}"
        )


def _reference_side(cfg: CfgNode, dataset: DotaDataset) -> tuple[int, bool]:
    """Return the side of a data set's tiles, or of its most frequent image; and which it is."""
    sizes = Counter(max(sample.width, sample.height) for sample in dataset.samples)
    is_tile = dataset.tiles_are_complete or any(sample.is_cut for sample in dataset.samples)
    cut = dataset.files.plan.get("tile") if dataset.files.plan else None
    sides = [side for side in (cut, cfg.DOTA.TILE) if side]
    if is_tile and sides:
        return min(sides), True
    return sizes.most_common(1)[0][0], False


def _is_within(scale: float, low: float, high: float) -> bool:
    return low * (1 - SAME) <= scale <= high * (1 + SAME)
