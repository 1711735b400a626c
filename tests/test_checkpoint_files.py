"""Checkpoints as files: written whole or not at all, damaged, and what may be in them."""

import argparse
import os
import pickle
import re
import resource
import subprocess
import sys
import zipfile
from contextlib import contextmanager

import pytest
import torch
from small_training import same, train, training
from torch import nn

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.utils.checkpoint import Checkpointer, DetectronCheckpointer

# --- whole or not at all

KILLED_IN_MID_WRITE = """
import os, signal, sys, torch
from torch import nn
from maskrcnn_benchmark.utils.checkpoint import Checkpointer
checkpointer = Checkpointer(nn.Linear(2, 2), save_dir=sys.argv[1], save_to_disk=True)
checkpointer.save("model_0000001", iteration=1)
def half_a_save(data, path):
    path.write_bytes(b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)
torch.save = half_a_save
checkpointer.save(sys.argv[2], iteration=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model_0000001", "model_0000002"])
def test_a_kill_in_mid_write_leaves_the_previous_checkpoint(tmp_path, name):
    arguments = [sys.executable, "-c", KILLED_IN_MID_WRITE, str(tmp_path), name]
    assert subprocess.run(arguments, check=False).returncode == -9
    assert len(list(tmp_path.glob(".*.part"))) == 1
    checkpointer = Checkpointer(nn.Linear(2, 2), save_dir=str(tmp_path), save_to_disk=True)
    assert checkpointer.load()["iteration"] == 1
    checkpointer.save("model_0000003", iteration=3)
    assert not list(tmp_path.glob(".*.part"))
    assert checkpointer.load()["iteration"] == 3


def test_an_error_in_mid_write_leaves_the_previous_checkpoint(tmp_path):
    checkpointer = training(tmp_path)[3]
    checkpointer.save("model", iteration=1)
    with pytest.raises((pickle.PicklingError, AttributeError)):  # the latter before Python 3.12
        checkpointer.save("model", iteration=2, bad=lambda: None)
    assert checkpointer.load()["iteration"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last_checkpoint", "model.pth"]


@contextmanager
def _small_files_only(limit: int):
    """Fail writes beyond `limit` bytes of a file, as a full disk or a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_fault_a_full_disk_is_not_told_with_the_files_name(tmp_path):
    model = nn.Linear(100, 100)
    checkpointer = Checkpointer(model, save_dir=str(tmp_path), save_to_disk=True)
    checkpointer.save("model_0000001", iteration=1)
    with _small_files_only(20_000), pytest.raises(OSError) as caught:
        checkpointer.save("model_0000002", iteration=2)
    assert f"{tmp_path}/model_0000002.pth cannot be written: is the disk full" in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last_checkpoint", "model_0000001.pth"]
    assert checkpointer.load()["iteration"] == 1


@pytest.mark.parametrize("content", ["cut", b"", b"garbage", "list"])
def test_a_bad_file_is_named_with_those_that_remain(tmp_path, content):
    checkpointer = training(tmp_path)[3]
    checkpointer.save("model_0000001", iteration=1)
    checkpointer.save("model_0000002", iteration=2)
    bad = tmp_path / "model_0000002.pth"
    if content == "list":
        torch.save([1], bad)
    else:
        bad.write_bytes(bad.read_bytes()[:-700] if content == "cut" else content)
    with pytest.raises(ValueError, match="model_0000002.pth") as caught:
        checkpointer.load()
    if content != "list":
        assert f"Checkpoints in {tmp_path}: model_0000001.pth" in str(caught.value)


# --- damage


def _damage(path, kind):
    """Damage the weights in a checkpoint's file, and leave the zip around them as it is."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
        start = content.index(archive.read(largest))
    if kind == "a zeroed block":
        content[start + 4096 : start + 8192] = bytes(4096)
    else:  # float32: the highest bit of the exponent, 0.0x -> 1e37 or so
        content[start + 4096 + 3] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["a zeroed block", "one bit of an exponent"])
def test_fault_a_damaged_checkpoint_loaded_silently(tmp_path, kind):
    model = nn.Linear(64, 64)
    checkpointer = Checkpointer(model, save_dir=str(tmp_path), save_to_disk=True)
    checkpointer.save("model_0000001", iteration=1)
    checkpointer.save("model_0000002", iteration=2)
    _damage(tmp_path / "model_0000002.pth", kind)
    with pytest.raises(
        ValueError, match=r"model_0000002.pth is damaged.*another checksum"
    ) as caught:
        checkpointer.load()
    assert "model_0000001.pth" in str(caught.value)
    with pytest.raises(ValueError, match=r"model_0000002.pth is damaged"):
        checkpointer.load(str(tmp_path / "model_0000002.pth"), use_latest=False)


def test_fault_weights_that_are_not_finite_were_loaded(tmp_path):
    source = training()[0]
    weights = source.state_dict()
    weights["1.bias"][1] = float("nan")
    weights["of another model"] = torch.tensor([float("inf")])  # of no concern
    torch.save({"model": weights}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w.pth: 1 of its weights are NaN.*such as 1.bias"):
        training()[3].load(str(tmp_path / "w.pth"))


def test_buffers_that_are_infinite_by_design_load(tmp_path):
    masked = nn.Linear(2, 2)
    masked.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    torch.save(masked.state_dict(), tmp_path / "w.pth")
    cfg = global_cfg.clone()
    assert DetectronCheckpointer(cfg, masked).load(str(tmp_path / "w.pth")) == {}


@pytest.mark.parametrize(
    ("momentum", "told"),
    [
        (torch.zeros(3), r"momentum_buffer of parameter 0 is \(3,\), expected \(4, 3\)"),
        (torch.zeros(1).expand(1 << 40, 3), r"is \(1099511627776, 3\), expected \(4, 3\)"),
        (torch.full((4, 3), torch.nan), "momentum_buffer of parameter 0 is not finite"),
        (torch.zeros(4, 3, dtype=torch.int8), "has the type torch.int8"),
        (torch.zeros(4, 3).to_sparse(), "torch.sparse_coo"),
        ([0.0], r"is \[0.0\], expected \(4, 3\)"),
    ],
    ids=["shape", "huge view", "NaN", "int8", "sparse", "list"],
)
def test_fault_momenta_of_another_shape_or_kind_were_loaded(tmp_path, momentum, told):
    """The process crashed in the next step."""
    *parts, checkpointer = training(tmp_path)
    train(*parts, 1)
    checkpointer.save("model_0000001", iteration=1)
    path = tmp_path / "model_0000001.pth"
    saved = torch.load(path)
    saved["optimizer"]["state"][0]["momentum_buffer"] = momentum
    torch.save(saved, path)
    with pytest.raises(ValueError, match=rf"model_0000001.pth was written with another.*{told}"):
        training(tmp_path)[3].load()


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": {"state": {}}},
        {"optimizer": {"state": [], "param_groups": [5]}},
        {"scheduler": [1]},
        {"model": 5},
        {"iteration": "4"},
    ],
    ids=str,
)
def test_fault_a_state_of_another_form_is_a_traceback(tmp_path, change):
    training(tmp_path)[3].save("model_0000001", iteration=1)
    path = tmp_path / "model_0000001.pth"
    torch.save(torch.load(path) | change, path)
    with pytest.raises(ValueError, match="model_0000001.pth"):
        training(tmp_path)[3].load()


# --- what may be in a file


def test_a_missing_file_is_an_error_with_its_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of weights '.*absent.pth'"):
        training(tmp_path)[3].load(str(tmp_path / "absent.pth"))


class _Runs:
    def __reduce__(self):
        return os.mkdir, ("MARK",)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": _Runs()}, "bad.pth")
    with pytest.raises(ValueError, match="bad.pth is refused"):
        training()[3].load("bad.pth")
    assert not (tmp_path / "MARK").exists()


def test_weights_of_quite_another_model_are_refused(tmp_path):
    torch.save({"model": {"encoder.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="none of the weights fits.*encoder.weight.*0.weight"):
        training()[3].load(str(tmp_path / "other.pth"))


def test_resuming_with_another_head_is_refused_and_starting_is_not(tmp_path):
    training(tmp_path)[3].save("model_0000001", iteration=1)
    with pytest.raises(ValueError, match=r"model_0000001.pth was written.*1.weight \(2, 4\)"):
        training(tmp_path, outputs=5)[3].load()
    other = training(outputs=5)[3]
    assert other.load(str(tmp_path / "model_0000001.pth")) == {}


def test_resuming_with_other_frozen_parts_is_refused(tmp_path):
    training(tmp_path)[3].save("model_0000001", iteration=1)
    model = training()[0]
    optimizer = torch.optim.SGD([model[0].weight], lr=0.1)
    with pytest.raises(ValueError, match="other settings.*parameter group"):
        Checkpointer(model, optimizer, save_dir=str(tmp_path)).load()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_files_of_the_original_load(tmp_path, zipped):
    """Names with "module.", an optimizer and a scheduler beside them; the old file format too."""
    source = training(seed=3)[0]
    content = {
        "model": {f"module.{k}": v for k, v in source.state_dict().items()},
        "optimizer": {"state": {}, "param_groups": []},
        "scheduler": {"milestones": (3, 5), "last_epoch": 9},
        "iteration": 9,
    }
    path = tmp_path / "model_final.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    model, _, scheduler, checkpointer = training()
    assert checkpointer.load(str(path)) == {}
    assert same(source, model) and scheduler.last_epoch == 0


def test_a_file_with_the_forks_arguments_is_copied_as_the_message_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = training(seed=3)[0]
    torch.save({"model": source.state_dict(), "args": argparse.Namespace(lr=1)}, "fork.pth")
    with pytest.raises(ValueError, match="fork.pth is refused") as caught:
        training()[3].load("fork.pth")
    (command,) = re.findall('python -c "(.*)"', str(caught.value))
    exec(command)
    model, _, _, checkpointer = training()
    assert checkpointer.load("weights.pth") == {} and same(source, model)
