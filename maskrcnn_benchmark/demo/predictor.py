"""The original's demo/predictor.py: its names from where they live now."""

from maskrcnn_benchmark.data.transforms import Resize
from maskrcnn_benchmark.demo.coco_demo import COCODemo, vis_keypoints

__all__ = ["COCODemo", "Resize", "vis_keypoints"]
