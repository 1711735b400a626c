"""Run in a checkout of the original and print a line of JSON for tests/test_patched_original.py.

python patched_original_worker.py match|memory|train|channels [ARGUMENT …]
"""

import hashlib
import json
import sys
import types
import warnings

import torch

torch.set_num_threads(1)
if sys.argv[1] in (
    "match",
    "memory",
):  # without patch 6 the compiled module is missing; matching needs none
    import maskrcnn_benchmark

    stub = types.ModuleType("maskrcnn_benchmark._C")
    stub.__getattr__ = lambda name: None
    maskrcnn_benchmark._C = sys.modules["maskrcnn_benchmark._C"] = stub
    apex = types.ModuleType("apex")
    apex.amp = types.SimpleNamespace(float_function=lambda function: function)
    sys.modules.setdefault("apex", apex)

from maskrcnn_benchmark.modeling.matcher import Matcher  # noqa: E402
from maskrcnn_benchmark.structures.bounding_box import BoxList  # noqa: E402
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou  # noqa: E402

SIZE = (1333, 800)


def boxes(count, smallest, largest, draw):
    middle = torch.rand(count, 2, generator=draw) * torch.tensor(SIZE)
    half = (torch.rand(count, 2, generator=draw) * (largest - smallest) + smallest) / 2
    corners = torch.cat([middle - half, middle + half], dim=1)
    corners[::2] = corners[::2].round()  # equal overlaps
    return BoxList(corners, SIZE)


def digest(tensor):
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


def match(mode):
    """Return digests of overlaps and matches below and above the thresholds of the crowd path."""
    if mode:
        from maskrcnn_benchmark.config import cfg
        from maskrcnn_benchmark.config.crowd import use_crowd_settings

        cfg.MODEL.CROWD.MODE = mode
        use_crowd_settings(cfg)
    found = []
    for rows, columns in ((3, 500), (100, 900), (101, 900), (1001, 3000), (1000, 70000)):
        draw = torch.Generator().manual_seed(rows)
        truth, others = boxes(rows, 8, 60, draw), boxes(columns, 8, 120, draw)
        truth.bbox[1] = torch.tensor([40.0, 30.0, 39.0, 60.0])  # without width: overlaps nothing
        quality = boxlist_iou(truth, others)
        found.append([digest(quality), str(quality.dtype), list(quality.shape)])
        for allow_low_quality in (True, False):
            found.append(digest(Matcher(0.7, 0.3, allow_low_quality)(quality)))
    return found


def peak_kb():
    """Return the most memory held so far (not ru_maxrss: it begins at the parent's peak)."""
    with open("/proc/self/status", encoding="utf-8") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def memory(rows):
    """Return the bytes that matching a crowd takes at its peak, and a digest of the matches."""
    draw = torch.Generator().manual_seed(1)
    truth, anchors = boxes(int(rows), 8, 80, draw), boxes(261888, 16, 400, draw)
    boxlist_iou(truth[torch.arange(3)], anchors[torch.arange(9)])
    start = peak_kb()
    matches = Matcher(0.7, 0.3, True)(boxlist_iou(truth, anchors))
    return {"bytes": (peak_kb() - start) * 1024, "matches": digest(matches)}


def train(config, *names):
    """Return the losses of one step for batches with full, empty and unusable targets."""
    from maskrcnn_benchmark.config import cfg
    from maskrcnn_benchmark.modeling.detector import build_detection_model
    from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
    from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

    cfg.merge_from_file(config)
    cfg.merge_from_list(["MODEL.WEIGHT", "", "MODEL.DEVICE", "cpu"])
    torch.manual_seed(0)
    model = build_detection_model(cfg).train()
    width, height = 160, 128

    def target(*corners):
        new = BoxList(torch.tensor(corners).reshape(-1, 4), (width, height))
        new.add_field("labels", torch.ones(len(corners), dtype=torch.int64))
        outlines = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in corners]
        new.add_field("masks", SegmentationMask(outlines, (width, height), mode="poly"))
        points = torch.cat([new.bbox[:, :2] + 4, torch.full((len(corners), 1), 2.0)], dim=1)
        points = points[:, None].repeat(1, 17, 1)
        new.add_field("keypoints", PersonKeypoints(points, (width, height)))
        return new

    full = target([20.0, 30.0, 90.0, 100.0], [60.0, 10.0, 150.0, 60.0])
    empty, flat = target(), target([20.0, 30.0, 20.0, 90.0])
    off = target([float("nan"), 5.0, 30.0, 40.0], [400.0, 300.0, 460.0, 380.0])
    batches = {"full": [full, full], "empty": [empty, empty], "mixed": [empty, full]}
    batches["unusable"] = [flat, off]
    losses = {}
    warnings.simplefilter("ignore")
    for name in names or batches:  # without patch 5 only "full" gets through
        torch.manual_seed(1)
        found = model(torch.rand(2, 3, height, width) * 50, batches[name])
        model.zero_grad()
        sum(found.values()).backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        losses[name] = {key: value.item() for key, value in found.items()}
        losses[name]["grad"] = sum(grad.abs().sum() for grad in grads).item()
    return losses


def channels(to_bgr255, path, *forms):
    """Return digests of the network's input when the demo and a data set get the same picture.

    Args:
        to_bgr255: "True" or "False".
        path: path of the picture.
        forms: those of "BGR", "RGB", "PIL" and "path" that this checkout accepts.
    """
    sys.path.insert(0, "demo")
    import cv2
    from PIL import Image
    from predictor import COCODemo

    from maskrcnn_benchmark.config import cfg
    from maskrcnn_benchmark.data.datasets.list_dataset import ListDataset
    from maskrcnn_benchmark.data.transforms import build_transforms

    bgr = cv2.imread(path)
    given = {
        "BGR": (bgr, {}),
        "RGB": (bgr[:, :, ::-1].copy(), {"channel_order": "RGB"}),
        "PIL": (Image.open(path), {}),
        "path": (path, {}),
    }
    cfg.merge_from_file("configs/e2e_faster_rcnn_R_50_FPN_1x.yaml")
    cfg.merge_from_list(["MODEL.WEIGHT", "", "MODEL.DEVICE", "cpu"])
    cfg.merge_from_list(["INPUT.TO_BGR255", to_bgr255 == "True", "INPUT.MIN_SIZE_TEST", 90])
    demo = COCODemo(cfg)
    seen = {}

    def network(images):
        seen["now"] = images.tensors
        return [BoxList(torch.zeros(0, 4), images.image_sizes[0][::-1])]

    demo.model = network
    for form in forms:
        picture, order = given[form]
        demo.compute_prediction(picture, **order)
        seen[form] = seen["now"]
    image, _ = ListDataset([path], build_transforms(cfg, is_train=False))[0]
    height, width = image.shape[1:]
    found = {form: digest(seen[form][0, :, :height, :width]) for form in forms}
    return {"data set": digest(image), **found}


if __name__ == "__main__":
    tasks = {"match": match, "memory": memory, "train": train, "channels": channels}
    work = tasks[sys.argv[1]]
    print(json.dumps(work(*sys.argv[2:])))
