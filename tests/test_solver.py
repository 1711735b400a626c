import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.solver import WarmupMultiStepLR, make_lr_scheduler, make_optimizer


def _model() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 4, 1, bias=False), nn.Linear(4, 2))
    model[1].weight.requires_grad_(False)
    return model


def _rates(scheduler, iterations: int) -> list[float]:
    rates = []
    for _ in range(iterations):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # 0.1 * (1/4, 2/4, 3/4), then 0.1 from iteration 3 on, times 0.5 at 5 and again at 7
        ("linear", [0.025, 0.05, 0.075, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025]),
        ("constant", [0.025, 0.025, 0.025, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025]),
    ],
)
def test_warmup_and_steps(method, expected):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = WarmupMultiStepLR(optimizer, (5, 7), 0.5, 0.25, 3, method)
    assert _rates(scheduler, 9) == pytest.approx(expected)


def test_schedule_continues_from_its_state():
    def make():
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
        return WarmupMultiStepLR(optimizer, (4, 6), warmup_iters=3)

    whole = _rates(make(), 8)
    first = make()
    begun = _rates(first, 5)
    second = make()
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert begun + _rates(second, 3) == whole  # to the last bit


def test_fault_a_resumed_schedule_ignored_its_new_settings():
    def make(rate, *settings):
        return WarmupMultiStepLR(
            torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate), *settings
        )

    old = make(0.3, (4, 6), 0.1, 0.5, 3)
    _rates(old, 5)
    new = make(0.2, (7,), 0.5, 0.1, 6, "constant")
    new.load_state_dict(old.state_dict())
    # iteration 5 of the new schedule: warm-up 0.2 * 0.1, from 6 on 0.2, from 7 on 0.2 * 0.5
    assert _rates(new, 4) == pytest.approx([0.02, 0.2, 0.1, 0.1])
    assert new.get_last_lr() == [new.optimizer.param_groups[0]["lr"]]


def test_schedule_refuses_nonsense():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match=r"must increase, got \(7, 5\)"):
        WarmupMultiStepLR(optimizer, (7, 5))
    with pytest.raises(ValueError, match="'constant' or 'linear', got 'cosine'"):
        WarmupMultiStepLR(optimizer, (5, 7), warmup_method="cosine")


def test_one_group_for_each_parameter_with_the_biases_own_settings():
    cfg = default_cfg.clone()
    cfg.SOLVER.BASE_LR, cfg.SOLVER.BIAS_LR_FACTOR = 0.02, 2
    cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.WEIGHT_DECAY_BIAS = 0.1, 0.0
    model = _model()
    groups = make_optimizer(cfg, model).param_groups
    # 0.weight, 0.bias, 2.weight, 2.bias; the frozen 1.weight is left out
    assert [group["lr"] for group in groups] == [0.02, 0.04, 0.02, 0.04]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0, 0.1, 0.0]
    assert groups[2]["params"][0] is model[2].weight


def test_two_steps_with_momentum_and_decay_by_hand():
    cfg = default_cfg.clone()
    cfg.SOLVER.BASE_LR, cfg.SOLVER.MOMENTUM, cfg.SOLVER.WEIGHT_DECAY = 0.1, 0.5, 0.2
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    optimizer = make_optimizer(cfg, model)
    for _ in range(2):
        model.weight.grad = torch.full((1, 1), 3.0)
        optimizer.step()
    # v1 = 3 + 0.2 * 1 = 3.2, w1 = 1 - 0.32 = 0.68
    # v2 = 0.5 * 3.2 + 3 + 0.2 * 0.68 = 4.736, w2 = 0.68 - 0.4736 = 0.2064
    assert model.weight.item() == pytest.approx(0.2064, rel=1e-6)


def test_scheduler_is_made_from_the_config():
    cfg = default_cfg.clone()
    cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS, cfg.SOLVER.GAMMA = 0.4, (2, 3), 0.5
    cfg.SOLVER.WARMUP_FACTOR, cfg.SOLVER.WARMUP_ITERS = 0.5, 1
    scheduler = make_lr_scheduler(cfg, make_optimizer(cfg, nn.Linear(2, 2, bias=False)))
    assert _rates(scheduler, 4) == pytest.approx([0.2, 0.4, 0.2, 0.1])
