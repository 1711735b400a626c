import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from maskrcnn_benchmark.utils import comm


def test_alone():
    assert comm.get_world_size() == 1
    assert comm.get_rank() == 0
    assert comm.is_main_process()
    assert comm.synchronize() is None
    assert comm.all_gather({"a": 1}) == [{"a": 1}]
    losses = {"loss": torch.tensor(2.0)}
    assert comm.reduce_dict(losses) is losses


def _work(rank: int, folder: str) -> None:
    Path(folder, f"started{rank}").touch()
    while len(list(Path(folder).glob("started*"))) < 2:
        time.sleep(0.01)
    timeout = timedelta(seconds=6)  # NCCL's 10 minutes in small; a busy machine needs some
    dist.init_process_group(
        "gloo", f"file://{folder}/meet", rank=rank, world_size=2, timeout=timeout
    )
    # Of different size on each process.
    gathered = comm.all_gather({"rank": comm.get_rank(), "boxes": torch.ones(3 * rank + 1, 4)})
    # The keys come in another order on each process.
    names = ["b", "a"] if rank else ["a", "b"]
    losses = {name: torch.tensor({"a": 1.0, "b": 10.0}[name] + rank) for name in names}
    mean = comm.reduce_dict(losses)
    total = comm.reduce_dict(losses, average=False)
    for wait_for_the_other in (comm.synchronize, lambda: comm.all_gather(rank)):
        if rank == 0:  # evaluates
            time.sleep(7)
        wait_for_the_other()
    result = {
        "world": comm.get_world_size(),
        "main": comm.is_main_process(),
        "ranks": [part["rank"] for part in gathered],
        "lengths": [len(part["boxes"]) for part in gathered],
        "mean": {k: v.item() for k, v in mean.items()},
        "total": {k: v.item() for k, v in total.items()},
    }
    dist.destroy_process_group()
    # One that is still there aborts the process now and then, while Python shuts down.
    threads = [Path(entry, "comm").read_text() for entry in Path("/proc/self/task").glob("*")]
    result["threads"] = [name for name in threads if "gloo" in name]
    torch.save(result, f"{folder}/{rank}.pt")


@pytest.mark.slow
def test_two_processes_one_of_which_waits_beyond_the_groups_time_out(tmp_path):
    mp.spawn(_work, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for result in (first, second):
        assert result["world"] == 2
        assert result["ranks"] == [0, 1]
        assert result["threads"] == []
        assert result["lengths"] == [1, 4]
    assert (first["main"], second["main"]) == (True, False)
    assert first["mean"] == {"a": 1.5, "b": 10.5}  # (1 + 2) / 2, (10 + 11) / 2
    assert first["total"] == {"a": 3.0, "b": 21.0}
