"""The moving average of the weights: by hand, through a checkpoint, and where it is evaluated."""

import pytest
import torch
from test_trainer import OneWeight, stop_at, train

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.engine import trainer
from maskrcnn_benchmark.utils.checkpoint import Checkpointer, load_trained

# The weight after each iteration on images of 1 is 0.9, 0.8, 0.7; with a decay of 0.5 the average
# is 0.9, 0.85, 0.775.


def saved(folder, name="model_final"):
    return torch.load(folder / f"{name}.pth", weights_only=True)


def test_the_average_of_a_training_by_hand(tmp_path):
    model, arguments = train(tmp_path, [1, 1, 1], ema=0.5, period=2)
    assert model.weight.item() == pytest.approx(0.7)
    assert arguments["model_ema"]["weight"].item() == pytest.approx(0.775)
    assert saved(tmp_path, "model_0000002")["model_ema"]["weight"].item() == pytest.approx(0.85)
    assert saved(tmp_path)["model"]["weight"].item() == pytest.approx(0.7)


def test_a_resumed_average_equals_an_uninterrupted_one(tmp_path):
    whole, _ = train(tmp_path / "whole", [1, 2, 3, 4], noise=1.0, ema=0.5)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", [1, 2, 3, 4], noise=1.0, before=stop_at(2), ema=0.5)
    train(tmp_path / "parts", [1, 2, 3, 4], noise=1.0, ema=0.5)
    averages = [saved(tmp_path / name)["model_ema"]["weight"] for name in ("whole", "parts")]
    assert torch.equal(*averages)


def test_without_the_setting_no_average_is_kept(tmp_path):
    train(tmp_path, [1, 1], ema=0.5)
    train(tmp_path, [1, 1, 1])
    assert "model_ema" not in saved(tmp_path)


def test_the_average_is_evaluated_in_training(tmp_path, monkeypatch):
    weights = []
    monkeypatch.setattr(
        trainer, "run_test", lambda cfg, model, *_, **__: weights.append(model.weight.item()) or {}
    )
    train(tmp_path, [1, 1, 1], ema=0.5, test_period=1)
    assert weights == pytest.approx([0.9, 0.85, 0.775])


def test_evaluation_and_fine_tuning_take_the_average(tmp_path):
    train(tmp_path, [1, 1, 1], ema=0.5)
    cfg = default_cfg.clone()
    cfg.OUTPUT_DIR = str(tmp_path)
    for use_latest in (True, False):
        evaluated = OneWeight()
        load_trained(cfg, evaluated, str(tmp_path / "model_final.pth"), use_latest)
        assert evaluated.weight.item() == pytest.approx(0.775)
    tuned = OneWeight()
    Checkpointer(tuned).load(str(tmp_path / "model_final.pth"))
    assert tuned.weight.item() == pytest.approx(0.775)
