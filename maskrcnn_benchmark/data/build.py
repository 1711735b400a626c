"""Data loaders for training and evaluation, as a config asks for them."""

import bisect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.sampler import BatchSampler, Sampler, SequentialSampler
from yacs.config import CfgNode

from maskrcnn_benchmark.config.dataset_names import find_entry
from maskrcnn_benchmark.images.image_io import set_max_pixels
from maskrcnn_benchmark.utils.comm import get_rank, get_world_size
from maskrcnn_benchmark.utils.imports import import_file

from . import datasets as D
from . import samplers
from .collate_batch import BatchCollator, BBoxAugCollator
from .loader import ForkingLoader
from .num_classes import check_num_classes, check_same_classes, dota_classes
from .opening import tell_of_data
from .transforms import build_transforms


def build_dataset(
    dataset_list: Sequence[str],
    transforms: Callable | None,
    dataset_catalog: Any,
    is_train: bool = True,
    dota_options: dict | None = None,
) -> list[Dataset]:
    """Make the data sets of some names.

    Args:
        dataset_list: "dota:FOLDER", "coco:ANNOTATIONS.json:IMAGES_FOLDER", or catalog names.
        transforms: called with (BGR image, target), or None.
        dataset_catalog: its `get(name)` returns dict(factory=..., args=...); the factory is a name
            in `data.datasets`, or anything that can be called.
        is_train: leave out what cannot be trained on, and make one data set of all.
        dota_options: arguments of DotaDataset that are the same for all folders.

    Returns:
        one data set per name, or, for training, a list of one that holds them all.

    Raises:
        ValueError: an unknown name, or labels that do not fit the settings.
    """
    if not isinstance(dataset_list, (list, tuple)) or not dataset_list:
        raise ValueError(
            f"expected a list of data set names in DATASETS.{'TRAIN' if is_train else 'TEST'}, "
            f"got {dataset_list!r}{'' if is_train else ' (train_net.py --skip-test needs none)'}"
        )
    datasets = []
    for name in dataset_list:
        entry = find_entry(name, dataset_catalog)
        factory = _find_factory(name, entry["factory"])
        args = {**entry["args"], "transforms": transforms}
        if factory is D.COCODataset:
            args["remove_images_without_annotations"] = is_train
        elif factory is D.PascalVOCDataset:
            args["use_difficult"] = not is_train
        elif factory is D.DotaDataset:
            args = {**(dota_options or {}), **args, "is_train": is_train}
        datasets.append(factory(**args))
    if is_train and len(datasets) > 1:
        return [D.ConcatDataset(datasets)]
    return datasets


def _find_factory(name: str, factory: str | Callable) -> Callable:
    if callable(factory):
        return factory
    if not hasattr(D, factory):
        raise ValueError(f'the data set "{name}" needs {factory}, which is not in data.datasets')
    return getattr(D, factory)


def make_data_sampler(
    dataset: Dataset, shuffle: bool, distributed: bool, seed: int = 0
) -> Sampler[int]:
    """Make what draws the order of the images; shuffled orders depend on seed and epoch only."""
    if distributed:
        return samplers.DistributedSampler(dataset, shuffle=shuffle, seed=seed)
    if shuffle:
        return samplers.DistributedSampler(dataset, num_replicas=1, rank=0, seed=seed)
    return SequentialSampler(dataset)


def _quantize(x: Sequence[float], bins: Sequence[float]) -> list[int]:
    """Return, per value, how many of the bins' limits are not above it."""
    limits = sorted(bins)
    return [bisect.bisect_right(limits, value) for value in x]


def _compute_aspect_ratios(dataset: Any) -> list[float]:
    """Return height / width of each image."""
    infos = map(dataset.get_img_info, range(len(dataset)))
    return [info["height"] / info["width"] for info in infos]


def make_batch_data_sampler(
    dataset: Any,
    sampler: Sampler[int],
    aspect_grouping: Sequence[float] | float,
    images_per_batch: int,
    num_iters: int | None = None,
    start_iter: int = 0,
) -> BatchSampler:
    """Make what collects indices into batches.

    Args:
        dataset: must have `get_img_info` if batches are grouped.
        sampler: draws indices.
        aspect_grouping: limits of height / width between the groups; empty for no groups.
        images_per_batch: images of a batch, in this process.
        num_iters: number of the last iteration; None for one pass over the data.
        start_iter: iterations that are done already.
    """
    if aspect_grouping:
        is_list = isinstance(aspect_grouping, (list, tuple))
        limits = aspect_grouping if is_list else [aspect_grouping]
        groups = _quantize(_compute_aspect_ratios(dataset), limits)
        batches = samplers.GroupedBatchSampler(sampler, groups, images_per_batch)
    else:
        batches = BatchSampler(sampler, images_per_batch, drop_last=False)
    if num_iters is None:
        return batches
    return samplers.IterationBasedBatchSampler(batches, num_iters, start_iter)


def make_data_loader(
    cfg: CfgNode,
    is_train: bool = True,
    is_distributed: bool = False,
    start_iter: int = 0,
    is_for_period: bool = False,
) -> DataLoader | list[DataLoader]:
    """Make the loaders of cfg.DATASETS.TRAIN or TEST.

    A batch is (ImageList, list of BoxList, list of indices). Order and augmentation in training
    depend on SOLVER.SEED alone, not on the number of workers or on where the run was resumed.

    Args:
        cfg: the whole config.
        is_train: for training, exactly SOLVER.MAX_ITER batches less those that are done.
        is_distributed: share the images among the processes.
        start_iter: iterations that are done already.
        is_for_period: for an evaluation while training goes on.

    Returns:
        the loader for training or `is_for_period`, else a list with a loader per test set.
    """
    set_max_pixels(cfg.INPUT.MAX_PIXELS)
    # a loader for losses while training goes on shows each image once, as the network wants it
    bbox_aug = cfg.TEST.BBOX_AUG.ENABLED and not is_train and not is_for_period
    catalog = import_file("maskrcnn_benchmark.config.paths_catalog", cfg.PATHS_CATALOG, True)
    names = cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST
    datasets = build_dataset(
        names,
        None if bbox_aug else build_transforms(cfg, is_train),
        catalog.DatasetCatalog,
        is_train,
        _dota_options(cfg),
    )
    named = list(zip(names, _parts(datasets), strict=True))
    check_num_classes(cfg, named, has_losses=is_train or is_for_period)
    tell_of_data(cfg, named, is_train)
    if is_train:
        check_same_classes(named)
        _save_labels(datasets[0], cfg.OUTPUT_DIR)
    elif is_for_period and len(datasets) > 1:
        datasets = [D.ConcatDataset(datasets)]
    collate = BBoxAugCollator() if bbox_aug else BatchCollator(cfg.DATALOADER.SIZE_DIVISIBILITY)
    loaders = []
    for dataset in datasets:
        batch_sampler = _make_batches(cfg, dataset, is_train, is_distributed, start_iter)
        samples = samplers.TrainingSamples(dataset) if is_train else dataset
        loaders.append(_make_loader(cfg, samples, batch_sampler, collate))
    return loaders[0] if is_train or is_for_period else loaders


def _make_loader(
    cfg: CfgNode, samples: Dataset, batch_sampler: BatchSampler, collate: Callable
) -> DataLoader:
    on_gpu = torch.device(cfg.MODEL.DEVICE).type == "cuda" and torch.cuda.is_available()
    return ForkingLoader(
        samples,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        batch_sampler=batch_sampler,
        collate_fn=collate,
        pin_memory=on_gpu,  # so that the copy to the GPU need not be waited for
        # its own generator: the loader must not move the training process's
        generator=torch.Generator().manual_seed(0),
    )


def _make_batches(
    cfg: CfgNode, dataset: Dataset, is_train: bool, is_distributed: bool, start_iter: int
) -> BatchSampler:
    images_per_gpu = _images_per_process(cfg, is_train)
    sampler = make_data_sampler(dataset, is_train, is_distributed, cfg.SOLVER.SEED)
    grouping = [1] if cfg.DATALOADER.ASPECT_RATIO_GROUPING else []
    if not is_train:
        return make_batch_data_sampler(dataset, sampler, grouping, images_per_gpu)
    batches = make_batch_data_sampler(
        dataset, sampler, grouping, images_per_gpu, cfg.SOLVER.MAX_ITER, start_iter
    )
    first = get_rank() * images_per_gpu if is_distributed else 0
    return samplers.SeededBatchSampler(batches, cfg.SOLVER.SEED, first)


def _images_per_process(cfg: CfgNode, is_train: bool) -> int:
    key = "SOLVER.IMS_PER_BATCH" if is_train else "TEST.IMS_PER_BATCH"
    images = cfg.SOLVER.IMS_PER_BATCH if is_train else cfg.TEST.IMS_PER_BATCH
    processes = get_world_size()
    if images < 1 or images % processes:
        raise ValueError(
            f"{key} must be a multiple of the number of processes, got {images} and {processes}"
        )
    return images // processes


def _parts(datasets: Sequence[Any]) -> list[Any]:
    """Return the data sets, those that were put together one by one."""
    parts: list[Any] = []
    for dataset in datasets:
        parts += dataset.datasets if isinstance(dataset, D.ConcatDataset) else [dataset]
    return parts


def _dota_options(cfg: CfgNode) -> dict:
    return dict(
        class_names=dota_classes(cfg),
        tile=cfg.DOTA.TILE,
        overlap=cfg.DOTA.OVERLAP,
        with_masks=cfg.MODEL.MASK_ON,
        nms_hbb=cfg.DOTA.NMS_HBB,
        nms_obb=cfg.DOTA.NMS_OBB,
        ignore_other_classes=cfg.DOTA.IGNORE_OTHER_CLASSES,
    )


def _save_labels(dataset: Any, output_dir: str) -> None:
    from maskrcnn_benchmark.utils.miscellaneous import mkdir, save_labels

    if output_dir:
        mkdir(output_dir)
        save_labels(_parts([dataset]), output_dir)
