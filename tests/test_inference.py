"""Evaluation: which predictions are kept, their order, and their evaluation."""

import pytest
import torch
from made_data import boxlist, make_coco_folder
from torch import nn

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.engine import inference as inference_module
from maskrcnn_benchmark.engine.inference import (
    _gather_predictions,
    compute_on_dataset,
    inference,
    run_test,
)
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.utils.precision import autocast
from maskrcnn_benchmark.utils.timer import Timer

CPU = torch.device("cpu")


class Echo(nn.Module):
    """Predicts for each image one box whose score is the image's first pixel."""

    def forward(self, images):
        self.mode = (self.training, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
        return [
            boxlist([[3, 2, 9, 7]], (12, 9), scores=image[0, 0, :1], labels=torch.tensor([1]))
            for image in images.tensors
        ]


def batches(*ids):
    """One batch for each tuple of ids; image k is filled with k / 10."""
    for batch in ids:
        images = [torch.full((3, 9, 12), k / 10) for k in batch]
        yield to_image_list(images), [None] * len(batch), list(batch)


def test_every_prediction_is_kept_by_its_image():
    model, timer = Echo(), Timer()
    kept = compute_on_dataset(model, batches((4, 1), (0,)), CPU, bbox_aug=False, timer=timer)
    assert {k: round(p.get_field("scores").item(), 4) for k, p in kept.items()} == {
        4: 0.4,
        1: 0.1,
        0: 0.0,
    }
    assert model.mode == (False, False, False) and timer.calls == 2


def test_predictions_can_be_made_smaller_at_once_and_precision_lowered():
    model = Echo()
    kept = compute_on_dataset(
        *(model, batches((2,)), CPU, False),
        dtype="bfloat16",
        convert=lambda image_id, prediction: (image_id, len(prediction)),
    )
    assert kept == {2: (2, 1)} and model.mode == (False, False, True)


class Files(list):
    """A data set that knows nothing but its files."""

    def get_img_info(self, index):
        return {"file_name": self[index]}


def test_predictions_come_in_the_order_of_the_data_set():
    assert _gather_predictions({2: "c", 0: "a", 1: "b"}, Files(["x.png"] * 3)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("share", "dataset", "told"),
    [
        (
            {2: "c", 0: "a"},
            Files(["x.png", "y.png", "z.png"]),
            r"1 of 3 images have no prediction \(1: y.png\)\. The data loader must",
        ),
        (
            {3: "d"},
            Files(f"{number}.tif" for number in range(9)),
            r"8 of 9 .* \(0: 0.tif, 1: 1.tif, 2: 2.tif, 4: 4.tif, 5: 5.tif, …\)",
        ),
        ({1: "b"}, range(2), r"1 of 2 images have no prediction \(0\)"),
        (
            {0: "a", 7: "h", 9: "j"},
            range(1),
            r"^2 prediction\(s\) of no image of the set, such as 7\.",
        ),
        (
            {0: "a", 7: "h"},
            range(2),
            r"1 of 2 images have no prediction \(1\); 1 prediction\(s\) of no image .* such as 7\.",
        ),
    ],
    ids=["one", "many", "set without files", "another set's", "numbered otherwise"],
)
def test_fault_a_missing_prediction_shifted_all_later_ones(share, dataset, told):
    with pytest.raises(ValueError, match=told):
        _gather_predictions(share, dataset)


def test_coco_set_evaluated_and_written(tmp_path):
    annotations = [
        {"image_id": 7, "category_id": 5, "bbox": [3, 2, 7, 6]},
        {"image_id": 9, "category_id": 5, "bbox": [3, 2, 7, 6]},
    ]
    file, images = make_coco_folder(
        tmp_path / "coco", {7: (12, 9), 9: (12, 9)}, {5: "x"}, annotations
    )
    dataset = COCODataset(str(file), str(images))
    loader = _Loader(dataset, list(batches((1,), (0,))))
    results, _ = inference(Echo(), loader, "made", device="cpu", output_folder=str(tmp_path))
    # the box (3, 2) to (9, 7), ends included, is the ground truth's 7 x 6
    assert results.results["bbox"]["AP"] == pytest.approx(1.0)
    saved = torch.load(tmp_path / "predictions.pth", weights_only=False)
    assert [round(p.get_field("scores").item(), 4) for p in saved] == [0.0, 0.1]


class _Loader(list):
    def __init__(self, dataset, batches):
        super().__init__(batches)
        self.dataset = dataset


def test_run_test_goes_through_all_sets(tmp_path, monkeypatch):
    seen = []

    def fake_inference(model, loader, **options):
        seen.append((loader, options))
        return loader

    monkeypatch.setattr(inference_module, "inference", fake_inference)
    monkeypatch.setattr(inference_module, "make_data_loader", lambda *_, **__: ["first", "second"])
    cfg = default_cfg.clone()
    cfg.DATASETS.TEST = ("dota:/data/my val", "coco_2014_minival")
    cfg.OUTPUT_DIR, cfg.MODEL.MASK_ON, cfg.DTYPE = str(tmp_path), True, "bfloat16"
    results = run_test(cfg, Echo(), distributed=False)
    assert results == {"dota_data_my_val": "first", "coco_2014_minival": "second"}
    for (loader, options), folder in zip(seen, results, strict=True):
        assert options["output_folder"] == str(tmp_path / "inference" / folder), loader
        assert (tmp_path / "inference" / folder).is_dir()
        assert options["iou_types"] == ("bbox", "segm") and options["dtype"] == "bfloat16"
    run_test(cfg, Echo(), distributed=False, output_dir="")
    assert seen[-1][1]["output_folder"] is None


def test_fault_two_evaluations_wrote_to_one_folder(tmp_path, monkeypatch):
    """Refused before the work; without a folder for results there is nothing to mix."""
    began, asked = [], []

    def refuse(folder):
        asked.append(folder)
        raise OSError(f"{folder} is in use")

    monkeypatch.setattr(inference_module, "inference", lambda *_, **__: began.append(1))
    monkeypatch.setattr(inference_module, "make_data_loader", lambda *_, **__: ["first"])
    monkeypatch.setattr(inference_module, "lock_folder", refuse)
    cfg = default_cfg.clone()
    cfg.DATASETS.TEST, cfg.OUTPUT_DIR = ("coco_2014_minival",), str(tmp_path)
    with pytest.raises(OSError, match="inference is in use"):
        run_test(cfg, Echo(), distributed=False)
    assert asked == [str(tmp_path / "inference")] and not began
    run_test(cfg, Echo(), distributed=False, output_dir="")
    assert len(asked) == len(began) == 1


def test_retinanet_is_evaluated_by_boxes_though_the_settings_ask_for_masks():
    cfg = default_cfg.clone()
    cfg.MODEL.MASK_ON = True
    assert inference_module._iou_types(cfg) == ("bbox", "segm")
    cfg.MODEL.RETINANET_ON = True
    assert inference_module._iou_types(cfg) == ("bbox",)


def test_autocast_by_name():
    with autocast("float32", CPU):
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == torch.float32
    with autocast("bfloat16", CPU):
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == torch.bfloat16


class Reduced(Files):
    """A data set that says what is kept of a prediction."""

    def reduce_prediction(self, index, prediction):
        return self[index], len(prediction)


class Loader(list):
    """Batches with the data set that they are of."""

    def __init__(self, dataset):
        super().__init__(batches((0, 1)))
        self.dataset = dataset


@pytest.mark.parametrize("kind", [Files, Reduced])
def test_the_data_set_says_what_is_kept_of_a_prediction(monkeypatch, tmp_path, kind):
    def evaluate(predictions, **_):
        return predictions

    monkeypatch.setattr(inference_module, "evaluate", evaluate)
    dataset = kind(["x.png", "y.png"])
    kept = inference(Echo(), Loader(dataset), "mine", device="cpu", output_folder=str(tmp_path))
    if kind is Reduced:
        assert kept == [("x.png", 1), ("y.png", 1)]
    else:
        assert [len(prediction) for prediction in kept] == [1, 1]
    assert (tmp_path / "predictions.pth").is_file() == (kind is Files)
