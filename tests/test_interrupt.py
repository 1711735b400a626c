"""Tests of Ctrl-C where a program's output goes into a pipe, as `… 2>&1 | tee log` does."""

import os
import subprocess
import sys

STOPPED = """
import os, signal, sys
from maskrcnn_benchmark.utils.interrupt import StopRequest
from maskrcnn_benchmark.utils.logger import setup_logger
logger = setup_logger("made", sys.argv[1], 0)
with StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    logger.info("saved")
    open(sys.argv[2], "w").write(f"requested {stop.requested}")
"""


def test_fault_ctrl_c_ended_a_training_whose_tee_was_gone(tmp_path):
    """A terminal's Ctrl-C ends the tee, too: what then is written to the pipe is an error."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", STOPPED, str(tmp_path), str(tmp_path / "end")]
    subprocess.run(command, stdout=writer, stderr=writer)
    os.close(writer)
    assert (tmp_path / "end").read_text() == "requested True"
    assert (tmp_path / "log.txt").read_text().endswith("INFO: saved\n")


def test_lines_that_nobody_reads_are_no_errors_to_tell(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", STOPPED, str(tmp_path), str(tmp_path / "end")]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert "Logging error" not in done.stderr and "stopping after this iteration" in done.stderr
