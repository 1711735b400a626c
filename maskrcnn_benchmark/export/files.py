"""Writing a detector into a file: ONNX, or torch.export's .pt2."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule
from yacs.config import CfgNode

from maskrcnn_benchmark.layers import DFConv2d
from maskrcnn_benchmark.utils.atomic_write import written_whole

from .detectors import (
    ExportableDetector,
    ExportableGlidingVertex,
    ExportableOrientedRCNN,
    ExportableRCNN,
    ExportableRetinaNet,
)

OPSET = 20  # of ONNX: the first with what is used here
METADATA = "maskrcnn_benchmark"  # key of the metadata, in JSON
_TRACED_HW = (512, 640)  # of the made image that the graph is followed with; others fit, too


def export_detector(cfg: CfgNode, model: nn.Module, class_names: list[str], path: str) -> None:
    """Write a detector with suppression and selection inside.

    Inputs: "image", float [1, 3, H, W], normalised as the metadata say and padded to multiples of
    their "size_divisibility"; "size", int64 [2], height and width before padding. Outputs: "boxes",
    "scores", "labels", and "masks" or "corners", by falling score; a .pt2 file gives them as a
    tuple, and its metadata name them in "outputs".

    Args:
        cfg: the model's settings; they become part of the metadata.
        model: a trained GeneralizedRCNN.
        class_names: of label 1, 2, …
        path: ends in .onnx or .pt2.

    Raises:
        ValueError: another ending; a model that cannot be exported, with the reason.
    """
    check_ending(path)
    detector = make_exportable(cfg, model)
    divisor = cfg.DATALOADER.SIZE_DIVISIBILITY or (32 if cfg.MODEL.RPN.USE_FPN else 16)
    metadata = make_metadata(cfg, class_names, divisor)
    names = ["boxes", "scores", "labels", *detector.extra_outputs]
    program = _follow(detector, divisor)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        _WRITERS[Path(path).suffix](program, names, metadata, part)


def check_ending(path: str) -> None:
    """Refuse a file's name that says of no form to write it in (ValueError)."""
    if Path(path).suffix not in _WRITERS:
        raise ValueError(f"expected a file that ends in {' or '.join(_WRITERS)}, got {path}")


def make_exportable(cfg: CfgNode, model: nn.Module) -> ExportableDetector:
    """Return the model as a function of tensors.

    Raises:
        ValueError: there is none for this kind of model.
    """
    refusals = {
        "MODEL.KEYPOINT_ON": cfg.MODEL.KEYPOINT_ON,
        "MODEL.RPN_ONLY without RetinaNet": cfg.MODEL.RPN_ONLY and not cfg.MODEL.RETINANET_ON,
        "TEST.BBOX_AUG.ENABLED": cfg.TEST.BBOX_AUG.ENABLED,
        "MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS": (
            cfg.MODEL.MASK_ON and cfg.MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS
        ),
        "MODEL.RESNETS.STAGE_WITH_DCN (deformable convolutions)": any(
            isinstance(module, DFConv2d) for module in model.modules()
        ),
        "MODEL.RPN.NMS_THRESH, MODEL.ROI_HEADS.NMS or MODEL.RETINANET.NMS_TH of 0": (
            min(cfg.MODEL.RPN.NMS_THRESH, cfg.MODEL.ROI_HEADS.NMS, cfg.MODEL.RETINANET.NMS_TH) <= 0
        ),
    }
    for name, is_set in refusals.items():
        if is_set:
            raise ValueError(
                f"{name} cannot be exported: Faster and Mask R-CNN, RetinaNet, Oriented R-CNN and "
                "Gliding Vertex on plain convolutions and with suppression can"
            )
    if cfg.MODEL.RETINANET_ON:
        return ExportableRetinaNet(model)
    kinds = {
        "": ExportableRCNN,
        "oriented_rcnn": ExportableOrientedRCNN,
        "gliding_vertex": ExportableGlidingVertex,
    }
    return kinds[cfg.MODEL.ORIENTED.METHOD](model)


def make_metadata(cfg: CfgNode, class_names: list[str], divisor: int) -> dict[str, Any]:
    """Return what a program needs beside the graph."""
    settings = cfg.clone()
    settings.defrost()
    settings.DATALOADER.SIZE_DIVISIBILITY = divisor
    return {
        "channel_order": "BGR" if cfg.INPUT.TO_BGR255 else "RGB",
        "greatest_value": 255 if cfg.INPUT.TO_BGR255 else 1,
        "pixel_mean": list(cfg.INPUT.PIXEL_MEAN),
        "pixel_std": list(cfg.INPUT.PIXEL_STD),
        "short_side": cfg.INPUT.MIN_SIZE_TEST,
        "greatest_long_side": cfg.INPUT.MAX_SIZE_TEST,
        "size_divisibility": divisor,
        "tile": cfg.DOTA.TILE,
        "overlap": cfg.DOTA.OVERLAP,
        "classes": list(class_names),
        "settings": settings.dump(),
    }


@torch.no_grad()
def _follow(detector: ExportableDetector, divisor: int) -> ExportedProgram:
    """Follow the detector's computation for images of any size."""
    height, width = (-(-side // divisor) * divisor for side in _TRACED_HW)
    image, size = torch.zeros(1, 3, height, width), torch.tensor([height, width])
    rows, columns = Dim("rows", min=2), Dim("columns", min=2)
    shapes = ({2: divisor * rows, 3: divisor * columns}, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torchvision about its own use of torch
        return torch.export.export(detector, (image, size), dynamic_shapes=shapes)


def _write_onnx(
    program: ExportedProgram, names: list[str], metadata: dict[str, Any], path: Path
) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, output_names=names, verbose=False
        )
    written.model.metadata_props[METADATA] = json.dumps(metadata)
    written.save(path)


def _write_program(
    program: ExportedProgram, names: list[str], metadata: dict[str, Any], path: Path
) -> None:
    for module in program.graph_module.modules():
        if isinstance(module, GraphModule):
            _drop_assertions(module)
    extra = {METADATA: json.dumps({**metadata, "outputs": names})}
    with open(path, "wb") as file:  # given a name, it asks for the ending
        torch.export.save(program, file, extra_files=extra)


def _drop_assertions(module: GraphModule) -> None:
    """Remove what stops where a class has fewer than two boxes.

    torch.export takes numbers that it does not know for 2 or more, and asserts it. The operators of
    the graph need no such thing; tests run it with no box and with one.
    """
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()


_WRITERS = {".onnx": _write_onnx, ".pt2": _write_program}
