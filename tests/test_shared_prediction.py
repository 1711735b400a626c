"""Prediction by several processes: the results are those of one, to the byte."""

import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from launching import ROOT, launch
from test_dota_split import processes_below
from test_journal import results
from test_predictor import BlobModel, contents, make_predictor, predict, scene
from test_tools_end_to_end import SETTINGS

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.engine import journal as journal_module
from maskrcnn_benchmark.engine import shared_prediction
from maskrcnn_benchmark.engine.journal import JOURNAL, Journal
from maskrcnn_benchmark.engine.prediction_results import PredictionResults
from maskrcnn_benchmark.engine.shared_prediction import SharedPrediction, check_shared, cut_shares
from maskrcnn_benchmark.images.image_io import write_image
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.utils.comm import is_main_process
from maskrcnn_benchmark.utils.folder_lock import lock_folder


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "bad.png", tmp_path / "c.png"]
    for path in paths:
        write_image(path, scene())
    data = paths[1].read_bytes()
    paths[1].write_bytes(data[: len(data) // 2])  # its size can be read
    return paths


@pytest.mark.parametrize(
    ("count", "processes", "sizes"),
    [(16, 2, [4, 3, 2, 1, 1, 1, 1, 1, 1, 1]), (3, 8, [1, 1, 1]), (0, 2, []), (5, 1, [2, 1, 1, 1])],
)
def test_shares_are_of_neighbours_and_smaller_towards_the_end(count, processes, sizes):
    items = [(k // 3, k % 3) for k in range(count)]
    shares = list(cut_shares(items, processes))
    assert [len(share) for share in shares] == sizes
    assert [item for share in shares for item in share] == items


def test_a_share_goes_to_the_journal_and_a_failing_image_is_left(tmp_path, images, caplog):
    predict(make_predictor(BlobModel()), images, tmp_path / "whole")
    out, model, told = tmp_path / "out", BlobModel(), []
    out.mkdir()
    predictor = make_predictor(model)
    depends_on = {**predictor.depends_on(), "bands": "None"}
    journal = Journal(out, depends_on)
    job = SharedPrediction(predictor, images, None, 0.05, PredictionResults(out, ["blob"], {}))
    # of 5 batches of 3 windows an image; no other process takes any
    job.detect([(0, 3), (0, 4), (1, 0), (1, 2), (2, 1)], journal, told.append)
    assert len(model.seen) == 3 and told == [3, 6, 9]
    assert {path.name: sorted(journal.of_image(path)) for path in images} == {
        "a.png": [3, 4],
        "bad.png": [],
        "c.png": [1],
    }
    lines = [r.getMessage() for r in caplog.records if "leaves" in r.getMessage()]
    assert len(lines) == 1 and lines[0].startswith(f"process 0 leaves {images[1]} to process 0:")
    rest = BlobModel()
    assert predict(make_predictor(rest), images, out) == 1
    assert len(rest.seen) == 7 and results(out) == results(tmp_path / "whole")


def test_pictures_are_drawn_of_what_is_done(tmp_path, images):
    out = tmp_path / "out"
    predict(make_predictor(BlobModel()), images[:1], out)
    (out / "unfinished").mkdir()
    predictor = make_predictor(BlobModel())
    drawn = PredictionResults(out, ["blob"], {})
    journal = Journal(out, {**predictor.depends_on(), "bands": "None"})
    SharedPrediction(predictor, images[::2], None, 0.05, drawn).draw(journal)
    assert [drawn.has_picture(path) for path in images] == [True, False, False]
    picture = out / "unfinished" / "a_detections.jpg"
    assert picture.read_bytes() == (out / "a_detections.jpg").read_bytes()


def as_process(monkeypatch, rank):
    monkeypatch.setattr(journal_module, "get_rank", lambda: rank)
    monkeypatch.setattr(journal_module, "is_main_process", lambda: rank == 0)


def test_journals_of_all_processes_are_read_whatever_their_number(tmp_path, images, monkeypatch):
    first, second = BlobModel(), BlobModel()
    whole = tmp_path / "whole"
    predict(make_predictor(BlobModel()), images[::2], whole)
    out = tmp_path / "out"
    out.mkdir()
    predictor = make_predictor(first)
    depends_on = {**predictor.depends_on(), "bands": "None"}
    job = SharedPrediction(predictor, images, None, 0.05, None)
    for rank, items in ((0, [(0, 1)]), (2, [(2, 0), (2, 1)]), (5, [(0, 0), (2, 4)])):
        as_process(monkeypatch, rank)
        job.detect(items, Journal(out, depends_on), lambda _: None)
    names = sorted(path.name for path in out.glob("journal*"))
    assert names == [JOURNAL, "journal_2.jsonl", "journal_5.jsonl"]
    with open(out / "journal_2.jsonl", "ab") as file:
        file.write(b'{"of": 0, "batch": 3, "fou')  # a kill cut it short
    as_process(monkeypatch, 0)
    assert predict(make_predictor(second), images[::2], out) == 0
    assert len(first.seen) == 5 and len(second.seen) == 5
    for name in names[1:]:
        (out / name).unlink()
    assert results(out) == results(whole)


def test_other_settings_begin_anew_without_the_other_processes_journals(
    tmp_path, images, monkeypatch
):
    out = tmp_path / "out"
    images = images[:1]
    predictor = make_predictor(BlobModel())
    predict(predictor, images, out)
    job = SharedPrediction(predictor, images, None, 0.05, None)
    depends_on = {**predictor.depends_on(), "bands": "None"}
    as_process(monkeypatch, 1)
    Journal(out, depends_on).of_image(images[0])[0] = [Detections.empty()] * 3
    as_process(monkeypatch, 0)
    assert Journal(out, depends_on).finished
    job.detect([], Journal(out, depends_on), print)  # the processes of another command begin
    assert Journal(out, depends_on).finished is None
    with pytest.raises(ValueError, match="has not ended.*bands was None, now 3.*journal.*jsonl"):
        Journal(out, {**depends_on, "bands": "3"})
    predict(predictor, images, out)
    Journal(out, {**depends_on, "bands": "3"})
    assert [path.name for path in out.glob("journal*")] == [JOURNAL]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"found": False}, "process 1 on b does not have the folder {out} that process 0 on a has"),
        ({"sums": {"images": b"other"}}, "process 1 on b does not have images that process 0"),
        ({}, None),
    ],
    ids=["no shared disk", "other images", "the same"],
)
def test_processes_that_do_not_share_a_disk_are_told(tmp_path, monkeypatch, other, told):
    """The second one of two, whose process 0 has made its mark."""
    marks = iter([tmp_path / "nowhere" if other.get("found") is False else tmp_path / "mark"])
    (tmp_path / "mark").touch()
    answers = []

    def gather(mine):
        if not answers:
            answers.append(mine)
            return [(next(marks).name, {**mine[1], **other.get("sums", {})}), mine]
        return [("a", []), ("b", mine[1])]

    monkeypatch.setattr(shared_prediction, "all_gather", gather)
    monkeypatch.setattr(shared_prediction, "is_main_process", lambda: False)
    if told is None:
        check_shared(tmp_path, {"images": [1, 2]})
        return
    with pytest.raises(ValueError, match=told.format(out=tmp_path)):
        check_shared(tmp_path, {"images": [1, 2]})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Make images, one of them broken, settings and weights of a tiny Mask R-CNN."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "settings.yaml").write_text(SETTINGS.format(device="cpu", data=folder))
    torch.manual_seed(3)
    model = build_detection_model(load_config(str(folder / "settings.yaml"), []))
    torch.save({"model": model.state_dict()}, folder / "weights.pth")
    (folder / "images").mkdir()
    rng = np.random.default_rng(1)
    for name, (width, height) in {"large": (400, 300), "b": (60, 40), "c": (120, 250)}.items():
        pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        write_image(folder / "images" / f"{name}.png", pixels)
    (folder / "images" / "d.png").write_bytes(b"no image")
    return folder


def command(data, out):
    """Return a command for 63 windows in 33 batches."""
    return [
        *("tools/predict.py", "--config-file", data / "settings.yaml"),
        *("--weights", data / "weights.pth", "--out", out, "--score", "0"),
        *("--tile", "64", "--overlap", "16", data / "images", "--opts", "TEST.IMS_PER_BATCH", "2"),
    ]


def equal_but_for_journals(folder, other):
    """Say whether two folders hold the same results."""
    parts = [
        {
            name: data
            for name, data in contents(path).items()
            if name[:7] not in ("journal", ".lock")
        }
        for path in (folder, other)
    ]
    assert len(parts[0]) >= 8
    return parts[0] == parts[1]


@pytest.fixture(scope="module")
def alone(data):
    """Return the results of one process, of one thread as torchrun's are."""
    done = launch(*command(data, data / "alone"))
    assert done.returncode == 1 and "d.png: no image" in done.stdout
    return data / "alone"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes_gives_the_same_bytes(data, alone, tmp_path, processes):
    done = launch(*command(data, tmp_path / "out"), processes=processes)
    assert done.returncode == 1 and done.stdout.count("d.png: no image") == 1
    assert "3 of 4 images done" in done.stdout
    assert equal_but_for_journals(alone, tmp_path / "out")
    journals = list((tmp_path / "out").glob("journal*"))
    assert len(journals) == processes  # each did something
    assert sum(path.read_bytes().count(b'"batch"') for path in journals) == 33


def start_node(rank, port, arguments):
    node = ["--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d", "--rdzv_id", "7"]
    node += ["--rdzv_endpoint", f"localhost:{port}", "--node_rank", str(rank)]
    parts = [sys.executable, "-m", "torch.distributed.run", *node, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(parts, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def run_two_nodes(*arguments):
    """Run torchrun twice, as on two machines; return the two outputs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [start_node(rank, port, part) for rank, part in enumerate(arguments)]
    try:
        return ["".join(node.communicate(timeout=240)) for node in nodes]
    finally:
        for node in nodes:
            node.terminate()


@pytest.mark.slow
def test_two_machines_share_the_work_by_docs_cluster(data, alone, tmp_path):
    told = run_two_nodes(*[command(data, tmp_path / "out")] * 2)
    assert any("2 process(es) on cpu" in text for text in told)
    assert equal_but_for_journals(alone, tmp_path / "out")
    assert (tmp_path / "out" / "journal_1.jsonl").is_file()


@pytest.mark.slow
def test_two_machines_without_a_shared_disk_are_told(data, tmp_path):
    told = run_two_nodes(*[command(data, tmp_path / name) for name in ("one", "two")])
    for text in told:
        assert re.search("error: process 1 on .* does not have the folder .*(one|two)", text)
    assert not (tmp_path / "two").exists() or not list((tmp_path / "two").iterdir())


WORKER = """
import os, sys, time
from pathlib import Path
import torch.distributed as dist
from test_shared_prediction import predict_slowly
from maskrcnn_benchmark.utils.command_line import run_tool
dist.init_process_group("gloo")
run_tool(lambda: predict_slowly(Path(sys.argv[1])))
"""


def predict_slowly(folder):
    """Predict on the images of a folder, one window at a time, in 0.05 s each."""
    model = BlobModel()
    find = model.forward
    model.forward = lambda images: (time.sleep(0.05), find(images))[1]
    predictor = make_predictor(model, **{"TEST.IMS_PER_BATCH": 1})
    images = sorted(folder.glob("*.png"))
    with lock_folder(folder / "out") if is_main_process() else nullcontext():
        return predict(predictor, images, folder / "out")


def journals(folder):
    return sum(path.stat().st_size for path in folder.glob("journal*"))


@pytest.fixture
def five_scenes(tmp_path):
    """Make five images of 15 windows, and what is found in them."""
    images = [tmp_path / f"{k}.png" for k in range(5)]
    for path in images:
        write_image(path, scene())
    predict(make_predictor(BlobModel(), **{"TEST.IMS_PER_BATCH": 1}), images, tmp_path / "whole")
    return tmp_path


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_no_byte(five_scenes):
    """Moments from the first line to the last; processes are forked off one that has PyTorch."""
    lives = multiprocessing.get_context("forkserver")
    lives.set_forkserver_preload(["test_shared_prediction"])
    rng, kills, ends, out = random.Random(7), 0, 0, five_scenes / "out"
    while kills < 20:
        process = lives.Process(target=predict_slowly, args=(five_scenes,))
        process.start()
        process.join(rng.uniform(0.0, 0.6))  # 75 windows take 4 s
        process.kill()
        process.join()
        if process.exitcode == 0:  # it has ended before
            assert equal_but_for_journals(five_scenes / "whole", out)
            shutil.rmtree(out)
            ends += 1
        else:
            assert process.exitcode == -signal.SIGKILL
            kills += 1
    predict_slowly(five_scenes)
    assert equal_but_for_journals(five_scenes / "whole", out)


@pytest.mark.slow
def test_kills_of_any_of_two_processes_or_of_torchrun_change_no_byte(five_scenes):
    parts = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    (five_scenes / "worker.py").write_text(WORKER)
    parts += [five_scenes / "worker.py", five_scenes]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    rng, out = random.Random(7), five_scenes / "out"
    for victim in (0, 1, None):
        before = journals(out)
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [sys.executable, *map(str, parts)], env=environment, stderr=pipe, text=True
        ) as torchrun:
            while torchrun.poll() is None and journals(out) <= before:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
            workers = processes_below(torchrun.pid)
            assert len(workers) == 2
            os.kill(torchrun.pid if victim is None else workers[victim], signal.SIGKILL)
            told = torchrun.communicate(timeout=120)[1]
        assert torchrun.returncode != 0 and not (out / "detections.json").exists()
        if victim is None:  # the two others have nobody to ask for work
            assert "another process has ended, its own lines say why" in told
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    subprocess.run([sys.executable, *map(str, parts)], env=environment, check=True, timeout=120)
    assert equal_but_for_journals(five_scenes / "whole", out)
