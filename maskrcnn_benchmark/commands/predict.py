"""Find objects in images of any size.

python tools/predict.py --config-file output/config.yml --weights output/model_final.pth \
    --out found IMAGE_OR_FOLDER…

torchrun --nproc_per_node 4 tools/predict.py … shares the work out among processes.

The folder --out gets NAME_detections.jpg per image, Task2_<class>.txt (and Task1_ if the model
knows orientation) in DOTA's form, and detections.json.
"""

import argparse
import logging
import tempfile
from contextlib import nullcontext

from maskrcnn_benchmark.config.settings import given_keys, load_config
from maskrcnn_benchmark.data.num_classes import settle_num_classes
from maskrcnn_benchmark.data.scale import report_prediction_scale
from maskrcnn_benchmark.dota.tiles import check_tile
from maskrcnn_benchmark.engine.geo_results import check_geopackage
from maskrcnn_benchmark.engine.predict_files import check_out, find_images, predict_files
from maskrcnn_benchmark.engine.predictor import Predictor, read_class_names
from maskrcnn_benchmark.export.onnx_detector import OnnxDetector
from maskrcnn_benchmark.images.bands import BandChoice
from maskrcnn_benchmark.images.dark_images import report_dark_images
from maskrcnn_benchmark.utils.comm import is_main_process
from maskrcnn_benchmark.utils.command_line import (
    add_band_arguments,
    add_dtype_argument,
    run_tool,
    score,
)
from maskrcnn_benchmark.utils.folder_lock import lock_folder
from maskrcnn_benchmark.utils.processes import start_run


def main() -> int:
    """Predict as the command line says; return the exit status, 1 if a file was passed over."""
    parser = argparse.ArgumentParser(description="Find objects in images of any size")
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_FOLDER")
    parser.add_argument(
        "--config-file", metavar="FILE", help="settings; an .onnx file has them inside"
    )
    parser.add_argument(
        "--weights", required=True, metavar="FILE", help=".pth, .pkl, a URL, or .onnx of export.py"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER")
    parser.add_argument(
        "--score", type=score, default=0.3, help="least score kept, 0 to 1 (%(default)s)"
    )
    parser.add_argument("--tile", type=int, help="tile's side, pixels; 0: no tiles (DOTA.TILE)")
    parser.add_argument("--overlap", type=int, help="of tiles, pixels (DOTA.OVERLAP)")
    add_dtype_argument(parser)
    add_band_arguments(parser)
    parser.add_argument(
        "--draw",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="make a picture per image (yes)",
    )
    parser.add_argument("--gpkg", action="store_true", help="write a GeoPackage beside GeoJSON")
    parser.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY value", help="change settings"
    )
    args = parser.parse_args()
    if args.weights.endswith(".pt2"):
        parser.error("predict runs .pth, .pkl and .onnx; torch.export.load opens a .pt2 file")
    if not args.weights.endswith(".onnx"):
        if not args.config_file:
            parser.error("--config-file is needed, unless --weights is an .onnx file")
        return _predict(args, args.config_file, None)
    if args.dtype not in (None, "float32"):
        parser.error(f"--dtype {args.dtype}: an .onnx file computes in float32")
    detector = OnnxDetector(args.weights)
    with tempfile.TemporaryDirectory() as folder:
        return _predict(args, args.config_file or detector.write_settings(folder), detector)


def _predict(args: argparse.Namespace, config_file: str, detector: OnnxDetector | None) -> int:
    """Predict with settings and, if there is one, an exported detector; return the status."""
    choice = BandChoice.parse(args.bands, args.stretch)
    if args.gpkg:
        check_geopackage()
    images = find_images(args.images)
    check_out(images, args.out)
    options = {"DOTA.TILE": args.tile, "DOTA.OVERLAP": args.overlap, "DTYPE": args.dtype}
    options["MODEL.DEVICE"] = None if detector is None else "cpu"  # whatever the file says
    given = [str(part) for pair in options.items() if pair[1] is not None for part in pair]
    cfg = start_run(config_file, [*args.opts, *given], local_rank=0, log_to_file=False)
    check_tile(cfg.DOTA.TILE, cfg.DOTA.OVERLAP)  # before the model is built
    cfg = settle_num_classes(cfg, given_keys(config_file, args.opts))
    warn = logging.getLogger("maskrcnn_benchmark").warning
    if is_main_process():
        if not choice.stretch:
            report_dark_images(images, warn, choice)
        report_prediction_scale(cfg, load_config(config_file, args.opts).DOTA.TILE, warn)
    settings_from = args.config_file or args.weights
    about = {"config": settings_from, "weights": args.weights, "score": args.score}
    bands = {"bands": args.bands, "stretch": args.stretch}
    about |= {name: text for name, text in bands.items() if text is not None}
    if detector is None:
        predictor = Predictor.from_checkpoint(cfg, args.weights)
        class_names = read_class_names(cfg, args.weights)
    else:
        predictor, class_names = Predictor(cfg, detector), detector.class_names
    with lock_folder(args.out) if is_main_process() else nullcontext():
        failed = predict_files(
            predictor,
            images,
            args.out,
            class_names,
            score=args.score,
            about=about,
            choice=choice,
            draw=args.draw,
            geopackage=args.gpkg,
        )
    return 1 if failed else 0


def run() -> None:
    """Run the program and end it, as run_tool does."""
    run_tool(main)
