"""The training loop: straight-line code from a batch to a saved checkpoint."""

import datetime
import logging
import math
import resource
import sys
import time
from typing import Any

import torch
import torch.distributed as dist

from maskrcnn_benchmark.engine.inference import run_test
from maskrcnn_benchmark.utils.comm import (
    all_gather,
    get_rank,
    get_world_size,
    is_main_process,
    synchronize,
)
from maskrcnn_benchmark.utils.interrupt import StopRequest, shielded_children
from maskrcnn_benchmark.utils.metric_logger import MetricLogger
from maskrcnn_benchmark.utils.precision import autocast
from maskrcnn_benchmark.utils.random_state import (
    get_random_state,
    preserved_random_state,
    set_random_state,
)
from maskrcnn_benchmark.utils.training_log import TrainingLog

LOG_PERIOD = 20  # iterations
FINISHED = (
    "This run is finished: %d of %d iterations are done, nothing is trained. To go on, raise "
    "SOLVER.MAX_ITER; to start anew, choose another OUTPUT_DIR than %r."
)
INTERRUPTED = "Interrupted: iteration %d of %d is saved in %r; the same command resumes there."


def reduce_loss_dict(loss_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Averages each loss over the processes.

    Args:
        loss_dict: scalars; the same names on every process.

    Returns:
        The averages, the same on every process; with one process the dict itself.
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
    """Trains from arguments["iteration"] to the loader's end, saving and evaluating on the way.

    Args:
        cfg: DTYPE, OUTPUT_DIR and what evaluation needs are read.
        model: on the device, wrapped for distributed training or not.
        data_loader: gives (images, targets, image ids); len() is the iteration to end at.
        data_loader_val: labelled images whose losses are added to each evaluation; or None.
        optimizer, scheduler: stepped once an iteration.
        checkpointer: its save(name, **arguments) writes `model_XXXXXXX` and `model_final`.
        device: where the batches go.
        checkpoint_period: iterations from one checkpoint to the next.
        test_period: iterations from one evaluation on DATASETS.TEST to the next; 0: never.
        arguments: what a checkpoint holds beside the weights: "iteration", and from an
            earlier save "rng" and "scaler". Updated in place.

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
    scaler = torch.amp.GradScaler(device.type, enabled=cfg.DTYPE == "float16")
    if "scaler" in arguments:
        scaler.load_state_dict(arguments["scaler"])
    meters = MetricLogger(delimiter="  ")
    log = TrainingLog(cfg.OUTPUT_DIR, start_iter, max_iter, enabled=is_main_process())
    start_time = end = time.time()
    with log, StopRequest() as stop:
        with shielded_children():
            batches = iter(data_loader)  # may draw random numbers: before the states are put back
        _restore_random_state(arguments.get("rng"), logger)
        for iteration, (images, targets, image_ids) in enumerate(batches, start_iter + 1):
            data_time = time.time() - end
            images = images.to(device)
            targets = [target.to(device) for target in targets]

            with autocast(cfg.DTYPE, device):
                loss_dict = model(images, targets)
                losses = sum(loss_dict.values())

            # "stop" goes along, so that all processes stop after the same iteration
            asked = torch.tensor(float(stop.requested), device=device)
            numbers = _to_numbers(reduce_loss_dict({**loss_dict, "stop": asked}))
            stopping = numbers.pop("stop") > 0 and iteration < max_iter
            scalars = {"loss": sum(numbers.values()), **numbers}
            if not math.isfinite(scalars["loss"]):
                _stop_at_non_finite_loss(iteration, loss_dict, targets, image_ids)

            optimizer.zero_grad()
            scaler.scale(losses).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()

            arguments["iteration"] = iteration
            times = {"time": time.time() - end, "data": data_time}
            end = time.time()
            meters.update(**scalars, **times)
            lr = optimizer.param_groups[0]["lr"]
            log.add_iteration(iteration, {**scalars, "lr": lr, **times})
            if iteration % LOG_PERIOD == 0 or iteration == max_iter:
                logger.info(_progress_line(meters, iteration, max_iter, lr, device))

            if iteration % checkpoint_period == 0 or stopping:
                _save(f"model_{iteration:07d}", checkpointer, arguments, scaler)
            if iteration == max_iter:
                _save("model_final", checkpointer, arguments, scaler)
            if stopping:
                logger.warning(INTERRUPTED, iteration, max_iter, cfg.OUTPUT_DIR)
                raise KeyboardInterrupt
            if test_period > 0 and iteration % test_period == 0:
                log.add_evaluation(iteration, _evaluate(cfg, model, data_loader_val, device))
                end = time.time()

    seconds = time.time() - start_time
    logger.info(
        "Total training time: %s (%.4f s / it)",
        *(datetime.timedelta(seconds=int(seconds)), seconds / (max_iter - start_iter)),
    )


def _to_numbers(loss_dict: dict[str, torch.Tensor]) -> dict[str, float]:
    """Fetches the losses from the device, in one transfer."""
    values = torch.stack([loss.detach().float() for loss in loss_dict.values()])
    return dict(zip(loss_dict, values.tolist(), strict=True))


def _stop_at_non_finite_loss(iteration: int, loss_dict, targets, image_ids) -> None:
    """Raises on every process with what those with a bad loss had at hand."""
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
        "SOLVER.BASE_LR, lengthen the warm-up, or look at these images and their labels; "
        "the last checkpoint is untouched"
    )


def _save(name: str, checkpointer, arguments: dict[str, Any], scaler) -> None:
    """Saves a checkpoint from which training continues exactly; called by every process."""
    arguments["rng"] = all_gather(get_random_state())
    if scaler.is_enabled():
        arguments["scaler"] = scaler.state_dict()
    checkpointer.save(name, **arguments)
    synchronize()  # a process that ends earlier would have torchrun end the one that writes


def _restore_random_state(states: list[dict[str, Any]] | None, logger: logging.Logger) -> None:
    """Puts back this process's state, if the checkpoint has one for as many processes."""
    if states is None:
        return
    if len(states) == get_world_size():
        set_random_state(states[get_rank()])
    else:
        logger.warning(
            "The checkpoint was written by %d processes, these are %d: the random draws differ "
            "from those of an uninterrupted run.",
            *(len(states), get_world_size()),
        )


def _progress_line(meters, iteration: int, max_iter: int, lr: float, device: torch.device) -> str:
    """The line that a log shows every LOG_PERIOD iterations."""
    eta = datetime.timedelta(seconds=int(meters.time.global_avg * (max_iter - iteration)))
    parts = [f"eta: {eta}", f"iter: {iteration}", str(meters), f"lr: {lr:.6f}"]
    return meters.delimiter.join([*parts, f"max mem: {_peak_memory_mb(device):.0f}"])


def _peak_memory_mb(device: torch.device) -> float:
    """Highest use of GPU memory so far, or of this process's main memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _evaluate(cfg, model, data_loader_val, device: torch.device) -> dict[str, float]:
    """Judges the model on DATASETS.TEST without changing what training draws next.

    Returns:
        Flat names and figures, on the main process; the others get the losses only.
    """
    plain_model = getattr(model, "module", model)
    with preserved_random_state():
        results = run_test(cfg, plain_model, distributed=get_world_size() > 1, output_dir="")
        figures = {f"test/{k}": v for k, v in flatten_results(results).items()}
        model.train()
        if data_loader_val is not None:
            figures |= _validation_losses(cfg, plain_model, data_loader_val, device)
    logger = logging.getLogger("maskrcnn_benchmark.trainer")
    logger.info("[Validation]: %s", "  ".join(f"{k}: {v:.4f}" for k, v in figures.items()))
    return figures


@torch.no_grad()
def _validation_losses(cfg, model, data_loader_val, device: torch.device) -> dict[str, float]:
    """Averages the training losses over labelled images, all processes' together."""
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
    """Makes "a/b/c": number pairs of an evaluation's nested results.

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
