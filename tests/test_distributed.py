"""Two processes over gloo: they see the same, act in the same way and never wait forever."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import ROOT, launch

from maskrcnn_benchmark.utils.training_log import read_metrics

WORKER = Path(__file__).with_name("distributed_worker.py")


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """What the two processes of distributed_worker.py saw, and their folder."""
    folder = tmp_path_factory.mktemp("distributed")
    done = launch(WORKER, folder, processes=2, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    return folder, ranks


def test_losses_are_averaged_on_every_process(scenes):
    _, ranks = scenes
    for seen in ranks:
        assert seen["reduced"] == {"a": 1.0, "b": 2.5}


def test_fault_one_rank_skips_a_batch_alone(scenes):
    folder, ranks = scenes
    # gradients: image mean 1 + 0.5 x boxes, averaged: 2, (2 + 1) / 2, 2; steps of 0.1
    for seen in ranks:
        weight, iteration, ending = seen["no ground truth"]
        assert (iteration, ending) == (3, "done")
        assert weight == pytest.approx(1 - 0.2 - 0.15 - 0.2)
    rows = read_metrics(folder / "empty" / "metrics.jsonl")
    # second iteration, weight 0.8: loss_b = 0.8 x (1 + 0) / 2
    assert [row["iteration"] for row in rows] == [1, 2, 3]
    assert rows[1]["loss_b"] == pytest.approx(0.4)


def test_non_finite_loss_of_one_process_stops_both(scenes):
    _, ranks = scenes
    for seen in ranks:
        weight, iteration, ending = seen["nan on one"]
        assert iteration == 1 and weight == pytest.approx(1 - 0.15)
        assert ending.startswith("FloatingPointError") and "iteration 2" in ending
        assert "process 1: loss_a nan" in ending and "rank1_2.png" in ending
        assert "rank0_2.png" not in ending  # its loss was fine


def test_a_signal_to_one_process_stops_both_after_the_same_iteration(scenes):
    folder, ranks = scenes
    for seen in ranks:
        assert seen["stop on one"][1:] == [2, "KeyboardInterrupt: "]
        assert seen["resumed"] == [pytest.approx(0.6), 4, "done"]
    assert (folder / "stop" / "model_0000002.pth").exists()


def test_uneven_shares_of_predictions_are_put_together(scenes):
    _, ranks = scenes
    assert ranks[0]["gathered"] == ["a", "b", "c", "d"]
    assert ranks[1]["gathered"] is None


def test_a_missing_prediction_stops_both_processes(scenes):
    for seen in scenes[1]:
        assert seen["one is missing"].startswith("1 of 3 images have no prediction (1)")


def test_fault_running_means_of_the_first_process_were_sent_to_all(scenes):
    # the weight is the first process's; the running means start at 0, move by a half, each alone
    assert [seen["running means"] for seen in scenes[1]] == [[0.75, 5.0], [1.5, 5.0]]


def test_fault_a_process_that_stopped_was_an_error_inside_gloo(tmp_path):
    """The other one says so, once the time-out (10 s here) is over, and ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [
        sys.executable,
        str(WORKER.with_name("stopping_worker.py")),
        str(tmp_path / "x"),
        "10",
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    pipe = subprocess.PIPE
    ranks = [
        subprocess.Popen(command, env=env | {"RANK": str(n)}, stdout=pipe, stderr=pipe, text=True)
        for n in (0, 1)
    ]
    try:
        stdout, stderr = ranks[0].communicate(timeout=120)
        lasted = time.monotonic() - float(stdout)
    finally:
        for rank in ranks:
            rank.kill()  # SIGKILL ends a stopped process too
            rank.wait()
    line = stderr.splitlines()[-1]
    assert ranks[0].returncode == 2
    assert line.startswith("error: another process stopped answering process 0 of 2 within SOLVER")
    assert 10 <= lasted < 60, line  # with the start and the end of Python on a busy machine
