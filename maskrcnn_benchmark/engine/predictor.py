"""Detection on one image of any size: in overlapping windows, whose detections are merged."""

import hashlib
import json
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskrcnn_benchmark.data.transforms import build_transforms
from maskrcnn_benchmark.dota.classes import class_names as dota_class_names
from maskrcnn_benchmark.dota.detections import Detections, to_detections
from maskrcnn_benchmark.dota.merge import merge_tiles
from maskrcnn_benchmark.dota.tiles import tile_grid
from maskrcnn_benchmark.engine.bbox_aug import make_bbox_aug
from maskrcnn_benchmark.images.image_io import ImageSource, set_max_pixels
from maskrcnn_benchmark.images.image_reader import ImageReader, Window
from maskrcnn_benchmark.images.open_image import open_image
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.utils.changed_settings import plain_settings
from maskrcnn_benchmark.utils.checkpoint import load_trained
from maskrcnn_benchmark.utils.precision import autocast

READ = ("MODEL.", "INPUT.", "DOTA.", "TEST.", "DTYPE", "DATALOADER.SIZE")  # settings that matter


class Predictor:
    """Find objects in single images.

    Args:
        cfg: the settings that the model was trained with; INPUT, DOTA, TEST.IMS_PER_BATCH,
            TEST.BBOX_AUG, DTYPE and MODEL.DEVICE are read.
        model: a detector of these settings.
    """

    def __init__(self, cfg, model: torch.nn.Module) -> None:
        set_max_pixels(cfg.INPUT.MAX_PIXELS)
        self.settings = {
            name: value for name, value in plain_settings(cfg).items() if name.startswith(READ)
        }
        self.device = torch.device(cfg.MODEL.DEVICE)
        self.model = model.to(self.device).eval()
        self.transforms = build_transforms(cfg, is_train=False)
        self.bbox_aug = make_bbox_aug(cfg) if cfg.TEST.BBOX_AUG.ENABLED else None
        self.size_divisible = cfg.DATALOADER.SIZE_DIVISIBILITY
        self.windows_at_once = cfg.TEST.IMS_PER_BATCH
        self.dtype = cfg.DTYPE
        self.tile, self.overlap = cfg.DOTA.TILE, cfg.DOTA.OVERLAP
        self.nms_hbb, self.nms_obb = cfg.DOTA.NMS_HBB, cfg.DOTA.NMS_OBB

    @classmethod
    def from_checkpoint(cls, cfg, weights: str) -> "Predictor":
        """Build the model of the settings and load its weights.

        Args:
            cfg: as for the constructor.
            weights: a .pth or .pkl file, a URL or catalog://NAME.
        """
        model = build_detection_model(cfg)
        load_trained(cfg, model, weights, use_latest=False)
        return cls(cfg, model)

    def predict(
        self,
        image: ImageSource | ImageReader,
        channel_order: str = "BGR",
        tile: int | None = None,
        overlap: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> BoxList:
        """Find the objects in an image, as `detect` does.

        Returns:
            BoxList in the image's pixels, by falling score, with the fields "scores", "labels"
            and, if the model knows orientation, "corners" (N, 4, 2) (from masks: the smallest
            rectangle around each), "in_task1" and "in_task2" (N,), False where corners or box
            repeat those of a better one.
        """
        with _opened(image, channel_order) as reader:
            found = self.detect(reader, tile=tile, overlap=overlap, progress=progress)
        boxes = BoxList(torch.from_numpy(found.boxes_xyxy).float(), reader.size)
        boxes.add_field("scores", torch.from_numpy(found.scores).float())
        boxes.add_field("labels", torch.from_numpy(found.labels))
        if found.corners is not None:
            boxes.add_field("corners", torch.from_numpy(found.corners).float())
            boxes.add_field("in_task1", torch.from_numpy(found.in_task1))
            boxes.add_field("in_task2", torch.from_numpy(found.in_task2))
        return boxes

    def detect(
        self,
        image: ImageSource | ImageReader,
        channel_order: str = "BGR",
        tile: int | None = None,
        overlap: int | None = None,
        progress: Callable[[int, int], object] | None = None,
        done: MutableMapping[int, list[Detections]] | None = None,
    ) -> Detections:
        """Find the objects in an image; memory beyond the decoded image does not grow with it.

        TIFF files are not decoded as a whole if rasterio is installed. Windows without data are
        passed over.

        Args:
            image: a path, a PIL image, an array (H, W, 3), or a reader, which stays open.
            channel_order: "BGR" or "RGB", of an array.
            tile: side above which the image is cut, pixels; 0: never; None: cfg.DOTA.TILE.
            overlap: pixels that neighbouring windows share; None: cfg.DOTA.OVERLAP.
            progress: called with how many of the image's windows are done, and how many there are,
                after each batch of TEST.IMS_PER_BATCH windows.
            done: what was found per batch, when this image was begun before; gets the others.

        Returns:
            detections in the image's pixels, by falling score.
        """
        with _opened(image, channel_order) as reader:
            windows = self.windows(*reader.size, tile, overlap)
            # row by row, so that strips of files are decoded once
            order = sorted(range(len(windows)), key=lambda k: (windows[k].y0, windows[k].x0))
            found: dict[int, Detections] = {}
            done = {} if done is None else done
            for batch, first in enumerate(range(0, len(order), self.windows_at_once)):
                chosen = order[first : first + self.windows_at_once]
                if batch not in done:
                    done[batch] = self._detect(reader, [windows[k] for k in chosen])
                found.update(zip(chosen, done[batch], strict=True))
                if progress is not None:
                    progress(len(found), len(windows))
        return merge_tiles([found[k] for k in sorted(found)], self.nms_hbb, self.nms_obb)

    def windows(
        self, width: int, height: int, tile: int | None = None, overlap: int | None = None
    ) -> list[Window]:
        """Return the windows in which `detect` looks at an image of this size."""
        tile = self.tile if tile is None else tile
        overlap = self.overlap if overlap is None else overlap
        return tile_grid(width, height, tile, overlap)

    def depends_on(self) -> dict[str, Any]:
        """Return what detections depend on, beside the image: settings, model and weights."""
        checksum = hashlib.sha256(type(self.model).__qualname__.encode())
        for name, tensor in self.model.state_dict().items():
            checksum.update(name.encode())
            checksum.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return {**self.settings, "weights": checksum.hexdigest()}

    def _detect(self, reader: ImageReader, windows: Sequence[Window]) -> list[Detections]:
        """Return what is found in each of some windows, in the image's pixels."""
        shown = [window for window in windows if reader.has_data(window)]
        predictions = self._run_model([reader.read(window) for window in shown]) if shown else []
        found = {
            window: to_detections(prediction.to("cpu"), window)
            for window, prediction in zip(shown, predictions, strict=True)
        }
        return [found.get(window, Detections.empty()) for window in windows]

    @torch.no_grad()
    def _run_model(self, parts: Sequence[np.ndarray]) -> list[BoxList]:
        """Return what the model finds in each of some pictures (H, W, 3)."""
        with autocast(self.dtype, self.device):
            if self.bbox_aug:
                return self.bbox_aug(self.model, parts, self.device)
            tensors = [self.transforms(part)[0] for part in parts]
            batch = to_image_list(tensors, self.size_divisible).to(self.device)
            return self.model(batch)


def _opened(
    image: ImageSource | ImageReader, channel_order: str
) -> AbstractContextManager[ImageReader]:
    """Open an image for a block; a caller's reader stays open behind it."""
    if isinstance(image, ImageReader):
        return nullcontext(image)
    return open_image(image, channel_order)


def read_class_names(cfg, weights: str) -> list[str]:
    """Name the classes of a model, label 1 first.

    Args:
        cfg: its settings.
        weights: its file; training left labels.json beside it.

    Returns:
        the names in labels.json if they are as many as the model's classes, else those of
        DOTA.CLASSES or DOTA.VERSION, else "class-1", "class-2", …
    """
    section = "RETINANET" if cfg.MODEL.RETINANET_ON else "ROI_BOX_HEAD"
    count = cfg.MODEL[section].NUM_CLASSES - 1
    labels_file = Path(weights).parent / "labels.json"
    if labels_file.is_file():
        by_id = _read_labels(labels_file)
        if len(by_id) == count:  # ids may have gaps (COCO's have); labels follow their order
            return [by_id[k] for k in sorted(by_id)]
    names = list(cfg.DOTA.CLASSES or dota_class_names(cfg.DOTA.VERSION))
    return names if len(names) == count else [f"class-{k}" for k in range(1, count + 1)]


def _read_labels(path: Path) -> dict[int, str]:
    """Read what training wrote of its classes: {label id: name}."""
    try:
        return {int(k): str(name) for k, name in json.loads(path.read_bytes()).items()}
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f'{path}: expected class names such as {{"1": "ship"}}, {error}: mend or delete it'
        ) from error
