"""Build the transforms of a config."""

from yacs.config import CfgNode

from . import transforms as T


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
    augmentation = [
        jitter,
        T.Resize(options.MIN_SIZE_TRAIN, options.MAX_SIZE_TRAIN),
        T.RandomHorizontalFlip(options.HORIZONTAL_FLIP_PROB_TRAIN),
        T.RandomVerticalFlip(options.VERTICAL_FLIP_PROB_TRAIN),
    ]
    return T.Compose([*augmentation, *to_network])
