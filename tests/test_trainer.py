"""The training loop on a model of one weight, whose steps can be worked out by hand."""

import builtins
import json
import logging
import os
import random
import signal

import pytest
import torch
from tiny_models import made_batch, make_cfg, tiny_fbnet
from torch import nn

from maskrcnn_benchmark.config import cfg as default_cfg
from maskrcnn_benchmark.engine import trainer
from maskrcnn_benchmark.engine.inference import compute_on_dataset
from maskrcnn_benchmark.engine.trainer import do_train, flatten_results
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.utils.checkpoint import Checkpointer
from maskrcnn_benchmark.utils.random_state import preserved_random_state, seed_everything
from maskrcnn_benchmark.utils.training_log import TrainingLog, read_metrics

CPU = torch.device("cpu")


class OneWeight(nn.Module):
    """loss_a = weight x mean of the images, loss_b = 0.5, and as much noise as is asked for."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.noise = noise

    def forward(self, images, targets):
        draw = self.noise * (torch.rand(()) + random.random())
        loss_a = self.weight * (images.tensors.mean() + draw)
        return {"loss_a": loss_a, "loss_b": 0.5 + 0 * self.weight}


class TwoWeights(nn.Module):
    """The gradients of its weights are 3 and 4 times the mean of the images: 5 together."""

    def __init__(self) -> None:
        super().__init__()
        self.three, self.four = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))

    def forward(self, images, targets):
        return {"loss_a": (3 * self.three + 4 * self.four) * images.tensors.mean()}


class Loader:
    """Batches of one 2 x 3 image whose pixels are `values[k]` in iteration k."""

    def __init__(self, values, start_iter=0, before=lambda iteration: None) -> None:
        self.values, self.start_iter, self.before = values, start_iter, before

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        torch.rand(())  # as torch's own DataLoader does
        return self._batches()

    def _batches(self):
        for iteration in range(self.start_iter + 1, len(self) + 1):
            self.before(iteration)
            target = BoxList(torch.tensor([[1.0, 0.0, 2.0, 1.0]]), (3, 2))
            target.image_name = f"scene_{iteration}.png"
            pixels = torch.full((3, 2, 3), float(self.values[iteration - 1]))
            yield to_image_list([pixels]), [target], [iteration]


def train(folder, values, noise=0.0, before=lambda iteration: None, model=None, **settings):
    """Run do_train as train_net does; return (model, arguments)."""
    defaults = {"period": 100, "test_period": 0, "dtype": "float32", "seed": 3, "device": CPU}
    settings = defaults | {"clip": 0.0, "ema": 0.0} | settings
    cfg = default_cfg.clone()
    cfg.OUTPUT_DIR, cfg.DTYPE = str(folder), settings["dtype"]
    cfg.SOLVER.CLIP_GRADIENT, cfg.SOLVER.EMA = settings["clip"], settings["ema"]
    seed_everything(settings["seed"])
    model = (model or OneWeight(noise)).to(settings["device"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3], gamma=0.1)
    folder.mkdir(exist_ok=True)
    checkpointer = Checkpointer(model, optimizer, scheduler, str(folder), save_to_disk=True)
    arguments = {"iteration": 0, **checkpointer.load()}
    loader = Loader(values, arguments["iteration"], before)
    do_train(
        *(cfg, model, loader, None, optimizer, scheduler, checkpointer, settings["device"]),
        *(settings["period"], settings["test_period"], arguments),
    )
    return model, arguments


def stop_at(wanted):
    """Return a loader's hook that stops this process while the data of an iteration is fetched."""

    def hook(iteration):
        if iteration == wanted:
            os.kill(os.getpid(), signal.SIGTERM)

    return hook


def test_steps_losses_and_files(tmp_path):
    model, arguments = train(tmp_path, [1, 2, 3, 4, 5], period=2)
    # gradient of weight = the image's value; steps 0.1, from iteration 4 on 0.01 (the scheduler)
    # weight before 1..5: 1, 0.9, 0.7, 0.4, 0.36; after: 0.31
    assert model.weight.item() == pytest.approx(0.31)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["loss_a"] for row in rows] == pytest.approx([1, 1.8, 2.1, 1.6, 1.8])
    assert [row["loss"] for row in rows] == pytest.approx([1.5, 2.3, 2.6, 2.1, 2.3])
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.01])
    saved = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert saved == ["model_0000002.pth", "model_0000004.pth", "model_final.pth"]
    assert (tmp_path / "last_checkpoint").read_text().endswith("model_final.pth")
    assert arguments["iteration"] == 5


def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    values = [0.1, 0.7, 0.2, 0.9, 0.4, 0.3]
    whole, _ = train(tmp_path / "whole", values, noise=1.0)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", values, noise=1.0, before=stop_at(3))
    first = read_metrics(tmp_path / "parts" / "metrics.jsonl")
    assert [row["iteration"] for row in first] == [1, 2, 3]
    assert (tmp_path / "parts" / "last_checkpoint").read_text().endswith("model_0000003.pth")
    # another seed: all randomness must come out of the checkpoint
    resumed, _ = train(tmp_path / "parts", values, noise=1.0, seed=99)
    assert torch.equal(whole.weight, resumed.weight)
    noiseless, _ = train(tmp_path / "noiseless", values)
    assert not torch.equal(whole.weight, noiseless.weight)
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    losses = [[row["loss"] for row in of_run] for of_run in rows]
    assert losses[0] == losses[1] and len(losses[0]) == 6


def test_interruption_says_how_to_go_on(tmp_path, caplog):
    before = signal.getsignal(signal.SIGTERM)
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        train(tmp_path, [1, 1, 1], before=stop_at(2))
    assert "iteration 2 of 3 is saved" in caplog.text and "same command resumes" in caplog.text
    assert signal.getsignal(signal.SIGTERM) == before


def test_signal_in_the_last_iteration_ends_as_usual(tmp_path):
    _, arguments = train(tmp_path, [1, 1, 1], before=stop_at(3))
    assert arguments["iteration"] == 3
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_final.pth"]


def test_metrics_of_a_killed_run_are_not_doubled(tmp_path):
    train(tmp_path, [1, 1, 1, 1], period=2)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "model_0000002.pth"))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"iteration": 5, "lo')  # killed in mid-write
    train(tmp_path, [1, 1, 1, 1])
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert all(json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())


def test_finished_run_says_so_and_trains_nothing(tmp_path, caplog):
    trained, _ = train(tmp_path, [1, 1])
    with caplog.at_level(logging.INFO):
        again, _ = train(tmp_path, [1, 1])
    assert "finished: 2 of 2" in caplog.text and "raise SOLVER.MAX_ITER" in caplog.text
    assert torch.equal(trained.weight, again.weight)
    longer, arguments = train(tmp_path, [1, 1, 1])
    assert arguments["iteration"] == 3 and longer.weight < trained.weight


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_loss_stops_and_names_everything(tmp_path, bad):
    with pytest.raises(FloatingPointError) as error:
        train(tmp_path, [1, 1, bad, 1], period=1)
    for part in ("iteration 3", f"loss_a {bad:g}", "loss_b 0.5", "scene_3.png"):
        assert part in str(error.value)
    weights = torch.load(tmp_path / "model_0000002.pth", weights_only=True)["model"]["weight"]
    assert weights.item() == pytest.approx(0.8)
    assert not (tmp_path / "model_0000003.pth").exists()


def test_evaluation_in_training_is_noted(tmp_path, monkeypatch):
    calls = []

    def fake_run_test(cfg, model, distributed, output_dir):
        calls.append(output_dir)
        return {"toy": {"task2": {"voc07@0.5": {"mAP": 0.25, "classes": {"ship": {"ap": 1.0}}}}}}

    monkeypatch.setattr(trainer, "run_test", fake_run_test)
    train(tmp_path, [1, 2, 3, 4], test_period=2)
    assert calls == ["", ""]
    rows = read_metrics(tmp_path / "metrics.jsonl")
    figures = [row for row in rows if "test/toy/task2/voc07@0.5/mAP" in row]
    assert [(row["iteration"], row["test/toy/task2/voc07@0.5/mAP"]) for row in figures] == [
        (2, 0.25),
        (4, 0.25),
    ]


def train_fbnet(folder, test_period):
    """Train a narrow FBNet, its first block in evaluation mode, for two iterations."""
    images, targets = made_batch()
    model = tiny_fbnet()
    cfg = make_cfg("OUTPUT_DIR", str(folder))
    seed_everything(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [100])

    class Batches(list):
        def __iter__(self):
            for image_ids in super().__iter__():
                yield to_image_list(images), targets, image_ids
                model.backbone.body.first.eval()  # as one does who freezes a part

    do_train(
        *(cfg, model, Batches([[0, 1]] * 2), Batches([[0, 1]])),
        *(optimizer, scheduler, Checkpointer(model), CPU, 100, test_period, {"iteration": 0}),
    )
    return model


def test_fault_evaluation_in_training_taught_batch_norm_the_validation_images(
    tmp_path, monkeypatch
):
    def run_test_on_noise(cfg, model, distributed, output_dir):
        batch = to_image_list([torch.randn(3, 64, 96)]), [None], [0]
        compute_on_dataset(model, [batch], CPU, bbox_aug=False)
        random.random()
        return {}

    monkeypatch.setattr(trainer, "run_test", run_test_on_noise)
    folders = (tmp_path / "plain", tmp_path / "evaluated")
    models = [train_fbnet(folder, period) for folder, period in zip(folders, (0, 1), strict=True)]
    states = [model.state_dict() for model in models]
    assert sum("running_mean" in name for name in states[0]) > 20
    assert [n for n, value in states[0].items() if not torch.equal(value, states[1][n])] == []
    modes = [[module.training for module in model.modules()] for model in models]
    assert modes[0] == modes[1] and set(modes[0]) == {True, False}
    rows, with_evaluations = (read_metrics(folder / "metrics.jsonl") for folder in folders)
    assert [r["loss"] for r in rows] == [r["loss"] for r in with_evaluations if "loss" in r]
    assert sum("val/loss_classifier" in row for row in with_evaluations) == 2


def test_validation_losses_are_means_over_batches():
    # (2 + 4) / 2 for the weight 1; loss_b is 0.5 throughout
    losses = trainer._validation_losses(default_cfg, OneWeight(), Loader([2, 4]), CPU)
    assert losses == pytest.approx({"val/loss": 3.5, "val/loss_a": 3.0, "val/loss_b": 0.5})


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_trains_and_resumes(tmp_path, dtype):
    train(tmp_path, [1, 2, 3], dtype=dtype, period=2)
    # the loss scaler may skip its first steps of a float16 run, where gradients overflow
    checkpoint = torch.load(tmp_path / "model_0000002.pth", weights_only=True)
    assert ("scaler" in checkpoint) == (dtype == "float16")
    model, arguments = train(tmp_path, [1, 2, 3, 1], dtype=dtype)
    assert arguments["iteration"] == 4 and model.weight < 1
    assert model.weight.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gradients_are_clipped_to_a_norm(tmp_path, dtype):
    model, _ = train(tmp_path, [1, 0.2], dtype=dtype, clip=2.0, model=TwoWeights())
    # first (3, 4), of norm 5: * 2 / 5; then (0.6, 0.8), of norm 1, which is below 2; steps of 0.1
    assert model.three.item() == pytest.approx(1 - 0.12 - 0.06, abs=1e-6)
    assert model.four.item() == pytest.approx(1 - 0.16 - 0.08, abs=1e-6)
    free, _ = train(tmp_path / "free", [1, 0.2], dtype=dtype, model=TwoWeights())
    assert free.three.item() == pytest.approx(1 - 0.3 - 0.06, abs=1e-6)


def test_a_clipped_float16_step_whose_gradient_overflows_is_left_out(tmp_path):
    iterations = []
    model = TwoWeights()
    model.three.register_hook(lambda grad: grad * (float("inf") if len(iterations) == 2 else 1))
    train(tmp_path, [1, 1, 1], dtype="float16", clip=2.0, model=model, before=iterations.append)
    assert iterations == [1, 2, 3]
    assert model.three.item() == pytest.approx(1 - 2 * 0.12, abs=1e-6)  # the first and the third
    assert model.four.item() == pytest.approx(1 - 2 * 0.16, abs=1e-6)


def test_unknown_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match="DTYPE must be one of .*got 'half'"):
        train(tmp_path, [1], dtype="half")


def test_checkpoint_of_more_processes_resumes_with_a_warning(tmp_path, caplog):
    train(tmp_path, [1, 1])
    path = tmp_path / "model_final.pth"
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "rng": checkpoint["rng"] * 2}, path)
    _, arguments = train(tmp_path, [1, 1, 1])
    assert arguments["iteration"] == 3 and "2 processes, these are 1" in caplog.text


def test_tensorboard_gets_scalars(tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    train(tmp_path, [1] * 20)
    events = event_accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    (point,) = events.Scalars("loss_b")
    assert (point.step, point.value) == (20, 0.5)


def test_without_tensorboard_a_line_says_so(tmp_path, caplog, monkeypatch):
    def no_tensorboard(name, *args, **kwargs):
        if name == "torch.utils.tensorboard":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    real_import = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", no_tensorboard)
    with caplog.at_level(logging.INFO):
        train(tmp_path, [1])
    assert "tensorboard is not installed" in caplog.text
    assert not list(tmp_path.glob("events.*"))


def test_bar_on_a_terminal_only(tmp_path, monkeypatch, capsys):
    for on_terminal in (False, True):
        monkeypatch.setattr("sys.stderr.isatty", lambda answer=on_terminal: answer)
        with TrainingLog(str(tmp_path), 0, 2, CPU, enabled=True) as log:
            log.add_iteration(1, {"loss": 0.25}, lr=0.1)
        shown = capsys.readouterr().err
        assert ("loss=0.2500" in shown) == on_terminal


def test_preserved_random_state():
    seed_everything(5)
    expected = [random.random(), torch.rand(()).item()]
    seed_everything(5)
    with preserved_random_state():
        random.random(), torch.rand(3)
    assert [random.random(), torch.rand(()).item()] == expected


def test_flatten_results_keeps_numbers_and_drops_classes():
    class COCOResults:
        results = {"bbox": {"AP": 0.5, "AP50": 0.75}}

    nested = {
        "coco": (COCOResults(), {"raw": object()}),
        "voc": {"ap": [0.1, 0.2], "map": 0.15},
        "dota": {"task2": {"area@0.5": {"mAP": 1, "classes": {"ship": {"ap": 0.5}}}}},
        "elsewhere": None,
    }
    assert flatten_results(nested) == {
        "coco/bbox/AP": 0.5,
        "coco/bbox/AP50": 0.75,
        "voc/map": 0.15,
        "dota/task2/area@0.5/mAP": 1.0,
    }
