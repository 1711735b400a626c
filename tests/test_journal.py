"""A prediction that is killed goes on, and ends with the very same bytes."""

import json
import logging
import resource
import signal

import numpy as np
import pytest
from test_predictor import BlobModel, contents, make_predictor, predict, scene

from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.engine.journal import JOURNAL, Journal
from maskrcnn_benchmark.images.image_io import write_image


@pytest.fixture
def images(tmp_path):
    for name in ("first", "second"):
        write_image(tmp_path / f"{name}.png", scene())
    return [tmp_path / "first.png", tmp_path / "second.png"]


def killed_after(model, batches):
    """Make a model that dies as if by kill -9: no handler of `predict_files` catches it."""
    find, count = model.forward, iter(range(batches))

    def forward(images):
        if next(count, None) is None:
            raise SystemExit
        return find(images)

    model.forward = forward
    return model


def results(folder):
    """Read all but the journal, whose batches come in another order of runs."""
    return {name: data for name, data in contents(folder).items() if name != JOURNAL}


@pytest.mark.parametrize("with_masks", [False, True], ids=["upright", "oriented"])
def test_after_any_interruption_the_results_are_the_same(tmp_path, images, with_masks):
    predict(make_predictor(BlobModel(with_masks)), images, tmp_path / "whole")
    out, seen = tmp_path / "out", 0
    for batches in (0, 3, 1, 4):  # of 5 for each of 2 images
        model = killed_after(BlobModel(with_masks), batches)
        with pytest.raises(SystemExit):
            predict(make_predictor(model), images, out)
        seen += len(model.seen)
        journal = out / JOURNAL
        if journal.exists():  # the last line is cut in the middle, once more
            journal.write_bytes(journal.read_bytes() + b'{"of": 0, "batch": 9, "fou')
    last = BlobModel(with_masks)
    assert predict(make_predictor(last), images, out) == 0
    assert seen + len(last.seen) == 10  # each batch was done once
    assert results(out) == results(tmp_path / "whole")


def test_a_line_cut_anywhere_is_done_again(tmp_path, images):
    out = tmp_path / "out"
    predict(make_predictor(BlobModel()), images[:1], out)
    wanted, journal = results(out), (out / JOURNAL).read_bytes()
    lines = journal.splitlines(keepends=True)
    assert len(lines) == 2 + 5 + 1  # settings, the image, its batches, the end
    kept = sum(map(len, lines[:5]))
    for cut in range(kept, kept + len(lines[5]), len(lines[5]) // 3):
        (out / JOURNAL).write_bytes(journal[:cut])
        model = BlobModel()
        assert predict(make_predictor(model), images[:1], out) == 0
        assert len(model.seen) == 2 and results(out) == wanted


def test_a_finished_one_says_so_and_other_scores_need_no_detection(tmp_path, images, caplog):
    caplog.set_level(logging.INFO, "maskrcnn_benchmark")
    out, model = tmp_path / "out", BlobModel()
    predict(make_predictor(model), images, out)
    before, seen = contents(out), len(model.seen)
    assert predict(make_predictor(model), images, out) == 0
    assert "nothing is left to do" in caplog.text and contents(out) == before
    assert predict(make_predictor(model), images, out, score=0.0) == 0
    assert len(model.seen) == seen
    predict(make_predictor(BlobModel()), images, tmp_path / "anew", score=0.0)
    assert results(out) == results(tmp_path / "anew") != before


def test_other_settings_are_refused_until_it_has_ended(tmp_path, images, caplog):
    caplog.set_level(logging.INFO, "maskrcnn_benchmark")
    out = tmp_path / "out"
    with pytest.raises(SystemExit):
        predict(make_predictor(killed_after(BlobModel(), 2)), images, out)
    other = make_predictor(BlobModel(), **{"DOTA.OVERLAP": 20})
    with pytest.raises(ValueError, match="has not ended.*DOTA.OVERLAP was 40, now 20.*delete"):
        predict(other, images, out)
    assert predict(make_predictor(BlobModel()), images, out) == 0
    assert predict(other, images, out) == 0
    assert "other settings (DOTA.OVERLAP was 40, now 20): all is done anew" in caplog.text
    predict(other, images, tmp_path / "new")
    assert results(out) == results(tmp_path / "new")


def test_fault_a_broken_image_bound_the_folder_to_its_settings(tmp_path, images, caplog):
    out, good = tmp_path / "out", images[1].read_bytes()
    images[1].write_bytes(b"no image")
    assert predict(make_predictor(BlobModel()), images, out) == 1
    model = BlobModel()
    assert predict(make_predictor(model), images, out) == 1  # is tried again
    assert model.seen == [] and caplog.text.count("skipped") == 2
    other = make_predictor(BlobModel(), **{"DOTA.OVERLAP": 20})
    images[1].write_bytes(good)
    assert predict(other, images, out) == 0
    predict(other, images, tmp_path / "new")
    assert results(out) == results(tmp_path / "new")


@pytest.mark.parametrize("name", ["first_detections.jpg", "Task2_blob.txt"])
def test_fault_a_result_that_was_deleted_was_called_done(tmp_path, images, name):
    out, model = tmp_path / "out", BlobModel()
    predict(make_predictor(model), images, out)
    before, seen = results(out), len(model.seen)
    (out / name).unlink()
    assert predict(make_predictor(model), images, out) == 0
    assert results(out) == before and len(model.seen) == seen


def test_fault_pictures_and_classes_of_an_earlier_prediction_stayed(tmp_path, images):
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "x_detections.jpg").touch()
    (out / "mine.txt").touch()
    predict(make_predictor(BlobModel()), images, out)
    (out / "Task2_blob.txt").rename(out / "Task2_a b.txt")
    earlier = json.loads((out / "detections.json").read_text())
    earlier["classes"] = {"a b": "a b"}
    earlier["images"]["sub/x"] = {}  # what no prediction writes
    (out / "detections.json").write_text(json.dumps(earlier))
    other = make_predictor(BlobModel(), **{"DOTA.OVERLAP": 20})
    predict(other, images[:1], out)
    assert {path.name for path in out.iterdir()} == {
        *("first_detections.jpg", "Task2_blob.txt", "detections.json"),
        *("detections_pixels.geojson", JOURNAL, "mine.txt", "sub"),
    }
    assert (out / "sub" / "x_detections.jpg").exists()


def test_a_changed_image_is_done_anew(tmp_path, images, caplog):
    out = tmp_path / "out"
    predict(make_predictor(BlobModel()), images, out)
    write_image(images[1], np.zeros((200, 300, 3), np.uint8))
    model = BlobModel()
    assert predict(make_predictor(model), images, out) == 0
    assert len(model.seen) == 5 and "second.png: has changed" in caplog.text
    lines = (out / "Task2_blob.txt").read_text().splitlines()
    assert lines and all(line.startswith("first ") for line in lines)


def test_fault_a_line_that_a_full_disk_cut_short_made_all_behind_it_void(tmp_path, images):
    """A limit on the size of files ends writing as a full disk does: with a part of the line."""
    journal = Journal(tmp_path, {"score": 0})
    found = [Detections(np.ones((9, 4)), np.ones(9), np.ones(9))]
    journal.of_image(images[0])[0] = found
    limits, size = resource.getrlimit(resource.RLIMIT_FSIZE), (tmp_path / JOURNAL).stat().st_size
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
    try:
        with pytest.raises(OSError):
            journal.of_image(images[0])[1] = found
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    journal.of_image(images[0])[2] = found
    assert sorted(Journal(tmp_path, {"score": 0}).of_image(images[0])) == [0, 2]
