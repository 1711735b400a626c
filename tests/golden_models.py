"""Twelve narrow models whose weights and images come from numpy, and the figures that they give.

golden_figures.json holds the figures of the original's own Python code
(facebookresearch/maskrcnn-benchmark, 57eec25); test_golden.py compares ours with them.
To make it anew:

    git clone https://github.com/facebookresearch/maskrcnn-benchmark ORIGINAL
    git -C ORIGINAL checkout 57eec25
    python tools/apply_patches.py ORIGINAL --only 6    # runs on a current PyTorch
    PYTHONPATH=ORIGINAL python tests/golden_models.py tests/golden_figures.json

The patch changes no figure: the untouched commit gives them to the last bit when its missing
modules are stood in for from outside. Without PYTHONPATH the same command writes our own figures.
What makes them alike on every machine, but for the last bits of floating-point functions:
- Weights, images and boxes come from numpy's RandomState, whose stream never changes, by sums,
  products and square roots of doubles, which IEEE 754 rounds exactly. torch.randn takes logarithms
  and cosines, whose last bits depend on the processor.
- The samplers are asked for more anchors and proposals than there are and so take every one: no
  random number decides what a loss counts. (--sampled: for fewer, with a seed.)
- No figure hangs on a threshold: --noise SEED changes every weight and pixel by up to 1e-6 of its
  value, some ten times what a processor's rounding does, and the test still passes.
Suppression is torchvision's in both packages, with sides of x2 - x1; the original's compiled one,
for a PyTorch of 2019, counted one more.
"""

import argparse
import json
import re
import zlib
from pathlib import Path

import numpy as np
import torch

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.roi_heads.mask_head.inference import Masker
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SIZES = ((230, 301), (263, 212))  # (height, width) of the two images
OBJECTS = (14, 9)
PASTED = 12  # masks

GROUPS = ["MODEL.GROUP_NORM.NUM_GROUPS", 4]
NARROW = [
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHT", ""),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", 8, *GROUPS),
    *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 10**6, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 10**6),
    *("MODEL.RPN.PRE_NMS_TOP_N_TRAIN", 800, "MODEL.RPN.PRE_NMS_TOP_N_TEST", 400),
    *("MODEL.RPN.POST_NMS_TOP_N_TRAIN", 120, "MODEL.RPN.POST_NMS_TOP_N_TEST", 40),
    *("MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN", 700, "MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 100),
    *("MODEL.ROI_HEADS.FG_IOU_THRESHOLD", 0.4, "MODEL.ROI_HEADS.BG_IOU_THRESHOLD", 0.4),
    *("MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM", 16, "MODEL.ROI_BOX_HEAD.CONV_HEAD_DIM", 8),
    *("MODEL.ROI_BOX_HEAD.NUM_CLASSES", 4, "MODEL.ROI_MASK_HEAD.CONV_LAYERS", (8, 8)),
    *("MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS", (8, 8), "MODEL.FBNET.SCALE_FACTOR", 0.5),
    *("MODEL.RETINANET.NUM_CLASSES", 4, "MODEL.RETINANET.NUM_CONVS", 2),
    *("MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 25, "TEST.DETECTIONS_PER_IMG", 25),
]
SAMPLED = ["MODEL.RPN.BATCH_SIZE_PER_IMAGE", 64, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 48]
FPN = ["MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16]
FEW = ["MODEL.RPN.POST_NMS_TOP_N_TRAIN", 60]
C4 = [*FEW, "MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 64]
MODELS = {
    "faster_R50_FPN": ("e2e_faster_rcnn_R_50_FPN_1x", FPN),
    "mask_R50_FPN": ("e2e_mask_rcnn_R_50_FPN_1x", FPN),
    "mask_R50_FPN_agnostic": (
        "e2e_mask_rcnn_R_50_FPN_1x",
        [*FPN, "MODEL.CLS_AGNOSTIC_BBOX_REG", True],
    ),
    "keypoint_R50_FPN": (
        "e2e_keypoint_rcnn_R_50_FPN_1x",
        [*FPN, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 2],
    ),
    "faster_R50_C4": ("e2e_faster_rcnn_R_50_C4_1x", C4),
    "mask_R50_C4": ("e2e_mask_rcnn_R_50_C4_1x", C4),
    "rpn_R50_FPN": ("rpn_R_50_FPN_1x", FPN),
    "retinanet_R50_FPN": ("retinanet/retinanet_R-50-FPN_1x", FPN),
    "retinanet_R50_FPN_P5": ("retinanet/retinanet_R-50-FPN_P5_1x", FPN),
    "faster_X101_FPN": (
        "e2e_faster_rcnn_X_101_32x8d_FPN_1x",
        [*FPN, "MODEL.RESNETS.NUM_GROUPS", 4, "MODEL.RESNETS.WIDTH_PER_GROUP", 4],
    ),
    "mask_R50_FPN_GN": ("gn_baselines/e2e_mask_rcnn_R_50_FPN_Xconv1fc_1x_gn", FPN),
    "faster_fbnet": ("e2e_faster_rcnn_fbnet", FEW),
}

# factors on the weights of some layers, so that features keep their size and scores spread
GAINS = {
    r"\.bn3\.weight|\.conv3\.1\.weight": 0.15,  # or sixteen residual blocks add up
    r"\.pwl\.conv": 0.35,  # no ReLU behind it takes half away
    r"rpn\..*cls_logits": 0.3,
    r"rpn\..*bbox_pred": 0.08,
    r"box\.predictor\.bbox_pred": 0.4,
}


def draw(seed, *shape):
    """Return doubles of shape `shape`, uniform in [-1, 1)."""
    return np.random.RandomState(zlib.crc32(seed.encode())).random_sample(shape) * 2 - 1


def weight(name, shape):
    """Return the values of the parameter or buffer `name`, the same on every machine."""
    values = draw(name, *shape)
    gain = next((gain for pattern, gain in GAINS.items() if re.search(pattern, name)), 1.0)
    if len(shape) > 1:  # as He et al., 2015: uniform, variance 2 / inputs
        if shape[1] > 1:  # what all inputs share cancels out, or no two places would differ
            values = (values - values[:, ::-1]) / np.sqrt(2)
        return values * gain * np.sqrt(6 / np.prod(shape[1:]))
    if name.endswith("running_var"):
        return 1 + values / 2
    if name.endswith("weight"):  # of a normalisation
        return (1 + values / 4) * gain
    return values / 10


def weights_of(model):
    """Return the model's parameters and buffers of floats by name, without the anchors."""
    state = model.state_dict().items()
    return {
        key: value
        for key, value in state
        if value.is_floating_point() and "anchor_generator" not in key
    }


def build(name, *more):
    """Return the model `name` with its weights; `more` options come on top of its own."""
    file, options = MODELS[name]
    cfg = default_cfg.clone()
    cfg.merge_from_file(str(CONFIGS / f"{file}.yaml"))
    cfg.merge_from_list([*NARROW, *options, *more])
    model = build_detection_model(cfg)
    state = {
        key: torch.from_numpy(weight(key, value.shape)).float()
        for key, value in weights_of(model).items()
    }
    model.load_state_dict({**model.state_dict(), **state})
    return model


def make_images():
    """Return two images (3, H, W) of coarse patches under fine noise, values in [-2, 2)."""
    images = []
    for height, width in SIZES:
        coarse = draw(f"patches {width}", 3, height // 16 + 1, width // 16 + 1)
        patches = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
        noise = draw(f"noise {width}", 3, height, width)
        images.append(torch.from_numpy(patches * 1.5 + noise / 2).float())
    return images


def make_targets(classes):
    """Return the ground truth of both images: boxes, labels, six-sided masks, 17 keypoints each."""
    targets = []
    for count, (height, width) in zip(OBJECTS, SIZES, strict=True):
        random = (draw(f"objects {width}", count, 4) + 1) / 2
        sides = 20 + random[:, 2:] * np.sqrt(random[:, 2:]) * 180
        corner = random[:, :2] * (np.array([width, height]) - sides - 2) + 1
        size = (width, height)
        target = BoxList(torch.from_numpy(np.hstack([corner, corner + sides])).float(), size)
        target.add_field("labels", torch.arange(count) % classes + 1)
        at = np.array([(0.3, 0), (0.9, 0.1), (1, 0.7), (0.6, 1), (0.1, 0.9), (0, 0.4)])
        outlines = corner[:, None] + sides[:, None] * at  # [count, 6, 2]
        polygons = [[outline.ravel().tolist()] for outline in outlines]
        target.add_field("masks", SegmentationMask(polygons, size, mode="poly"))
        spread = draw(f"keypoints {width}", count, 17, 2) * 0.6 + 0.5  # some outside the box
        points = np.concatenate(
            [
                corner[:, None] + sides[:, None] * spread,
                np.arange(count * 17).reshape(-1, 17, 1) % 3,
            ],
            axis=2,
        )
        target.add_field("keypoints", PersonKeypoints(torch.from_numpy(points).float(), size))
        targets.append(target)
    return targets


def training_figures(model, images, targets):
    """Return the losses, and the norms of the gradients by part of the model."""
    losses = model.train()(to_image_list(images, 32), targets)
    sum(losses.values()).backward()
    squares = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            part = ".".join(name.split(".")[:2])
            square = np.square(parameter.grad.numpy().astype(np.float64)).sum()
            squares[part] = squares.get(part, 0) + square
    return {
        "losses": {key: value.item() for key, value in losses.items()},
        "gradients": {part: float(np.sqrt(square)) for part, square in squares.items()},
    }


def detection_figures(found):
    """Return one image's boxes, scores and labels, and each mask's and keypoint's place."""
    figures = {"boxes": found.bbox.tolist()}
    for field in ("objectness", "scores", "labels"):
        if found.has_field(field):
            figures[field] = found.get_field(field).tolist()
    if found.has_field("mask"):
        masks = found.get_field("mask")
        probability = masks[:, 0].double()
        cells = torch.arange(probability.shape[-1]).double()
        figures["mask_mean"] = probability.mean(dim=(1, 2)).tolist()
        figures["mask_x"] = (probability * cells).mean(dim=(1, 2)).tolist()
        figures["mask_y"] = (probability * cells[:, None]).mean(dim=(1, 2)).tolist()
    if found.has_field("keypoints"):
        keypoints = found.get_field("keypoints")
        figures["keypoints"] = keypoints.keypoints[:, :, :2].tolist()
        figures["keypoint_logits"] = keypoints.get_field("logits").tolist()
    return figures


def inference_figures(model, images):
    """Return what the model detects in both images, seen together."""
    with torch.no_grad():
        results = model.eval()(to_image_list(images, 32))
    return [detection_figures(found) for found in results]


def add_noise(seed, tensors):
    """Change each value in place by up to 1e-6 of itself."""
    random = np.random.RandomState(seed)
    for tensor in tensors:
        tensor.mul_(torch.from_numpy(1 + random.uniform(-1e-6, 1e-6, tensor.shape)))


def figures(name, noise=None, sampled=False):
    """Return all figures of a model.

    Args:
        name: a key of MODELS.
        noise: seed of the disturbance of weights and pixels; None for no disturbance.
        sampled: let the losses count a random part of the anchors and proposals.
    """
    model, images = build(name, *(SAMPLED if sampled else ())), make_images()
    targets = make_targets(1 if name.startswith("keypoint") else 3)
    if noise is not None:
        add_noise(noise, [*weights_of(model).values(), *images])
    detections = inference_figures(model, images)  # before training moves BatchNorm's averages
    torch.manual_seed(0)
    return {**training_figures(model, images, targets), "detections": detections}


def pasting_figures():
    """Return [pixels, mean column, mean row] of masks pasted into boxes in and across an image."""
    height, width = SIZES[0]
    sides = 45 + draw("pasted sides", PASTED, 2) * 40
    corner = (draw("pasted corners", PASTED, 2) + 1) / 2 * (np.array([width, height]) - 40) - 10
    boxes = BoxList(torch.from_numpy(np.hstack([corner, corner + sides])).float(), (width, height))
    coarse = (draw("pasted masks", PASTED, 1, 7, 7) + 1) / 2
    masks = torch.from_numpy(coarse.repeat(4, axis=2).repeat(4, axis=3)).float()
    found = []
    for mask in Masker()([masks], [boxes])[0].numpy()[:, 0]:
        rows, columns = np.nonzero(mask)
        found.append([len(rows), columns.mean(), rows.mean()])
    return found


def shortened(value):
    """Return a nest of lists and dicts with nine digits of each float: float32's every bit."""
    if isinstance(value, dict):
        return {key: shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shortened(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file", help="JSON file to write")
    parser.add_argument("--noise", type=int, help="seed of small disturbances")
    parser.add_argument("--sampled", action="store_true", help="random parts count for the losses")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    default_cfg.merge_from_list(GROUPS)  # the original's GroupNorm reads the global configuration
    found = {name: figures(name, arguments.noise, arguments.sampled) for name in MODELS}
    found["pasting"] = pasting_figures()
    lines = [f"{json.dumps(name)}: {json.dumps(shortened(found[name]))}" for name in found]
    Path(arguments.file).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
