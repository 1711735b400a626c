"""Evaluation by DOTA's rules: tiles merged, files written, figures by hand."""

import json

import numpy as np
import pytest
import torch
from made_data import boxlist, make_dota_folder, rectangle

from maskrcnn_benchmark.data.datasets import DotaDataset
from maskrcnn_benchmark.data.datasets.evaluation import evaluate
from maskrcnn_benchmark.dota.annotations import DotaObject

CLASSES = ("plane", "ship")
OPTIONS = dict(box_only=False, expected_results=(), expected_results_sigma_tol=4)
FIGURES = ["voc07@0.5", "area@0.5", "area@0.75", "area@0.50:0.95"]
# a square on its tip: 14 to each side of (100, 60)
DIAMOND = DotaObject(np.array([[100.0, 46], [114, 60], [100, 74], [86, 60]]), "plane")
OBJECTS = [
    rectangle(10, 5, 20, 15),
    rectangle(50, 30, 62, 40),  # in several tiles of 64 with overlap 32
    rectangle(80, 10, 92, 20, "ship", 1),
    DIAMOND,
]


def make_folder(folder):
    return make_dota_folder(folder, {"A": (130, 90, OBJECTS), "B": (40, 30, [])})


@pytest.fixture
def dataset(tmp_path):
    return DotaDataset(str(make_folder(tmp_path / "set")), CLASSES, tile=64, overlap=32)


def outline_mask(corners, box_xyxy, side=28):
    """Say for each cell of a grid over the box whether its centre lies inside a convex outline."""
    steps = (np.arange(side) + 0.5) / side
    x = box_xyxy[0] + steps * (box_xyxy[2] + 1 - box_xyxy[0])
    y = box_xyxy[1] + steps * (box_xyxy[3] + 1 - box_xyxy[1])
    grid = np.stack(np.meshgrid(x, y), axis=-1)  # [side, side, 2]
    edges = np.roll(corners, -1, axis=0) - corners
    away = grid[:, :, None] - corners  # [side, side, 4, 2]
    turn = edges[:, 0] * away[..., 1] - edges[:, 1] * away[..., 0]
    return ((turn >= 0).all(axis=-1) | (turn <= 0).all(axis=-1)).astype(np.float32)


def truth_as_predictions(dataset, scale=2, with_masks=False):
    """Return what each sample shows, fragments left out, as detections on the scaled sample."""
    predictions = []
    for index in range(len(dataset)):
        target = dataset.get_groundtruth(index)
        target = target[target.get_field("difficult") != 2]
        found = boxlist(
            target.bbox,
            target.size,
            labels=target.get_field("labels"),
            scores=torch.linspace(0.9, 0.5, len(target)),
        )
        found = found.resize((target.size[0] * scale, target.size[1] * scale))
        if with_masks:
            shown = dataset._labels[index]
            corners = shown.corners[shown.difficult != 2]
            masks = [outline_mask(c, b) for c, b in zip(corners, target.bbox.tolist(), strict=True)]
            stacked = torch.tensor(np.array(masks, dtype=np.float32)).reshape(-1, 1, 28, 28)
            found.add_field("mask", stacked)
        predictions.append(found)
    return predictions


def nothing_found(dataset):
    fields = dict(labels=torch.zeros(0, dtype=torch.int64), scores=torch.zeros(0))
    sizes = [(sample.width, sample.height) for sample in dataset.samples]
    return [boxlist([], size, **fields) for size in sizes]


def test_prediction_comes_to_the_pixels_of_the_image(dataset):
    index = [(s.x0, s.y0) for s in dataset.samples].index((66, 26))
    fields = dict(labels=torch.tensor([2]), scores=torch.tensor([0.75]))
    found = dataset.reduce_prediction(index, boxlist([[20, 10, 60, 40]], (128, 128), **fields))
    # halved, then moved by (66, 26)
    assert found.boxes_xyxy.tolist() == [[76, 31, 96, 46]]
    assert found.labels.tolist() == [2] and found.scores.tolist() == [0.75]
    assert found.corners is None


def test_small_masks_become_corners(dataset):
    index = [(s.x0, s.y0) for s in dataset.samples].index((66, 26))
    fields = dict(labels=torch.tensor([1]), scores=torch.tensor([0.75]))
    target = dataset.get_groundtruth(index)
    diamond = target.bbox[-1].tolist()
    found = boxlist([diamond], (64, 64), **fields)
    corners = DIAMOND.corners - (66, 26)
    found.add_field("mask", torch.tensor(outline_mask(corners, diamond))[None, None])
    found = dataset.reduce_prediction(index, found.resize((192, 192)))
    distances = np.linalg.norm(found.corners[0][:, None] - DIAMOND.corners, axis=-1)
    assert distances.min(axis=1).max() < 1.5  # each corner is near one of the diamond's
    assert sorted(distances.argmin(axis=1)) == [0, 1, 2, 3]


@pytest.mark.parametrize("with_masks", [False, True])
def test_truth_given_back_through_tiles_scores_1(dataset, tmp_path, with_masks):
    predictions = truth_as_predictions(dataset, with_masks=with_masks)
    kinds = ("bbox", "segm") if with_masks else ("bbox",)
    out = tmp_path / "out"
    out.mkdir()
    metrics = evaluate(dataset, predictions, str(out), iou_types=kinds, **OPTIONS)
    assert list(metrics) == (["task2", "task1"] if with_masks else ["task2"])
    for task in metrics:
        assert list(metrics[task]) == FIGURES
        for figure in FIGURES:
            entry = metrics[task][figure]
            # corners of masks are a pixel's fraction off: 0.95 is more than they reach
            least = 0.95 if task == "task1" and figure == "area@0.50:0.95" else 1.0
            assert entry["mAP"] == pytest.approx(least), (task, figure)
            # the difficult ship counts for nothing, though it was found
            ship = entry["classes"]["ship"]
            assert (ship["npos"], ship["ndet"]) == (2, 3)
            assert ship.get("tp", 2) == 2  # the mean over thresholds has none
    assert json.loads((out / "metrics.json").read_text()) == metrics
    table = (out / "ap_table.txt").read_text()
    assert "task2: AP of upright boxes" in table and ("task1" in table) == with_masks
    ship_line = next(line for line in table.splitlines() if line.startswith("ship"))
    name, *precisions, npos, ndet = ship_line.split()
    assert (name, precisions[:3], npos, ndet) == ("ship", ["1.0000"] * 3, "2", "3")
    assert len(precisions) == 4
    assert len(list(out.glob("Task1_*.txt"))) == (2 if with_masks else 0)
    report = json.loads((out / "report.json").read_text())
    task = "task1" if with_masks else "task2"
    assert report["task"] == int(task[-1]) and (out / "report.html").is_file()
    for figure in FIGURES:
        assert report["ap"][figure]["mAP"] == metrics[task][figure]["mAP"]
    assert sum(entry["objects"] for entry in report["strata"]["seam"]) == report["objects"] == 3


def test_report_draws_an_image_of_a_split_folder_from_its_tiles(tmp_path):
    folder, whole = split_folder(tmp_path)
    make_dota_folder(folder, {"P1": (100, 64, [whole])}, "labelTxt-original")
    (folder / "images" / "P1.png").unlink()
    (folder / "tiles.json").write_text("{}")
    dataset = DotaDataset(str(folder), CLASSES)
    evaluate(dataset, nothing_found(dataset), str(tmp_path), **OPTIONS)
    text = (tmp_path / "report.html").read_text()
    # the ship's middle, x = 49, is nearer to the left tile's middle, x = 32, than to x = 68
    assert text.count("<img") == 2 and "from column 0, row 0" in text
    strata = json.loads((tmp_path / "report.json").read_text())["strata"]["seam"]
    assert [entry["objects"] for entry in strata] == [0, 0, 1, 0]  # 4 px right of x = 36


def test_result_files_hold_whole_images(dataset, tmp_path):
    evaluate(dataset, truth_as_predictions(dataset), str(tmp_path), **OPTIONS)
    lines = (tmp_path / "Task2_plane.txt").read_text().splitlines()
    assert len(lines) == 1  # found in several tiles, kept once
    name, _, *box = lines[0].split()
    assert name == "A" and [float(value) for value in box] == [86, 46, 114, 74]
    assert len((tmp_path / "Task2_ship.txt").read_text().splitlines()) == 3


def test_converted_and_plain_predictions_give_the_same(dataset):
    plain = truth_as_predictions(dataset, with_masks=True)
    converted = [dataset.reduce_prediction(index, found) for index, found in enumerate(plain)]
    assert evaluate(dataset, converted, None, **OPTIONS) == evaluate(
        dataset, plain, None, **OPTIONS
    )


def test_average_precision_by_hand(dataset):
    """Of two ships one is found, after a false one: precision 1/2 up to recall 1/2."""
    predictions = nothing_found(dataset)
    fields = dict(labels=torch.tensor([2, 2]), scores=torch.tensor([0.5, 0.9]))
    predictions[0] = boxlist([[10, 5, 19, 14], [40, 50, 50, 60]], (64, 64), **fields)
    metrics = evaluate(dataset, predictions, None, **OPTIONS)["task2"]
    # recalls 0 … 0.5 give 1/2; planes are not found at all
    assert metrics["voc07@0.5"]["classes"]["ship"]["ap"] == pytest.approx(6 / 11 / 2)
    assert metrics["area@0.5"]["classes"]["ship"]["ap"] == pytest.approx(1 / 4)
    assert metrics["area@0.5"]["mAP"] == pytest.approx(1 / 8)


@pytest.mark.parametrize("kinds", [("bbox",), ("bbox", "segm")])
def test_no_detection_at_all(dataset, tmp_path, kinds):
    metrics = evaluate(dataset, nothing_found(dataset), str(tmp_path), iou_types=kinds, **OPTIONS)
    assert list(metrics) == (["task2", "task1"] if "segm" in kinds else ["task2"])
    for task in metrics.values():
        assert [figure["mAP"] for figure in task.values()] == [0.0] * len(FIGURES)
    assert (tmp_path / "Task2_plane.txt").read_text() == ""


def test_some_tiles_without_masks(dataset):
    """A tile without detections may come without the field that the others have."""
    predictions = truth_as_predictions(dataset, with_masks=True)
    empty = [index for index, found in enumerate(predictions) if not len(found)]
    assert empty
    for index in empty:
        predictions[index] = nothing_found(dataset)[index]
    metrics = evaluate(dataset, predictions, None, iou_types=("bbox", "segm"), **OPTIONS)
    assert metrics["task1"]["area@0.5"]["mAP"] == pytest.approx(1.0)


def split_folder(tmp_path):
    """Two tiles of an image of 100 x 64 and its own label, as `tools/dota.py split` lays them out.

    The ship lies in both tiles.
    """
    whole, moved = rectangle(40, 20, 58, 30), rectangle(40 - 36, 20, 58 - 36, 30)
    tiles = {"P1__1__0___0": (64, 64, [whole]), "P1__1__36___0": (64, 64, [moved])}
    folder = make_dota_folder(tmp_path / "split", tiles)
    return make_dota_folder(folder, {}), whole


def test_split_folder_is_evaluated_on_whole_images(tmp_path):
    folder, whole = split_folder(tmp_path)
    make_dota_folder(folder, {"P1": (100, 64, [whole])}, "labelTxt-original")
    (folder / "images" / "P1.png").unlink()
    (folder / "tiles.json").write_text("{}")
    dataset = DotaDataset(str(folder), CLASSES)
    metrics = evaluate(dataset, truth_as_predictions(dataset), str(tmp_path), **OPTIONS)
    assert metrics["task2"]["area@0.75"]["classes"]["ship"] == {
        "ap": 1.0,
        "npos": 1,
        "tp": 1,
        "ndet": 1,
    }
    assert (tmp_path / "Task2_ship.txt").read_text().startswith("P1 ")


def test_tiles_without_their_list_are_evaluated_one_by_one(tmp_path, caplog):
    folder, _ = split_folder(tmp_path)
    dataset = DotaDataset(str(folder), CLASSES)
    metrics = evaluate(dataset, truth_as_predictions(dataset), str(tmp_path), **OPTIONS)
    assert metrics["task2"]["area@0.75"]["classes"]["ship"]["npos"] == 2
    assert (tmp_path / "Task2_ship.txt").read_text().count("P1__1__36___0") == 1
    assert "each tile is evaluated as an image" in caplog.text


def test_split_folder_without_the_images_labels(tmp_path):
    folder, _ = split_folder(tmp_path)
    (folder / "tiles.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="labelTxt-original/P1.txt.*delete tiles.json"):
        DotaDataset(str(folder), CLASSES)  # before an hour of predictions


def test_folder_without_labels_gets_result_files_only(dataset, tmp_path, caplog):
    predictions = truth_as_predictions(dataset)
    for file in (dataset.folder / "labelTxt").iterdir():
        file.unlink()
    (dataset.folder / "labelTxt").rmdir()
    unlabelled = DotaDataset(str(dataset.folder), CLASSES, tile=64, overlap=32)
    assert evaluate(unlabelled, predictions, str(tmp_path), **OPTIONS) == {}
    assert (tmp_path / "Task2_ship.txt").is_file() and not (tmp_path / "metrics.json").exists()
    assert "not evaluated" in caplog.text


def test_what_cannot_be_evaluated(dataset):
    predictions = truth_as_predictions(dataset, with_masks=True)
    with pytest.raises(ValueError, match="a prediction for each of 9 samples, got 8"):
        evaluate(dataset, predictions[:-1], None, **OPTIONS)
    with pytest.raises(ValueError, match="RPN_ONLY"):
        evaluate(dataset, predictions, None, **{**OPTIONS, "box_only": True})
    pasted = torch.zeros(len(predictions[0]), 1, 128, 128, dtype=torch.bool)
    predictions[0].add_field("mask", pasted)
    with pytest.raises(ValueError, match="POSTPROCESS_MASKS to False"):
        evaluate(dataset, predictions, None, **OPTIONS)


@pytest.mark.parametrize(
    "name, options",
    [
        # upright boxes of parked lorries overlap by more than 0.5: merge only what is the same
        pytest.param("dota", dict(tile=0, overlap=0, nms_hbb=0.999), id="whole images"),
        pytest.param("airplanes/val", dict(tile=400, overlap=200), id="tiles"),
    ],
)
def test_real_truth_given_back_scores_1(shared_data, name, options):
    folder = shared_data / name
    lines = [line.split() for f in folder.glob("labelTxt/*.txt") for line in f.open()]
    classes = sorted({fields[8] for fields in lines if len(fields) > 8})
    dataset = DotaDataset(str(folder), classes, **options)
    metrics = evaluate(dataset, truth_as_predictions(dataset), None, **OPTIONS)
    assert metrics["task2"]["voc07@0.5"]["mAP"] == pytest.approx(1.0)
    assert metrics["task2"]["area@0.5"]["mAP"] == pytest.approx(1.0)
