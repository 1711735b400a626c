"""Test-time augmentation: boxes found in several views of an image, merged.

The views are the image at the usual size and, as TEST.BBOX_AUG says, mirrored, at other sizes, and
at those mirrored. Each goes through the network by itself, one after the other; the box head gives
all its (proposal, class) pairs, and one non-maximum suppression goes over those of all views.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.data import transforms as T
from maskrcnn_benchmark.modeling.roi_heads.roi_heads import CombinedROIHeads, make_post_processor
from maskrcnn_benchmark.structures.bounding_box import FLIP_LEFT_RIGHT, BoxList
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist, resize_edges
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list


@dataclass(frozen=True)
class View:
    """How an image is shown to the network.

    Attributes:
        min_size, max_size: of the sides, pixels, as data.transforms.Resize takes them.
        is_flipped: left and right are exchanged.
    """

    min_size: int | Sequence[int]
    max_size: int
    is_flipped: bool = False


class BBoxAug:
    """Detect in several views of each image.

    Args:
        views: the first one, not flipped, is the frame of the results.
        to_network: from an image to the network's tensor, without resizing.
        size_divisible: height and width of a batch are padded to a multiple of this, pixels.
        post_processor: its filter_results makes detections of (proposal, class) pairs.
        num_classes: of the box head, background included.
    """

    def __init__(
        self,
        views: Sequence[View],
        to_network: T.Compose,
        size_divisible: int,
        post_processor: torch.nn.Module,
        num_classes: int,
    ):
        self.views = views
        self.to_network = to_network
        self.size_divisible = size_divisible
        self.post_processor = post_processor
        self.num_classes = num_classes

    def __call__(
        self, model: torch.nn.Module, images: Sequence[Any], device: torch.device | str
    ) -> list[BoxList]:
        """Detect.

        Args:
            model: in evaluation mode, built with TEST.BBOX_AUG.ENABLED.
            images: BGR uint8 arrays (H, W, 3) or PIL images, of any sizes.
            device: where the model lies.

        Returns:
            the detections, one BoxList per image in the first view's pixels. Masks and keypoints
            come from the first view, in which the merged boxes are shown to their heads.

        Raises:
            ValueError: the model returns finished detections.
        """
        found: list[list[BoxList]] = [[] for _ in images]
        for view in self.views:
            for pairs, earlier in zip(
                self.detect_view(model, images, device, view), found, strict=True
            ):
                _check_pairs(pairs)
                resize = resize_edges if pairs.has_field("corners") else BoxList.resize
                earlier.append(resize(pairs, earlier[0].size) if earlier else pairs)
        detections = [
            self.post_processor.filter_results(cat_boxlist(pairs), self.num_classes)
            for pairs in found
        ]
        heads = getattr(model, "roi_heads", None)
        if isinstance(heads, CombinedROIHeads) and heads.refiners:
            batch = self._to_batch(images, self.views[0]).to(device)
            detections = heads.refine(model.backbone(batch.tensors), detections)
        return detections

    def detect_view(
        self, model: torch.nn.Module, images: Sequence[Any], device: torch.device | str, view: View
    ) -> list[BoxList]:
        """Return what the model finds in a view, not flipped, in the view's pixels."""
        results = model(self._to_batch(images, view).to(device))
        if view.is_flipped:
            results = [result.transpose(FLIP_LEFT_RIGHT) for result in results]
        return results

    def _to_batch(self, images: Sequence[Any], view: View) -> ImageList:
        steps: list[Any] = [T.Resize(view.min_size, view.max_size)]
        if view.is_flipped:
            steps.append(T.RandomHorizontalFlip(1.0))
        show = T.Compose([*steps, self.to_network])
        return to_image_list([show(image)[0] for image in images], self.size_divisible)


def _check_pairs(pairs: BoxList) -> None:
    if not pairs.has_field("scores") or pairs.has_field("labels"):
        raise ValueError(
            "test-time augmentation needs a model with a box head that was built with "
            f"TEST.BBOX_AUG.ENABLED True, got boxes with the fields {pairs.fields()}"
        )


def make_bbox_aug(cfg) -> BBoxAug:
    """Build the test-time augmentation that TEST.BBOX_AUG describes."""
    options, network_input = cfg.TEST.BBOX_AUG, cfg.INPUT
    sizes = [(network_input.MIN_SIZE_TEST, network_input.MAX_SIZE_TEST, options.H_FLIP)]
    sizes += [(scale, options.MAX_SIZE, options.SCALE_H_FLIP) for scale in options.SCALES]
    views = [
        View(min_size, max_size, is_flipped)
        for min_size, max_size, with_flip in sizes
        for is_flipped in ((False, True) if with_flip else (False,))
    ]
    normalize = T.Normalize(
        network_input.PIXEL_MEAN, network_input.PIXEL_STD, to_bgr255=network_input.TO_BGR255
    )
    return BBoxAug(
        views,
        T.Compose([T.ToTensor(), normalize]),
        cfg.DATALOADER.SIZE_DIVISIBILITY,
        make_post_processor(cfg),
        cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES,
    )


def im_detect_bbox_aug(model, images, device) -> list[BoxList]:
    """Detect with the augmentation of `maskrcnn_benchmark.config.cfg`, see BBoxAug.__call__."""
    return make_bbox_aug(global_cfg)(model, images, device)


def im_detect_bbox(model, images, target_scale, target_max_size, device) -> list[BoxList]:
    """Return what the model finds at one size, settings from `maskrcnn_benchmark.config.cfg`.

    Args:
        model, images, device: see BBoxAug.__call__.
        target_scale, target_max_size: short side and bound of the long side, pixels.
    """
    view = View(target_scale, target_max_size)
    return make_bbox_aug(global_cfg).detect_view(model, images, device, view)


def im_detect_bbox_hflip(model, images, target_scale, target_max_size, device) -> list[BoxList]:
    """Return what the model finds in the mirrored images, mirrored back; see im_detect_bbox."""
    view = View(target_scale, target_max_size, is_flipped=True)
    return make_bbox_aug(global_cfg).detect_view(model, images, device, view)


def im_detect_bbox_scale(
    model, images, target_scale, target_max_size, device, hflip=False
) -> list[BoxList]:
    """Return what im_detect_bbox does, or with `hflip` what im_detect_bbox_hflip does."""
    view = View(target_scale, target_max_size, hflip)
    return make_bbox_aug(global_cfg).detect_view(model, images, device, view)
