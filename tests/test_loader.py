"""Loading processes: which signals end them."""

import multiprocessing
import subprocess

import pytest
from launching import launch
from made_data import make_dota_folder, rectangle

from maskrcnn_benchmark.data.loader import ForkingLoader
from maskrcnn_benchmark.utils.interrupt import shielded_children


@pytest.fixture
def worker_and_batches():
    """Start a loading process as training does; the process and what it loads."""
    before = multiprocessing.active_children()
    with shielded_children():
        batches = iter(ForkingLoader(list(range(9)), num_workers=1))
    (worker,) = (child for child in multiprocessing.active_children() if child not in before)
    assert next(batches).item() == 0
    yield worker, batches
    worker.kill()


def test_fault_a_data_error_in_a_worker_hung_the_training(worker_and_batches):
    """Python sends its children SIGTERM when it ends, and waits for them; they had it blocked."""
    worker, _ = worker_and_batches
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_terminals_and_a_schedulers_signals_leave_it_loading(worker_and_batches, name):
    worker, batches = worker_and_batches
    subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    assert [batch.item() for batch in batches] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_fault_a_truncated_image_hung_train_net(tmp_path, processes):
    objects = [rectangle(20, 10, 50, 30)]
    folder = make_dota_folder(tmp_path / "data", {name: (90, 60, objects) for name in "abcd"})
    broken = folder / "images" / "c.png"
    broken.write_bytes(broken.read_bytes()[:-60])
    done = launch(
        *("tools/train_net.py", "--skip-test", "--config-file", "configs/quickstart.yaml"),
        *("DATASETS.TRAIN", f"('dota:{folder}',)", "DATASETS.TEST", "()", "DOTA.CLASSES", "()"),
        *("MODEL.DEVICE", "cpu", "MODEL.WEIGHT", "", "MODEL.ROI_BOX_HEAD.NUM_CLASSES", "16"),
        *("SOLVER.IMS_PER_BATCH", "2", "INPUT.MIN_SIZE_TRAIN", "(64,)"),
        *("DATALOADER.NUM_WORKERS", "2", "OUTPUT_DIR", tmp_path / "run"),
        processes=processes,
        timeout=100,
    )
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert any(f"{broken}: cannot be read as an image" in line for line in told)
    assert done.returncode == 2 if processes == 1 else "exitcode  : 2" in done.stderr
