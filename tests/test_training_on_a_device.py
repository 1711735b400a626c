"""The training loop on the second device: copies that are not waited for, checkpoints of it."""

import pytest
from second_device import SecondDevice
from test_trainer import train


def test_an_iteration_waits_for_its_losses_alone(tmp_path):
    with SecondDevice() as device:
        train(tmp_path, [1, 2, 5], device="fake")
        # a list of losses per iteration; the one weight goes there, and back into the checkpoint
        assert device.waits == {"tolist": 3, "copy": 2}


def test_training_goes_on_from_a_checkpoint_there(tmp_path):
    with SecondDevice():
        train(tmp_path, [1, 2], device="fake")
        model, arguments = train(tmp_path, [1, 2, 3], device="fake")
        assert model.weight.device.type == "fake" and arguments["iteration"] == 3
        assert model.weight.item() == pytest.approx(1 - 0.1 - 0.2 - 0.3)  # as on the CPU
