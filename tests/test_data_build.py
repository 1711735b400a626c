import json
import random
import signal
import sys

import cv2
import numpy as np
import pytest
import torch
from made_data import make_coco_folder, make_dota_folder, rectangle
from torch.utils.data import Dataset

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.config import paths_catalog
from maskrcnn_benchmark.data import datasets as D
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.build import (
    _compute_aspect_ratios,
    _quantize,
    build_dataset,
    make_batch_data_sampler,
    make_data_sampler,
)
from maskrcnn_benchmark.data.collate_batch import BatchCollator, BBoxAugCollator


@pytest.fixture
def folder(tmp_path):
    """Five images, two of them tall, with one object each but for the last."""
    sizes = {"A": (60, 40), "B": (30, 50), "C": (64, 44), "D": (32, 48), "E": (50, 42)}
    images = {
        name: (width, height, [rectangle(5, 6, 17 + place, 20)] if name != "E" else [])
        for place, (name, (width, height)) in enumerate(sizes.items())
    }
    return make_dota_folder(tmp_path / "set", images)


def config(folder, tmp_path, *options):
    cfg = default_cfg.clone()
    name = f"dota:{folder}"
    base = {
        "DATASETS.TRAIN": (name,),
        "DATASETS.TEST": (name,),
        "DOTA.CLASSES": ("ship",),
        "MODEL.ROI_BOX_HEAD.NUM_CLASSES": 2,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": 7,
        "TEST.IMS_PER_BATCH": 2,
        "INPUT.MIN_SIZE_TRAIN": (32, 40, 48),
        "INPUT.MIN_SIZE_TEST": 40,
        "INPUT.VERTICAL_FLIP_PROB_TRAIN": 0.5,
        "INPUT.BRIGHTNESS": 0.5,
        "DATALOADER.NUM_WORKERS": 0,
        "OUTPUT_DIR": str(tmp_path / "out"),
    }
    base.update(zip(options[::2], options[1::2], strict=True))
    cfg.merge_from_list([part for pair in base.items() for part in pair])
    return cfg


def batches(loader):
    return [
        (images.tensors, [target.bbox for target in targets], list(ids))
        for images, targets, ids in loader
    ]


def assert_same(ours, others):
    assert [ids for _, _, ids in ours] == [ids for _, _, ids in others]
    for (pixels, boxes, _), (other_pixels, other_boxes, _) in zip(ours, others, strict=True):
        assert torch.equal(pixels, other_pixels)
        assert all(torch.equal(a, b) for a, b in zip(boxes, other_boxes, strict=True))


def test_training_lasts_max_iter_batches(folder, tmp_path):
    loader = make_data_loader(config(folder, tmp_path))
    drawn = batches(loader)
    assert len(loader) == len(drawn) == 7
    assert {index for _, _, ids in drawn for index in ids} == set(range(5))


@pytest.mark.parametrize("start", [1, 3, 6])
def test_resumed_training_sees_the_same_samples(folder, tmp_path, start):
    whole = batches(make_data_loader(config(folder, tmp_path)))
    random.seed(99)
    torch.manual_seed(99)
    assert_same(
        batches(make_data_loader(config(folder, tmp_path), start_iter=start)), whole[start:]
    )


def test_number_of_workers_changes_nothing(folder, tmp_path):
    alone = batches(make_data_loader(config(folder, tmp_path)))
    helped = config(folder, tmp_path, "DATALOADER.NUM_WORKERS", 2)
    assert_same(batches(make_data_loader(helped)), alone)


@pytest.fixture
def four_opencv_threads():
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    yield
    cv2.setNumThreads(before)


@pytest.fixture
def no_hanging():
    """End a test after a minute that waits for loading processes for ever."""

    def give_up(*_):
        raise TimeoutError("the loading process hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_workers_start_after_opencv_ran_on_several_threads(
    folder, tmp_path, four_opencv_threads, no_hanging
):
    # its thread pool does not survive a fork: workers that touched it waited for ever
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 5)
    loader = make_data_loader(config(folder, tmp_path, "DATALOADER.NUM_WORKERS", 1))
    assert len(batches(loader)) == 7


class OpenCVThreads(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return cv2.getNumThreads()


@pytest.mark.parametrize(("workers", "in_worker"), [(0, 4), (1, 1)])
def test_opencv_keeps_its_threads_in_this_process(
    folder, tmp_path, four_opencv_threads, no_hanging, workers, in_worker
):
    loader = make_data_loader(config(folder, tmp_path, "DATALOADER.NUM_WORKERS", workers))
    assert len(batches(loader)) == 7 and cv2.getNumThreads() == 4
    counts = type(loader)(OpenCVThreads(), num_workers=workers)
    assert [count.item() for count in counts] == [in_worker] and cv2.getNumThreads() == 4


@pytest.mark.parametrize(("device", "pins"), [("cuda", True), ("cuda:1", True), ("cpu", False)])
def test_memory_is_pinned_for_a_gpu_alone(folder, tmp_path, monkeypatch, device, pins):
    cfg = config(folder, tmp_path, "MODEL.DEVICE", device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not make_data_loader(cfg).pin_memory
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (for_test,) = make_data_loader(cfg, is_train=False)
    assert make_data_loader(cfg).pin_memory == for_test.pin_memory == pins


def test_seed_changes_order_and_augmentation(folder, tmp_path):
    drawn = batches(make_data_loader(config(folder, tmp_path)))
    other = batches(make_data_loader(config(folder, tmp_path, "SOLVER.SEED", 1)))
    assert [ids for _, _, ids in drawn] != [ids for _, _, ids in other]
    # the same image looks different each time
    looks = {
        round(pixels[place].sum().item(), 1)
        for pixels, _, ids in drawn
        for place, index in enumerate(ids)
        if index == 0
    }
    assert len(looks) > 1


def test_loading_does_not_move_the_process_generators(folder, tmp_path):
    python_state, torch_state = random.getstate(), torch.get_rng_state()
    batches(make_data_loader(config(folder, tmp_path)))
    assert random.getstate() == python_state
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_batches_hold_wide_or_tall_images(folder, tmp_path):
    for _, _, ids in batches(make_data_loader(config(folder, tmp_path))):
        assert set(ids) <= {1, 3} or set(ids) <= {0, 2, 4}


def test_two_processes_share_the_images(folder, tmp_path, monkeypatch):
    """Three batches of two an epoch over 5 images: each process gets 3, one image twice."""
    from maskrcnn_benchmark.data import build

    cfg = config(folder, tmp_path, "DATALOADER.ASPECT_RATIO_GROUPING", False)
    monkeypatch.setattr(build, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(build, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        shares.append(batches(make_data_loader(cfg, is_distributed=True)))
    assert [[len(ids) for _, _, ids in share] for share in shares] == [[1] * 7] * 2
    first_epoch = [ids[0] for share in shares for _, _, ids in share[:3]]
    assert set(first_epoch) == set(range(5))


def test_uneven_shares_in_evaluation(folder, tmp_path, monkeypatch):
    from maskrcnn_benchmark.data import build

    monkeypatch.setattr(build, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    evaluated = []
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        (loader,) = make_data_loader(config(folder, tmp_path), False, is_distributed=True)
        evaluated.append([index for _, _, ids in loader for index in ids])
    assert sorted(evaluated[0]) == [0, 1, 2]
    assert set(evaluated[0]) | set(evaluated[1]) == set(range(5))


def test_evaluation_gives_a_loader_for_each_set(folder, tmp_path):
    cfg = config(folder, tmp_path)
    cfg.DATASETS.TEST = cfg.DATASETS.TEST * 2
    loaders = make_data_loader(cfg, is_train=False)
    assert len(loaders) == 2
    for loader in loaders:
        assert sorted(index for _, _, ids in loader for index in ids) == list(range(5))
        assert isinstance(loader.dataset, D.DotaDataset)


def test_loader_for_a_period_is_one(folder, tmp_path):
    cfg = config(folder, tmp_path)
    loader = make_data_loader(cfg, is_train=False, is_for_period=True)
    assert len(loader.dataset) == 5
    cfg.DATASETS.TEST = cfg.DATASETS.TEST * 2
    assert len(make_data_loader(cfg, is_train=False, is_for_period=True).dataset) == 10


def test_several_training_sets_are_one(folder, tmp_path):
    cfg = config(folder, tmp_path)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TRAIN * 2
    loader = make_data_loader(cfg)
    assert len(loader.dataset) == 10
    assert loader.dataset.get_img_info(6) == loader.dataset.get_img_info(1)


def test_fewer_images_than_a_batch(tmp_path):
    small = make_dota_folder(tmp_path / "small", {"A": (40, 30, [rectangle(2, 3, 9, 9)])})
    cfg = config(small, tmp_path, "SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 3)
    assert [ids for _, _, ids in batches(make_data_loader(cfg))] == [[0]] * 3


def test_class_names_are_written(folder, tmp_path):
    make_data_loader(config(folder, tmp_path))
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == {"1": "ship"}


def test_masks_are_loaded_where_the_model_has_a_mask_head(folder, tmp_path):
    for is_on in (False, True):
        loader = make_data_loader(config(folder, tmp_path, "MODEL.MASK_ON", is_on))
        _, targets, _ = next(iter(loader))
        assert targets[0].has_field("masks") == is_on


@pytest.mark.parametrize(
    "options, message",
    [
        pytest.param(
            ("MODEL.ROI_BOX_HEAD.NUM_CLASSES", 81),
            r"ROI_BOX_HEAD\.NUM_CLASSES is 81.* 1 classes \(DOTA\.CLASSES\): set it to 2",
            id="number of classes",
        ),
        pytest.param(
            ("DOTA.CLASSES", (), "DOTA.VERSION", 1.5),
            r"NUM_CLASSES is 2.* 16 classes \(DOTA\.VERSION 1\.5\): set it to 17",
            id="number of classes of a version",
        ),
        pytest.param(
            ("MODEL.RETINANET_ON", True),
            r"RETINANET\.NUM_CLASSES is 81",
            id="RetinaNet's number of classes",
        ),
        pytest.param(("DOTA.VERSION", 3.0, "DOTA.CLASSES", ()), "version.*3.0", id="version"),
        pytest.param(
            ("DOTA.CLASSES", ("boat",)), r"A\.txt:1: unknown class 'ship'", id="unknown class"
        ),
        pytest.param(("SOLVER.IMS_PER_BATCH", 0), "SOLVER.IMS_PER_BATCH", id="batch of none"),
        pytest.param(("DATASETS.TRAIN", ()), "DATASETS.TRAIN", id="no set"),
    ],
)
def test_wrong_settings(folder, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_data_loader(config(folder, tmp_path, *options))


@pytest.mark.parametrize("is_train, key", [(True, "SOLVER"), (False, "TEST")])
def test_batch_must_divide_among_the_processes(folder, tmp_path, monkeypatch, is_train, key):
    monkeypatch.setattr("maskrcnn_benchmark.data.build.get_world_size", lambda: 3)
    with pytest.raises(ValueError, match=f"{key}.IMS_PER_BATCH must be a multiple.*2 and 3"):
        make_data_loader(config(folder, tmp_path), is_train=is_train)


OLD_CATALOG = """
class DatasetCatalog(object):
    @staticmethod
    def get(name):
        if name == "my_coconut_voc":
            return dict(factory="DotaDataset", args=dict(folder={folder!r}))
        raise RuntimeError(name)
"""


def test_catalog_of_ones_own(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, paths_catalog.__name__, paths_catalog)  # put back later
    catalog = tmp_path / "my_catalog.py"
    catalog.write_text(OLD_CATALOG.format(folder=str(folder)))
    cfg = config(folder, tmp_path, "PATHS_CATALOG", str(catalog))
    # a name with paths needs no catalog; any other is asked for there
    assert len(make_data_loader(cfg).dataset) == 5
    cfg.DATASETS.TRAIN = ("my_coconut_voc",)
    assert len(make_data_loader(cfg).dataset) == 5
    cfg.DATASETS.TRAIN = ("coco_2014_train",)
    with pytest.raises(ValueError, match="coco_2014_train"):
        make_data_loader(cfg)


def test_coco_set_by_its_paths(tmp_path):
    annotations, images = make_coco_folder(
        tmp_path / "coco",
        {1: (60, 40), 2: (50, 40)},
        {3: "ship"},
        [{"image_id": 1, "category_id": 3, "bbox": [5, 6, 20, 10]}],
    )
    cfg = config(tmp_path, tmp_path, "DATASETS.TRAIN", (f"coco:{annotations}:{images}",))
    loader = make_data_loader(cfg)
    assert len(loader.dataset) == 1  # an image without annotations is left out of training
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN
    assert len(make_data_loader(cfg, is_train=False)[0].dataset) == 2


class Catalog:
    """A catalog whose factory is a class."""

    @staticmethod
    def get(name):
        return {"factory": D.ListDataset, "args": {"image_lists": [name]}}


def test_factory_may_be_a_class():
    (dataset,) = build_dataset(["a.png"], None, Catalog, is_train=True)
    assert isinstance(dataset, D.ListDataset) and len(dataset) == 1


def test_unknown_factory_is_named(tmp_path):
    class Strange:
        @staticmethod
        def get(name):
            return {"factory": "NoSuchDataset", "args": {}}

    with pytest.raises(ValueError, match='"x" needs NoSuchDataset'):
        build_dataset(["x"], None, Strange)


def test_images_for_test_time_augmentation_stay_images(folder, tmp_path):
    cfg = config(folder, tmp_path, "TEST.BBOX_AUG.ENABLED", True)
    (loader,) = make_data_loader(cfg, is_train=False)
    assert isinstance(loader.collate_fn, BBoxAugCollator)
    images, targets, ids = next(iter(loader))
    assert isinstance(images[0], np.ndarray) and images[0].dtype == np.uint8
    assert len(images) == len(targets) == len(ids) == 2


def test_collator_pads_to_a_multiple():
    batch = [(torch.ones(3, 20, 33), "a", 4), (torch.ones(3, 31, 10), "b", 2)]
    images, targets, ids = BatchCollator(32)(batch)
    assert images.tensors.shape == (2, 3, 32, 64)
    assert images.tensors.sum() == 3 * (20 * 33 + 31 * 10)
    assert [tuple(size) for size in images.image_sizes] == [(20, 33), (31, 10)]
    assert targets == ["a", "b"] and ids == [4, 2]


def test_groups_by_aspect_ratio():
    assert _quantize([0.5, 1.0, 1.5, 3.0], [2, 1]) == [0, 1, 1, 2]

    class Sizes(list):
        def get_img_info(self, index):
            return {"width": self[index][0], "height": self[index][1]}

    sizes = Sizes([(10, 20), (40, 20), (10, 30)])
    assert _compute_aspect_ratios(sizes) == [2.0, 0.5, 3.0]
    sampler = make_data_sampler(sizes, shuffle=False, distributed=False)
    assert list(make_batch_data_sampler(sizes, sampler, [1], 2)) == [[0, 2], [1]]
    assert list(make_batch_data_sampler(sizes, sampler, 1, 2)) == [[0, 2], [1]]
    assert list(make_batch_data_sampler(sizes, sampler, [], 2)) == [[0, 1], [2]]
    assert list(make_batch_data_sampler(sizes, sampler, [], 2, 3)) == [[0, 1], [2], [0, 1]]
