"""A detector out of an ONNX file, where a model would stand."""

import json
from pathlib import Path

import torch
from torch import nn
from yacs.config import CfgNode

from maskrcnn_benchmark.images.files import file_sha256
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

from .files import METADATA

FIELDS = {"scores": "scores", "labels": "labels", "masks": "mask", "corners": "corners"}


class OnnxDetector(nn.Module):
    """Run an exported detector with onnxruntime: detections as of the model in evaluation.

    Args:
        path: what tools/export.py wrote.

    Attributes:
        cfg: the settings that it was trained and exported with, on the CPU.
        class_names: of label 1, 2, …

    Raises:
        FileNotFoundError, ValueError: no such file; one that holds no such detector.
        ImportError: onnxruntime is not installed.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        if not Path(path).is_file():
            raise FileNotFoundError(f"no file of weights '{path}'")
        self.session = _open(path)
        properties = self.session.get_modelmeta().custom_metadata_map
        if METADATA not in properties:
            raise ValueError(
                f"{path} was not written by tools/export.py: it has no {METADATA!r} in its metadata"
            )
        metadata = json.loads(properties[METADATA])
        self.class_names: list[str] = metadata["classes"]
        self.cfg = CfgNode.load_cfg(metadata["settings"])
        self.cfg.MODEL.DEVICE = "cpu"
        self.output_names = [output.name for output in self.session.get_outputs()]
        # among the state, by which a prediction tells one file's work from another's
        checksum = bytearray.fromhex(file_sha256(Path(path)))
        self.register_buffer("checksum", torch.frombuffer(checksum, dtype=torch.uint8))

    def write_settings(self, folder: str) -> str:
        """Write the settings as a config file into a folder; return its path."""
        path = Path(folder, "settings.yaml")
        path.write_text(self.cfg.dump(), encoding="utf-8")
        return str(path)

    def forward(self, images: ImageList, targets: None = None) -> list[BoxList]:
        """Return the detections of each image, by falling score."""
        return [
            self._detect(image, height, width)
            for image, (height, width) in zip(images.tensors, images.image_sizes, strict=True)
        ]

    def _detect(self, image: torch.Tensor, height: int, width: int) -> BoxList:
        size = torch.tensor([height, width])
        inputs = {"image": image[None].numpy(), "size": size.numpy()}
        found = dict(zip(self.output_names, self.session.run(None, inputs), strict=True))
        boxes = BoxList(torch.from_numpy(found["boxes"]), (width, height))
        for name, field in FIELDS.items():
            if name in found:
                boxes.add_field(field, torch.from_numpy(found[name]))
        return boxes


def _open(path: str):
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"{path} needs onnxruntime: pip install onnxruntime, or pip install -e '.[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise ValueError(f"{path} is damaged or no ONNX file: {error}") from error
