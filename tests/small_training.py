"""A model in training that is small enough to be saved and resumed in tests of checkpoints."""

import torch
from torch import nn

from maskrcnn_benchmark.solver import WarmupMultiStepLR
from maskrcnn_benchmark.utils.checkpoint import Checkpointer


def training(folder="", seed=0, outputs=2):
    """Return a model in training, as (model, optimizer, scheduler, checkpointer)."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, outputs))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = WarmupMultiStepLR(optimizer, (3, 5), warmup_iters=2)
    return model, optimizer, scheduler, Checkpointer(model, optimizer, scheduler, str(folder), True)


def train(model, optimizer, scheduler, steps):
    """Take so many steps."""
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(5, 3)).square().sum().backward()
        optimizer.step()
        scheduler.step()


def same(a: nn.Module, b: nn.Module) -> bool:
    """Say whether both have the same weights, bit for bit."""
    return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))
