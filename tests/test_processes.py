"""How a run starts: device, precision, log, seeds."""

import logging
import os
import subprocess
import sys
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from maskrcnn_benchmark.utils import processes
from maskrcnn_benchmark.utils.processes import start_run, take_device


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("SOLVER:\n  MAX_ITER: 7\n  BASE_LR: 0.5\n")
    return str(path)


@pytest.fixture(autouse=True)
def leave_no_trace():
    allowed = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed
    logging.getLogger("maskrcnn_benchmark").handlers.clear()


@pytest.fixture
def three_gpus(monkeypatch):
    """The numbers of the GPUs that were made the current one, on a machine with three."""
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    return taken


def test_cuda_falls_back_to_the_cpu_with_a_line(config_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    opts = ["MODEL.DEVICE", "cuda", "OUTPUT_DIR", str(tmp_path / "out")]
    cfg = start_run(config_file, opts, local_rank=0, log_to_file=True)
    assert cfg.MODEL.DEVICE == "cpu" and cfg.is_frozen()
    line = "MODEL.DEVICE is 'cuda' but there is no GPU: running on the CPU"
    assert capsys.readouterr().out.count(line) == 1
    assert (tmp_path / "out" / "log.txt").read_text().count(line) == 1


@pytest.mark.parametrize(
    ("wanted", "local_rank", "device", "number"),
    [
        ("cuda", None, "cuda", 0),
        ("cuda:1", None, "cuda:1", 1),
        ("cuda", 2, "cuda", 2),
        ("cuda:0", 2, "cuda", 2),  # all processes took the first GPU
    ],
)
def test_each_process_takes_its_own_gpu(three_gpus, wanted, local_rank, device, number):
    assert take_device(wanted, local_rank) == device
    assert three_gpus == [number]


def test_the_cpu_takes_no_gpu(three_gpus):
    assert take_device("cpu") == take_device("cpu", 1) == "cpu"
    assert three_gpus == []


@pytest.mark.parametrize(
    ("wanted", "local_rank", "told"),
    [
        ("gpu", None, r"must be 'cpu' or 'cuda'.*'cuda:1' \(PyTorch sees 3 here\), got 'gpu'"),
        ("xpu", None, "must be 'cpu' or 'cuda'.*got 'xpu'"),  # no back end in this PyTorch
        ("hpu", None, "must be 'cpu' or 'cuda'.*got 'hpu'"),  # a module that is not there
        ("meta", None, "must be 'cpu' or 'cuda'.*got 'meta'"),  # no numbers in its tensors
        (
            "cuda:3",
            None,
            "MODEL.DEVICE cuda:3 needs GPU 3, and PyTorch sees 3 here, counted from 0",
        ),
        ("cuda", 3, "process 3 needs GPU 3, and PyTorch sees 3 here.*one process per GPU"),
    ],
    ids=["gpu", "xpu", "hpu", "meta", "cuda:3", "fourth process"],
)
def test_a_device_that_is_not_there_is_told(three_gpus, wanted, local_rank, told):
    with pytest.raises(ValueError, match=told):
        take_device(wanted, local_rank)
    assert three_gpus == []


def test_seed_decides_the_first_draw(config_file):
    draws = []
    for seed in ("4", "4", "5"):
        start_run(config_file, ["SOLVER.SEED", seed, "MODEL.DEVICE", "cpu"], 0, log_to_file=False)
        draws.append(torch.rand(()).item())
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(
    ("dtype", "allowed"), [("float32", False), ("tf32", True), ("bfloat16", False)]
)
def test_tf32_only_where_it_is_asked_for(config_file, dtype, allowed):
    torch.backends.cudnn.allow_tf32 = not allowed  # PyTorch's own default is True
    start_run(config_file, ["DTYPE", dtype, "MODEL.DEVICE", "cpu"], 0, log_to_file=False)
    assert torch.backends.cudnn.allow_tf32 == allowed
    assert torch.backends.cuda.matmul.allow_tf32 == allowed


def test_an_unknown_precision_is_told_before_the_work(config_file):
    with pytest.raises(ValueError, match="DTYPE must be one of float32, tf32.*got 'half'"):
        start_run(config_file, ["DTYPE", "half", "MODEL.DEVICE", "cpu"], 0, log_to_file=False)


def test_fault_training_without_an_output_folder(config_file):
    """It wrote to the current folder, or nothing at all."""
    with pytest.raises(ValueError, match="OUTPUT_DIR is ''"):
        start_run(config_file, ["OUTPUT_DIR", "", "MODEL.DEVICE", "cpu"], 0, log_to_file=True)


def test_the_time_out_of_steps_is_the_one_that_is_set(config_file, monkeypatch):
    """A stopped process ends the run after it; PyTorch's own differ between back ends."""
    given = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", lambda *a, **k: given.append((a, k)))
    opts = ["MODEL.DEVICE", "cpu", "SOLVER.STEP_TIMEOUT", "7"]
    start_run(config_file, opts, 0, log_to_file=False)
    assert given == [(("gloo",), {"timeout": timedelta(minutes=7)})]
    with pytest.raises(
        ValueError, match="STEP_TIMEOUT must be a whole number of at least 1, got 0"
    ):
        start_run(config_file, [*opts[:-1], "0"], 0, log_to_file=False)


def test_fault_a_second_run_wrote_to_the_folder_of_the_first(config_file, tmp_path, monkeypatch):
    opts = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path / "out")]
    code = "from maskrcnn_benchmark.utils.folder_lock import lock_folder; import sys; "
    code += "lock = lock_folder(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as first:
        first.stdout.readline()
        with pytest.raises(OSError, match=f"out is in use by process {first.pid}"):
            start_run(config_file, opts, 0, log_to_file=True)
        assert not (tmp_path / "out" / "log.txt").exists()
        start_run(config_file, opts, 0, log_to_file=False)  # evaluation beside training
        monkeypatch.setattr(processes, "is_main_process", lambda: False)
        start_run(config_file, opts, 0, log_to_file=True)  # the other ranks follow rank 0
