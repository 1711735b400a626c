"""What the tools share: settings, device, and how a program ends."""

import logging

import pytest
import torch

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.utils.command_line import run_tool
from maskrcnn_benchmark.utils.processes import start_run


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("SOLVER:\n  MAX_ITER: 7\n  BASE_LR: 0.5\n")
    return str(path)


def test_file_over_defaults_and_options_over_both(config_file):
    cfg = load_config(config_file, ["SOLVER.MAX_ITER", "9", "DOTA.CLASSES", "('boat', 'car')"])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (9, 0.5)
    assert cfg.DOTA.CLASSES == ("boat", "car")
    assert default_cfg.SOLVER.MAX_ITER == 40000  # the defaults are not touched


@pytest.mark.parametrize(
    ("opts", "told"),
    [
        (["SOLVER.MAX_ITERATIONS", "9"], "SOLVER.MAX_ITERATIONS"),
        (["SOLVER.MAX_ITER"], "pairs KEY value"),
        (["SOLVER.MAX_ITER", "many"], "many"),
    ],
    ids=["unknown key", "no value", "wrong type"],
)
def test_bad_options_are_told(config_file, opts, told):
    with pytest.raises(ValueError, match=told):
        load_config(config_file, opts)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SOLVER:\n  NO_SUCH: 1\n", "NO_SUCH"),
        ("SOLVER: [1\n", "settings.yaml"),
        ("DTYPE: 3\n", "3"),
    ],
    ids=["unknown key", "no YAML", "wrong type"],
)
def test_bad_files_are_told(config_file, text, told):
    with open(config_file, "w") as file:
        file.write(text)
    with pytest.raises(ValueError, match=told):
        load_config(config_file, [])


def test_missing_files_are_told():
    with pytest.raises(FileNotFoundError, match="nowhere.yaml: no such config file"):
        load_config("nowhere.yaml", [])
    with pytest.raises(ValueError, match="--config-file"):
        load_config("", [])


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


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ValueError("tile is 0,\n set it"), 2, "error: tile is 0, set it"),
        (FileNotFoundError("x.png: no such file"), 2, "error: x.png: no such file"),
        (FloatingPointError("loss nan"), 1, "error: loss nan"),
        (
            ValueError("Caught ValueError in DataLoader worker 0.\nTrace…\nValueError: bad"),
            *(2, "error: ValueError: bad"),
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=["value", "file", "loss", "worker", "ctrl-c"],
)
def test_how_a_tool_ends(capsys, monkeypatch, error, code, told):
    monkeypatch.delenv("MASKRCNN_DEBUG", raising=False)

    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        run_tool(main)
    assert end.value.code == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (1 if told else 0)
    assert not told or lines[0].startswith(told)


def test_tracebacks_on_request_and_faults_of_ours_always(monkeypatch):
    monkeypatch.setenv("MASKRCNN_DEBUG", "1")
    with pytest.raises(ValueError, match="deep"):
        run_tool(lambda: int("deep"))
    monkeypatch.delenv("MASKRCNN_DEBUG")
    with pytest.raises(ZeroDivisionError):
        run_tool(lambda: 1 // 0)


def test_a_tool_ends_with_what_main_returns():
    for answer, code in ((None, None), (1, 1)):
        with pytest.raises(SystemExit) as end:
            run_tool(lambda given=answer: given)
        assert end.value.code == code
