"""The tools' command lines: options and pairs, and how a tool ends."""

import argparse
import json
import logging
import re
import sys

import pytest
import torch

from maskrcnn_benchmark.commands import train_net
from maskrcnn_benchmark.utils.command_line import add_run_arguments, parse_with_pairs, run_tool

PAIRS = ["SOLVER.MAX_ITER", "5", "SOLVER.GAMMA", "-1e-3"]


def run_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--skip-test", action="store_true")
    add_run_arguments(parser)
    return parser


@pytest.mark.parametrize(
    "line",
    [
        ["--config-file", "a.yaml", "--skip-test", *PAIRS],
        [*PAIRS, "--config-file", "a.yaml", "--skip-test"],
        ["--config-file=a.yaml", *PAIRS[:2], "--skip-test", *PAIRS[2:]],
        [*PAIRS[:2], "--config-file", "a.yaml", *PAIRS[2:], "--skip-test"],
    ],
    ids=["before", "after", "between", "around"],
)
def test_fault_options_after_the_pairs_were_taken_for_pairs(line):
    args = parse_with_pairs(run_parser(), line)
    assert (args.config_file, args.skip_test, args.opts) == ("a.yaml", True, PAIRS)


def test_options_that_are_not_there_are_told(capsys):
    with pytest.raises(SystemExit) as end:
        parse_with_pairs(run_parser(), [*PAIRS, "--skip-tests"])
    assert end.value.code == 2
    assert "unrecognized arguments: --skip-tests" in capsys.readouterr().err
    assert parse_with_pairs(run_parser(), []).opts == []


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
        (KeyboardInterrupt(), 130, "interrupted"),
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
    assert len(lines) == 1 and lines[0].startswith(told)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda: 1 // 0, "ZeroDivisionError: integer division or modulo by zero"),
        (lambda: {}["MODEL"], "KeyError: 'MODEL'"),
        (lambda: [].items(), "AttributeError: 'list' object has no attribute 'items'"),
        (lambda: [][0], "IndexError: list index out of range"),
        (lambda: "a" + 1, "TypeError: can only concatenate str"),
        (lambda: json.loads("[" * 100_000), "RecursionError: "),
        (lambda: torch.zeros(2) + torch.zeros(3), "RuntimeError: The size of tensor a (2) must"),
        (lambda: next(iter([])), "StopIteration ("),
    ],
    ids=["zero", "key", "attribute", "index", "type", "depth", "PyTorch", "no message"],
)
def test_fault_errors_that_no_check_foresees_were_tracebacks(capsys, monkeypatch, fault, told):
    monkeypatch.delenv("MASKRCNN_DEBUG", raising=False)
    with pytest.raises(SystemExit) as end:
        run_tool(fault)
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and line.startswith(f"error: {told}")
    assert re.search(r"\(\S+\.py:\d+; MASKRCNN_DEBUG=1 shows the traceback\)$", line)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Timed out waiting 5000ms for recv", "another process stopped answering process 1 of 2"),
        ("Connection closed by peer [::1]:7", "another process has ended, its own lines say why"),
        ("The size of tensor a (2) must", "RuntimeError: The size of tensor a (2) must"),
    ],
    ids=["silent", "gone", "another error"],
)
def test_other_processes_that_fail_are_told(capsys, monkeypatch, message, told):
    def fail():
        raise RuntimeError(message)

    monkeypatch.delenv("MASKRCNN_DEBUG", raising=False)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(SystemExit) as end:
        run_tool(fail)
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and line.startswith(f"error: {told}") and message in line


def test_tracebacks_on_request(monkeypatch):
    monkeypatch.setenv("MASKRCNN_DEBUG", "1")
    with pytest.raises(ValueError, match="deep"):
        run_tool(lambda: int("deep"))
    with pytest.raises(ZeroDivisionError):
        run_tool(lambda: 1 // 0)


def test_a_tool_ends_with_what_main_returns():
    for answer, code in ((None, None), (1, 1)):
        with pytest.raises(SystemExit) as end:
            run_tool(lambda given=answer: given)
        assert end.value.code == code


@pytest.mark.parametrize("options", [[], ["--skip-test"]], ids=["tested", "not tested"])
def test_fault_missing_test_sets_were_told_after_the_training(tmp_path, monkeypatch, options):
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"DATASETS:\n  TRAIN: ('dota:none',)\n  TEST: ('dota:{tmp_path}/val',)\n"
        f"MODEL:\n  DEVICE: cpu\nOUTPUT_DIR: {tmp_path / 'run'}\n"
    )

    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    monkeypatch.setattr(train_net, "train", stop)
    monkeypatch.setattr(sys, "argv", ["train_net", "--config-file", str(settings), *options])
    expected = pytest.raises(Stop) if options else pytest.raises(FileNotFoundError, match="/val")
    with expected:
        train_net.main()
    logging.getLogger("maskrcnn_benchmark").handlers.clear()
