"""Checkpoints: resuming, starting from weights, and what DetectronCheckpointer adds."""

import logging
import os
import pickle
import sys

import numpy as np
import pytest
import torch
from small_training import same, train, training
from torch import nn

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.config import paths_catalog
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.utils import checkpoint, model_zoo
from maskrcnn_benchmark.utils.checkpoint import Checkpointer, DetectronCheckpointer

# --- resuming and starting


def test_resumed_training_continues_to_the_last_bit(tmp_path):
    model, optimizer, scheduler, checkpointer = training(tmp_path)
    train(model, optimizer, scheduler, 4)
    checkpointer.save("model_0000004", iteration=4, rng=[torch.arange(3), 7])
    train(model, optimizer, scheduler, 3)

    again, optimizer, scheduler, checkpointer = training(tmp_path, seed=1)
    extra = checkpointer.load("unused.pth")
    assert checkpointer.resumed
    assert extra["iteration"] == 4 and extra["rng"][0].tolist() == [0, 1, 2]
    assert set(extra) == {"iteration", "rng"}
    train(again, optimizer, scheduler, 3)
    assert same(model, again)
    assert scheduler.last_epoch == 7


def test_weights_from_elsewhere_start_at_the_beginning(tmp_path, caplog):
    model, optimizer, scheduler, checkpointer = training(tmp_path / "old")
    (tmp_path / "old").mkdir()
    train(model, optimizer, scheduler, 2)
    checkpointer.save("model_final", iteration=2)

    tuned, optimizer, scheduler, checkpointer = training(tmp_path / "new", seed=1)
    weights = str(tmp_path / "old" / "model_final.pth")
    with caplog.at_level(logging.INFO):
        assert checkpointer.load(weights) == {}
    assert f"Starting from the weights of {weights}" in caplog.text
    assert not checkpointer.resumed and same(model, tuned)
    assert scheduler.last_epoch == 0 and not optimizer.state


def test_fault_last_checkpoint_silently_turns_fine_tuning_into_resuming(tmp_path, caplog):
    model, _, _, checkpointer = training(tmp_path)
    checkpointer.save("model_0000002", iteration=2)
    torch.save(training(seed=5)[0].state_dict(), tmp_path / "pretrained.pth")
    again, _, _, checkpointer = training(tmp_path, seed=1)
    with caplog.at_level(logging.INFO):
        extra = checkpointer.load(str(tmp_path / "pretrained.pth"))
    assert extra == {"iteration": 2} and checkpointer.resumed and same(model, again)
    assert f"Resuming from {tmp_path / 'model_0000002.pth'}" in caplog.text
    assert "pretrained.pth is not read, for" in caplog.text
    assert "take another OUTPUT_DIR" in caplog.text


def test_a_named_file_is_taken_although_there_is_a_last_one(tmp_path):
    model, _, _, checkpointer = training(tmp_path)
    checkpointer.save("model_0000001", iteration=1)
    later = training(tmp_path, seed=1)[3]
    later.save("model_0000002", iteration=2)
    tested, _, _, checkpointer = training(tmp_path, seed=2)
    assert checkpointer.load(str(tmp_path / "model_0000001.pth"), use_latest=False) == {}
    assert same(model, tested) and not checkpointer.resumed


def test_nothing_to_load(tmp_path, caplog):
    checkpointer = training(tmp_path)[3]
    with caplog.at_level(logging.INFO):
        assert checkpointer.load() == {}
    assert "initial weights" in caplog.text
    assert not checkpointer.has_checkpoint() and checkpointer.get_checkpoint_file() == ""


def test_only_the_writing_process_with_a_folder_writes(tmp_path):
    model = nn.Linear(2, 2)
    Checkpointer(model, save_dir=str(tmp_path), save_to_disk=False).save("model")
    Checkpointer(model, save_dir="", save_to_disk=True).save("model")
    assert list(tmp_path.iterdir()) == []


# --- resuming under other settings


def _detector_training(folder, *options):
    """Two layers trained as train_net trains, as (model, optimizer, scheduler, checkpointer)."""
    cfg = global_cfg.clone()
    cfg.merge_from_list(["SOLVER.STEPS", (3, 5), "SOLVER.WARMUP_ITERS", 2, *options])
    model = training()[0]
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    checkpointer = DetectronCheckpointer(cfg, model, optimizer, scheduler, str(folder), True)
    return model, optimizer, scheduler, checkpointer


def test_fault_resuming_ignored_changed_settings(tmp_path, caplog):
    *parts, checkpointer = _detector_training(tmp_path)
    train(*parts, 4)
    checkpointer.save("model_0000004", iteration=4, rng=[7])
    saved = torch.load(tmp_path / "model_0000004.pth")
    changed = [
        *("SOLVER.BASE_LR", 0.02, "SOLVER.BIAS_LR_FACTOR", 3, "SOLVER.STEPS", (4, 7)),
        *("SOLVER.GAMMA", 0.5, "SOLVER.MOMENTUM", 0.8, "SOLVER.WEIGHT_DECAY", 0.001),
        *("INPUT.MIN_SIZE_TRAIN", (600,), "OUTPUT_DIR", "elsewhere", "MODEL.WEIGHT", "a.pth"),
        *("SOLVER.CLIP_GRADIENT", 35.0),
    ]
    model, optimizer, scheduler, checkpointer = _detector_training(tmp_path, *changed)
    with caplog.at_level(logging.INFO):
        assert checkpointer.load() == {"iteration": 4, "rng": [7]}
    groups = optimizer.param_groups
    # weight and bias of each layer at iteration 4, which is a step: 0.02 * 0.5, 0.02 * 3 * 0.5
    assert [group["lr"] for group in groups] == pytest.approx([0.01, 0.03, 0.01, 0.03])
    assert [group["weight_decay"] for group in groups] == [0.001, 0, 0.001, 0]
    assert {group["momentum"] for group in groups} == {0.8}
    for number, parameter in enumerate(model.parameters()):
        momentum = saved["optimizer"]["state"][number]["momentum_buffer"]
        assert torch.equal(optimizer.state[parameter]["momentum_buffer"], momentum)
    (line,) = [r.getMessage() for r in caplog.records if "setting(s) differ" in r.getMessage()]
    assert line.startswith("8 setting(s) differ from the checkpoint's run")
    assert sorted(line.split("count: ")[1].split("; ")) == [
        "INPUT.MIN_SIZE_TRAIN: (800,) -> (600,)",
        "SOLVER.BASE_LR: 0.001 -> 0.02",
        "SOLVER.BIAS_LR_FACTOR: 2 -> 3",
        "SOLVER.CLIP_GRADIENT: 0.0 -> 35.0",
        "SOLVER.GAMMA: 0.1 -> 0.5",
        "SOLVER.MOMENTUM: 0.9 -> 0.8",
        "SOLVER.STEPS: (3, 5) -> (4, 7)",
        "SOLVER.WEIGHT_DECAY: 0.0005 -> 0.001",
    ]
    train(model, optimizer, scheduler, 3)
    assert groups[0]["lr"] == pytest.approx(0.005)  # iteration 7, the second step


def test_the_same_settings_resume_to_the_last_bit_and_list_nothing(tmp_path, caplog):
    *parts, checkpointer = _detector_training(tmp_path)
    train(*parts, 4)
    checkpointer.save("model_0000004", iteration=4)
    train(*parts, 3)
    *again, checkpointer = _detector_training(tmp_path)
    with caplog.at_level(logging.INFO):
        checkpointer.load()
    assert "setting(s) differ" not in caplog.text
    train(*again, 3)
    assert same(parts[0], again[0])


def test_another_seed_takes_its_own_random_draws(tmp_path):
    _detector_training(tmp_path)[3].save("model_0000004", iteration=4, rng=[7])
    assert _detector_training(tmp_path, "SOLVER.SEED", 5)[3].load() == {"iteration": 4}


def test_evaluation_of_a_checkpoint_lists_no_changes(tmp_path, caplog):
    _detector_training(tmp_path)[3].save("model_0000004", iteration=4)
    cfg = global_cfg.clone()
    cfg.merge_from_list(["OUTPUT_DIR", str(tmp_path), "SOLVER.BASE_LR", 0.5])
    with caplog.at_level(logging.INFO):
        checkpoint.load_trained(cfg, training(seed=1)[0], "", use_latest=True)
    assert "Resuming from" in caplog.text and "setting(s) differ" not in caplog.text


def test_training_that_the_original_began_goes_on_to_the_last_bit(tmp_path):
    """Its files are of PyTorch 1.0 to 1.4: names of parameters by `id`, fewer keys than today."""
    model, optimizer, scheduler, _ = training()
    train(model, optimizer, scheduler, 4)
    now, ids = optimizer.state_dict(), {number: 1400 + number for number in range(4)}
    kept = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
    content = {
        "model": {f"module.{k}": v.clone() for k, v in model.state_dict().items()},
        "optimizer": {
            "state": {
                ids[number]: {"momentum_buffer": state["momentum_buffer"].clone()}
                for number, state in now["state"].items()
            },
            "param_groups": [
                {k: group[k] for k in kept} | {"params": [ids[n] for n in group["params"]]}
                for group in now["param_groups"]
            ],
        },
        "scheduler": {k: v for k, v in vars(scheduler).items() if k in _OLD_SCHEDULER},
        "iteration": 4,
    }
    torch.save(content, tmp_path / "model_0000004.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "last_checkpoint").write_text("/trained/elsewhere/model_0000004.pth")
    train(model, optimizer, scheduler, 3)

    again, optimizer, scheduler, checkpointer = training(tmp_path, seed=1)
    assert checkpointer.load() == {"iteration": 4} and checkpointer.resumed
    train(again, optimizer, scheduler, 3)
    assert same(model, again) and scheduler.last_epoch == 7


_OLD_SCHEDULER = {
    *("milestones", "gamma", "warmup_factor", "warmup_iters", "warmup_method"),
    *("base_lrs", "last_epoch"),
}


def test_a_run_of_the_original_resumes_under_other_settings(tmp_path, caplog):
    """Its checkpoints record no settings; the solver's are read from the states."""
    *parts, checkpointer = _detector_training(tmp_path)
    train(*parts, 4)
    checkpointer.save("model_0000004", iteration=4)
    saved = torch.load(tmp_path / "model_0000004.pth")
    del saved["settings"], saved["channel_order"]
    saved["scheduler"] = {k: v for k, v in saved["scheduler"].items() if k in _OLD_SCHEDULER}
    torch.save(saved, tmp_path / "model_0000004.pth")
    for options, told in (
        ([], None),
        (
            ["SOLVER.BASE_LR", 0.02, "SOLVER.WARMUP_METHOD", "constant", "SOLVER.STEPS", (9,)],
            "3 setting(s) differ from the checkpoint's run, and those of now count: "
            "SOLVER.BASE_LR and BASE_LR * BIAS_LR_FACTOR: (0.001, 0.002) -> (0.02, 0.04); "
            "SOLVER.STEPS: (3, 5) -> (9,); SOLVER.WARMUP_METHOD: 'linear' -> 'constant'",
        ),
        (
            ["SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.MOMENTUM", 0.5],
            "2 setting(s) differ from the checkpoint's run, and those of now count: "
            "SOLVER.MOMENTUM: 0.9 -> 0.5; "
            "SOLVER.WEIGHT_DECAY and WEIGHT_DECAY_BIAS: (0.0005, 0) -> (0.1, 0)",
        ),
    ):
        caplog.clear()
        _, optimizer, _, checkpointer = _detector_training(tmp_path, *options)
        with caplog.at_level(logging.INFO):
            assert checkpointer.load() == {"iteration": 4}
        lines = [r.getMessage() for r in caplog.records if "setting(s) differ" in r.getMessage()]
        assert lines == ([told] if told else [])
        rate = 0.02 if "SOLVER.BASE_LR" in options else 0.001 * 0.1
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


# --- last_checkpoint


def test_a_moved_folder_resumes_from_its_own_file(tmp_path):
    (tmp_path / "run").mkdir()
    model, _, _, checkpointer = training(tmp_path / "run")
    checkpointer.save("model_0000001", iteration=1)
    (tmp_path / "run").rename(tmp_path / "moved")
    again, _, _, checkpointer = training(tmp_path / "moved", seed=1)
    assert checkpointer.load()["iteration"] == 1 and same(model, again)


def test_a_relative_path_is_kept_as_in_the_original(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training(".")[3].save("model_0000001", iteration=1)
    assert (tmp_path / "last_checkpoint").read_text() == "./model_0000001.pth"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert training(tmp_path, seed=1)[3].load()["iteration"] == 1


def test_a_tag_that_leads_nowhere_says_what_to_do(tmp_path):
    checkpointer = training(tmp_path)[3]
    checkpointer.save("model_0000001")
    (tmp_path / "last_checkpoint").write_text("gone/model_0000002.pth")
    with pytest.raises(FileNotFoundError, match="names 'gone/model_0000002.pth'") as caught:
        checkpointer.load()
    assert f"Checkpoints in {tmp_path}: model_0000001.pth" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("config.yml", "config.yml is damaged or no checkpoint .its 9 bytes begin with b'SO'"),
        (
            "weights.pth",
            "last_checkpoint names .*weights.pth, which is no checkpoint of a training",
        ),
        ("inference", "last_checkpoint names .*inference', which is not there"),
        ("", "last_checkpoint names '', which is not there"),
        ("\udcff\0.pth", "last_checkpoint names .*, which is not there"),
    ],
    ids=["settings", "bare weights", "folder", "nothing", "no text"],
)
def test_fault_a_last_checkpoint_that_names_another_file(tmp_path, name, told):
    model, *_, checkpointer = training(tmp_path)
    (tmp_path / "config.yml").write_text("SOLVER: 1")
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pth")
    (tmp_path / "inference").mkdir()
    path = f"{tmp_path}/{name}" if name else ""
    (tmp_path / "last_checkpoint").write_bytes(os.fsencode(path))
    with pytest.raises((ValueError, FileNotFoundError), match=told) as caught:
        checkpointer.load()
    assert len(str(caught.value).splitlines()) == 1


# --- DetectronCheckpointer


def _detectron(folder, bgr=True):
    cfg = global_cfg.clone()
    cfg.INPUT.TO_BGR255 = bgr
    model = nn.Linear(2, 2)
    return model, DetectronCheckpointer(cfg, model, save_dir=str(folder), save_to_disk=True)


@pytest.mark.parametrize("bgr", [True, False], ids=["BGR", "RGB"])
def test_channel_order_is_recorded_and_another_one_refused(tmp_path, bgr):
    model, checkpointer = _detectron(tmp_path, bgr)
    checkpointer.save("model", iteration=1)
    order = {True: "BGR", False: "RGB"}[bgr]
    path = tmp_path / "model.pth"
    assert torch.load(path)["channel_order"] == order
    again, reader = _detectron(tmp_path, bgr)
    assert reader.load() == {"iteration": 1} and same(model, again)
    for folder, f in ((tmp_path, None), ("", str(path))):  # resuming, starting
        with pytest.raises(ValueError, match=f"was trained on {order}.*TO_BGR255 {bgr} "):
            _detectron(folder, not bgr)[1].load(f)


def test_files_without_a_channel_order_and_bare_weights_load(tmp_path):
    source = nn.Linear(2, 2)
    torch.save(source.state_dict(), tmp_path / "bare.pth")
    torch.save({"model": source.state_dict()}, tmp_path / "original.pth")
    for name in ("bare.pth", "original.pth"):
        model, checkpointer = _detectron("", bgr=False)
        assert checkpointer.load(str(tmp_path / name)) == {}
        assert same(source, model)


def test_catalog_names_and_urls_lead_to_detectron_pickles(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    body = build_backbone(global_cfg.clone()).body
    weight = np.full(tuple(body.stem.conv1.weight.shape), 0.5, np.float32)
    source = tmp_path / "R-50.pkl"
    source.write_bytes(pickle.dumps({"blobs": {"conv1_w": weight}}, 2))
    catalog = tmp_path / "catalog.py"
    catalog.write_text(
        "class ModelCatalog:\n"
        "    def get(name):\n"
        "        return {'ImageNetPretrained/MSRA/R-50': 'http://weights/R-50.pkl'}[name]\n"
    )
    monkeypatch.setattr(model_zoo, "cache_url", {"http://weights/R-50.pkl": str(source)}.get)
    cfg = global_cfg.clone()
    cfg.PATHS_CATALOG = str(catalog)
    monkeypatch.setitem(sys.modules, paths_catalog.__name__, paths_catalog)  # put back later
    checkpointer = DetectronCheckpointer(cfg, body)
    assert checkpointer.load("catalog://ImageNetPretrained/MSRA/R-50") == {}
    assert (body.stem.conv1.weight == 0.5).all()
