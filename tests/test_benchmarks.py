"""Time and accuracy beside another: what is run, and the error where it does not run."""

import json

import pytest

from maskrcnn_benchmark.benchmarks import (
    beside_torchvision,
    merging,
    oriented,
    oriented_accuracy,
    side_by_side,
)
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.modeling.detector import build_detection_model

PASTING = [case for case in side_by_side.CASES if case[1] == "paste"]


def test_a_folder_without_the_package_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no folder maskrcnn_benchmark"):
        next(side_by_side.compare(tmp_path, repeats=1))


@pytest.mark.slow
def test_a_checkout_that_does_not_run_is_named_with_the_patch_that_mends_it(
    tmp_path, monkeypatch, capfd
):
    package = tmp_path / "maskrcnn_benchmark"
    package.mkdir()
    (package / "__init__.py").write_text("import a_module_that_is_gone\n")
    monkeypatch.setattr(side_by_side, "CASES", PASTING)
    with pytest.raises(ValueError, match=r"does not run.*apply_patches.py .* --only 6"):
        list(side_by_side.compare(tmp_path, repeats=1))
    assert "a_module_that_is_gone" in capfd.readouterr().err


@pytest.mark.slow
def test_a_checkout_beside_itself_gives_the_same_result(monkeypatch):
    monkeypatch.setattr(side_by_side, "CASES", PASTING)
    title, _, line = side_by_side.compare(side_by_side.ROOT, repeats=3)
    name, theirs, ours, ratio, _, same = line.rsplit(maxsplit=5)
    assert "3 steps" in title and name.startswith("pasting 100 masks") and same == "yes"
    # the columns are rounded; twice the same code is not ten times as fast as itself
    assert float(ratio) == pytest.approx(float(ours) / float(theirs), rel=0.1)
    assert 0.1 < float(ratio) < 10


@pytest.mark.slow
def test_settings_reach_our_process_alone(monkeypatch):
    steps = []

    class Worker(side_by_side.Worker):
        def __init__(self, *args):
            super().__init__(*args)
            steps.append(args[-1])

    monkeypatch.setattr(side_by_side, "CASES", PASTING)
    monkeypatch.setattr(side_by_side, "Worker", Worker)
    list(side_by_side.compare(side_by_side.ROOT, 1, ["MODEL.FOLD_BATCH_NORM", "True"]))
    assert steps == [(), ["MODEL.FOLD_BATCH_NORM", "True"]]


@pytest.mark.slow
def test_torchvision_beside_ours_trains_and_detects_the_same_kind_of_model(monkeypatch):
    built = []
    plain_steps = beside_torchvision._steps
    monkeypatch.setattr(
        beside_torchvision,
        "_steps",
        lambda model, lose, detect: (built.append(model), plain_steps(model, lose, detect))[1],
    )
    title, _, *rows = beside_torchvision.torchvision_table(1, 192, 128)
    assert "1 steps of each in turn" in title
    assert [row[:16].strip() for row in rows] == ["training step", "inference"]
    theirs, ours = (sum(p.numel() for p in m.parameters() if p.requires_grad) for m in built)
    # torchvision's body has the same convolutions trained, and none of its batch norms
    assert theirs == ours


def test_oriented_parts_beside_upright_ones(monkeypatch):
    small = {"SIDE": 128, "CHANNELS": 4, "ROIS": 6, "PROPOSALS": 9, "TRUTHS": 7, "DETECTIONS": 8}
    for name, value in small.items():
        monkeypatch.setattr(oriented, name, value)
    monkeypatch.setattr(oriented, "_steps", lambda training: (lambda: None, lambda: None))
    called = []
    monkeypatch.setattr(
        oriented, "_medians", lambda cases, _: [(called.append(case()), 3.0)[1] for case in cases]
    )
    title, _, *rows = oriented.oriented_table(repeats=1)
    assert "1 calls of each in turn" in title and len(rows) == 6
    assert all(row.split()[-3:] == ["3.000", "3.000", "1.00"] for row in rows)
    assert len(called) == 12
    assert rows[2].startswith("target assignment, 9 proposals, 7 objects")


def test_two_models_train_for_the_same_cpu_minutes_on_the_same_scenes(tmp_path, monkeypatch):
    trained = {}

    def run_tool(tool, run, settings, *options):
        value_of = dict(zip(settings[::2], settings[1::2], strict=True))
        if tool == "tools/test_net.py":
            figures = {name: {"mAP": len(run.name) / 100} for name in oriented_accuracy.FIGURES}
            found = run / "inference" / "set" / "metrics.json"
            found.parent.mkdir(parents=True)
            found.write_text(json.dumps({"task1": figures, "task2": figures}))
            return 0.0
        steps = trained.setdefault(run.name, [])
        before = steps[-1][0] if steps else 0
        steps.append((int(value_of["SOLVER.MAX_ITER"]), value_of["SOLVER.STEPS"]))
        return (steps[-1][0] - before) * (1.2 if value_of.get("MODEL.MASK_ON") else 0.6)

    monkeypatch.setattr(oriented_accuracy, "_run_tool", run_tool)
    monkeypatch.setattr(oriented_accuracy, "SCENES", {"train": (2, 1), "val": (1, 2)})
    _, _, *rows = oriented_accuracy.accuracy_table(4, tmp_path / "new")
    assert [row.split() for row in rows] == [  # 240 s at 0.6 s and 1.2 s per iteration
        ["Oriented", "R-CNN", "400", "4.00", *["0.140"] * 6],
        ["Mask", "R-CNN", "200", "4.00", *["0.100"] * 6],
    ]
    assert trained == {
        "Oriented_R-CNN": [(100, "()"), (400, "(288, 360)")],
        "Mask_R-CNN": [(100, "()"), (200, "(144, 180)")],
    }
    assert len(list((tmp_path / "new" / "train_tiles" / "images").iterdir())) == 12
    with pytest.raises(ValueError, match="new is there already"):
        next(oriented_accuracy.accuracy_table(4, tmp_path / "new"))


@pytest.mark.parametrize("name", oriented_accuracy.MODELS)
def test_the_compared_models_differ_in_how_they_find_oriented_boxes(name):
    cfg = load_config(oriented_accuracy.CONFIG, list(oriented_accuracy.MODELS[name]))
    heads = set(build_detection_model(cfg).roi_heads)
    assert heads == ({"box", "mask"} if name == "Mask R-CNN" else {"box"})
    assert cfg.MODEL.ORIENTED.METHOD == ("" if name == "Mask R-CNN" else "oriented_rcnn")


def test_the_rule_of_merging_brings_precision_where_neighbours_overlap():
    tables = {}
    for line in merging.merging_table(scenes=1, objects=300, seed=5):
        if "scenes" in line:
            rows = tables.setdefault(line.split(":")[0], {})
        elif "threshold" not in line:
            threshold, task, old, new = map(float, line.split())
            rows[threshold, task] = (old, new)
    drawn, parted = tables["1 scenes as drawn"], tables["1 scenes parted lengthwise"]
    assert set(drawn) == set(parted) == {(t, k) for t in (0.1, 0.3, 0.5) for k in (1, 2)}
    gains = {place: new - old for place, (old, new) in parted.items()}
    assert gains[0.3, 2] > 0.05 and gains[0.1, 2] > 0.1  # upright boxes of neighbours overlap
    assert all(abs(gains[threshold, 1]) < 0.01 for threshold in (0.1, 0.3, 0.5))
    assert all(new > 0.9 for new in (drawn[0.3, 1][1], parted[0.3, 1][1]))
