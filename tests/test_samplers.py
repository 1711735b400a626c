import itertools
import pickle
import random

import pytest
import torch
from torch.utils.data import BatchSampler, Dataset, RandomSampler, Sampler, SequentialSampler

from maskrcnn_benchmark.data.samplers import (
    DistributedSampler,
    GroupedBatchSampler,
    IterationBasedBatchSampler,
    SeededBatchSampler,
    TrainingSamples,
)

GROUPS = [0, 1, 1, 0, 0, 1, 0, 0]


class FixedSampler(Sampler):
    def __init__(self, indices):
        self.indices = indices

    def __iter__(self):
        return iter(self.indices)

    def __len__(self):
        return len(self.indices)


class DrawingDataset(Dataset):
    """Its samples are random draws, from both generators that transforms may use."""

    name = "drawing"

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return index, random.random(), torch.rand(()).item()


def shuffled_batches(count, batch_size, seed=0):
    return BatchSampler(DistributedSampler(range(count), 1, 0, seed=seed), batch_size, False)


# groups are collected side by side: 0 3 4 | 6 7 of group 0 and 1 2 5 of group 1
@pytest.mark.parametrize(
    "drawn, batch_size, expected",
    [
        pytest.param(range(8), 1, [[0], [1], [2], [3], [4], [5], [6], [7]], id="single"),
        pytest.param(range(8), 3, [[0, 3, 4], [1, 2, 5], [6, 7]], id="in order"),
        pytest.param(range(8), 2, [[0, 3], [1, 2], [4, 6], [5], [7]], id="uneven"),
        pytest.param([5, 0, 6, 1, 3], 2, [[5, 1], [0, 6], [3]], id="some, in another order"),
        pytest.param([3, 3, 0], 2, [[3, 3], [0]], id="one index twice"),
    ],
)
def test_grouped_batches(drawn, batch_size, expected):
    assert list(GroupedBatchSampler(FixedSampler(drawn), GROUPS, batch_size)) == expected


def test_grouped_batches_without_the_small_ones():
    batches = GroupedBatchSampler(FixedSampler(range(8)), GROUPS, 2, drop_uneven=True)
    assert list(batches) == [[0, 3], [1, 2], [4, 6]]
    assert len(batches) == 3


def test_length_belongs_to_the_batches_that_follow():
    for seed in range(20):
        torch.manual_seed(seed)
        groups = [0] * 3 + [1] * 4
        batches = GroupedBatchSampler(RandomSampler(range(7), num_samples=5), groups, 2)
        length = len(batches)
        assert length == len(list(batches)) == len(batches)


def test_length_asked_for_before_an_epoch_does_not_fix_its_order():
    sampler = DistributedSampler(range(30), 1, 0)
    asked, not_asked = (GroupedBatchSampler(sampler, [0] * 30, 4) for _ in range(2))
    sampler.set_epoch(0)
    assert len(asked) == 8
    sampler.set_epoch(1)
    assert list(asked) == list(not_asked)


def test_grouped_batches_refuse_what_is_no_sampler():
    with pytest.raises(ValueError, match="Sampler"):
        GroupedBatchSampler([0, 1], [0, 0], 2)


@pytest.mark.parametrize("count, processes", [(10, 3), (7, 2), (8, 4), (2, 5), (1, 3)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_shares_are_equal_and_cover_everything(count, processes, shuffle):
    shares = [
        list(DistributedSampler(range(count), processes, rank, shuffle))
        for rank in range(processes)
    ]
    size = -(-count // processes)  # rounded up
    assert [len(share) for share in shares] == [size] * processes
    drawn = list(itertools.chain(*shares))
    assert sorted(drawn[:count]) == list(range(count))
    assert drawn[count:] == [drawn[place % count] for place in range(count, len(drawn))]


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = DistributedSampler(range(50), 1, 0, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    torch.manual_seed(1)
    first = order(0, 0)
    torch.manual_seed(2)
    assert order(0, 0) == first
    assert order(0, 1) != first and order(1, 0) != first
    assert order(0, 1) != order(1, 0)


@pytest.mark.parametrize("start", range(0, 13))
def test_resumed_run_gets_the_batches_of_an_uninterrupted_one(start):
    # 7 images in batches of 2: 4 batches per epoch, 12 iterations are three epochs
    whole = list(IterationBasedBatchSampler(shuffled_batches(7, 2), 12))
    resumed = list(IterationBasedBatchSampler(shuffled_batches(7, 2), 12, start))
    assert len(whole) == 12
    assert resumed == whole[start:]


def test_iterations_go_through_the_data_again_and_again():
    batches = BatchSampler(SequentialSampler(range(3)), 2, False)
    iterations = IterationBasedBatchSampler(batches, 5)
    assert len(iterations) == 5
    assert list(iterations) == [[0, 1], [2], [0, 1], [2], [0, 1]]


def test_no_image_at_all_is_an_error_and_no_endless_loop():
    with pytest.raises(ValueError, match="empty"):
        next(iter(IterationBasedBatchSampler(BatchSampler(FixedSampler([]), 2, False), 3)))


def test_fewer_images_than_a_batch_still_train():
    assert [len(batch) for batch in IterationBasedBatchSampler(shuffled_batches(1, 8), 3)] == [
        1
    ] * 3


def seeded(start=0, position=0, seed=0):
    batches = IterationBasedBatchSampler(shuffled_batches(7, 2), 9, start)
    return list(SeededBatchSampler(batches, seed, position))


def test_seeds_differ_everywhere_and_survive_a_resume():
    whole = seeded()
    seeds = [sample_seed for batch in whole for _, sample_seed in batch]
    assert len(set(seeds)) == len(seeds)
    assert seeded(start=4) == whole[4:]
    assert seeded(seed=1)[0][0][1] != whole[0][0][1]
    # position 1 of the first process and position 0 of a process whose share begins at 1
    assert seeded(position=1)[0][0][1] == whole[0][1][1]


def test_sample_depends_on_its_seed_alone():
    samples = TrainingSamples(DrawingDataset())
    random.seed(1)
    torch.manual_seed(1)
    first = samples[3, 77]
    random.seed(2)
    torch.manual_seed(2)
    assert samples[3, 77] == first
    assert samples[3, 78] != first


def test_drawing_a_sample_leaves_the_process_generators_alone():
    python_state, torch_state = random.getstate(), torch.get_rng_state()
    TrainingSamples(DrawingDataset())[0, 5]
    assert random.getstate() == python_state
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_training_samples_stand_in_for_the_data_set():
    samples = pickle.loads(pickle.dumps(TrainingSamples(DrawingDataset())))
    assert len(samples) == 5 and samples.name == "drawing"
    assert not hasattr(samples, "get_img_info")
