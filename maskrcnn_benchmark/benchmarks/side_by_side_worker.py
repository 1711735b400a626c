"""The worker process of side_by_side, which must run on the original's package and on ours.

It is started as `python -c TEXT_OF_THIS_FILE TASK CONFIG_FILE WEIGHTS_FILE [KEY value ...]`, so
that PYTHONPATH decides which "maskrcnn_benchmark" is imported. It prints a checksum of the first
step's result; then, for each line of input, it runs a step and prints its CPU seconds.
"""

import sys
import time

import numpy as np
import torch

from maskrcnn_benchmark.config import cfg
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.roi_heads.mask_head.inference import Masker
from maskrcnn_benchmark.solver import make_optimizer
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

WIDTH, HEIGHT, OBJECTS = 1056, 800, 20
PASTE_SIDE, PASTE_COUNT, PASTE_LARGEST = 4000, 100, 400


def make_boxes(count, width, height, largest):
    """Return boxes with sides of 20 to `largest` pixels that lie inside the image."""
    sides = 20 + torch.rand(count, 2) * (largest - 20)
    corner = torch.rand(count, 2) * (torch.tensor([width, height]) - sides - 1)
    return BoxList(torch.cat([corner, corner + sides], dim=1), (width, height), mode="xyxy")


def make_target():
    """Return ground truth with labels of COCO's 80 classes and octagonal masks."""
    target = make_boxes(OBJECTS, WIDTH, HEIGHT, 300)
    target.add_field("labels", torch.arange(OBJECTS) % 80 + 1)
    outlines = []
    for x1, y1, x2, y2 in target.bbox.tolist():
        dx, dy = (x2 - x1) / 3, (y2 - y1) / 3
        xs = [x1 + dx, x2 - dx, x2, x2, x2 - dx, x1 + dx, x1, x1]
        ys = [y1, y1, y1 + dy, y2 - dy, y2, y2, y2 - dy, y1 + dy]
        outlines.append([[v for point in zip(xs, ys, strict=True) for v in point]])
    target.add_field("masks", SegmentationMask(outlines, (WIDTH, HEIGHT), mode="poly"))
    return target


def precision():
    """Return the context that DTYPE asks for: mixed precision for "bfloat16"."""
    if cfg.DTYPE not in ("float32", "bfloat16"):
        raise ValueError(f"DTYPE float32 or bfloat16, got {cfg.DTYPE}")
    return torch.autocast("cpu", torch.bfloat16, enabled=cfg.DTYPE == "bfloat16")


def make_training(model):
    """Return a function that runs one training step and returns the sum of the losses."""
    optimizer = make_optimizer(cfg, model.train())
    image, target = torch.randn(1, 3, HEIGHT, WIDTH), make_target()

    def step():
        with precision():
            loss = sum(model(image, [target]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def make_inference(model):
    """Return a function that detects objects in one image and returns the sum of their scores."""
    image = torch.randn(1, 3, HEIGHT, WIDTH)
    model.eval()

    def step():
        with torch.no_grad(), precision():
            return model(image)[0].get_field("scores").sum().item()

    return step


def make_pasting():
    """Return a function that pastes masks into a large image and returns the pasted masks."""
    boxes = make_boxes(PASTE_COUNT, PASTE_SIDE, PASTE_SIDE, PASTE_LARGEST)
    masks = torch.rand(PASTE_COUNT, 1, 28, 28)
    masker = Masker()

    def step():
        return masker([masks], [boxes])[0]

    return step


def make_step(task, config_file, weights, *opts):
    """Return the step function of a task: "train", "test" or "paste"."""
    torch.manual_seed(0)
    if task == "paste":
        return make_pasting()
    cfg.merge_from_file(config_file)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "SOLVER.BASE_LR", 0.0001, *opts])
    model = build_detection_model(cfg)
    model.load_state_dict(torch.load(weights))
    torch.manual_seed(0)
    return {"train": make_training, "test": make_inference}[task](model)


def main():
    """Print the first result, then the seconds of a step for each line of input."""
    step = make_step(*sys.argv[1:])
    torch.manual_seed(0)
    result = step()
    print(np.count_nonzero(result.numpy()) if torch.is_tensor(result) else result, flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        result = step()
        seconds = time.process_time() - start
        del result
        print(seconds, flush=True)


main()
