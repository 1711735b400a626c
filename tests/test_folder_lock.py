"""Two runs in one folder, each in a process of its own."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_benchmark.commands import predict
from maskrcnn_benchmark.images.image_io import write_image
from maskrcnn_benchmark.utils import folder_lock
from maskrcnn_benchmark.utils.folder_lock import lock_folder

ROOT = Path(__file__).resolve().parent.parent
HOLDER = """
import os, sys, time
from maskrcnn_benchmark.utils.folder_lock import lock_folder
lock = lock_folder(sys.argv[1])
child = os.fork()  # as a loading process, which outlives a killed parent for a while
print(child or "", flush=True, end="\\n" if child else "")
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has locked the folder, and a child of it; the child lives until the end."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        child = int(process.stdout.readline())
        yield process
        process.kill()
        os.kill(child, signal.SIGKILL)


def test_fault_two_runs_mixed_in_one_folder(tmp_path, holder):
    with pytest.raises(OSError, match=rf"run is in use by process {holder.pid} on .*run: wait"):
        lock_folder(tmp_path / "run")
    lock_folder(tmp_path / "another").close()
    holder.kill()
    holder.wait()
    with lock_folder(tmp_path / "run"):  # though the child lives
        told = (tmp_path / "run" / ".lock").read_text()
    assert told.startswith(f"process {os.getpid()} on ") and str(holder.pid) not in told


def test_fault_two_commands_wrote_to_one_folder(tmp_path, holder, run_dota):
    (tmp_path / "data" / "images").mkdir(parents=True)
    write_image(tmp_path / "data" / "images" / "P1.png", np.zeros((20, 30, 3), np.uint8))
    (tmp_path / "data" / "Task2_ship.txt").write_text("P1__1__0___0 0.5 1 2 3 4\n")
    for command in ("split", "merge"):
        status, _, told = run_dota(command, tmp_path / "data", tmp_path / "run")
        assert status == 2 and f"run is in use by process {holder.pid} on" in told
    assert os.listdir(tmp_path / "run") == [".lock"]


def test_fault_two_predictions_wrote_to_one_folder(tmp_path, holder, monkeypatch):
    write_image(tmp_path / "P1.png", np.zeros((20, 30, 3), np.uint8))
    (tmp_path / "settings.yaml").write_text("MODEL: {DEVICE: cpu}\n")
    monkeypatch.setattr(predict.Predictor, "from_checkpoint", lambda *_: None)
    arguments = ["--config-file", tmp_path / "settings.yaml", "--weights", "w.pth"]
    arguments += ["--out", tmp_path / "run", tmp_path / "P1.png"]
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
    with pytest.raises(OSError, match=rf"run is in use by process {holder.pid} on"):
        predict.main()
    logging.getLogger("maskrcnn_benchmark").handlers.clear()
    assert os.listdir(tmp_path / "run") == [".lock"]


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(folder_lock.fcntl, "lockf", refuse)
    lock_folder(tmp_path).close()
    assert f"{tmp_path} cannot be locked ([Errno 95] Operation not supported)" in caplog.text
