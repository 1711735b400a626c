"""--dtype of predict and test_net: the network's precision."""

import json
import logging
import sys

import numpy as np
import pytest
import torch
from test_export import KINDS
from tiny_models import make_cfg

from maskrcnn_benchmark.commands import predict, test_net
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.images.image_io import write_image
from maskrcnn_benchmark.modeling.detector import build_detection_model

SIZES = ["INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 128]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def made_model(kind, dtype="float32"):
    torch.manual_seed(0)
    cfg = make_cfg(*KINDS[kind], *SIZES, "DTYPE", dtype)
    return cfg, build_detection_model(cfg)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["mask", "oriented_rcnn"])
def test_half_precision_finds_what_float32_finds_to_its_digits(kind, dtype, image):
    exact = Predictor(*made_model(kind)).predict(image)
    found = Predictor(*made_model(kind, dtype)).predict(image)
    assert found.fields() == exact.fields() and found.bbox.dtype == torch.float32
    best, exact_best = found.get_field("scores")[:5], exact.get_field("scores")[:5]
    # bfloat16 has 8 bits: steps of 0.4 per cent, of the logits
    assert not torch.equal(best, exact_best)
    assert best == pytest.approx(exact_best, abs=0.02)


def run(monkeypatch, main, *arguments):
    monkeypatch.setattr(sys, "argv", ["tool.py", *map(str, arguments)])
    try:
        return main()
    finally:
        logging.getLogger("maskrcnn_benchmark").handlers.clear()


def test_predict_takes_it_and_never_mixes_two(tmp_path, image, monkeypatch):
    cfg, model = made_model("faster")
    (tmp_path / "settings.yaml").write_text(cfg.dump())
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pth")
    write_image(tmp_path / "scene.png", image)
    files = ["--config-file", tmp_path / "settings.yaml", "--weights", tmp_path / "weights.pth"]
    files += ["--score", 0, "--no-draw", tmp_path / "scene.png", "--out"]

    def scores(out, *options):
        assert run(monkeypatch, predict.main, *files, tmp_path / out, *options) == 0
        written = json.loads((tmp_path / out / "detections.json").read_text())
        return [item["score"] for item in written["images"]["scene"]["detections"]]

    exact, half = scores("exact"), scores("half", "--dtype", "bfloat16")
    assert exact != half and exact[:5] == pytest.approx(half[:5], abs=0.02)
    assert scores("exact", "--dtype", "float32") == exact
    journal = tmp_path / "half" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]))  # as if it were killed before the end
    with pytest.raises(ValueError, match="DTYPE was bfloat16, now float32"):
        scores("half", "--dtype", "float32")
    assert scores("half", "--dtype", "bfloat16") == half


def test_test_net_takes_it(tmp_path, monkeypatch):
    cfg, _ = made_model("faster", "float16")
    (tmp_path / "settings.yaml").write_text(cfg.dump())
    seen = []
    monkeypatch.setattr(test_net, "build_detection_model", lambda _: torch.nn.Identity())
    monkeypatch.setattr(test_net, "load_trained", lambda *_, **__: None)
    monkeypatch.setattr(test_net, "run_test", lambda cfg, *_, **__: seen.append(cfg.DTYPE))
    file = ["--config-file", tmp_path / "settings.yaml"]
    run(monkeypatch, test_net.main, *file)
    run(monkeypatch, test_net.main, *file, "DTYPE", "tf32", "--dtype", "bfloat16")
    assert seen == ["float16", "bfloat16"]


def test_other_names_and_exported_files_are_refused(monkeypatch, capsys):
    for main in (predict.main, test_net.main):
        with pytest.raises(SystemExit):
            run(monkeypatch, main, "--dtype", "half")
        assert "invalid choice: 'half'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        files = ["--weights", "x.onnx", "--out", "found", "scene.png"]
        run(monkeypatch, predict.main, *files, "--dtype", "bfloat16")
    assert "--dtype bfloat16: an .onnx file computes in float32" in capsys.readouterr().err
