"""MODEL.CHECKPOINT_BODY, CHANNELS_LAST, FAST_ROI_ALIGN, FOLD_BATCH_NORM: one model, other sums."""

import pytest
import torch
import torch.nn.functional as F
from tiny_models import made_batch, tiny_fbnet, tiny_mask_rcnn

from maskrcnn_benchmark.benchmarks.memory import LiveTensors
from maskrcnn_benchmark.layers import FrozenBatchNorm2d


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


def test_fast_roi_align_changes_roundings_alone(monkeypatch):
    calls = []

    def counted(*args, **kwargs):
        calls.append(args)
        return embedding_bag(*args, **kwargs)

    embedding_bag = F.embedding_bag
    monkeypatch.setattr(F, "embedding_bag", counted)
    layout = ("MODEL.CHANNELS_LAST", True)
    losses, expected = gradients(tiny_mask_rcnn(*layout))
    assert not calls
    other_losses, found = gradients(tiny_mask_rcnn(*layout, "MODEL.FAST_ROI_ALIGN", True))
    assert len(calls) >= 2  # of the box head and the mask head
    assert other_losses == pytest.approx(losses, rel=1e-4)
    assert list(found) == list(expected)
    for name, gradient in found.items():
        scale = expected[name].abs().max()
        assert (gradient - expected[name]).abs().max() <= 1e-3 * scale, name


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


def test_channels_last_in_tests_only():
    model = tiny_mask_rcnn("TEST.CHANNELS_LAST", True)
    seen = []
    model.backbone.body.layer4.register_forward_hook(lambda _, x, y: seen.append(y))
    images, targets = made_batch()
    model.train()(images, targets)
    with torch.no_grad():
        model.eval()(images)
    assert seen[0].is_contiguous()  # NCHW
    assert seen[1].is_contiguous(memory_format=torch.channels_last) and not seen[1].is_contiguous()


def with_trained_statistics(model):
    """Give the frozen batch norms numbers unlike 0 and 1."""
    generator = torch.Generator().manual_seed(4)
    for norm in (m for m in model.modules() if isinstance(m, FrozenBatchNorm2d)):
        for buffer in norm.buffers():
            buffer.copy_(0.8 + 0.4 * torch.rand(buffer.shape, generator=generator))
    return model


def body_gradients(model):
    """Return the body's maps, and the gradients of their sums times fixed random numbers."""
    features = model.train().backbone.body(torch.stack(made_batch()[0]))
    generator = torch.Generator().manual_seed(5)
    sum((f * torch.rand(f.shape, generator=generator)).sum() for f in features).backward()
    body = model.backbone.body.named_parameters()
    return features, {n: p.grad for n, p in body if p.requires_grad}


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_folded_batch_norm_gives_the_same_features_and_gradients(monkeypatch, channels_last):
    layout = ("MODEL.CHANNELS_LAST", channels_last)
    plain = with_trained_statistics(tiny_mask_rcnn(*layout))
    folded = with_trained_statistics(tiny_mask_rcnn(*layout, "MODEL.FOLD_BATCH_NORM", True))
    assert list(folded.state_dict()) == list(plain.state_dict())
    expected_features, expected = body_gradients(plain)

    def forward(self, x):
        raise AssertionError("a batch norm ran by itself")

    monkeypatch.setattr(FrozenBatchNorm2d, "forward", forward)
    features, found = body_gradients(folded)
    for feature, wanted in zip(features, expected_features, strict=True):
        assert (feature - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert list(found) == list(expected) != []
    for name, gradient in found.items():
        # float32's roundings, through 16 blocks
        assert (gradient - expected[name]).abs().max() <= 1e-4 * expected[name].abs().max(), name


def test_folding_follows_loaded_statistics():
    folded = tiny_mask_rcnn("MODEL.FOLD_BATCH_NORM", True)
    image = torch.stack(made_batch()[0])
    with torch.no_grad():
        before = folded.backbone(image)[0]
        trained = with_trained_statistics(tiny_mask_rcnn())
        folded.load_state_dict(trained.state_dict())
        after, expected = folded.backbone(image)[0], trained.backbone(image)[0]
    assert (after - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (after - before).abs().max() > 0.01 * expected.abs().max()
