"""Detection on images of any size: in overlapping windows, whose detections are merged.

Windows are read by a thread, one batch ahead of the model's work.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
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
from maskrcnn_benchmark.utils.precision import autocast, set_float32_precision
from maskrcnn_benchmark.utils.process_memory import give_back_freed_memory
from maskrcnn_benchmark.utils.read_ahead import one_ahead

GIVE_BACK_EVERY = 16  # batches, after which memory that they freed goes back to the system
READ = ("MODEL.", "INPUT.", "DOTA.", "TEST.", "DTYPE", "DATALOADER.SIZE")  # settings that matter

# an image, or the part of one that a window shows
Shown = ImageSource | ImageReader | tuple[ImageSource | ImageReader, Window]


@dataclass(frozen=True)
class _Piece:
    """A window of an image, made ready for the model.

    Attributes:
        number: the window's place in the grid, by which detections are merged.
        window: in the image.
        image_size: (width, height), pixels.
        picture: pixels (H, W, 3); None: the window has no data.
        is_last: whether no other window of the image follows.
    """

    number: int
    window: Window
    image_size: tuple[int, int]
    picture: np.ndarray | None
    is_last: bool


class Predictor:
    """Find objects in images.

    Args:
        cfg: the settings that the model was trained with; INPUT, DOTA, TEST.IMS_PER_BATCH,
            TEST.BBOX_AUG, DTYPE and MODEL.DEVICE are read.
        model: a detector of these settings.
    """

    def __init__(self, cfg, model: torch.nn.Module) -> None:
        set_max_pixels(cfg.INPUT.MAX_PIXELS)
        set_float32_precision(cfg.DTYPE)
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
        self._batches_done = 0

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
        image: Shown,
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
        with _opened(image, channel_order) as (reader, part):
            shown = (reader, part)
            found = self.detect(shown, tile=tile, overlap=overlap, progress=progress)
            return _to_boxlist(found, reader.size)

    def predict_many(
        self,
        images: Iterable[Shown],
        channel_order: str = "BGR",
        tile: int | None = None,
        overlap: int | None = None,
    ) -> Iterator[BoxList]:
        """Find the objects in images or frames of a video, of any number: one after the other.

        TEST.IMS_PER_BATCH windows are looked at together, also of several images if the windows
        are of one size. Windows of two sizes never meet: padding would change what is found.

        Args:
            images: each as for `detect`. They are asked for in a thread of their own, when their
                turn comes: memory does not grow with their number. An array may be written to
                again as soon as the next image is asked for.
            channel_order, tile, overlap: as for `detect`.

        Yields:
            what `predict` returns for each image, in their order.
        """
        found: dict[int, Detections] = {}  # of the image in work
        pieces = self._cut(images, channel_order, tile, overlap)
        with closing(one_ahead(_batches(pieces, self.windows_at_once))) as batches:
            for batch in batches:
                for piece, detections in zip(batch, self._detect(batch), strict=True):
                    found[piece.number] = detections
                    if piece.is_last:
                        yield _to_boxlist(self._merge(found), piece.image_size)
                        found = {}

    def detect(
        self,
        image: Shown,
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
            image: a path, a PIL image, an array (H, W, 3), or a reader, which stays open; or one
                of these and a Window, the part of the image to look at.
            channel_order: "BGR" or "RGB", of an array.
            tile: side above which the image is cut, pixels; 0: never; None: cfg.DOTA.TILE.
            overlap: pixels that neighbouring windows share; None: cfg.DOTA.OVERLAP.
            progress: called with how many of the image's windows are done, and how many there are,
                after each batch of TEST.IMS_PER_BATCH windows.
            done: what was found per batch, when this image was begun before; gets the others.

        Returns:
            detections in the image's pixels, by falling score.
        """
        done = {} if done is None else done
        found: dict[int, Detections] = {}
        with _opened(image, channel_order) as (reader, part):
            places = self._places(part, tile, overlap)
            at_once = self.windows_at_once
            batches = [places[k : k + at_once] for k in range(0, len(places), at_once)]
            to_read = [batch for k, batch in enumerate(batches) if k not in done]
            with closing(one_ahead(list(self._read(reader, batch)) for batch in to_read)) as read:
                for k, batch in enumerate(batches):
                    if k not in done:
                        done[k] = self._detect(next(read))
                    numbers = [number for number, _ in batch]
                    found.update(zip(numbers, done[k], strict=True))
                    if progress is not None:
                        progress(len(found), len(places))
        return self._merge(found)

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

    def _places(
        self, part: Window, tile: int | None, overlap: int | None
    ) -> list[tuple[int, Window]]:
        """Return the windows of a part of an image, with their numbers in the grid.

        They are in rows, so that strips of files are decoded once.
        """
        grid = self.windows(part.width, part.height, tile, overlap)
        windows = [replace(w, x0=part.x0 + w.x0, y0=part.y0 + w.y0) for w in grid]
        return sorted(enumerate(windows), key=lambda place: (place[1].y0, place[1].x0))

    def _cut(
        self, images: Iterable[Shown], channel_order: str, tile: int | None, overlap: int | None
    ) -> Iterator[_Piece]:
        """Yield the pieces of all images, one image after the other."""
        for image in images:
            with _opened(image, channel_order) as (reader, part):
                yield from self._read(reader, self._places(part, tile, overlap))

    def _read(self, reader: ImageReader, places: list[tuple[int, Window]]) -> Iterator[_Piece]:
        """Read windows of an image, one after the other."""
        for number, window in places:
            # pixels only: float tensors that one thread makes and another frees split the memory
            picture = reader.read(window).copy() if reader.has_data(window) else None
            yield _Piece(number, window, reader.size, picture, number == places[-1][0])

    def _detect(self, pieces: Sequence[_Piece]) -> list[Detections]:
        """Return what is found in each piece, in its image's pixels."""
        shown = [piece for piece in pieces if piece.picture is not None]
        predictions = self._run_model([piece.picture for piece in shown]) if shown else []
        found = {
            id(piece): to_detections(prediction.to("cpu"), piece.window)
            for piece, prediction in zip(shown, predictions, strict=True)
        }
        self._batches_done += 1
        if self._batches_done % GIVE_BACK_EVERY == 0:
            give_back_freed_memory()
        return [found.get(id(piece), Detections.empty()) for piece in pieces]

    @torch.no_grad()
    def _run_model(self, pictures: Sequence[np.ndarray]) -> list[BoxList]:
        """Return what the model finds in each of some pictures."""
        with autocast(self.dtype, self.device):
            if self.bbox_aug:
                return self.bbox_aug(self.model, pictures, self.device)
            tensors = [self.transforms(picture)[0] for picture in pictures]
            batch = to_image_list(tensors, self.size_divisible).to(self.device)
            return self.model(batch)

    def _merge(self, found: dict[int, Detections]) -> Detections:
        """Merge what was found in the windows of an image."""
        return merge_tiles([found[k] for k in sorted(found)], self.nms_hbb, self.nms_obb)


def _batches(pieces: Iterable[_Piece], size: int) -> Iterator[list[_Piece]]:
    """Put pieces into batches, in their order; those of a batch have windows of one size.

    The pieces before an error make a last batch.
    """
    batch: list[_Piece] = []
    try:
        for piece in pieces:
            if len(batch) == size or (batch and _shape(batch[0]) != _shape(piece)):
                yield batch
                batch = []
            batch.append(piece)
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _shape(piece: _Piece) -> tuple[int, int]:
    return piece.window.width, piece.window.height


def _to_boxlist(found: Detections, image_size: tuple[int, int]) -> BoxList:
    """Return detections as `Predictor.predict` does."""
    boxes = BoxList(torch.from_numpy(found.boxes_xyxy).float(), image_size)
    boxes.add_field("scores", torch.from_numpy(found.scores).float())
    boxes.add_field("labels", torch.from_numpy(found.labels))
    if found.corners is not None:
        boxes.add_field("corners", torch.from_numpy(found.corners).float())
        boxes.add_field("in_task1", torch.from_numpy(found.in_task1))
        boxes.add_field("in_task2", torch.from_numpy(found.in_task2))
    return boxes


@contextmanager
def _opened(image: Shown, channel_order: str) -> Iterator[tuple[ImageReader, Window]]:
    """Open an image and say which part of it is meant; a caller's reader stays open.

    Raises:
        ValueError: the part is empty or not inside the image.
    """
    source, part = image if isinstance(image, tuple) else (image, None)
    is_open = isinstance(source, ImageReader)
    reader = source if is_open else open_image(source, channel_order)
    try:
        width, height = reader.size
        part = part or Window(0, 0, width, height)
        right, bottom = part.x0 + part.width, part.y0 + part.height
        if not (0 <= part.x0 < right <= width and 0 <= part.y0 < bottom <= height):
            raise ValueError(f"expected a window inside {width} x {height} pixels, got {part}")
        yield reader, part
    finally:
        if not is_open:
            reader.close()


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
