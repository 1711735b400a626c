"""The small helpers: imports, env, timer, cv2_util, miscellaneous, model_zoo, collect_env."""

import errno
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import cfg
from maskrcnn_benchmark.utils import (
    atomic_write,
    env,
    miscellaneous,
    model_zoo,
    timer,
    training_log,
)
from maskrcnn_benchmark.utils.collect_env import collect_env_info
from maskrcnn_benchmark.utils.cv2_util import findContours
from maskrcnn_benchmark.utils.imports import import_file


def test_import_file(tmp_path):
    path = tmp_path / "settings.py"
    path.write_text("VALUE = 6 * 7\n")
    assert import_file("hidden_settings", str(path)).VALUE == 42
    assert "hidden_settings" not in sys.modules
    module = import_file("open_settings", path, make_importable=True)
    assert sys.modules.pop("open_settings") is module
    with pytest.raises(FileNotFoundError, match="absent.py to import as absent"):
        import_file("absent", tmp_path / "absent.py")


def test_environment_hook_runs_the_named_file(tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    hook = tmp_path / "hook.py"
    hook.write_text(f"def setup_environment():\n    open({str(mark)!r}, 'w').close()\n")
    monkeypatch.setenv("TORCH_DETECTRON_ENV_MODULE", str(hook))
    env.setup_environment()
    assert mark.exists()
    hook.write_text("setup_environment = 3\n")
    with pytest.raises(ValueError, match=r"must define a function setup_environment\(\)"):
        env.setup_environment()


def test_timer(monkeypatch):
    clock = iter([10.0, 12.0, 20.0, 26.0])
    monkeypatch.setattr(timer.time, "perf_counter", lambda: next(clock))
    watch = timer.Timer()
    assert watch.average_time == 0.0
    watch.tic()
    assert watch.toc() == 2.0
    watch.tic()
    assert watch.toc(average=False) == 6.0
    assert (watch.total_time, watch.average_time, watch.calls) == (8.0, 4.0, 2)
    assert watch.avg_time_str() == "0:00:04"
    assert timer.get_time_str(3661) == "1:01:01"


def test_find_contours_of_a_rectangle():
    image = np.zeros((9, 12), np.uint8)
    image[2:6, 3:10] = 1  # rows 2 to 5, columns 3 to 9
    contours, hierarchy = findContours(image, 0, 2)  # RETR_EXTERNAL, CHAIN_APPROX_SIMPLE
    corners = {tuple(point) for point in contours[0][:, 0].tolist()}
    assert len(contours) == 1 and hierarchy.shape[1] == 1
    assert corners == {(3, 2), (9, 2), (9, 5), (3, 5)}


def test_mkdir_twice(tmp_path):
    path = tmp_path / "a" / "b"
    miscellaneous.mkdir(path)
    miscellaneous.mkdir(path)
    assert path.is_dir()


def test_save_labels_and_config(tmp_path):
    datasets = [SimpleNamespace(categories={1: "ship"}), SimpleNamespace()]
    miscellaneous.save_labels(datasets, str(tmp_path))
    assert json.loads((tmp_path / "labels.json").read_text()) == {"1": "ship"}
    path = tmp_path / "config.yml"
    changed = cfg.clone()
    changed.SOLVER.BASE_LR = 0.125
    miscellaneous.save_config(changed, str(path))
    read = cfg.clone()
    read.merge_from_file(str(path))
    assert read == changed and read.SOLVER.BASE_LR == 0.125


def test_fault_a_full_disk_has_no_name(tmp_path):
    """The system's error of a write says nothing but "No space left on device"."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    path = tmp_path / "config.yml"
    path.write_text("the one before")
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        with atomic_write.written_whole(path) as part:
            part.write_text("half")
            raise full
    assert [p.name for p in tmp_path.iterdir()] == ["config.yml"]
    assert path.read_text() == "the one before"


@pytest.mark.parametrize("file", ["metrics.jsonl", "events.out.tfevents…"])
def test_fault_a_full_disk_stops_training_without_a_files_name(tmp_path, monkeypatch, file):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = training_log.TrainingLog(str(tmp_path), 0, 2, torch.device("cpu"), enabled=True)
    if file == "metrics.jsonl":
        lines = SimpleNamespace(write=fail, name=str(tmp_path / file), close=log._lines.close)
        monkeypatch.setattr(log, "_lines", lines)
    else:
        writer = SimpleNamespace(add_scalar=fail, log_dir=str(tmp_path), close=lambda: None)
        monkeypatch.setattr(log, "_tensorboard", writer)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path / file}'"):
        with log:
            log.add_iteration(2, {"loss": 1.0}, 0.1)
            log.add_evaluation(2, {"test/AP": 0.5})


def test_cache_url_downloads_once_and_checks_the_hash(tmp_path, monkeypatch):
    source = tmp_path / "weights"
    source.write_bytes(b"some weights")
    digest = hashlib.sha256(b"some weights").hexdigest()[:8]
    good, bad = tmp_path / f"w-{digest}.pth", tmp_path / "w-00000000.pth"
    for path in (good, bad):
        path.write_bytes(b"some weights")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TORCH_MODEL_ZOO", raising=False)
    cached = model_zoo.cache_url(good.as_uri(), progress=False)
    assert cached.startswith(str(tmp_path / "home" / "models")) and cached.endswith(good.name)
    good.unlink()
    assert model_zoo.cache_url(good.as_uri(), progress=False) == cached
    with pytest.raises(ValueError, match="invalid hash"):
        model_zoo.cache_url(bad.as_uri(), progress=False)
    assert [p.name for p in (tmp_path / "home" / "models").rglob("*.*")] == [good.name]


def test_detectron_files_of_one_name_do_not_collide(tmp_path):
    names = []
    for model in ("e2e_mask", "e2e_faster"):
        folder = tmp_path / model
        folder.mkdir()
        (folder / "model_final.pkl").write_text(model)
        url = (folder / "model_final.pkl").as_uri()
        names.append(model_zoo.cache_url(url, tmp_path / "zoo", progress=False))
    assert [open(name).read() for name in names] == ["e2e_mask", "e2e_faster"]


def test_fault_does_not_run_on_a_current_pytorch():
    """No apex, torch._six or compiled operators, and none of numpy's removed names."""
    gone = re.compile(r"\bapex\b|torch\._six|\bTHC|np\.(float|int|object|bool)\b(?!_)")
    package = Path(env.__file__).parents[1]
    sources = {path: path.read_text() for path in package.rglob("*.py")}
    assert len(sources) > 30
    assert [str(path) for path, text in sources.items() if gone.search(text)] == []
    assert not [name for name in sys.modules if name == "apex"]


@pytest.mark.slow  # asks the system's tools for some seconds
def test_collect_env_names_the_libraries():
    report = collect_env_info()
    assert all(word in report for word in ("PyTorch version", "Pillow (", "torchvision ("))
