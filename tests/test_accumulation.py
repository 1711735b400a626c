"""Gradients of a batch in parts, on a model of one weight whose losses are known by hand."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.engine import accumulation
from maskrcnn_benchmark.engine.accumulation import accumulate, split_batch
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList


class MeanBrightness(nn.Module):
    """Its loss is the weight times the mean brightness of the images."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.calls = []

    def forward(self, images, targets):
        seen = self.weight.grad if self.weight.grad is None else self.weight.grad.item()
        self.calls.append((len(targets), images.image_sizes, seen))
        return {"loss": self.weight * images.tensors.mean()}


def made_batch(values):
    pixels = torch.stack([torch.full((3, 2, 4), float(value)) for value in values])
    sizes = [(2, 4 - i % 2) for i in range(len(values))]
    return ImageList(pixels, sizes), [BoxList(torch.zeros(0, 4), (4, 2)) for _ in values]


def run(model, values, parts):
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    total, last = accumulate(model, *made_batch(values), parts, scaler, "float32")
    last["loss"].backward()
    return total["loss"].item(), model.weight.grad.item()


@pytest.mark.parametrize(
    ("images", "parts", "sizes"),
    [(4, 1, [4]), (4, 2, [2, 2]), (5, 2, [3, 2]), (2, 8, [1, 1]), (6, 4, [2, 2, 2])],
)
def test_parts_of_a_batch(images, parts, sizes):
    batch, targets = made_batch(range(images))
    divided = split_batch(batch, targets, parts)
    assert [len(part_targets) for _, part_targets in divided] == sizes
    pixels = torch.cat([part.tensors for part, _ in divided])
    assert torch.equal(pixels, batch.tensors)
    assert [size for part, _ in divided for size in part.image_sizes] == batch.image_sizes
    assert [target for _, part in divided for target in part] == targets


def test_losses_and_gradients_of_uneven_parts_are_those_of_the_whole_batch():
    # parts (1, 2) and (6): 1.5 * 2/3 + 6 * 1/3 = 3, the mean of all
    assert run(MeanBrightness(), [1, 2, 6], 2) == pytest.approx((3, 3))
    assert run(MeanBrightness(), [1, 2, 6], 1) == (3, 3)


def test_a_part_is_sent_backward_before_the_next_one_comes():
    model = MeanBrightness()
    run(model, [1, 2, 6], 2)
    # the second part finds the gradient of the first, 1.5 * 2/3
    assert model.calls == [
        (2, [(2, 4), (2, 3)], None),
        (1, [(2, 4)], pytest.approx(1)),
    ]


def test_only_the_last_part_averages_over_the_processes(monkeypatch):
    class Distributed(MeanBrightness):
        silent = False

        @contextmanager
        def no_sync(self):
            self.silent = True
            yield
            self.silent = False

        def forward(self, images, targets):
            self.calls.append(self.silent)
            return {"loss": self.weight * images.tensors.mean()}

    monkeypatch.setattr(accumulation, "DistributedDataParallel", Distributed)
    model = Distributed()
    run(model, [1, 2, 3], 3)
    assert model.calls == [True, True, False]
