"""Run scenes with two processes and write what each saw as JSON; see test_distributed.py.

torchrun --nproc_per_node 2 tests/distributed_worker.py FOLDER
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.engine.inference import _gather_predictions
from maskrcnn_benchmark.engine.trainer import do_train, reduce_loss_dict
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.utils.checkpoint import Checkpointer
from maskrcnn_benchmark.utils.processes import share_gradients


class OneWeight(nn.Module):
    """loss_a = weight x mean of the images, loss_b = 0.5 x weight x number of boxes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images, targets):
        boxes = sum(len(target) for target in targets)
        return {"loss_a": self.weight * images.tensors.mean(), "loss_b": self.weight * 0.5 * boxes}


class Loader:
    """One image with value x and that many boxes in each iteration; a hook runs before each."""

    def __init__(self, values, boxes, start_iter=0, before=lambda iteration: None):
        self.values, self.boxes, self.start_iter, self.before = values, boxes, start_iter, before

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        for iteration in range(self.start_iter + 1, len(self) + 1):
            self.before(iteration)
            count = self.boxes[iteration - 1]
            target = BoxList(torch.tensor([[2.0, 1.0, 5.0, 3.0]]).repeat(count, 1), (8, 6))
            target.image_name = f"rank{dist.get_rank()}_{iteration}.png"
            pixels = torch.full((3, 6, 8), float(self.values[iteration - 1]))
            yield to_image_list([pixels]), [target], [iteration]


def train(folder, values, boxes, before=lambda iteration: None):
    """Train and return (weight, iteration, how training ended)."""
    folder.mkdir(exist_ok=True)
    cfg = default_cfg.clone()
    cfg.OUTPUT_DIR = str(folder)
    model = OneWeight()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [100])
    on_disk = dist.get_rank() == 0
    checkpointer = Checkpointer(model, optimizer, scheduler, str(folder), save_to_disk=on_disk)
    arguments = {"iteration": 0, **checkpointer.load()}
    loader = Loader(values, boxes, arguments["iteration"], before)
    wrapped = share_gradients(model, torch.device("cpu"))
    ending = "done"
    try:
        do_train(
            *(cfg, wrapped, loader, None, optimizer, scheduler, checkpointer),
            *(torch.device("cpu"), 100, 0, arguments),
        )
    except (FloatingPointError, KeyboardInterrupt) as error:
        ending = f"{type(error).__name__}: {error}"
    return model.weight.item(), arguments["iteration"], ending


def stop_rank_1_at(wanted):
    def hook(iteration):
        if iteration == wanted and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    return hook


def gather_without_one(share):
    """Return the error that this process gets where an image of three has no prediction."""
    try:
        return _gather_predictions(share, dataset=range(3))
    except ValueError as error:
        return str(error)


def running_means():
    """Return the running mean of two batches of rank + 1, and the weight, which was 5 + rank."""
    norm = nn.BatchNorm1d(1, momentum=0.5)
    nn.init.constant_(norm.weight, 5.0 + dist.get_rank())
    wrapped = share_gradients(norm, torch.device("cpu"))
    for _ in range(2):
        wrapped(torch.full((2, 1), dist.get_rank() + 1.0))
    return norm.running_mean.item(), norm.weight.item()


def main() -> None:
    folder = Path(sys.argv[1])
    dist.init_process_group("gloo")
    rank = dist.get_rank()

    def mine(first, second):
        return (first, second)[rank]

    nan = float("nan")
    seen = {
        "reduced": {
            name: value.item()
            for name, value in reduce_loss_dict(
                {"b": torch.tensor(mine(1.0, 4.0)), "a": torch.tensor(mine(0.0, 2.0))}
            ).items()
        },
        "no ground truth": train(folder / "empty", [1, 1, 1], mine([2, 2, 2], [2, 0, 2])),
        "nan on one": train(folder / "nan", [1, mine(1, nan), 1], [1, 1, 1]),
        "stop on one": train(folder / "stop", [1, 1, 1, 1], [0, 0, 0, 0], stop_rank_1_at(2)),
        "resumed": train(folder / "stop", [1, 1, 1, 1], [0, 0, 0, 0]),
        # rank 0 has three images, rank 1 has two; image 2 is on both
        "gathered": _gather_predictions(
            mine({0: "a", 2: "c", 1: "b"}, {3: "d", 2: "c"}), dataset=range(4)
        ),
        "one is missing": gather_without_one(mine({0: "a"}, {2: "c"})),
        "running means": running_means(),
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
