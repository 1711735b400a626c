"""Choice of positives and negatives."""

import pytest
import torch

from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)


@pytest.mark.parametrize(
    ("positives", "negatives", "ignored", "expected"),
    [
        (30, 100, 7, (4, 12)),  # a quarter of 16, negatives fill
        (2, 100, 7, (2, 14)),  # few positives: more negatives
        (30, 5, 7, (4, 5)),  # few negatives: a smaller batch
        (0, 100, 0, (0, 16)),
        (30, 0, 9, (4, 0)),
        (0, 0, 9, (0, 0)),
    ],
)
def test_numbers_drawn(positives, negatives, ignored, expected):
    labels = torch.cat(
        [torch.full((positives,), 3.0), torch.zeros(negatives), -torch.ones(ignored)]
    )[torch.randperm(positives + negatives + ignored)]
    sampler = BalancedPositiveNegativeSampler(16, 0.25)
    [positive], [negative] = sampler([labels])
    assert positive.dtype == negative.dtype == torch.bool
    assert positive.shape == negative.shape == labels.shape
    assert (int(positive.sum()), int(negative.sum())) == expected
    assert (labels[positive] >= 1).all() and (labels[negative] == 0).all()


def test_draws_of_a_seed():
    """The generator is asked first for the positives' order, then for the negatives', per image."""
    images = [torch.tensor([1, 0, 2, 0, -1, 0, 1, 0, 0, 3]), torch.tensor([0, 0, 1, 0, 1])]
    torch.manual_seed(5)
    positives, negatives = BalancedPositiveNegativeSampler(4, 0.5)(images)
    torch.manual_seed(5)
    for labels, positive, negative in zip(images, positives, negatives, strict=True):
        candidates = [i for i, label in enumerate(labels.tolist()) if label >= 1]
        order = torch.randperm(len(candidates)).tolist()
        drawn = sorted(candidates[i] for i in order[:2])
        assert positive.nonzero().squeeze(1).tolist() == drawn
        candidates = [i for i, label in enumerate(labels.tolist()) if label == 0]
        order = torch.randperm(len(candidates)).tolist()
        assert negative.nonzero().squeeze(1).tolist() == sorted(candidates[i] for i in order[:2])


def test_draws_differ():
    labels = torch.cat([torch.ones(50), torch.zeros(50)])
    sampler = BalancedPositiveNegativeSampler(10, 0.5)
    torch.manual_seed(0)
    assert not torch.equal(sampler([labels])[0][0], sampler([labels])[0][0])
