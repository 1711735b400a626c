"""Memory that the tensors of training and inference take, counted on the CPU.

Weights, gradients, momentum and activations are as large on a GPU. Not counted is what exists
beside them there: the workspaces of single operators, the allocator's gaps, CUDA itself.
"""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from maskrcnn_benchmark.benchmarks.crowd import make_crowd
from maskrcnn_benchmark.engine.accumulation import accumulate
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_optimizer
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.corners import Corners
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list
from maskrcnn_benchmark.structures.rotated_boxes import boxlist_to_edges, edges_to_corners
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.utils.precision import autocast

CPU = torch.device("cpu")
SMALL = 2**21  # numbers in a made result
STEPS = 2  # the optimizer makes the momentum at the end of the first
# not computed: the sizes of their results count, and the weights are random anyway
COSTLY = (
    torch.ops.aten.convolution.default,
    torch.ops.aten.convolution_backward.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.mm.default,
)


class LiveTensors(TorchDispatchMode):
    """Count the bytes of all tensors that are held, each storage once.

    Convolutions and matrix products are not computed, only their results' sizes.

    Attributes:
        held: bytes now.
        peak: the most bytes held at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        make = _make_up(func) if func in COSTLY else func
        result = make(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return result

    def add(self, tensor: torch.Tensor) -> None:
        """Count a tensor, such as one that was made outside the mode, until it is freed."""
        storage = tensor.untyped_storage()
        if id(storage) not in self._known:
            self._known.add(id(storage))
            weakref.finalize(storage, self._remove, id(storage), storage.nbytes())
            self.held += storage.nbytes()
            self.peak = max(self.peak, self.held)

    def _remove(self, key: int, size: int) -> None:
        self._known.remove(key)
        self.held -= size


def _make_up(func: Callable) -> Callable:
    """Return a function that makes results of an operator's sizes without computing them.

    Small ones are random, so that scores differ; large ones are zero, which takes less time.
    """

    def on_meta(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(tensor, device="meta")

    def make(tensor: torch.Tensor) -> torch.Tensor:
        made = torch.empty_like(tensor, device=CPU)
        return made.normal_(std=0.01) if made.numel() < SMALL else made.zero_()

    def run(*args: Any, **kwargs: Any) -> Any:
        sizes = func(*tree_map_only(torch.Tensor, on_meta, args), **kwargs)
        return tree_map_only(torch.Tensor, make, sizes)

    return run


def memory_table(cfg, objects: int) -> Iterator[str]:
    """Count the memory of training steps, then of inference.

    Args:
        cfg: SOLVER.IMS_PER_BATCH and TEST.IMS_PER_BATCH are those of one GPU; the images have the
            largest size that INPUT lets through.
        objects: per image.

    Yields:
        the lines of a table.
    """
    if cfg.MODEL.KEYPOINT_ON:
        raise ValueError("memory is counted for boxes and masks only, got MODEL.KEYPOINT_ON True")
    torch.manual_seed(cfg.SOLVER.SEED)
    cfg = cfg.clone()
    cfg.MODEL.FAST_ROI_ALIGN = False  # GPUs have a kernel
    model = build_detection_model(cfg)
    yield f"{'':9} {'images':>6} {'pixels':>11} {'precision':>9} {'peak GB':>8}"
    for name, count, width, height, make_run in (
        (
            "training",
            cfg.SOLVER.IMS_PER_BATCH,
            cfg.INPUT.MAX_SIZE_TRAIN,
            max(cfg.INPUT.MIN_SIZE_TRAIN),
            lambda images: _make_training(cfg, model, images, objects),
        ),
        (
            "inference",
            cfg.TEST.IMS_PER_BATCH,
            cfg.INPUT.MAX_SIZE_TEST,
            cfg.INPUT.MIN_SIZE_TEST,
            lambda images: _make_inference(cfg, model, images),
        ),
    ):
        pictures = [torch.randn(3, height, width) for _ in range(count)]
        images = to_image_list(pictures, cfg.DATALOADER.SIZE_DIVISIBILITY)
        peak_gb = _measure(model, images, make_run(images)) / 1e9
        yield f"{name:9} {count:6} {f'{width}x{height}':>11} {cfg.DTYPE:>9} {peak_gb:8.2f}"


def _measure(model: torch.nn.Module, images: ImageList, run: Callable[[], None]) -> int:
    """Return the most bytes held while a function runs, with the weights and the images."""
    live = LiveTensors()
    for tensor in (*model.parameters(), *model.buffers(), images.tensors):
        live.add(tensor)
    with live:
        run()
    return live.peak


def _make_training(
    cfg, model: torch.nn.Module, images: ImageList, objects: int
) -> Callable[[], None]:
    """Return a function that trains for some steps, in the order of engine/trainer.py."""
    optimizer = make_optimizer(cfg, model.train())
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # the weights are random; the memory is the same
    targets = [
        _make_target(cfg, objects, width, height, seed)
        for seed, (height, width) in enumerate(images.image_sizes)
    ]

    scaler = torch.amp.GradScaler(CPU.type, enabled=False)  # takes no memory to speak of

    def run() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            _, losses = accumulate(model, images, targets, cfg.SOLVER.ACCUMULATE, scaler, cfg.DTYPE)
            sum(losses.values()).backward()
            optimizer.step()

    return run


def _make_inference(cfg, model: torch.nn.Module, images: ImageList) -> Callable[[], None]:
    """Return a function that finds objects in the images."""
    model.eval()

    def run() -> None:
        with torch.no_grad(), autocast(cfg.DTYPE, CPU):
            model(images)

    return run


def _make_target(cfg, objects: int, width: int, height: int, seed: int) -> BoxList:
    """Return ground truth of small objects whose masks are their boxes."""
    target = make_crowd(objects, width, height, seed)
    section = cfg.MODEL.RETINANET if cfg.MODEL.RETINANET_ON else cfg.MODEL.ROI_BOX_HEAD
    target.add_field("labels", torch.arange(objects) % (section.NUM_CLASSES - 1) + 1)
    corners = edges_to_corners(boxlist_to_edges(target.bbox))
    target.add_field("corners", Corners(corners, (width, height)))
    if cfg.MODEL.MASK_ON:
        outlines = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in target.bbox.tolist()]
        target.add_field("masks", SegmentationMask(outlines, (width, height), mode="poly"))
    return target
