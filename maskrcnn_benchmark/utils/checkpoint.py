"""Saving and loading training states; reading weights of every kind that is known."""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from maskrcnn_benchmark.utils.atomic_write import written_whole
from maskrcnn_benchmark.utils.c2_model_loading import load_c2_format
from maskrcnn_benchmark.utils.changed_settings import (
    Changes,
    compare_settings,
    compare_states,
    list_changes,
    load_optimizer_state,
    plain_settings,
)
from maskrcnn_benchmark.utils.imports import import_file
from maskrcnn_benchmark.utils.mmrotate_weights import is_mmrotate, load_mmrotate_format
from maskrcnn_benchmark.utils.model_serialization import LoadReport, load_state_dict
from maskrcnn_benchmark.utils.model_zoo import read_cached
from maskrcnn_benchmark.utils.torchvision_weights import PREFIX, load_torchvision_format
from maskrcnn_benchmark.utils.weights_file import read_weights_file, write_weights_file

_TAG = "last_checkpoint"
_GLIDING_VERTEX = re.compile(r"\bpredictor\.(fix|ratio)_pred\.")  # parts that only it has
_BLOCK = re.compile(r"\b(layer\d)\.\d+\.")  # of a ResNet
AVERAGED = "model_ema"  # a checkpoint's averaged weights, see engine/weight_average.py


class Checkpointer:
    """Writes checkpoints whole or not at all, and tells resuming from starting with weights.

    The folder's "last_checkpoint" holds the path of the newest one. `resumed` says whether the
    last `load` took that one. Resuming follows the settings of now: of the optimizer it takes the
    momentum, of a WarmupMultiStepLR the iteration, and lists in the log what was set otherwise.

    Args:
        model: wrapped in DistributedDataParallel or not.
        optimizer, scheduler: saved and resumed along with it, where they are given.
        save_dir: the run's folder; empty: nothing is saved or resumed.
        save_to_disk: whether this process writes (rank 0 does).
        logger: where the lines go; the module's own by default.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: Any = None,
        save_dir: str = "",
        save_to_disk: bool | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.save_dir, self.save_to_disk = save_dir, save_to_disk
        self.logger = logger or logging.getLogger(__name__)
        self.resumed = False

    def save(self, name: str, **kwargs: Any) -> None:
        """Write SAVE_DIR/name.pth and name it in last_checkpoint.

        Args:
            kwargs: more to keep ("iteration"); only tensors, numbers, strings and containers of
                these, since the file is read back without running code.

        Raises:
            OSError: it cannot be written, such as on a full disk; the previous one stays.
        """
        if not (self.save_dir and self.save_to_disk):
            return
        wrapped = isinstance(self.model, nn.parallel.DistributedDataParallel)
        data = {"model": (self.model.module if wrapped else self.model).state_dict()}
        for part in ("optimizer", "scheduler"):
            if getattr(self, part) is not None:
                data[part] = getattr(self, part).state_dict()
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        for leftover in Path(self.save_dir).glob(".*.pth.*.part"):  # of a run killed in mid-write
            leftover.unlink(missing_ok=True)
        write_weights_file(data | kwargs, path, durable=True)
        self.tag_last_checkpoint(path)

    def load(self, f: str | None = None, use_latest: bool = True) -> dict[str, Any]:
        """Resume from last_checkpoint if there is one, else take the model's weights from `f`.

        Args:
            f: weights to start from; empty: the model stays as it is.
            use_latest: False: take `f` although a last_checkpoint exists.

        Returns:
            what else `save` was given, when resuming; {} when only weights were loaded.
        """
        self.resumed = use_latest and self.has_checkpoint()
        if self.resumed:
            return self._resume(f)
        if not f:
            self.logger.info("No weights given and no checkpoint to resume: initial weights")
            return {}
        self.logger.info("Starting from the weights of %s", f)
        checkpoint = self._load_file(f)
        with _named(f):
            self._load_model(_averaged(checkpoint))
        return {}

    def _resume(self, f: str | None) -> dict[str, Any]:
        path = self.get_checkpoint_file()
        if not path or not os.path.isfile(path):
            raise FileNotFoundError(
                f"{self._tag_path()} names {path!r}, which is not there: delete it to start anew. "
                + _others_than(os.path.join(self.save_dir, os.path.basename(path)))
            )
        self.logger.info("Resuming from %s", path)
        if f and os.path.abspath(f) != os.path.abspath(path):
            self.logger.info(
                "%s is not read, for %s exists; to start from it, take another OUTPUT_DIR or "
                "delete that file",
                f,
                self._tag_path(),
            )
        checkpoint = self._load_file(path)
        if self.optimizer is not None and not _is_of_training(checkpoint):
            raise ValueError(
                f"{self._tag_path()} names {path}, which is no checkpoint of a training (it lacks "
                "the optimizer's state or the iteration): delete it to start anew. "
                + _others_than(path)
            )
        with _named(path):
            report = self._load_model(checkpoint)
        try:
            if report.misfits:
                raise ValueError(f"other shapes of {', '.join(report.misfits)}")
            changes = self._load_states(checkpoint)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            raise ValueError(
                f"{path} was written with another model or other settings ({error}): restore "
                "them, or take another OUTPUT_DIR and give it as MODEL.WEIGHT"
            ) from error
        if changes:
            self.logger.info(
                "%d setting(s) differ from the checkpoint's run, and those of now count: %s",
                *(len(changes), list_changes(changes)),
            )
        return checkpoint

    def _load_states(self, checkpoint: dict[str, Any]) -> Changes:
        """Take the optimizer's and the scheduler's states out of the checkpoint and load them.

        Returns:
            the settings that were others when they were saved.
        """
        states = [checkpoint.pop(part, None) or {} for part in ("optimizer", "scheduler")]
        if self.optimizer is not None and states[0]:
            load_optimizer_state(self.optimizer, states[0])
        if self.scheduler is not None and states[1]:
            self.scheduler.load_state_dict(states[1])
        return compare_states(*states, self.optimizer, self.scheduler)

    def has_checkpoint(self) -> bool:
        """Say whether the folder has a checkpoint to resume from."""
        return bool(self.save_dir) and os.path.exists(self._tag_path())

    def get_checkpoint_file(self) -> str:
        """Return the path in last_checkpoint ("" if there is none).

        Where it leads nowhere, since the folder was moved or the run was started elsewhere, the
        file of that name beside last_checkpoint is meant.
        """
        try:
            tagged = os.fsdecode(Path(self._tag_path()).read_bytes()).strip()
        except FileNotFoundError:
            return ""
        beside = os.path.join(self.save_dir, os.path.basename(tagged))
        moved = not os.path.isfile(tagged) and os.path.isfile(beside)
        return beside if moved else tagged

    def tag_last_checkpoint(self, last_filename: str) -> None:
        """Name the newest checkpoint in last_checkpoint."""
        with written_whole(self._tag_path(), durable=True) as part:
            part.write_text(str(last_filename), encoding="utf-8")

    def _tag_path(self) -> str:
        return os.path.join(self.save_dir, _TAG)

    def _load_file(self, f: str) -> dict[str, Any]:
        if not os.path.isfile(f):
            raise FileNotFoundError(f"no file of weights '{f}'. {_others_than(f)}")
        try:
            return read_weights_file(f)
        except ValueError as error:
            raise ValueError(f"{error}. {_others_than(f)}") from error

    def _load_model(self, checkpoint: dict[str, Any]) -> LoadReport:
        weights = checkpoint.pop("model", None)
        if not isinstance(weights, Mapping):
            raise ValueError('expected weights under "model", by name')
        weights = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
        report = load_state_dict(self.model, weights)
        if report.missing and not report.loaded:
            raise ValueError(
                "none of the weights fits the model: the file has "
                f"{', '.join(list(weights)[:3])} …, the model {', '.join(report.missing[:3])} …"
            )
        if report.not_finite:
            raise ValueError(
                f"{len(report.not_finite)} of its weights are NaN or infinite, such as "
                f"{report.not_finite[0]}: of a run that diverged, or damaged"
            )
        return report


class DetectronCheckpointer(Checkpointer):
    """Checkpointer that also reads Detectron's .pkl, mmrotate's .pth, URLs and names of weights.

    It records the channel order that the network was trained with, and refuses another; and the
    settings, so that a resumed run can list those that differ.

    Args:
        cfg: the run's settings.
        model, optimizer, scheduler, save_dir, save_to_disk, logger: as Checkpointer's.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: Any = None,
        save_dir: str = "",
        save_to_disk: bool | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        super().__init__(model, optimizer, scheduler, save_dir, save_to_disk, logger)
        self.cfg = cfg.clone()

    def save(self, name: str, **kwargs: Any) -> None:
        """Write a checkpoint as Checkpointer.save does, with channel order and settings."""
        settings = plain_settings(self.cfg)
        super().save(name, channel_order=self._channel_order(), settings=settings, **kwargs)

    def _load_states(self, checkpoint: dict[str, Any]) -> Changes:
        recorded = checkpoint.pop("settings", None)
        changes = super()._load_states(checkpoint)
        if self.optimizer is None:  # evaluation: nothing goes on
            return {}
        if recorded is not None:
            changes = compare_settings(recorded, plain_settings(self.cfg))
        if "SOLVER.SEED" in changes:
            checkpoint.pop("rng", None)  # the other seed's random draws
        return changes

    def _load_model(self, checkpoint: dict[str, Any]) -> LoadReport:
        report = super()._load_model(checkpoint)
        strangers = [name for name in report.unused if _GLIDING_VERTEX.search(name)]
        if strangers:
            raise ValueError(
                f"the weights are Gliding Vertex's: {', '.join(strangers)} have no place in a "
                f"model with MODEL.ORIENTED.METHOD {self.cfg.MODEL.ORIENTED.METHOD!r}; take a "
                "config such as configs/dota/gliding_vertex_R_50_FPN_1x.yaml"
            )
        deeper = _of_a_deeper_network(report.unused, self.model.state_dict())
        if deeper:
            raise ValueError(
                f"the weights are of a deeper network: {len(deeper)} parts, such as {deeper[0]}, "
                f"have no place in MODEL.BACKBONE.CONV_BODY {self.cfg.MODEL.BACKBONE.CONV_BODY!r}"
            )
        return report

    def _channel_order(self) -> str:
        return "BGR" if self.cfg.INPUT.TO_BGR255 else "RGB"

    def _load_file(self, f: str) -> dict[str, Any]:
        if f.startswith(PREFIX):
            return load_torchvision_format(self.cfg, f)
        if f.startswith("catalog://"):
            catalog = import_file(
                "maskrcnn_benchmark.config.paths_catalog", self.cfg.PATHS_CATALOG, True
            )
            name, f = f, catalog.ModelCatalog.get(f.removeprefix("catalog://"))
            self.logger.info("%s is %s", name, f)
        if f.startswith(("http://", "https://")):
            return read_cached(f, self._load_local_file)
        return self._load_local_file(f)

    def _load_local_file(self, f: str) -> dict[str, Any]:
        if f.endswith(".pkl") and os.path.isfile(f):
            return load_c2_format(self.cfg, f)
        loaded = super()._load_file(f)
        if is_mmrotate(loaded):
            return load_mmrotate_format(self.cfg, f, loaded)
        if "model" not in loaded:  # bare weights
            return {"model": loaded}
        self._check_channel_order(f, loaded.pop("channel_order", None))
        return loaded

    def _check_channel_order(self, f: str, trained: str | None) -> None:
        """Refuse weights of the other order; None (a file of the original): not known."""
        if trained in (None, self._channel_order()):
            return
        raise ValueError(
            f"{f} was trained on {trained} images, but INPUT.TO_BGR255 is "
            f"{self.cfg.INPUT.TO_BGR255}, which feeds {self._channel_order()}: set "
            f"INPUT.TO_BGR255 {trained == 'BGR'} (and its PIXEL_MEAN and PIXEL_STD)"
        )


class _TrainedModel(DetectronCheckpointer):
    """Load a whole detector: what training may leave out, evaluation and prediction need."""

    def _load_model(self, checkpoint):
        report = super()._load_model(_averaged(checkpoint))
        learnt = {name for name, _ in self.model.named_parameters()}
        lost = report.misfits + [name for name in report.missing if name in learnt]
        if lost:
            raise ValueError(
                f"the weights are not those of a detector with these settings: {len(lost)} parts "
                f"have another shape or are missing, such as {lost[0]}. Give the config.yml that "
                "training left beside them"
            )
        return report


def load_trained(cfg, model, weights: str, use_latest: bool) -> str:
    """Load all of a trained detector.

    Args:
        cfg: its settings.
        model: built from them.
        weights: a .pth or .pkl file, a URL or catalog://NAME.
        use_latest: take OUTPUT_DIR's last checkpoint instead, where there is one.

    Returns:
        what was loaded, as `weights`.

    Raises:
        FileNotFoundError: neither weights nor a last checkpoint.
        ValueError: the weights are not those of a whole detector of these settings.
    """
    checkpointer = _TrainedModel(cfg, model, save_dir=cfg.OUTPUT_DIR)
    if not weights and not (use_latest and checkpointer.has_checkpoint()):
        raise FileNotFoundError(
            f"no trained weights: {cfg.OUTPUT_DIR!r} has no last_checkpoint; train first, or name "
            "weights with MODEL.WEIGHT FILE"
        )
    checkpointer.load(weights, use_latest=use_latest)
    return checkpointer.get_checkpoint_file() if checkpointer.resumed else weights


def _averaged(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Take a checkpoint's averaged weights for its weights, where it has some."""
    if AVERAGED in checkpoint:
        checkpoint["model"] = checkpoint.pop(AVERAGED)
    return checkpoint


def _of_a_deeper_network(unused: Iterable[str], own: Iterable[str]) -> list[str]:
    """Return the unused names that belong to further blocks of stages that the model has."""
    blocks = {found[0]: found[1] for found in map(_BLOCK.search, own) if found}
    return [
        name
        for name in unused
        if (found := _BLOCK.search(name)) and found[1] in blocks.values() and found[0] not in blocks
    ]


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Say of which file an error is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _is_of_training(checkpoint: dict[str, Any]) -> bool:
    iteration = checkpoint.get("iteration", 0)
    return isinstance(checkpoint.get("optimizer"), dict) and type(iteration) is int


def _others_than(path: str) -> str:
    """Name the checkpoints beside a bad or missing one, newest first."""
    files = [p for p in Path(path).parent.glob("*.pth") if p.name != os.path.basename(path)]
    files.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    names = ", ".join(p.name for p in files) or "none"
    return (
        f"Checkpoints in {Path(path).parent}: {names}. A run resumes from the one whose path "
        f"stands in its {_TAG}."
    )
