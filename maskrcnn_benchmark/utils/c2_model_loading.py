"""Loading of Detectron's (Caffe2's) weights: a pickle of arrays, whose names are translated."""

import logging
import mmap
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Container, Mapping, Sequence
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from maskrcnn_benchmark.utils.pickle_limits import check_pickle
from maskrcnn_benchmark.utils.registry import Registry

C2_FORMAT_LOADER = Registry()

# Replacements of the functions that a pickled array calls; numpy's own functions accept arguments
# that a file from a stranger should not be able to pass.
_NDARRAY = object()  # numpy.ndarray is only ever an argument of _reconstruct


def _reconstruct(subtype: object, shape: tuple, typecode: bytes) -> np.ndarray:
    if subtype is not _NDARRAY:
        raise pickle.UnpicklingError("an array of a type other than numpy.ndarray")
    return np.empty(0, np.int8)  # the pickle then sets the array's state: shape, type, data


def _dtype(code: str, align: bool = False, copy: bool = False) -> np.dtype:
    if not isinstance(code, str) or len(code) > 8:
        raise pickle.UnpicklingError("an array type that is no short name")
    dtype = np.dtype(code, copy=True)
    if dtype.kind not in "biufcSU":
        raise pickle.UnpicklingError(f"the array type {dtype}")
    return dtype


def _scalar(dtype: np.dtype, data: bytes | str) -> np.generic:
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype, count=1)[0]


def _frombuffer(buffer: bytes, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:
    """Replace _codecs.encode, which Python 3 uses for bytes in protocol 2."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding}")
    return text.encode("latin1")


def _bytearray(text: bytes | str = b"", encoding: str = "") -> bytearray:
    """Replace bytearray, which makes one of any length when it is given a number."""
    if isinstance(text, int):
        raise pickle.UnpicklingError(f"a bytearray of {text} bytes without content")
    return bytearray(_encode(text, encoding) if isinstance(text, str) else text)


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _ADMITTED[f"{_core}.multiarray", "scalar"] = _scalar
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _frombuffer
for _builtins in ("builtins", "__builtin__"):
    _ADMITTED[_builtins, "bytearray"] = _bytearray
    for _type in (complex, dict, frozenset, list, set, tuple):
        _ADMITTED[_builtins, _type.__name__] = _type


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler of arrays, numbers, strings and containers that refuses any other global."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the global {module}.{name}") from None


def _load_c2_pickled_weights(file_path: str) -> dict[str, Any]:
    """Return the blobs of a Detectron pickle.

    Raises:
        ValueError: the file holds objects other than arrays and plain containers, stands for far
            more than it has bytes, or is damaged.
    """
    size = os.path.getsize(file_path)
    with open(file_path, "rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                check_pickle(content, size)
                content.seek(0)
                weights = _ArrayUnpickler(content).load()
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{file_path} is refused: it holds {error}; only arrays and plain containers are "
                "admitted in a .pkl, since anything else can run code"
            ) from error
        except Exception as error:  # a damaged pickle raises nearly anything
            raise ValueError(f"{file_path} cannot be read as a pickle: {error!r}") from error
    blobs = weights.get("blobs", weights) if isinstance(weights, dict) else weights
    if not isinstance(blobs, dict):
        raise ValueError(f"{file_path} holds a {type(blobs).__name__}, expected a dict of arrays")
    if sum(blob.nbytes for blob in blobs.values() if isinstance(blob, np.ndarray)) > size:
        raise ValueError(f"{file_path} has {size} bytes, but its arrays are larger")
    return blobs


# Blob "LAYER_KIND" -> our parameter. "bn" is an affine channel, "gn" GroupNorm.
_BLOB = re.compile(r"(?P<layer>.+?)(?P<norm>_bn|_gn)?_(?P<kind>[wbs])")
_RESIDUAL = re.compile(r"res([2-5])_(\d+)_branch(1|2a|2b|2c)")
_CONVOLUTIONS = {"2a": "1", "2b": "2", "2c": "3"}
_STACKED = re.compile(r"head_conv(\d+)")  # of the Xconv1fc head
_LAYERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"conv_rpn(_fpn2)?"), "rpn.head.conv"),
    (re.compile(r"rpn_(cls_logits|bbox_pred)(_fpn2)?"), r"rpn.head.\1"),
    (re.compile(r"_\[mask\]_fcn(\d+)"), r"mask_fcn\1"),
    (re.compile(r"pred"), "fc1000"),  # the classifier, so that it fits no predictor of ours
)

# "stage.block" of the last block of each stage, whose output names the pyramid's blobs.
_C2_STAGE_NAMES = {
    "R-50": ["1.2", "2.3", "3.5", "4.2"],
    "R-101": ["1.2", "2.3", "3.22", "4.2"],
    "R-152": ["1.2", "2.7", "3.35", "4.2"],
}


def _rename_blob(blob: str, with_norm: Container[str]) -> str:
    """Return our name of a blob, e.g. layer1.0.bn1.weight for res2_0_branch2a_bn_s.

    Args:
        with_norm: names of the layers that are followed by a GroupNorm.
    """
    parts = _BLOB.fullmatch(blob)
    if parts is None:
        return blob
    layer, norm = parts["layer"], parts["norm"] is not None
    parameter = "bias" if parts["kind"] == "b" else "weight"
    if layer in ("conv1", "res_conv1"):
        return f"{'bn' if norm else 'conv'}1.{parameter}"
    residual = _RESIDUAL.fullmatch(layer)
    if residual:
        stage, block, branch = residual.groups()
        if branch == "1":
            inner = f"downsample.{int(norm)}"
        else:
            inner = ("bn" if norm else "conv") + _CONVOLUTIONS[branch]
        return f"layer{int(stage) - 1}.{block}.{inner}.{parameter}"
    stacked = _STACKED.fullmatch(layer)
    if stacked:  # ours is Sequential(convolution, norm, ReLU, convolution …)
        layers_each = 3 if layer in with_norm else 2
        return f"xconvs.{layers_each * (int(stacked.group(1)) - 1) + int(norm)}.{parameter}"
    renamed = layer
    for pattern, replacement in _LAYERS:
        if pattern.fullmatch(layer):
            renamed = pattern.sub(replacement, layer)
    # With GroupNorm, ours is Sequential(layer, norm).
    position = f".{int(norm)}" if norm or layer in with_norm else ""
    return f"{renamed}{position}.{parameter}"


def _rename_basic_resnet_weights(layer_keys: Sequence[str]) -> list[str]:
    """Translate the names of all blobs; the pyramid's keep the name of their layer.

    Those are translated by `_rename_fpn_weights`.
    """
    with_norm = {key.removesuffix("_gn_s") for key in layer_keys if key.endswith("_gn_s")}
    return [_rename_blob(key, with_norm) for key in layer_keys]


def _rename_fpn_weights(layer_keys: Sequence[str], stage_names: Sequence[str]) -> list[str]:
    """Translate the names of the pyramid's layers, e.g. fpn_res2_2_sum.weight to fpn_layer1.weight.

    Args:
        layer_keys: names from `_rename_basic_resnet_weights`.
        stage_names: the last block of each stage, as in `_C2_STAGE_NAMES`.
    """
    layers = {}
    for level, stage_name in enumerate(stage_names, 1):
        stage, block = stage_name.split(".")
        output = f"res{int(stage) + 1}_{block}_sum"
        suffix = "_lateral" if level < len(stage_names) else ""
        layers[f"fpn_inner_{output}{suffix}"] = f"fpn_inner{level}"
        layers[f"fpn_{output}"] = f"fpn_layer{level}"
    split = (key.partition(".") for key in layer_keys)
    return [layers.get(layer, layer) + dot + rest for layer, dot, rest in split]


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.isnative


def _rename_weights_for_resnet(
    weights: Mapping[str, Any], stage_names: Sequence[str]
) -> dict[str, Tensor]:
    """Translate all blobs; drop the solver's momenta and values that are no arrays of numbers."""
    blobs = sorted(
        name
        for name, value in weights.items()
        if isinstance(name, str) and _is_numeric(value) and not name.endswith("_momentum")
    )
    names = _rename_fpn_weights(_rename_basic_resnet_weights(blobs), stage_names)
    logging.getLogger(__name__).info("%d of Detectron's blobs renamed", len(blobs))
    return {name: torch.tensor(weights[blob]) for name, blob in zip(names, blobs, strict=True)}


def _rename_conv_weights_for_deformable_conv_layers(
    state_dict: Mapping[str, Tensor], cfg: CfgNode
) -> dict[str, Tensor]:
    """Rename the 3x3 convolutions of stages with DCN to DFConv2d's names (conv2 -> conv2.conv)."""
    with_dcn = [str(i) for i, dcn in enumerate(cfg.MODEL.RESNETS.STAGE_WITH_DCN, 1) if dcn]
    if not with_dcn:
        return dict(state_dict)
    plain = re.compile(rf"(layer[{''.join(with_dcn)}]\.\d+\.conv2)\.(weight|bias)")
    return {plain.sub(r"\1.conv.\2", name): value for name, value in state_dict.items()}


@C2_FORMAT_LOADER.register("R-50-C4")
@C2_FORMAT_LOADER.register("R-50-C5")
@C2_FORMAT_LOADER.register("R-101-C4")
@C2_FORMAT_LOADER.register("R-101-C5")
@C2_FORMAT_LOADER.register("R-50-FPN")
@C2_FORMAT_LOADER.register("R-50-FPN-RETINANET")
@C2_FORMAT_LOADER.register("R-101-FPN")
@C2_FORMAT_LOADER.register("R-101-FPN-RETINANET")
@C2_FORMAT_LOADER.register("R-152-FPN")
def load_resnet_c2_format(cfg: CfgNode, f: str) -> dict[str, dict[str, Tensor]]:
    """Read a Detectron pickle of a ResNet as {"model": state dict}.

    Args:
        f: path of the pickle.
    """
    architecture = "-".join(cfg.MODEL.BACKBONE.CONV_BODY.split("-")[:2])
    blobs = _load_c2_pickled_weights(f)
    weights = _rename_weights_for_resnet(blobs, _C2_STAGE_NAMES[architecture])
    return {"model": _rename_conv_weights_for_deformable_conv_layers(weights, cfg)}


def load_c2_format(cfg: CfgNode, f: str) -> dict[str, dict[str, Tensor]]:
    """Read a Detectron pickle with the loader of MODEL.BACKBONE.CONV_BODY.

    Args:
        f: path of the pickle.

    Raises:
        ValueError: Detectron has no weights for that body.
    """
    conv_body = cfg.MODEL.BACKBONE.CONV_BODY
    if conv_body not in C2_FORMAT_LOADER:
        raise ValueError(
            f"{f} is a Detectron pickle, which MODEL.BACKBONE.CONV_BODY {conv_body} cannot take: "
            f"expected one of {', '.join(C2_FORMAT_LOADER)}; give a .pth as MODEL.WEIGHT"
        )
    return C2_FORMAT_LOADER[conv_body](cfg, f)
