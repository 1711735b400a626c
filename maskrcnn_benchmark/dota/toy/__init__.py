"""Drawn scenes that resemble aerial images, with exact oriented labels."""

from maskrcnn_benchmark.dota.toy.scenes import TOY_CLASSES, draw_scene, write_toy_set

__all__ = ["TOY_CLASSES", "draw_scene", "write_toy_set"]
