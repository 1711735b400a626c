"""The gradients of a batch, computed part by part: memory for the activations of one part."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.utils.precision import autocast

Losses = dict[str, torch.Tensor]


def split_batch(
    images: ImageList, targets: list[BoxList], parts: int
) -> list[tuple[ImageList, list[BoxList]]]:
    """Divide a batch into parts of nearly equal numbers of images.

    Args:
        images, targets: of N images.
        parts: how many at most; N images make no more than N parts. 5 images in 2 parts: 3 and 2.
    """
    size = -(-len(targets) // parts)
    return [
        (
            ImageList(
                images.tensors[start : start + size], images.image_sizes[start : start + size]
            ),
            targets[start : start + size],
        )
        for start in range(0, len(targets), size)
    ]


def accumulate(
    model: nn.Module,
    images: ImageList,
    targets: list[BoxList],
    parts: int,
    scaler: torch.amp.GradScaler,
    dtype_name: str,
) -> tuple[Losses, Losses]:
    """Run a batch forward, and all of its parts but the last one backward too.

    The caller looks at the losses before it sends the last part backward: a GPU is then still busy
    with it while the next batch is fetched.

    Args:
        model: in training mode; where it is distributed, only the last part's backward pass
            averages the gradients over the processes.
        images, targets: the batch, on the model's device.
        parts: as SOLVER.ACCUMULATE.
        scaler: of float16's losses.
        dtype_name: as cfg.DTYPE.

    Returns:
        the losses of the batch, which are the parts' by their shares of the images; the last
        part's share of them, to call backward on.
    """
    batch_size, total = len(targets), {}
    *earlier, last = split_batch(images, targets, parts)
    for part in earlier:
        with _unsynchronized(model):
            losses = _share(model, part, batch_size, dtype_name)
            scaler.scale(sum(losses.values())).backward()
        total = _add(losses, total)
    losses = _share(model, last, batch_size, dtype_name)
    return _add(losses, total), losses


def _share(
    model: nn.Module, part: tuple[ImageList, list[BoxList]], batch_size: int, dtype_name: str
) -> Losses:
    images, targets = part
    with autocast(dtype_name, images.tensors.device):
        losses = model(images, targets)
    if len(targets) == batch_size:
        return losses
    return {name: loss * (len(targets) / batch_size) for name, loss in losses.items()}


def _add(losses: Losses, total: Losses) -> Losses:
    return {
        n: loss.detach() + total[n] if n in total else loss.detach() for n, loss in losses.items()
    }


def _unsynchronized(model: nn.Module) -> Any:
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()
