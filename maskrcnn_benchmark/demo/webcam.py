"""Detections drawn on a camera's pictures, in a window (the original's demo/webcam.py).

    python -m demo.webcam --config-file configs/caffe2/e2e_mask_rcnn_R_50_FPN_1x_caffe2.yaml

Escape ends it. The window needs opencv-python; opencv-python-headless has none.
"""

import argparse

import cv2

from maskrcnn_benchmark.demo.predictor import COCODemo
from maskrcnn_benchmark.utils.command_line import parse_with_pairs, run_tool, score
from maskrcnn_benchmark.utils.processes import start_run

_ESCAPE = 27
_TITLE = "COCO detections"


def main() -> None:
    """Draw what a model finds on a camera's pictures until Escape is pressed."""
    parser = argparse.ArgumentParser(description="Draw detections on a camera's pictures")
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--camera", default="0", help="number of a camera, or a video file")
    parser.add_argument("--confidence-threshold", type=score, default=0.7, metavar="SCORE")
    parser.add_argument(
        "--min-image-size", type=int, default=224, help="INPUT.MIN_SIZE_TEST, pixels: small is fast"
    )
    parser.add_argument("--show-mask-heatmaps", action="store_true", help="the best masks instead")
    parser.add_argument("--masks-per-dim", type=int, default=2, help="masks per side of these")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY value", help="settings")
    args = parse_with_pairs(parser)
    sizes = ["INPUT.MIN_SIZE_TEST", str(args.min_image_size)]
    cfg = start_run(args.config_file, [*sizes, *args.opts], local_rank=0, log_to_file=False)
    demo = COCODemo(
        cfg,
        confidence_threshold=args.confidence_threshold,
        show_mask_heatmaps=args.show_mask_heatmaps,
        masks_per_dim=args.masks_per_dim,
        min_image_size=args.min_image_size,
    )
    source = int(args.camera) if args.camera.isdigit() else args.camera
    show(demo, source)


def show(demo: COCODemo, source: int | str) -> None:
    """Show a camera's or a video's pictures with detections until it ends or Escape is pressed.

    Raises:
        OSError: the camera or file gives no picture, or this OpenCV has no windows.
    """
    camera = cv2.VideoCapture(source)
    is_read, picture = camera.read()
    if not is_read:
        raise OSError(f"camera or video {source} gives no picture")
    try:
        while is_read:
            cv2.imshow(_TITLE, demo.run_on_opencv_image(picture))
            if cv2.waitKey(1) == _ESCAPE:
                break
            is_read, picture = camera.read()
        cv2.destroyAllWindows()
    except cv2.error as error:
        raise OSError(f"no window ({error}): pip install opencv-python") from error
    finally:
        camera.release()


if __name__ == "__main__":
    run_tool(main)
