"""The original's demo by its old name: detections of a COCO model drawn on one image.

`engine.predictor.Predictor` is the better choice for large images and for scripts; this class
keeps the methods that projects call or override.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch.nn.functional import interpolate

from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.images.drawing import FONT, WHITE, class_color
from maskrcnn_benchmark.images.image_io import ImageSource, to_bgr
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.roi_heads.mask_head.inference import Masker
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.utils.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.utils.cv2_util import findContours
from maskrcnn_benchmark.utils.precision import autocast

COCO_CLASSES = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, "
    "fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, "
    "bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, "
    "sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, "
    "bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, "
    "dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, "
    "toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush"
).split(", ")


class COCODemo:
    """Find objects in an image and draw them.

    Images are arrays (H, W, 3) in BGR as OpenCV reads them, unless `channel_order` says "RGB";
    `run_on_opencv_image` and `compute_prediction` also take paths and PIL images.

    Args:
        cfg: of the model; as in training, a last_checkpoint in OUTPUT_DIR goes before
            MODEL.WEIGHT. The demo pastes the masks, whatever POSTPROCESS_MASKS says.
        confidence_threshold: what scores no more is not drawn.
        show_mask_heatmaps: draw a montage of the best masks instead of the image.
        masks_per_dim: masks per side of the montage.
        min_image_size: kept as an attribute; INPUT.MIN_SIZE_TEST counts.
        weight_loading: a file of weights that replace those of the same names.
    """

    CATEGORIES = ["__background", *COCO_CLASSES]  # label -> name; subclasses set their own

    def __init__(
        self,
        cfg,
        confidence_threshold: float = 0.7,
        show_mask_heatmaps: bool = False,
        masks_per_dim: int = 2,
        min_image_size: int = 224,
        weight_loading: str | None = None,
    ) -> None:
        self.cfg = cfg.clone()
        self.cfg.defrost()
        self.cfg.MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS = False
        self.cfg.freeze()
        self.predictor = Predictor(self.cfg, build_detection_model(self.cfg))
        self.model, self.device = self.predictor.model, self.predictor.device
        checkpointer = DetectronCheckpointer(cfg, self.model, save_dir=cfg.OUTPUT_DIR)
        checkpointer.load(cfg.MODEL.WEIGHT)
        if weight_loading:
            checkpointer.load(weight_loading, use_latest=False)
        self.transforms = self.build_transform()
        self.masker = Masker(threshold=-1 if show_mask_heatmaps else 0.5, padding=1)
        self.palette = torch.tensor([2**25 - 1, 2**15 - 1, 2**21 - 1])
        self.confidence_threshold, self.min_image_size = confidence_threshold, min_image_size
        self.show_mask_heatmaps, self.masks_per_dim = show_mask_heatmaps, masks_per_dim

    def build_transform(self) -> Callable[[np.ndarray], torch.Tensor]:
        """Return the way from a BGR array to the network's input (3, H', W')."""
        return lambda bgr: self.predictor.transforms(bgr)[0]

    def run_on_opencv_image(self, image: ImageSource, channel_order: str = "BGR") -> np.ndarray:
        """Return a BGR copy of the image with the detections drawn, or the montage of masks."""
        drawn = to_bgr(image, channel_order).copy()
        top = self.select_top_predictions(self.compute_prediction(drawn))
        if self.show_mask_heatmaps:
            return self.create_mask_montage(drawn, top)
        drawn = self.overlay_boxes(drawn, top)
        if self.cfg.MODEL.MASK_ON:
            drawn = self.overlay_mask(drawn, top)
        if self.cfg.MODEL.KEYPOINT_ON:
            drawn = self.overlay_keypoints(drawn, top)
        return self.overlay_class_names(drawn, top)

    @torch.no_grad()
    def compute_prediction(
        self, original_image: ImageSource, channel_order: str = "BGR"
    ) -> BoxList:
        """Return all detections in the image's pixels, on the CPU.

        The fields are the model's, but "mask" is bool (N, 1, H, W).
        """
        bgr = to_bgr(original_image, channel_order)
        with autocast(self.cfg.DTYPE, self.device):
            if self.predictor.bbox_aug:
                (prediction,) = self.predictor.bbox_aug(self.model, [bgr], self.device)
            else:
                size_divisible = self.cfg.DATALOADER.SIZE_DIVISIBILITY
                batch = to_image_list(self.transforms(bgr), size_divisible)
                (prediction,) = self.model(batch.to(self.device))
        prediction = prediction.to("cpu").resize((bgr.shape[1], bgr.shape[0]))
        if prediction.has_field("mask"):
            (masks,) = self.masker([prediction.get_field("mask")], [prediction])
            prediction.add_field("mask", masks)
        return prediction

    def select_top_predictions(self, predictions: BoxList) -> BoxList:
        """Return those above the threshold, by falling score."""
        above = predictions[predictions.get_field("scores") > self.confidence_threshold]
        return above[above.get_field("scores").argsort(descending=True)]

    def compute_colors_for_labels(self, labels: torch.Tensor) -> np.ndarray:
        """Return a colour per label, (N, 3) uint8."""
        return (labels[:, None] * self.palette % 255).byte().numpy()

    def overlay_boxes(self, image: np.ndarray, predictions: BoxList) -> np.ndarray:
        """Draw the boxes, in place, and return the image."""
        colors = self.compute_colors_for_labels(predictions.get_field("labels")).tolist()
        for (x1, y1, x2, y2), color in zip(predictions.bbox.int().tolist(), colors, strict=True):
            cv2.rectangle(image, (x1, y1), (x2, y2), color, 1)
        return image

    def overlay_mask(self, image: np.ndarray, predictions: BoxList) -> np.ndarray:
        """Draw the masks' outlines, in place, and return the image."""
        colors = self.compute_colors_for_labels(predictions.get_field("labels")).tolist()
        masks = predictions.get_field("mask")[:, 0].byte().numpy()
        for mask, color in zip(masks, colors, strict=True):
            outlines, _ = findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
            cv2.drawContours(image, outlines, -1, color, 3)
        return image

    def overlay_keypoints(self, image: np.ndarray, predictions: BoxList) -> np.ndarray:
        """Return the image with the persons' points and the lines between them."""
        persons = predictions.get_field("keypoints")
        places, scores = persons.keypoints[..., :2], persons.get_field("logits")
        for points in torch.cat([places, scores[..., None]], dim=2).numpy():
            image = vis_keypoints(image, points.T)
        return image

    def create_mask_montage(self, image: np.ndarray, predictions: BoxList) -> np.ndarray:
        """Return the best masks in a grid, each shrunk to a cell, in false colours."""
        side = self.masks_per_dim
        masks = predictions.get_field("mask")[: side**2].float()
        height, width = image.shape[0] // side, image.shape[1] // side
        cells = torch.zeros(side**2, height, width)
        if len(masks):
            cells[: len(masks)] = interpolate(masks, (height, width))[:, 0]
        grid = cells.view(side, side, height, width).transpose(1, 2)
        grey = (grid.reshape(side * height, side * width) * 255).byte().numpy()
        return cv2.applyColorMap(grey, cv2.COLORMAP_JET)

    def overlay_class_names(self, image: np.ndarray, predictions: BoxList) -> np.ndarray:
        """Write name and score at the boxes' top left corners, in place; return the image."""
        labels, scores = (predictions.get_field(name).tolist() for name in ("labels", "scores"))
        for (x, y, *_), label, score in zip(
            predictions.bbox.int().tolist(), labels, scores, strict=True
        ):
            text = f"{self.CATEGORIES[label]}: {score:.2f}"
            cv2.putText(image, text, (x, y), FONT, 0.5, WHITE, 1)
        return image


def vis_keypoints(
    img: np.ndarray, kps: np.ndarray, kp_thresh: float = 2, alpha: float = 0.7
) -> np.ndarray:
    """Draw a person's points and the lines between them on a copy of the image.

    Args:
        img: BGR uint8 (H, W, 3).
        kps: rows x, y and score of the 17 points of COCO, (3 or 4, 17).
        kp_thresh: points that score no more are left out.
        alpha: opacity.
    """
    names, drawn = PersonKeypoints.NAMES, img.copy()
    lines: list[tuple[list[int], list[int]]] = [
        ([start], [end]) for start, end in PersonKeypoints.CONNECTIONS
    ]
    shoulders, hips = (
        [names.index(f"{side}_{part}") for side in ("left", "right")]
        for part in ("shoulder", "hip")
    )
    lines += [(shoulders, [names.index("nose")]), (shoulders, hips)]  # between two: their middle
    for number, ends in enumerate(lines, start=1):
        if min(kps[2, end].min() for end in ends) > kp_thresh:
            start, end = (tuple(kps[:2, end].mean(axis=1).round().astype(int)) for end in ends)
            cv2.line(drawn, start, end, class_color(number), 2, cv2.LINE_AA)
    for number, (x, y, score) in enumerate(kps[:3].T, start=1):
        if score > kp_thresh:
            cv2.circle(drawn, (round(x), round(y)), 3, class_color(number), -1, cv2.LINE_AA)
    return cv2.addWeighted(img, 1 - alpha, drawn, alpha, 0)
