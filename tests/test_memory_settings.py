"""MODEL.CHECKPOINT_BODY and MODEL.CHANNELS_LAST: the same model, kept or laid out otherwise."""

import pytest
import torch
from tiny_models import made_batch, tiny_fbnet, tiny_mask_rcnn

from maskrcnn_benchmark.benchmarks.memory import LiveTensors


def gradients(model):
    images, targets = made_batch()
    torch.manual_seed(2)
    losses = model.train()(images, targets)
    sum(losses.values()).backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return {n: loss.item() for n, loss in losses.items()}, found


def test_checkpointing_changes_no_loss_and_no_gradient():
    plain, changed = tiny_mask_rcnn(), tiny_mask_rcnn("MODEL.CHECKPOINT_BODY", True)
    (losses, expected), (other_losses, found) = gradients(plain), gradients(changed)
    assert other_losses == pytest.approx(losses, rel=1e-6)
    assert list(found) == list(expected)
    for name, gradient in found.items():
        scale = expected[name].abs().max()
        assert (gradient - expected[name]).abs().max() <= 1e-5 * scale, name


def test_checkpointed_blocks_are_not_held_for_the_backward_pass():
    def held_by_the_body(*settings):
        model = tiny_mask_rcnn("MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0, *settings).train()
        live = LiveTensors()
        with live:
            features = model.backbone.body(torch.ones(1, 3, 128, 160))
            held = live.held
        assert len(features) == 4
        return held

    # per block one input instead of the results of its convolutions
    assert held_by_the_body("MODEL.CHECKPOINT_BODY", True) < 0.75 * held_by_the_body()


def test_other_bodies_are_refused():
    with pytest.raises(ValueError, match="CHECKPOINT_BODY works on ResNets.*'FBNet'"):
        tiny_fbnet("MODEL.CHECKPOINT_BODY", True)


def test_convolutions_get_channels_last():
    model = tiny_mask_rcnn("MODEL.CHANNELS_LAST", True).eval()
    weight = model.backbone.body.layer1[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    seen = []
    model.backbone.body.stem.conv1.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    images = made_batch()[0]
    with torch.no_grad():
        model(images)
        features, expected = (m.backbone(torch.stack(images)) for m in (model, tiny_mask_rcnn()))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    for level, plain_level in zip(features, expected, strict=True):
        # sums in another order: some roundings of float32
        assert (level - plain_level).abs().max() <= 1e-5 * plain_level.abs().max()
