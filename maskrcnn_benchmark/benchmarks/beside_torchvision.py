"""CPU time of Faster R-CNN (R-50-FPN) here and in torchvision, a step of each in turn.

Both have random weights, the same frozen stages (stem and stage 1), images of one size, the same
boxes to learn, and score weights enlarged so that scores reach 0.05, as a trained model's do.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList

CONFIG = "e2e_faster_rcnn_R_50_FPN_1x.yaml"
OBJECTS, SCORE_FACTOR = 20, 30
Step = Callable[[], object]


def torchvision_table(
    repeats: int, width: int, height: int, opts: Sequence[str] = ()
) -> Iterator[str]:
    """Measure a training step and inference of both.

    Args:
        repeats: timed steps of each; one more before them is not timed.
        width, height: of the image, pixels; multiples of 32, so that nothing is padded.
        opts: KEY value ..., settings of ours.

    Yields:
        the lines of a table: best CPU seconds of each, the ratio of the best, and of the medians.
    """
    torch.manual_seed(0)
    image = torch.rand(3, height, width)
    corner = torch.rand(OBJECTS, 2) * torch.tensor([width / 2, height / 2])
    boxes = torch.cat([corner, corner + 20 + torch.rand(OBJECTS, 2) * 0.25 * height], dim=1)
    theirs = _torchvision_steps(image, boxes)
    ours = _our_steps(image, boxes, opts)
    yield f"{torch.get_num_threads()} threads, {repeats} steps of each in turn; best CPU seconds"
    yield f"{'':16} {'torchvision':>11} {'ours':>8} {'ratio':>6} {'of medians':>10}"
    for name in ours:
        pair = (theirs[name], ours[name])
        times = [[_seconds(step) for step in pair] for _ in range(repeats + 1)][1:]
        their_times, our_times = zip(*times, strict=True)
        median = statistics.median(our_times) / statistics.median(their_times)
        best = min(our_times) / min(their_times)
        yield (
            f"{name:16} {min(their_times):11.3f} {min(our_times):8.3f} {best:6.2f} {median:10.2f}"
        )


def _torchvision_steps(image: torch.Tensor, boxes: torch.Tensor) -> dict[str, Step]:
    height, width = image.shape[-2:]
    # frozen batch norms, as its function for pretrained models has them
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    model = FasterRCNN(
        backbone, num_classes=81, min_size=min(height, width), max_size=max(height, width)
    )
    model.roi_heads.box_predictor.cls_score.weight.data *= SCORE_FACTOR
    target = {"boxes": boxes, "labels": torch.arange(OBJECTS) % 80 + 1}
    return _steps(model, lambda: model([image], [target]), lambda: model([image]))


def _our_steps(image: torch.Tensor, boxes: torch.Tensor, opts: Sequence[str]) -> dict[str, Step]:
    model = build_detection_model(load_config(CONFIG, ["MODEL.DEVICE", "cpu", *opts]))
    model.roi_heads.box.predictor.cls_score.weight.data *= SCORE_FACTOR
    target = BoxList(boxes, (image.shape[-1], image.shape[-2]))
    target.add_field("labels", torch.arange(OBJECTS) % 80 + 1)
    return _steps(model, lambda: model([image], [target]), lambda: model([image]))


def _steps(model: torch.nn.Module, lose: Callable, detect: Callable) -> dict[str, Step]:
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9, fused=True)

    def training_step() -> None:
        model.train()
        loss = sum(lose().values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def inference() -> None:
        model.eval()
        with torch.no_grad():
            detect()

    return {"training step": training_step, "inference": inference}


def _seconds(step: Step) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start
