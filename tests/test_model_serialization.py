import logging
from collections import OrderedDict

import torch
from torch import nn

from maskrcnn_benchmark.utils.model_serialization import (
    align_and_update_state_dicts,
    load_state_dict,
    strip_prefix_if_present,
)


def test_the_longest_suffix_wins():
    model = {
        "backbone.body.stem.conv1.weight": torch.zeros(1),
        "backbone.body.layer1.0.conv1.weight": torch.zeros(1),
        "roi_heads.box.fc6.bias": torch.zeros(1),
    }
    loaded = {
        "conv1.weight": torch.tensor([1.0]),
        "layer1.0.conv1.weight": torch.tensor([2.0]),
        "0.conv1.weight": torch.tensor([3.0]),
        "fc1000.bias": torch.tensor([4.0]),
    }
    report = align_and_update_state_dicts(model, loaded)
    assert [value.item() for value in model.values()] == [1.0, 2.0, 0.0]
    assert report == (2, ["roi_heads.box.fc6.bias"], [], ["0.conv1.weight", "fc1000.bias"], [])


def test_prefix_is_taken_off_only_if_all_have_it():
    wrapped = OrderedDict([("module.a.module.b", 1), ("module.c", 2)])
    assert strip_prefix_if_present(wrapped, "module.") == {"a.module.b": 1, "c": 2}
    mixed = {"module.a": 1, "c": 2}
    assert strip_prefix_if_present(mixed, "module.") is mixed


class _Detector(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.cls_score = nn.Linear(4, classes)


def test_weights_of_a_wrapped_model_load_into_a_plain_one_and_back():
    torch.manual_seed(0)
    source, target = _Detector(3), _Detector(3)
    load_state_dict(target, {f"module.{k}": v for k, v in source.state_dict().items()})
    assert all(map(torch.equal, source.parameters(), target.parameters()))
    wrapped = nn.Sequential(OrderedDict(module=_Detector(3)))
    load_state_dict(wrapped, source.state_dict())
    assert all(map(torch.equal, source.parameters(), wrapped.parameters()))


def test_a_head_for_other_classes_is_left_out_and_named(caplog):
    source, target = _Detector(81), _Detector(16)
    before = target.cls_score.weight.clone()
    with caplog.at_level(logging.INFO):
        report = load_state_dict(target, source.state_dict())
    assert torch.equal(target.body.weight, source.body.weight)
    assert torch.equal(target.cls_score.weight, before)
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warnings == [
        "2 entries left out because their shapes differ (file -> model): "
        "cls_score.weight (81, 4) -> (16, 4), cls_score.bias (81,) -> (16,)"
    ]
    assert report.loaded == 2 and len(report.misfits) == 2


def test_missing_and_unknown_entries_are_summed_up_in_a_line(caplog):
    target = nn.Sequential(*(nn.Linear(2, 2) for _ in range(5)))
    with caplog.at_level(logging.INFO):
        load_state_dict(target, {"0.weight": torch.zeros(2, 2), "momentum": torch.zeros(1)})
    (line,) = [r.getMessage() for r in caplog.records]
    assert line == (
        "1 of the model's 10 entries loaded; not in the file: 0.bias, 1.weight, 1.bias, "
        "2.weight, 2.bias, 3.weight and 3 more; in the file only: momentum"
    )
