"""Build the transforms of a config."""

from collections.abc import Callable

from yacs.config import CfgNode

from maskrcnn_benchmark.data.num_classes import dota_classes
from maskrcnn_benchmark.dota.classes import DOTA_V2_0

from . import transforms as T
from .rotation import RandomRotation


def build_transforms(cfg: CfgNode, is_train: bool = True) -> T.Compose:
    """Build the transforms from a BGR image to the network's tensor, by the settings of cfg.INPUT.

    Args:
        cfg: the whole config.
        is_train: True: with the random changes of training; False: resize and normalize only.
    """
    options = cfg.INPUT
    to_network = [
        T.ToTensor(),
        T.Normalize(options.PIXEL_MEAN, options.PIXEL_STD, to_bgr255=options.TO_BGR255),
    ]
    if not is_train:
        return T.Compose([T.Resize(options.MIN_SIZE_TEST, options.MAX_SIZE_TEST), *to_network])
    jitter = T.ColorJitter(options.BRIGHTNESS, options.CONTRAST, options.SATURATION, options.HUE)
    augmentation: list[Callable] = [
        jitter,
        T.Resize(options.MIN_SIZE_TRAIN, options.MAX_SIZE_TRAIN),
        T.RandomHorizontalFlip(options.HORIZONTAL_FLIP_PROB_TRAIN),
        T.RandomVerticalFlip(options.VERTICAL_FLIP_PROB_TRAIN),
    ]
    # the original does not have these: where they are off, no random number is drawn for them
    if options.DIAGONAL_FLIP_PROB_TRAIN:
        augmentation.append(T.RandomDiagonalFlip(options.DIAGONAL_FLIP_PROB_TRAIN))
    if options.ROTATE_PROB_TRAIN:
        rotation = (options.ROTATE_PROB_TRAIN, options.ROTATE_DEGREES, _quarter_turn_labels(cfg))
        augmentation.append(RandomRotation(*rotation))
    return T.Compose([*augmentation, *to_network])


def _quarter_turn_labels(cfg: CfgNode) -> list[int]:
    """Return the labels of INPUT.ROTATE_QUARTER_TURN_CLASSES.

    DOTA's classes that DOTA.CLASSES or DOTA.VERSION leaves out have none.

    Raises:
        ValueError: an unknown name.
    """
    labels, classes = [], dota_classes(cfg)
    for item in cfg.INPUT.ROTATE_QUARTER_TURN_CLASSES:
        if isinstance(item, int):
            labels.append(item)
        elif item in classes:
            labels.append(classes.index(item) + 1)
        elif item not in DOTA_V2_0:
            raise ValueError(
                f"INPUT.ROTATE_QUARTER_TURN_CLASSES: no class {item!r}, expected labels or names "
                f"of {', '.join(classes)} (DOTA.CLASSES, or else those of DOTA.VERSION)"
            )
    return labels
