"""What is told while long work goes on."""

import logging

import pytest

from maskrcnn_benchmark.engine.inference import _with_progress
from maskrcnn_benchmark.utils import progress as progress_module
from maskrcnn_benchmark.utils.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets, in seconds; stderr is no terminal."""
    now = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    return now


@pytest.mark.parametrize(
    ("total", "lines"),
    [
        # 4 in 40 s: the other 6 take 60 s; 9 in 75 s: the last one takes 8.3 s
        (10, ["window 4 of 10, about 01:00 left", "window 9 of 10, about 00:08 left"]),
        (None, ["window 4", "window 9"]),
    ],
)
def test_a_log_gets_a_line_every_30_seconds(clock, caplog, total, lines):
    with (
        caplog.at_level(logging.INFO),
        Progress(total, "window", logging.getLogger("test")) as progress,
    ):
        for seconds, done in [(129, 2), (140, 4), (169, 8), (170, 8), (175, 9), (204, 10)]:
            clock[0] = seconds
            progress.reach(done)
    assert [record.getMessage() for record in caplog.records] == lines


def test_fault_what_an_earlier_run_did_made_the_rest_look_short(clock, caplog):
    with (
        caplog.at_level(logging.INFO),
        Progress(10, "window", logging.getLogger("test"), done=5) as progress,
    ):
        progress.reach(3)  # is known
        clock[0] = 140
        progress.reach(7)
    # 2 in 40 s: the other 3 take 60 s
    assert caplog.records[0].getMessage() == "window 7 of 10, about 01:00 left"


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress(10, "window", logging.getLogger("test")) as progress:
        progress.reach(4)
        progress.reach(10)
    assert "10/10" in capsys.readouterr().err


def test_evaluation_tells_its_batches(clock, caplog, monkeypatch):
    monkeypatch.setattr(progress_module, "LOG_PERIOD", 0)
    with caplog.at_level(logging.INFO):
        assert list(_with_progress(["a", "b"])) == ["a", "b"]
        assert list(_with_progress(iter("c"))) == ["c"]  # of which nobody knows the length
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["batch 1 of 2, about 00:00 left", "batch 2 of 2, about 00:00 left", "batch 1"]
