"""How a run starts: device, log, seeds."""

import logging

import pytest
import torch

from maskrcnn_benchmark.utils.processes import start_run


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("SOLVER:\n  MAX_ITER: 7\n  BASE_LR: 0.5\n")
    return str(path)


def test_cuda_falls_back_to_the_cpu_with_a_line(config_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    opts = ["MODEL.DEVICE", "cuda", "OUTPUT_DIR", str(tmp_path / "out")]
    cfg = start_run(config_file, opts, local_rank=0, log_to_file=True)
    assert cfg.MODEL.DEVICE == "cpu" and cfg.is_frozen()
    line = "MODEL.DEVICE is 'cuda' but there is no GPU: running on the CPU"
    assert capsys.readouterr().out.count(line) == 1
    logging.getLogger("maskrcnn_benchmark").handlers.clear()
    assert (tmp_path / "out" / "log.txt").read_text().count(line) == 1


def test_seed_decides_the_first_draw(config_file):
    draws = []
    for seed in ("4", "4", "5"):
        start_run(config_file, ["SOLVER.SEED", seed, "MODEL.DEVICE", "cpu"], 0, log_to_file=False)
        draws.append(torch.rand(()).item())
    logging.getLogger("maskrcnn_benchmark").handlers.clear()
    assert draws[0] == draws[1] != draws[2]
