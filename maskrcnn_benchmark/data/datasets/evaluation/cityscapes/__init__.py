"""Cityscapes' evaluation of objects."""

from .cityscapes_eval import do_cityscapes_evaluation

__all__ = ["abs_cityscapes_evaluation", "do_cityscapes_evaluation"]

abs_cityscapes_evaluation = do_cityscapes_evaluation  # the original's name for calls by keyword
