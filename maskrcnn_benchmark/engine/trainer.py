"""The training loop: straight-line code from a batch to a saved checkpoint."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from maskrcnn_benchmark.engine.accumulation import accumulate
from maskrcnn_benchmark.engine.inference import run_test
from maskrcnn_benchmark.engine.weight_average import WeightAverage
from maskrcnn_benchmark.utils.comm import (
    all_gather,
    get_rank,
    get_world_size,
    is_main_process,
    synchronize,
)
from maskrcnn_benchmark.utils.interrupt import StopRequest, shielded_children
from maskrcnn_benchmark.utils.precision import autocast
from maskrcnn_benchmark.utils.random_state import (
    get_random_state,
    preserved_random_state,
    set_random_state,
)
from maskrcnn_benchmark.utils.training_log import TrainingLog

FINISHED = (
    "This run is finished: %d of %d iterations are done, nothing is trained. To go on, raise "
    "SOLVER.MAX_ITER; to start anew, choose another OUTPUT_DIR than %r."
)
INTERRUPTED = "Interrupted: iteration %d of %d is saved in %r; the same command resumes there."


def reduce_loss_dict(loss_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Average each loss over the processes.

    Args:
        loss_dict: scalars; the same names on every process.

    Returns:
        the averages, the same on every process; with one process the dict itself.
    """
    if get_world_size() == 1:
        return loss_dict
    names = sorted(loss_dict)
    averages = torch.stack([loss_dict[name].detach().float() for name in names])
    dist.all_reduce(averages)
    return dict(zip(names, averages / get_world_size(), strict=True))


def do_train(
    cfg,
    model,
    data_loader,
    data_loader_val,
    optimizer,
    scheduler,
    checkpointer,
    device,
    checkpoint_period,
    test_period,
    arguments,
) -> None:
    """Train from arguments["iteration"] to the loader's end, saving and evaluating on the way.

    Args:
        cfg: DTYPE, OUTPUT_DIR, SOLVER.ACCUMULATE, SOLVER.CLIP_GRADIENT, SOLVER.EMA and what
            evaluation needs are read.
        model: on the device, wrapped for distributed training or not.
        data_loader: gives (images, targets, image ids); len() is the iteration to end at.
        data_loader_val: labelled images whose losses are added to each evaluation; or None.
        optimizer, scheduler: stepped once per iteration.
        checkpointer: its save(name, **arguments) writes `model_XXXXXXX` and `model_final`.
        device: where the batches go.
        checkpoint_period: iterations from one checkpoint to the next.
        test_period: iterations from one evaluation on DATASETS.TEST to the next; 0: never.
        arguments: what a checkpoint holds beside the weights: "iteration", and from an
            earlier save "rng", "scaler" and the averaged weights. Updated in place.

    Raises:
        FloatingPointError: a loss is NaN or infinite; raised on every process.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the iteration is finished and saved.
    """
    logger = logging.getLogger("maskrcnn_benchmark.trainer")
    start_iter, max_iter = arguments["iteration"], len(data_loader)
    if start_iter >= max_iter:
        logger.info(FINISHED, start_iter, max_iter, cfg.OUTPUT_DIR)
        return
    logger.info("Start training at iteration %d of %d", start_iter, max_iter)
    device = torch.device(device)
    model.train()
    scaler = _make_scaler(cfg.DTYPE, device, arguments.get("scaler"))
    plain_model = getattr(model, "module", model)
    average = WeightAverage(plain_model, cfg.SOLVER.EMA, arguments)
    log = TrainingLog(cfg.OUTPUT_DIR, start_iter, max_iter, device, enabled=is_main_process())
    with log, StopRequest() as stop:
        batches = _start_loading(data_loader, arguments.get("rng"))
        for iteration, (images, targets, image_ids) in enumerate(batches, start_iter + 1):
            log.note_data()
            images = images.to(device, non_blocking=True)
            targets = [target.to(device, non_blocking=True) for target in targets]
            optimizer.zero_grad()
            loss_dict, last_losses = accumulate(
                model, images, targets, cfg.SOLVER.ACCUMULATE, scaler, cfg.DTYPE
            )
            losses, asked_to_stop = _fetch(loss_dict, stop.requested)
            if not math.isfinite(losses["loss"]):
                _stop_at_non_finite_loss(iteration, loss_dict, targets, image_ids)
            scaler.scale(sum(last_losses.values())).backward()
            _step(optimizer, scheduler, scaler, cfg.SOLVER.CLIP_GRADIENT)
            average.update(plain_model)
            arguments["iteration"] = iteration
            log.add_iteration(iteration, losses, optimizer.param_groups[0]["lr"])
            stopping = asked_to_stop and iteration < max_iter
            if iteration % checkpoint_period == 0 or stopping:
                _save(f"model_{iteration:07d}", checkpointer, arguments, scaler)
            if iteration == max_iter:
                _save("model_final", checkpointer, arguments, scaler)
            if stopping:
                logger.warning(INTERRUPTED, iteration, max_iter, cfg.OUTPUT_DIR)
                raise KeyboardInterrupt
            if test_period > 0 and iteration % test_period == 0:
                evaluated = average.or_else(plain_model)
                log.add_evaluation(iteration, _evaluate(cfg, evaluated, data_loader_val, device))


def _make_scaler(
    dtype_name: str, device: torch.device, state: dict[str, Any] | None
) -> torch.amp.GradScaler:
    """Make what scales float16's losses up; for other precisions it does nothing."""
    scaler = torch.amp.GradScaler(device.type, enabled=dtype_name == "float16")
    if state is not None:
        scaler.load_state_dict(state)
    return scaler


def _start_loading(data_loader, random_states: list[dict[str, Any]] | None) -> Iterator[Any]:
    """Start the loading processes; put this process's random state back where there is one."""
    with shielded_children():
        batches = iter(data_loader)  # may draw random numbers: before the state is put back
    if random_states is None:
        return batches
    if len(random_states) == get_world_size():
        set_random_state(random_states[get_rank()])
    else:
        logging.getLogger("maskrcnn_benchmark.trainer").warning(
            "The checkpoint was written by %d processes, these are %d: the random draws differ "
            "from those of an uninterrupted run.",
            *(len(random_states), get_world_size()),
        )
    return batches


def _fetch(
    loss_dict: dict[str, torch.Tensor], stop_requested: bool
) -> tuple[dict[str, float], bool]:
    """Fetch the losses, averaged over the processes, from the device in one transfer.

    Returns:
        the losses and, first, their sum as "loss"; whether any process is asked to stop: all
        stop after the same iteration.
    """
    some_loss = next(iter(loss_dict.values()))
    asked = torch.full_like(some_loss, float(stop_requested), dtype=torch.float32)
    numbers = _to_numbers(reduce_loss_dict({**loss_dict, "stop": asked}))
    asked_to_stop = numbers.pop("stop") > 0
    return {"loss": sum(numbers.values()), **numbers}, asked_to_stop


def _to_numbers(loss_dict: dict[str, torch.Tensor]) -> dict[str, float]:
    """Fetch the losses from the device, in one transfer."""
    values = torch.stack([loss.detach().float() for loss in loss_dict.values()])
    return dict(zip(loss_dict, values.tolist(), strict=True))


def _step(optimizer, scheduler, scaler, clip_gradient: float) -> None:
    """Change the weights by their gradients.

    Args:
        optimizer, scheduler, scaler: stepped; the scaler takes back by how much it scaled.
        clip_gradient: greatest 2-norm of all gradients together, which are multiplied by one
            factor where it is exceeded; 0: no limit.
    """
    if clip_gradient > 0:
        scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, clip_gradient)
    scaler.step(optimizer)
    scaler.update()
    scheduler.step()


def _stop_at_non_finite_loss(iteration: int, loss_dict, targets, image_ids) -> None:
    """Raise on every process with what those with a bad loss had at hand."""
    losses = {name: loss.item() for name, loss in loss_dict.items()}
    images = [
        getattr(target, "image_name", None) or f"image {image_id}"
        for target, image_id in zip(targets, image_ids, strict=True)
    ]
    told = []
    for rank, (their_losses, their_images) in enumerate(all_gather((losses, images))):
        if not math.isfinite(sum(their_losses.values())):
            values = ", ".join(f"{name} {value:g}" for name, value in their_losses.items())
            told.append(f"process {rank}: {values}; images: {', '.join(their_images)}")
    raise FloatingPointError(
        f"the loss is not finite at iteration {iteration} ({' | '.join(told)}). Lower "
        "SOLVER.BASE_LR, lengthen the warm-up, or look at these images and their labels; the last "
        "checkpoint is untouched, and the same command with such a change goes on from there"
    )


def _save(name: str, checkpointer, arguments: dict[str, Any], scaler) -> None:
    """Save a checkpoint from which training continues exactly; called by every process."""
    arguments["rng"] = all_gather(get_random_state())
    if scaler.is_enabled():
        arguments["scaler"] = scaler.state_dict()
    checkpointer.save(name, **arguments)
    synchronize()  # a process that ends earlier would have torchrun end the one that writes


def _evaluate(cfg, model, data_loader_val, device: torch.device) -> dict[str, float]:
    """Evaluate the model on DATASETS.TEST; the training after it is as if it had not been.

    Returns:
        flat names and figures, on the main process; the others get the losses only.
    """
    with _untouched(model):
        results = run_test(cfg, model, distributed=get_world_size() > 1, output_dir="")
    figures = {f"test/{k}": v for k, v in flatten_results(results).items()}
    if data_loader_val is not None:
        with _untouched(model):
            figures |= _validation_losses(cfg, model, data_loader_val, device)
    return figures


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Put back after the block what a forward pass changes.

    That is training or evaluation mode of each part, the buffers (BatchNorm's running means and
    variances) and the random state.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with preserved_random_state():
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for buffer, before in buffers:
                buffer.copy_(before)


@torch.no_grad()
def _validation_losses(cfg, model, data_loader_val, device: torch.device) -> dict[str, float]:
    """Average the training losses over labelled images, all processes' together."""
    totals: dict[str, float] = {}
    count = 0
    for images, targets, _ in data_loader_val:
        with autocast(cfg.DTYPE, device):
            loss_dict = model(images.to(device), [target.to(device) for target in targets])
        for name, value in _to_numbers({"loss": sum(loss_dict.values()), **loss_dict}).items():
            totals[name] = totals.get(name, 0.0) + value
        count += 1
    # gathered at the end: the processes may hold unequal numbers of batches
    shards = all_gather((totals, count))
    batches = sum(their_count for _, their_count in shards)
    names = dict.fromkeys(name for their_totals, _ in shards for name in their_totals)
    return {f"val/{n}": sum(t.get(n, 0.0) for t, _ in shards) / batches for n in names}


def flatten_results(results: Any, prefix: str = "") -> dict[str, float]:
    """Make "a/b/c": number pairs of an evaluation's nested results.

    Args:
        results: numbers in dicts, or what the COCO evaluation returns, (COCOResults, raw).
            Single classes' figures and anything that is not a number are left out.
        prefix: of the names.
    """
    if isinstance(results, tuple) and results:
        results = results[0]
    results = getattr(results, "results", results)
    if isinstance(results, (int, float)):
        return {prefix.rstrip("/"): float(results)}
    flat: dict[str, float] = {}
    if isinstance(results, dict):
        for name, value in results.items():
            if name != "classes":
                flat |= flatten_results(value, f"{prefix}{name}/")
    return flat
