import pytest
import torch

from maskrcnn_benchmark.utils.metric_logger import MetricLogger, SmoothedValue


def test_smoothed_value_over_the_window_and_over_all():
    meter = SmoothedValue(window_size=4)
    for value in (100.0, 1.0, 5.0, 2.0, 4.0):
        meter.update(value)
    assert meter.median == 2.0  # of 1 2 4 5: the lower middle one
    assert meter.avg == 3.0  # (1 + 5 + 2 + 4) / 4
    assert meter.global_avg == pytest.approx(22.4)  # 112 / 5


def test_metric_logger_collects_numbers_and_tensors():
    meters = MetricLogger(delimiter=" | ")
    meters.update(loss=torch.tensor(2.0), time=1)
    meters.update(loss=4.0)
    assert meters.loss.global_avg == 3.0
    assert str(meters) == "loss: 2.0000 (3.0000) | time: 1.0000 (1.0000)"


def test_metric_logger_refuses_what_is_no_number():
    with pytest.raises(TypeError, match="loss must be a number, got str"):
        MetricLogger().update(loss="2")
    with pytest.raises(AttributeError, match="no meter or attribute 'nothing'"):
        MetricLogger().nothing  # noqa: B018
