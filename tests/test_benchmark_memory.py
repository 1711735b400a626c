"""Memory of tensors: counted against sums by hand."""

import itertools

import pytest
import torch

from maskrcnn_benchmark.benchmarks.memory import LiveTensors, memory_table
from maskrcnn_benchmark.config import load_config

CLASSES = ["MODEL.ROI_BOX_HEAD.NUM_CLASSES", "8"]


def test_a_storage_counts_once_and_as_long_as_it_is_held():
    live = LiveTensors()
    with live:
        first = torch.zeros(1000)  # 4000 bytes
        view = first.view(10, 100)  # the same bytes
        second = view.double()  # 8000
        del first
        assert (live.held, live.peak) == (12000, 12000)
        del view
        assert (live.held, live.peak) == (8000, 12000)
        third = second.to(torch.int8)  # 1000: less than was freed
        assert (live.held, live.peak) == (9000, 12000)
    assert third.nbytes == 1000


def test_what_the_backward_pass_needs_is_held_until_then():
    weight = torch.ones(500, requires_grad=True)  # 2000 bytes
    live = LiveTensors()
    live.add(weight)
    with live:
        power = weight.exp()  # 2000, kept: the derivative of exp is its result
        loss = power.sum()  # 4
        del power
        assert live.held == 4004
        loss.backward()  # the gradient stays: 2000
        del loss
    assert (live.held, weight.grad.nbytes) == (4000, 2000)


def test_training_holds_weights_gradients_momentum_and_activations():
    settings = ["INPUT.MAX_SIZE_TRAIN", "128", "INPUT.MIN_SIZE_TRAIN", "(64,)", *CLASSES]
    settings += ["SOLVER.IMS_PER_BATCH", "1", "TEST.IMS_PER_BATCH", "1"]
    cfg = load_config("configs/quickstart.yaml", settings)
    _, training, inference = memory_table(cfg, objects=5)
    name, images, pixels, precision, one = training.split()
    assert (name, images, pixels, precision) == ("training", "1", "128x64", "float32")
    # 2.15 million weights of 4 bytes, with gradients and momentum: 0.026 GB
    cfg.SOLVER.IMS_PER_BATCH = 3
    three = list(memory_table(cfg, objects=5))[1].split()[-1]
    assert 0.025 < float(one) < float(three) < 3 * float(one)
    assert float(inference.split()[-1]) < 0.25


def test_training_in_parts_holds_the_activations_of_one():
    settings = ["INPUT.MAX_SIZE_TRAIN", "256", "INPUT.MIN_SIZE_TRAIN", "(128,)", *CLASSES]
    cfg = load_config("configs/quickstart.yaml", [*settings, "SOLVER.IMS_PER_BATCH", "2"])
    peaks = []
    for cfg.SOLVER.ACCUMULATE in (1, 2):
        _, training = itertools.islice(memory_table(cfg, objects=5), 2)
        peaks.append(float(training.split()[-1]))
    # 0.026 GB of weights, gradients and momentum stay (see above)
    assert peaks[1] - 0.026 < 0.75 * (peaks[0] - 0.026)


def test_keypoints_are_refused():
    cfg = load_config("configs/e2e_keypoint_rcnn_R_50_FPN_1x.yaml", [])
    with pytest.raises(ValueError, match="KEYPOINT_ON"):
        next(memory_table(cfg, objects=5))


def test_half_precision_holds_half_of_the_activations():
    # three results of 4 x 30 x 20 numbers, each kept for the gradient of the next layer's weights
    layers = torch.nn.Sequential(*(torch.nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)))
    image = torch.randn(1, 4, 30, 20)
    held = {}
    for dtype in (torch.float32, torch.bfloat16):
        live = LiveTensors()
        with live, torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            result = layers(image)
        assert result.dtype == dtype
        held[dtype] = live.held
    activation, weights = 4 * 30 * 20, 3 * 4 * 4 * 9
    assert held[torch.float32] == 4 * 3 * activation
    # the backward pass needs the image and the weights as they were cast, but no bias
    assert held[torch.bfloat16] == 2 * (4 * activation + weights)
