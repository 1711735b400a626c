"""Evaluation: a model over data sets; the main process gathers what all found and evaluates it."""

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from maskrcnn_benchmark.config.dataset_names import dataset_folder_names
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.datasets.evaluation import evaluate
from maskrcnn_benchmark.engine.bbox_aug import BBoxAug, im_detect_bbox_aug, make_bbox_aug
from maskrcnn_benchmark.utils.atomic_write import write_text
from maskrcnn_benchmark.utils.comm import (
    all_gather,
    get_world_size,
    is_main_process,
    synchronize,
)
from maskrcnn_benchmark.utils.folder_lock import lock_folder
from maskrcnn_benchmark.utils.precision import autocast
from maskrcnn_benchmark.utils.progress import Progress
from maskrcnn_benchmark.utils.weights_file import write_weights_file

_NAMES_SHOWN = 5


def compute_on_dataset(
    model,
    data_loader,
    device: torch.device,
    bbox_aug: bool | BBoxAug,
    timer=None,
    dtype: str = "float32",
    convert: Callable[[int, Any], Any] | None = None,
) -> dict[int, Any]:
    """Run the model over this process's share of a data set.

    Args:
        model: put into evaluation mode; gives a list of BoxList.
        data_loader: gives (images, targets, image ids); with `bbox_aug` the images as they are.
        device: where the batches go.
        bbox_aug: test-time augmentation; True: as `maskrcnn_benchmark.config.cfg` describes it.
        timer: its tic and toc enclose each forward pass.
        dtype: precision, as cfg.DTYPE names it.
        convert: what to keep of a prediction: (image id, BoxList on the CPU) -> anything; the
            whole BoxList otherwise. Masks of a big data set need not stay in memory that way.

    Returns:
        image id -> what was kept.
    """
    model.eval()
    kept = {}
    for images, _, image_ids in _with_progress(data_loader):
        if timer:
            timer.tic()
        with torch.no_grad(), autocast(dtype, device):
            if bbox_aug:
                detect = im_detect_bbox_aug if bbox_aug is True else bbox_aug
                predictions = detect(model, images, device)
            else:
                predictions = model(images.to(device, non_blocking=True))
        predictions = [prediction.to("cpu") for prediction in predictions]  # waits for the GPU
        if timer:
            timer.toc()
        for image_id, prediction in zip(image_ids, predictions, strict=True):
            kept[image_id] = convert(image_id, prediction) if convert else prediction
    return kept


def inference(
    model,
    data_loader,
    dataset_name: str,
    iou_types: Sequence[str] = ("bbox",),
    box_only: bool = False,
    bbox_aug: bool | BBoxAug = False,
    device: str | torch.device = "cuda",
    expected_results: Sequence = (),
    expected_results_sigma_tol: float = 4,
    output_folder: str | None = None,
    dtype: str = "float32",
):
    """Evaluate a model on a data set; called by every process.

    Args:
        model: the detector, not wrapped for distributed training.
        data_loader: this process's share; the shares need not be equal. Where its data set has a
            method `reduce_prediction(index, BoxList)`, what that returns is kept and evaluated
            instead of the whole prediction, and predictions.pth is not written.
        dataset_name: for the log.
        iou_types: "bbox", "segm", "keypoints".
        box_only: evaluate the proposals only.
        bbox_aug: test-time augmentation, see compute_on_dataset.
        device: where the model lies.
        expected_results, expected_results_sigma_tol: figures to check against (COCO).
        output_folder: for predictions and result files; None writes nothing.
        dtype: precision, as cfg.DTYPE names it.

    Returns:
        what the data set's evaluation returns, on the main process; None on the others.

    Raises:
        ValueError: an image has no prediction.
    """
    logger = logging.getLogger("maskrcnn_benchmark.inference")
    dataset = data_loader.dataset
    logger.info("Start evaluation on %s (%d images)", dataset_name, len(dataset))
    reduce_prediction = getattr(dataset, "reduce_prediction", None)
    start = time.time()
    share = compute_on_dataset(
        model,
        data_loader,
        torch.device(device),
        bbox_aug,
        dtype=dtype,
        convert=reduce_prediction,
    )
    predictions = _gather_predictions(share, dataset)
    seconds = time.time() - start
    logger.info(
        "Predictions took %.1f s (%.3f s per image, %d processes)",
        *(seconds, seconds / max(len(dataset), 1), get_world_size()),
    )
    if predictions is None:
        return None
    if output_folder and reduce_prediction is None:
        write_weights_file(predictions, os.path.join(output_folder, "predictions.pth"))
    return evaluate(
        dataset=dataset,
        predictions=predictions,
        output_folder=output_folder,
        box_only=box_only,
        iou_types=iou_types,
        expected_results=expected_results,
        expected_results_sigma_tol=expected_results_sigma_tol,
    )


def run_test(
    cfg, model, distributed: bool, output_dir: str | None = None, weights: str = "as trained"
) -> dict[str, Any]:
    """Evaluate a model on every set of DATASETS.TEST.

    Args:
        cfg: the run's settings.
        model: the detector, wrapped for distributed training or not.
        distributed: whether several processes share the images.
        output_dir: results go to `output_dir/inference/<set>`; None: cfg.OUTPUT_DIR; "": nowhere.
        weights: the model's file, noted with DTYPE in evaluated.json beside the results.

    Returns:
        folder name of the set -> its evaluation's result (None but on the main process).

    Raises:
        OSError: another process is writing results to `output_dir/inference`.
    """
    output_dir = cfg.OUTPUT_DIR if output_dir is None else output_dir
    loaders = make_data_loader(cfg, is_train=False, is_distributed=distributed)
    results = {}
    names, folder_names = cfg.DATASETS.TEST, dataset_folder_names(cfg.DATASETS.TEST)
    with ExitStack() as stack:
        if output_dir and is_main_process():
            stack.enter_context(lock_folder(os.path.join(output_dir, "inference")))
        for name, folder_name, loader in zip(names, folder_names, loaders, strict=True):
            folder = None
            if output_dir:
                folder = os.path.join(output_dir, "inference", folder_name)
                os.makedirs(folder, exist_ok=True)
            results[folder_name] = inference(
                getattr(model, "module", model),
                loader,
                dataset_name=name,
                iou_types=_iou_types(cfg),
                box_only=cfg.MODEL.RPN_ONLY and not cfg.MODEL.RETINANET_ON,
                bbox_aug=make_bbox_aug(cfg) if cfg.TEST.BBOX_AUG.ENABLED else False,
                device=cfg.MODEL.DEVICE,
                expected_results=cfg.TEST.EXPECTED_RESULTS,
                expected_results_sigma_tol=cfg.TEST.EXPECTED_RESULTS_SIGMA_TOL,
                output_folder=folder,
                dtype=cfg.DTYPE,
            )
            if folder and is_main_process():
                about = {"set": name, "weights": weights, "DTYPE": cfg.DTYPE}
                write_text(Path(folder, "evaluated.json"), json.dumps(about, indent=1) + "\n")
                logging.getLogger("maskrcnn_benchmark.inference").info(
                    "Results of %s in %s are in %s", weights, cfg.DTYPE, folder
                )
            synchronize()
    return results


def _iou_types(cfg) -> tuple[str, ...]:
    """Return what a model of these settings is evaluated by."""
    if cfg.MODEL.RETINANET_ON:  # it has no heads, whatever else is on
        return ("bbox",)
    heads = {"segm": cfg.MODEL.MASK_ON, "keypoints": cfg.MODEL.KEYPOINT_ON}
    return ("bbox", *(name for name, on in heads.items() if on))


def _gather_predictions(share: dict[int, Any], dataset: Any) -> list[Any] | None:
    """Put the processes' shares together, in the data set's order.

    Returns:
        one prediction per image, on the main process; None on the others.

    Raises:
        ValueError: on every process, if an image has no prediction or a prediction no image.
    """
    merged: dict[int, Any] = {}
    for part in all_gather(share):
        merged |= part
    places = range(len(dataset))
    missing = [index for index in places if index not in merged]
    strange = [image_id for image_id in merged if image_id not in places]
    problems = []
    if missing:
        titles = [_image_title(dataset, index) for index in missing[:_NAMES_SHOWN]]
        titles += ["…"] if len(missing) > len(titles) else []
        problems.append(
            f"{len(missing)} of {len(dataset)} images have no prediction ({', '.join(titles)})"
        )
    if strange:
        problems.append(
            f"{len(strange)} prediction(s) of no image of the set, such as {strange[0]}"
        )
    if problems:
        raise ValueError(
            f"{'; '.join(problems)}. The data loader must bring each image of the set, and as its "
            "id the image's place in the set, counted from 0"
        )
    return [merged[index] for index in places] if is_main_process() else None


def _image_title(dataset: Any, index: int) -> str:
    """Return an image's place in the data set, and its file where the data set tells it."""
    told = dataset.get_img_info(index) if hasattr(dataset, "get_img_info") else {}
    return f"{index}: {told['file_name']}" if "file_name" in told else str(index)


def _with_progress(data_loader):
    """Pass the batches on; the main process shows how many of them are done."""
    if not is_main_process():
        yield from data_loader
        return
    total = len(data_loader) if hasattr(data_loader, "__len__") else None
    logger = logging.getLogger("maskrcnn_benchmark.inference")
    with Progress(total, "batch", logger) as progress:
        for done, batch in enumerate(data_loader, start=1):
            yield batch
            progress.reach(done)
